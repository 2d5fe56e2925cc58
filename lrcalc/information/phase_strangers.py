"""Structures that are none of the crystals of a training: what a model of phases learns to refuse.

Each has the species and the density of one of the crystals, so that these alone do not tell it:

* a gas: atoms anywhere;
* a packing: the same, pushed apart by soft spheres ``(1 - r/d)²`` until few overlap, as in glasses
  and liquids;
* a crystal of random atoms in a random cell, none too close, with noise: what no list of prototypes
  has;
* one of the crystals itself under far more noise than in training;
* where species are known, its molecules, turned and moved apart, as in a vapour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lrcalc.information.phase_crystals import WIDTH, heights, repeated, volume_length
from lrcalc.neighbors import NeighborList
from lrcalc.system import from_ase

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.information.phases import PhaseModel

CLOSEST = 0.75
"""Least distance of atoms of a random crystal, of its length."""

MOST = 12
"""Atoms in the cell of a random crystal, at most."""

FILLING = (0.3, 0.66)
"""Part of the volume that the spheres of a packing fill; crystals are at most 0.74."""

NOISE = (0.35, 0.8)
"""Of a crystal that is none any more, in units of the distance of nearest neighbours."""

BOND = 1.3
"""Length of a bond, at most, in units of the distance of nearest neighbours."""

SPREAD = (1.15, 2.5)
"""Factors by which molecules are moved apart."""


def strangers(
    crystals: Sequence[Atoms], model: PhaseModel, count: int, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Make ``count`` structures, of each kind as many, like those of a model's training."""
    kinds: list[Callable[..., Atoms]] = [gas, packing, random_crystal, shattered]
    if not model.scaled:
        kinds.append(spread)
    for number in range(count):
        like = crystals[int(rng.integers(len(crystals)))]
        yield kinds[number % len(kinds)](like, width_of(model, like), rng)


def width_of(model: PhaseModel, like: Atoms) -> float:
    """Least height of a cell, Å, in which each pair counts once."""
    return WIDTH * model.cutoff * (volume_length(like) if model.scaled else 1.0)


def gas(like: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    """Atoms anywhere in a cube of the volume of a crystal."""
    from ase import Atoms as Structure

    cells = int(np.ceil(width**3 / like.get_volume()))
    numbers = np.tile(like.numbers, cells)
    edge = (cells * like.get_volume()) ** (1 / 3)
    return Structure(numbers, edge * rng.random((len(numbers), 3)), cell=3 * [edge], pbc=True)


def packing(like: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    """Spheres that were pushed apart, some steps or until few overlap."""
    atoms = gas(like, width, rng)
    filling = rng.uniform(*FILLING)
    diameter = volume_length(atoms) * (6 * filling / np.pi) ** (1 / 3)
    near = NeighborList(diameter, closest=0.0)
    for _ in range(int(rng.integers(5, 150))):
        pairs = near(from_ase(atoms))
        if not len(pairs.i):
            break
        i, j = pairs.i.numpy(), pairs.j.numpy()
        apart = atoms.positions[i] - atoms.positions[j] - pairs.shift.numpy() @ atoms.cell.array
        distance = np.linalg.norm(apart, axis=1) + 1e-9
        push = np.zeros_like(atoms.positions)
        np.add.at(push, i, 0.3 * ((diameter - distance) / distance)[:, None] * apart)
        atoms.positions += push
    return atoms


def random_crystal(like: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    """Put some atoms into a random cell, none too close; repeat it, with noise."""
    from ase import Atoms as Structure

    length = volume_length(like)
    while True:
        numbers = rng.choice(like.numbers, int(rng.integers(2, MOST + 1)))
        cell = rng.normal(size=(3, 3))
        volume = abs(np.linalg.det(cell))
        if volume < 1e-3:
            continue
        cell *= length * (len(numbers) / volume) ** (1 / 3)
        if heights(cell).min() < CLOSEST * length:
            continue
        atoms = Structure(numbers, rng.random((len(numbers), 3)) @ cell, cell=cell, pbc=True)
        if len(NeighborList(CLOSEST * length, closest=0.0)(from_ase(atoms)).i):
            continue
        atoms = repeated(atoms, width, 1)
        atoms.positions += rng.uniform(0, 0.15) * length * rng.normal(size=atoms.positions.shape)
        return atoms


def shattered(like: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    """Return the crystal under so much noise that nothing is left of it."""
    atoms = repeated(like, width, 1)
    noise = rng.uniform(*NOISE) * nearest(like)
    atoms.positions += noise * rng.normal(size=atoms.positions.shape)
    return atoms


def spread(like: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    """Molecules of a crystal, each turned and all moved apart; gas where there are none."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial.transform import Rotation

    atoms = repeated(like, width, 1)
    pairs = NeighborList(BOND * nearest(like), closest=0.0)(from_ase(atoms))
    i, j = pairs.i.numpy(), pairs.j.numpy()
    graph = coo_array((np.ones(len(i)), (i, j)), shape=2 * (len(atoms),))
    count, owner = connected_components(graph)
    if count < len(atoms) / 8:
        return gas(like, width, rng)
    first = np.unique(owner, return_index=True)[1][owner]
    root = atoms.positions[first]
    inside = np.linalg.solve(atoms.cell.array.T, (atoms.positions - root).T).T
    inside = (inside - np.rint(inside)) @ atoms.cell.array  # of molecules smaller than half a cell
    turned = np.einsum("nab,nb->na", Rotation.random(count, rng=rng).as_matrix()[owner], inside)
    factor = rng.uniform(*SPREAD)
    atoms.set_cell(factor * atoms.cell.array)
    atoms.positions = factor * root + turned
    return atoms


def nearest(atoms: Atoms) -> float:
    """Mean over atoms of the distance to the nearest neighbour, Å."""
    pairs = NeighborList(1.8 * volume_length(atoms), closest=0.0)(from_ase(atoms))
    i, j = pairs.i.numpy(), pairs.j.numpy()
    vectors = atoms.positions[j] - atoms.positions[i] + pairs.shift.numpy() @ atoms.cell.array
    starts = np.flatnonzero(np.diff(i, prepend=-1))
    return float(np.minimum.reduceat(np.linalg.norm(vectors, axis=1), starts).mean())
