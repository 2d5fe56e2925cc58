"""Pairs: the neighbour list of a batch of structures, built by vesin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.system import System

MINIMUM_DISTANCE = 0.3
"""Å. Atoms closer than this are an error in the input, not chemistry."""


class Pairs(NamedTuple):
    """Directed pairs ``i → j`` within the cutoff, sorted by ``i``; each pair appears both ways.

    Attributes
    ----------
    i, j : Tensor, shape (E,), int64
        Centre and neighbour.
    shift : Tensor, shape (E, 3), int64
        Lattice translation of the neighbour, so that
        ``vector = positions[j] - positions[i] + shift @ cell``.
    """

    i: Tensor
    j: Tensor
    shift: Tensor


def pair_vectors(system: System, pairs: Pairs) -> Tensor:
    """Vectors from centre to neighbour, shape (E, 3), Å."""
    vectors = system.positions[pairs.j] - system.positions[pairs.i]
    if system.n_structures == 1:
        return vectors + pairs.shift.to(vectors.dtype) @ system.cell[0]
    shift_cell = system.cell[system.batch[pairs.i]]
    return vectors + torch.einsum("ea,eab->eb", pairs.shift.to(vectors.dtype), shift_cell)


def build_pairs(system: System, cutoff: float) -> Pairs:
    """Find all pairs within ``cutoff``, exactly as ASE's neighbour list does.

    Any cell: triclinic, smaller than the cutoff, open or partly periodic. Each structure of the
    batch has its own list.

    Parameters
    ----------
    system : System
        Batch of structures.
    cutoff : float
        Å, positive.

    Returns
    -------
    Pairs

    Raises
    ------
    ValueError
        For a cutoff that is not positive, or two atoms closer than 0.3 Å.
    """
    if not cutoff > 0:
        raise ValueError(f"`cutoff` is {cutoff} Å but must be positive")
    positions = system.positions.detach().cpu().double().numpy()
    cells = system.cell.detach().cpu().double().numpy()
    pbc = system.pbc.cpu().numpy()
    starts = np.concatenate(
        [[0], np.cumsum(np.bincount(system.batch.cpu().numpy(), minlength=len(cells)))]
    )
    found = []
    for s, cell in enumerate(cells):
        part = slice(starts[s], starts[s + 1])
        i, j, shift = _one_structure(positions[part], cell, pbc[s], cutoff, offset=starts[s])
        found.append((i, j, shift))
    device = system.positions.device
    i, j, shift = (np.concatenate(column) for column in zip(*found, strict=True))
    return Pairs(*(torch.from_numpy(a).to(device) for a in (i, j, shift)))


def _one_structure(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, offset: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from vesin import NeighborList

    box = _complete_cell(positions, cell, pbc, cutoff)
    finder = NeighborList(cutoff=cutoff, full_list=True)
    i, j, shift, distance = finder.compute(
        points=positions, box=box, periodic=np.asarray(pbc, dtype=bool), quantities="ijSd"
    )
    if len(distance) and distance.min() < MINIMUM_DISTANCE:
        k = int(distance.argmin())
        raise ValueError(
            f"atoms {int(i[k])} and {int(j[k])} are {distance[k]:.3f} Å apart (less than "
            f"{MINIMUM_DISTANCE} Å): overlapping atoms; check the structure, its cell and its units"
        )
    order = np.argsort(i, kind="stable")
    return (
        i[order].astype(np.int64) + offset,
        j[order].astype(np.int64) + offset,
        shift[order].astype(np.int64).reshape(-1, 3),
    )


def _complete_cell(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> np.ndarray:
    """Give open directions a lattice vector that plays no part: vesin wants a full-rank box."""
    if pbc.all():
        return cell
    box = np.where(pbc[:, None], cell, 0.0)
    # orthonormal directions outside the span of the periodic vectors
    _, singular, axes = np.linalg.svd(box)
    rank = int((singular > 1e-9).sum())
    span = np.ptp(positions, axis=0).max() + 2 * cutoff + 1.0
    box[np.flatnonzero(~pbc)] = axes[rank:] * span
    return box
