"""Perfect crystals for the training of phases: repeated, stacked, and planned into batches.

Crystals are repeated until no height of their cell is less than twice the cutoff, so that of each
pair only the nearest image counts, and all distances of a crystal are one dense matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.information.phases import ANY, PhaseModel

if TYPE_CHECKING:
    from ase import Atoms

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


def present(at: Plan, most: int) -> Tensor:
    """Which rows of the dense batch are atoms, shape (B, M), bool."""
    flat = at.place.new_zeros(len(at.rows) * most + 1, dtype=torch.bool)
    return flat.index_fill(0, at.place, True)[:-1].view(-1, most)
