"""Noisy crystals for the training of phases, made on the device: no step waits for the host.

Each atom has as many seats for neighbours as any could need; empty ones are beyond the cutoff and
carry nothing. So are the shapes of all batches the same, and a step can be one CUDA graph.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.information.phase_backbone import Square
from lrcalc.information.phase_crystals import Crystals, Plan, present
from lrcalc.information.phase_lengths import FIRST, LAST
from lrcalc.information.phases import PhaseModel
from lrcalc.neighbors import FamiliarPairs, Known, Pairs
from lrcalc.system import System, inverses

SEATS = 1.5
"""Seats for neighbours, in units of the mean number within the cutoff."""

DENSEST = 0.16
"""Atoms/Å³ of the densest structures that a model with species is made for; ice VIII: 0.15."""


class Noisy(NamedTuple):
    """B crystals with noise.

    Attributes
    ----------
    clean, positions : Tensor, shape (B, M, 3), Å
    cell : Tensor, shape (B, 3, 3), Å
    sigma : Tensor, shape (B,), Å
        Standard deviation of a component of the displacements.
    """

    clean: Tensor
    positions: Tensor
    cell: Tensor
    sigma: Tensor


class Prepared(NamedTuple):
    """A batch as a model takes it: N atoms, in units of the model's length.

    Attributes
    ----------
    system : System
    pairs : Pairs
    offset : Tensor, shape (E, 3)
    owner : Tensor, shape (N,), int64
        Crystal of each atom in the batch.
    real : Tensor, shape (N,), bool
        Whether there is an atom.
    square : Square
        Where pairs are in dense matrices.
    length : Tensor, shape (B,), Å
    crowded : Tensor
        Part of the atoms that have as many neighbours as seats, or more; the farthest, which carry
        least, are left out.
    """

    system: System
    pairs: Pairs
    offset: Tensor
    owner: Tensor
    real: Tensor
    square: Square
    length: Tensor
    crowded: Tensor


def disorder(
    crystals: Crystals, at: Plan, noise: Tensor, xi: Tensor, strain: Tensor | None = None
) -> Noisy:
    """Crystals with noise.

    Parameters
    ----------
    noise : Tensor, shape (B,)
        Standard deviation of each Cartesian component, in units of the distance of nearest
        neighbours.
    xi : Tensor, shape (B, M, 3)
        Normal random numbers; displacements of a crystal as a whole are taken out.
    strain : Tensor, shape (B, 3, 3), optional
        Of the crystal itself; its symmetric part counts.
    """
    clean, cell = crystals.positions[at.rows], crystals.cell[at.rows]
    if strain is not None:
        one = torch.eye(3, device=clean.device, dtype=clean.dtype)
        f = one + 0.5 * (strain + strain.transpose(1, 2))
        clean, cell = clean @ f, cell @ f
    sigma = noise * crystals.nearest[at.rows]
    there = present(at, clean.shape[1]).to(clean.dtype)[..., None]
    xi = xi * there
    # nobody can know how far a crystal was moved as a whole
    xi = (xi - xi.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)) * there
    return Noisy(clean, clean + sigma[:, None, None] * xi, cell, sigma)


def minimum_images(positions: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (B, M, M, 3) to the nearest images (exact within half a height), and offsets."""
    difference = positions[:, None] - positions[:, :, None]
    size = difference.shape
    turns = (difference.flatten(1, 2) @ inverses(cell)).round()
    offset = -(turns @ cell).view(size)
    return difference + offset, offset


