"""Kernels for pairs, tried on a few atoms before they are relied upon."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from lrcalc.captured.cell_list import by_kernels, by_torch, into_bins
from lrcalc.captured.padding import (
    Change,
    Picked,
    fill,
    measure,
    pick_by_kernels,
    pick_by_torch,
    with_room,
)
from lrcalc.neighbors import FAR, Pairs, pair_vectors
from lrcalc.system import System

SEARCHES = ((True, 3.0), (True, 7.2), (False, 4.0))
"""Whether all structures are periodic, and how far pairs are searched, Å."""

FEW = 8
"""Atoms of each of two structures in which pairs are searched."""

ATOMS, SIDE, CUTOFF, NEAR, SKIN = 30, 7.0, 4.0, 3.0, 0.5
"""Of the trial; Å."""


@lru_cache
def tried(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether kernels give the pairs and gradients that torch gives; warns if they do not."""
    problem = "they give other pairs or gradients than torch"
    try:
        good = all(_agree(*case) for case in _cases(device, dtype))
    except Exception as error:
        good, problem = False, f"{type(error).__name__}: {error}".splitlines()[0]
    if not good:
        warnings.warn(f"kernels for pairs are off on {device}: {problem}", stacklevel=2)
    return good


@lru_cache
def search_tried(device: torch.device) -> bool:
    """Whether kernels find the pairs that torch finds; warns if they do not."""
    problem = "they find other pairs than torch"
    try:
        good = all(_found_alike(device, closed, reach) for closed, reach in SEARCHES)
    except Exception as error:
        good, problem = False, f"{type(error).__name__}: {error}".splitlines()[0]
    if not good:
        warnings.warn(
            f"kernels for the search of pairs are off on {device}: {problem}", stacklevel=2
        )
    return good


def _found_alike(device: torch.device, closed: bool, reach: float) -> bool:
    generator = torch.Generator().manual_seed(1)
    cell = np.array([[[9.0, 0.0, 0.0], [1.4, 8.0, 0.0], [-0.9, 0.7, 7.0]]] * 2)
    cell[1] *= 1.3
    positions = 20.0 * torch.rand(2 * FEW, 3, dtype=torch.float64, generator=generator)
    batch = torch.arange(2).repeat_interleave(FEW)
    pbc = np.array([[True] * 3, [closed] * 3])
    atoms = into_bins(positions.to(device), cell, pbc, batch.to(device), reach)
    one, other = by_torch(atoms, reach), by_kernels(atoms, reach)
    if len(one.pairs.i) != len(other.pairs.i):
        return False
    same = all(torch.equal(a, b) for a, b in zip(one.pairs, other.pairs, strict=True))
    return same and torch.allclose(one.vectors, other.vectors)


def _cases(device: torch.device, dtype: torch.dtype) -> list[tuple[Picked, Picked, Change]]:
    """Choices by torch and by kernels, in a cell that stays and in one that was deformed."""
    generator = torch.Generator().manual_seed(0)
    positions = SIDE * torch.rand(ATOMS, 3, dtype=torch.float64, generator=generator)
    moved = 0.05 * torch.randn(ATOMS, 3, dtype=torch.float64, generator=generator)
    distance = torch.cdist(positions, positions) + 99.0 * torch.eye(ATOMS)
    i, j = (distance < CUTOFF + SKIN).nonzero(as_tuple=True)
    found = Pairs(i, j, torch.zeros(len(i), 3, dtype=torch.int64))
    numbers = 1 + torch.arange(ATOMS) % 2
    system = System(
        positions, torch.zeros(1, 3, 3, dtype=torch.float64), numbers,
        torch.zeros(1, 3, dtype=torch.bool), torch.zeros(ATOMS, dtype=torch.int64),
        torch.zeros(1, dtype=torch.float64),
    )  # fmt: skip
    vectors = pair_vectors(system, found)
    sizes = with_room(measure(found, numbers, vectors.square().sum(1), CUTOFF, NEAR))
    given = fill(found, vectors.to(dtype), ATOMS, sizes.candidates)
    candidates = type(given)(*(x.to(device) for x in given))
    turn = torch.eye(3, dtype=torch.float64) + 0.01 * torch.arange(9.0).view(3, 3)
    cases = []
    for deformation in (None, turn[None].to(device)):
        carried = positions if deformation is None else positions @ turn
        now = system._replace(positions=carried + moved).to(device, torch.float64)
        change = Change(now, positions.to(device), moved.to(device), deformation)
        choices = [
            choose(candidates, change, CUTOFF, NEAR, sizes)
            for choose in (pick_by_torch, pick_by_kernels)
        ]
        cases.append((choices[0], choices[1], change))
    return cases


def _agree(one: Picked, other: Picked, change: Change) -> bool:
    """Whether two choices are the same, and their vectors have the same gradient."""
    mine, theirs = one.pairs.known, other.pairs.known
    assert mine is not None
    assert theirs is not None
    arrays = [*zip(one.pairs, other.pairs, strict=True)]
    assert mine.real is not None
    assert theirs.real is not None
    arrays += [(mine.near, theirs.near), (mine.real, theirs.real)]
    same = all(torch.equal(a.long(), b.long()) for a, b in arrays)
    slopes = []
    with torch.enable_grad():
        for pairs in (one.pairs, other.pairs):
            if mine.origin is None:  # a gradient by the cell too, which is torch's own
                continue
            positions = change.system.positions.detach().clone().requires_grad_()
            system = change.system._replace(positions=positions, once=True)
            slopes.append(_slope(pair_vectors(system, pairs), positions))
    return same and (not slopes or torch.allclose(slopes[0], slopes[1], rtol=1e-4, atol=1e-3))


def _slope(vectors: Tensor, positions: Tensor) -> Tensor:
    cube = torch.where(vectors.abs() < FAR / 10, vectors, 0.0).double() ** 3
    return torch.autograd.grad(cube.sum(), positions)[0]
