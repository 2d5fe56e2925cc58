"""Noisy crystals for the training of phases, made on the device: no step waits for the host.

Crystals are repeated until no height of their cell is less than twice the cutoff, so that of each
pair only the nearest image counts, and all distances of a crystal are one dense matrix. Each atom
has as many seats for neighbours as any could need; empty ones are beyond the cutoff and carry
nothing. So are the shapes of all batches the same, and a step can be one CUDA graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.information.phase_lengths import FIRST, LAST
from lrcalc.information.phases import ANY, PhaseModel
from lrcalc.neighbors import FamiliarPairs, Known, Pairs
from lrcalc.system import System, inverses

if TYPE_CHECKING:
    from ase import Atoms

SEATS = 1.5
"""Seats for neighbours, in units of the mean number within the cutoff."""

DENSEST = 0.16
"""Atoms/Å³ of the densest structures that a model with species is made for; ice VIII: 0.15."""

WIDTH = 2.1
"""Least height of a cell in units of the cutoff: noise, strain and the length vary."""


class Crystals(NamedTuple):
    """S crystals of at most M atoms, sorted by species; rows beyond the atoms are empty.

    Attributes
    ----------
    positions : Tensor, shape (S, M, 3), Å
    cell : Tensor, shape (S, 3, 3), Å
    nearest : Tensor, shape (S,), Å
        Mean over atoms of the distance to the nearest neighbour.
    phase : Tensor, shape (S,), int64
    counts : ndarray, shape (S, species), on the host
        Atoms of each species.
    phases : ndarray, shape (S,), on the host
    """

    positions: Tensor
    cell: Tensor
    nearest: Tensor
    phase: Tensor
    counts: np.ndarray
    phases: np.ndarray


class Plan(NamedTuple):
    """Which B crystals are in a batch, and where their atoms are.

    Attributes
    ----------
    rows : Tensor, shape (B,), int64
        Of the crystals.
    place : Tensor, shape (N,), int64
        Of each atom in the dense batch (B M), in the order of species; B M: nobody.
    """

    rows: Tensor
    place: Tensor


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
    length: Tensor
    crowded: Tensor


def heights(cell: np.ndarray) -> np.ndarray:
    """Distances of the opposite faces of a cell (3, 3)."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def repeated(atoms: Atoms, width: float, fewest: int) -> Atoms:
    """Repeat a crystal until each height is at least ``width`` (Å) and it has enough atoms."""
    own = heights(np.asarray(atoms.cell))
    repeats = np.maximum(np.ceil(width / own - 1e-9), 1).astype(int)
    while len(atoms) * repeats.prod() < fewest:
        repeats[np.argmin(own * repeats)] += 1
    return atoms.repeat(tuple(repeats))


def volume_length(atoms: Atoms) -> float:
    """Cube root of the volume per atom, Å."""
    return float((atoms.get_volume() / len(atoms)) ** (1 / 3))


def check_crystal(atoms: Atoms, model: PhaseModel, told: str) -> None:
    """Refuse a structure that the model cannot learn from."""
    if not atoms.pbc.all():
        raise ValueError(f"{told} is not periodic in all directions; training takes crystals")
    if atoms.info.get("phase") not in model.phases:
        raise ValueError(
            f"{told} has the phase {atoms.info.get('phase')!r} (info key `phase`), which is none "
            f"of the model's: {', '.join(model.phases)}"
        )
    strange = sorted(set(atoms.numbers.tolist()) - set(model.species))
    if model.species and strange:
        raise ValueError(f"{told} has species {strange}, the model {list(model.species)}")


def stack(
    frames: Sequence[Atoms], model: PhaseModel, *, fewest: int = 120, device: str = "cpu"
) -> Crystals:
    """Repeat and stack perfect crystals, each with ``info["phase"]`` one of the model's.

    Raises
    ------
    ValueError
        For a structure that is not periodic, or of a phase or species that the model lacks.
    """
    from ase.neighborlist import first_neighbors, neighbor_list

    made, nearest = [], []
    for number, atoms in enumerate(frames):
        check_crystal(atoms, model, f"structure {number}")
        length = volume_length(atoms)
        unit = length if model.scaled else 1.0
        bigger = repeated(atoms, WIDTH * model.cutoff * unit, fewest)
        i, d = neighbor_list("id", bigger, 1.8 * length)
        starts = first_neighbors(len(bigger), i)[:-1]
        nearest.append(float(np.minimum.reduceat(d, starts).mean()))
        made.append(bigger[np.argsort(bigger.numbers, kind="stable")])
    positions = np.zeros((len(made), max(map(len, made)), 3))
    for row, atoms in enumerate(made):
        positions[row, : len(atoms)] = atoms.positions
    counts = [
        [(a.numbers == z).sum() for z in model.species] if model.species else [len(a)] for a in made
    ]
    phases = np.array([model.phases.index(str(atoms.info["phase"])) for atoms in frames])
    like = next(model.parameters())

    def tensor(values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=like.dtype, device=device)

    return Crystals(
        tensor(positions), tensor([np.asarray(a.cell) for a in made]), tensor(nearest),
        torch.as_tensor(phases, device=device), np.array(counts), phases,
    )  # fmt: skip


def plan(
    crystals: Crystals, rows: Sequence[int], sizes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (B,) and places (N,) of a `Plan`, on the host.

    Parameters
    ----------
    rows : sequence of int
        Crystals; -1: none.
    sizes : ndarray, shape (species,), optional
        Atoms of each species that the batch has room for; by default what there are.
    """
    most = crystals.positions.shape[1]
    counts = crystals.counts
    starts = np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)
    place = []
    for z in range(counts.shape[1]):
        own = [b * most + np.arange(starts[r, z], starts[r, z + 1])
               for b, r in enumerate(rows) if r >= 0]  # fmt: skip
        found = np.concatenate(own)
        room = len(found) if sizes is None else int(sizes[z])
        place.append(np.pad(found, (0, room - len(found)), constant_values=len(rows) * most))
    return np.maximum(np.asarray(rows), 0), np.concatenate(place)


def room_numbers(model: PhaseModel, sizes: np.ndarray) -> Tensor:
    """Atomic numbers of a batch with room for so many atoms of each species, on the host."""
    species = torch.tensor(model.species or ANY)
    return torch.repeat_interleave(species, torch.as_tensor(sizes, dtype=torch.int64))


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


def present(at: Plan, most: int) -> Tensor:
    """Which rows of the dense batch are atoms, shape (B, M), bool."""
    flat = at.place.new_zeros(len(at.rows) * most + 1, dtype=torch.bool)
    return flat.index_fill(0, at.place, True)[:-1].view(-1, most)


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
    near, index = near[..., :seats], index[..., :seats]
    offset = torch.gather(offset, 2, index[..., None].expand(-1, -1, -1, 3))
    full = (near[..., -1] < model.cutoff * length[:, None]).sum()
    crowded = full.to(positions.dtype) / len(at.place)
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
    return Prepared(system, pairs, offset.reshape(-1, 3), owner, real, length, crowded)


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