@torch.no_grad()
def prepare(
    model: PhaseModel, at: Plan, numbers: Tensor, positions: Tensor, cell: Tensor,
    length: Tensor | None = None, jitter: Tensor | float = 1.0,
) -> Prepared:  # fmt: skip
    """Pairs of a batch in the model's unit of length.

    Parameters
    ----------
    numbers : Tensor, shape (N,), int64
        Atomic numbers, on the host.
    positions, cell : Tensor, shapes (B, M, 3), (B, 3, 3), Å
    length : Tensor, shape (B,), Å, optional
        Of an earlier call; by default that of the positions (`phase_lengths`), or 1 Å.
    jitter : Tensor, shape (B,), optional
        Factor of that length.
    """
    n_rows, most = positions.shape[:2]
    device = positions.device
    there = present(at, most)
    vectors, offset = minimum_images(positions, cell)
    distance = torch.linalg.vector_norm(vectors, dim=3)
    alone = torch.eye(most, dtype=torch.bool, device=device)
    distance = distance.masked_fill(~(there[:, None] & there[:, :, None]) | alone, math.inf)
    seats = min(seats_of(model), most - 1)
    near, index = torch.topk(distance, max(seats, LAST), dim=2, largest=False)
    if length is None:
        length = lengths(near, there) if model.scaled else torch.ones_like(cell[:, 0, 0])
        length = length * jitter
    full = (near[..., seats - 1] < model.cutoff * length[:, None]).sum()
    crowded = full.to(positions.dtype) / len(at.place)
    if device.type == "cpu":  # where it costs nothing to look
        seats = max(1, int((near[..., :seats] < model.cutoff * length[:, None, None]).sum(2).max()))
    near, index = near[..., :seats], index[..., :seats]
    offset = torch.gather(offset, 2, index[..., None].expand(-1, -1, -1, 3))
    # from dense rows to atoms
    real = at.place < n_rows * most
    safe = at.place.clamp(max=n_rows * most - 1)
    owner = safe // most
    i = torch.arange(len(safe), device=device)
    atom = torch.zeros(n_rows * most + 1, dtype=torch.int64, device=device)
    atom = atom.index_copy(0, at.place, i)
    index = index + most * torch.arange(n_rows, device=device)[:, None, None]
    near, index = (x.flatten(0, 1).index_select(0, safe) for x in (near, index))
    empty = ~torch.isfinite(near) | ~real[:, None]
    j = torch.where(empty, i[:, None], atom[index])
    scale = length.index_select(0, owner)
    offset = offset.flatten(0, 1).index_select(0, safe) / scale[:, None, None]
    far = torch.full((3,), 2.0 * model.cutoff, device=device, dtype=offset.dtype)
    offset = torch.where(empty[..., None], far, offset)
    flat = positions.reshape(-1, 3).index_select(0, safe) / scale[:, None]
    i = i[:, None].expand(-1, seats)
    known = Known(seats, -1.0, at.place[:0])
    pairs = FamiliarPairs(i.reshape(-1), j.reshape(-1), i.new_zeros(0, 3), known)
    periodic = torch.ones(n_rows, 3, dtype=torch.bool, device=device)
    host = System(flat[:0], cell[:0], numbers, periodic[:0], numbers, flat[:0, 0])
    system = System(
        flat, cell, numbers_on(numbers, device), periodic, owner, cell.new_zeros(n_rows), host=host
    )
    local = safe.index_select(0, pairs.j) - most * owner.index_select(0, pairs.i)
    square = safe.index_select(0, pairs.i) * most + local
    square = torch.where(empty.reshape(-1), 0, square)  # w is zero there
    return Prepared(
        system, pairs, offset.reshape(-1, 3), owner, real,
        Square(square, at.place, n_rows, most), length, crowded,
    )  # fmt: skip


def numbers_on(numbers: Tensor, device: torch.device) -> Tensor:
    """Atomic numbers in ascending order on a device, without a copy from the host."""
    if device.type == "cpu":
        return numbers
    species, counts = torch.unique_consecutive(numbers, return_counts=True)
    return torch.cat([
        torch.full((n,), z, dtype=torch.int64, device=device)
        for z, n in zip(species.tolist(), counts.tolist(), strict=True)
    ])  # fmt: skip


def seats_of(model: PhaseModel) -> int:
    """Seats for the neighbours of an atom."""
    density = 1.0 if model.scaled else DENSEST
    return int(SEATS * density * 4 / 3 * math.pi * model.cutoff**3) + 1


def lengths(near: Tensor, there: Tensor) -> Tensor:
    """`phase_lengths.length_of` of a batch, (B,), from ordered distances (B, M, K)."""
    k = torch.arange(FIRST, LAST + 1, device=near.device, dtype=near.dtype)
    volumes = 4 * math.pi / 3 * near[..., FIRST - 1 : LAST] ** 3 / (k + 0.5)
    volumes = volumes.masked_fill(~there[..., None], math.nan)
    found = volumes.nanmedian(dim=1).values.mean(1) ** (1 / 3)
    return found.nan_to_num(1.0)  # of no atoms
