"""Frames that `phases.py` judges: noisy crystals, and defects that are where they were put.

Lengths are nearest-neighbour distances of the perfect crystal. Cells are orthorhombic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms


class Defect(NamedTuple):
    """A frame, the distance of each atom from the defect (N,), and what each atom is, (N,).

    ``matrix`` is the phase whose logit is to drop at the defect; of a boundary of two phases None.
    """

    atoms: Atoms
    away: np.ndarray
    phases: np.ndarray
    matrix: str | None


CUBES = {
    "fcc": (2**0.5, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], (8, 8, 8)),
    "bcc": (2 / 3**0.5, [[0, 0, 0], [0.5, 0.5, 0.5]], (10, 10, 10)),
    "sc": (1.0, [[0, 0, 0]], (13, 13, 13)),
}


def crystal(phase: str, repeats: tuple[int, int, int] | None = None) -> Atoms:
    """Make a perfect fcc, bcc or hcp (ideal c/a) of about 2000 atoms."""
    if phase == "hcp":
        cell = np.array([1, 3**0.5, (8 / 3) ** 0.5])
        sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 5 / 6, 0.5], [0, 1 / 3, 0.5]]
        usual = (12, 7, 6)
    else:
        edge, sites, usual = CUBES[phase]
        cell = np.full(3, edge)
    atoms = Atoms(f"Cu{len(sites)}", scaled_positions=sites, cell=cell, pbc=True)
    return atoms.repeat(repeats or usual)


def noisy(atoms: Atoms, noise: float, seed: int) -> Atoms:
    """Add Gaussian noise to each Cartesian component; the array `ideal` has positions without."""
    found = atoms.copy()
    found.arrays["ideal"] = atoms.positions.copy()
    found.positions += np.random.default_rng(seed).normal(0, noise, found.positions.shape)
    return found


def vacancies(seed: int) -> Defect:
    """Take eight atoms out of fcc, far apart."""
    atoms = crystal("fcc")
    cell = atoms.cell.lengths()
    wanted = cell * (np.array(list(np.ndindex(2, 2, 2))) + 0.25) / 2
    gone = [int(np.argmin(np.linalg.norm(atoms.positions - w, axis=1))) for w in wanted]
    holes = atoms.positions[gone]
    del atoms[gone]
    apart = atoms.positions[:, None] - holes[None]
    apart -= cell * np.rint(apart / cell)
    away = np.linalg.norm(apart, axis=-1).min(1)
    return Defect(noisy(atoms, 0.03, seed), away, np.full(len(atoms), "fcc"), "fcc")


def stacked(sequence: str) -> Atoms:
    """Stack close-packed layers; the nearest-neighbour distance is 1."""
    shift = {"A": 0.0, "B": 1 / 3, "C": 2 / 3}
    height = (2 / 3) ** 0.5
    layer = np.array([[0, 0], [0.5, 0.5]])
    sites = [
        [x, (y + shift[kind]) % 1, (k + 0.5) / len(sequence)]
        for k, kind in enumerate(sequence)
        for x, y in layer
    ]
    cell = [1, 3**0.5, height * len(sequence)]
    return Atoms(f"Cu{len(sites)}", scaled_positions=sites, cell=cell, pbc=True).repeat((10, 6, 1))


def stacking_fault(seed: int) -> Defect:
    """Make fcc with one intrinsic stacking fault: 20 layers, a step of which goes back.

    The two layers at the fault have hcp surroundings, and are the `phases` "hcp"; the distance is
    that from the nearer of the two.
    """
    steps = np.ones(20, int)
    steps[10] = -1
    sequence = "".join("ABC"[k % 3] for k in np.cumsum(steps))
    atoms = stacked(sequence)
    layers = np.floor(atoms.get_scaled_positions()[:, 2] * len(sequence)).astype(int)
    faulty = np.isin(layers, (9, 10))
    away = np.minimum(np.abs(layers - 9), np.abs(layers - 10)) * (2 / 3) ** 0.5
    return Defect(noisy(atoms, 0.03, seed), away, np.where(faulty, "hcp", "fcc"), "fcc")


def grain_boundary(seed: int) -> Defect:
    """Make fcc with two symmetric Σ5 (210)[001] boundaries; atoms within 0.8 are merged."""
    edge = 2**0.5
    turned = np.array([[2, 1, 0], [-1, 2, 0], [0, 0, 5**0.5]]) / 5**0.5  # rows: new axes
    period = 5**0.5 * edge
    lengths = np.array([8 * period, 3 * period, 6 * edge])
    lattice = np.array(list(np.ndindex(41, 41, 9)), float) - [20, 20, 1]
    sites = np.concatenate([lattice + s for s in CUBES["fcc"][1]]) * edge @ turned.T
    inside = ((sites > -1e-6) & (sites < lengths * [0.5, 1, 1] - 1e-6)).all(1)
    half = sites[inside]
    mirrored = half * [-1, 1, 1] + [lengths[0], 0, 0]
    positions = np.concatenate([half, mirrored])
    atoms = Atoms(f"Cu{len(positions)}", positions, cell=lengths, pbc=True)
    atoms = merged(atoms, 0.8)
    x = atoms.positions[:, 0] % (lengths[0] / 2)
    away = np.minimum(x, lengths[0] / 2 - x)
    return Defect(noisy(atoms, 0.03, seed), away, np.full(len(atoms), "fcc"), "fcc")


def merged(atoms: Atoms, closest: float) -> Atoms:
    """Make one atom of pairs nearer than ``closest``, at their middle."""
    from ase.neighborlist import neighbor_list

    atoms = atoms.copy()
    i, j, vectors = neighbor_list("ijD", atoms, closest)
    gone: set[int] = set()
    for a, b, v in zip(i, j, vectors, strict=True):
        if a < b and a not in gone and b not in gone:
            atoms.positions[a] += v / 2
            gone.add(int(b))
    del atoms[sorted(gone)]
    return atoms


def fcc_beside_bcc(seed: int) -> Defect:
    """Put (001) of fcc on (001) of bcc, turned by 45°: 8 squares on 7, bcc strained by 1 %."""
    side = 8.0
    square = Atoms("Cu2", cell=[1, 1, 2**0.5], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]])
    fcc = square.repeat((8, 8, 12))
    bcc = Atoms("Cu2", cell=[side / 7, side / 7, 2 / 3**0.5],
                scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]]).repeat((7, 7, 14))  # fmt: skip
    gap = 0.9  # some atoms stand on top of others
    top = fcc.positions[:, 2].max() + gap
    height = top + bcc.positions[:, 2].max() + gap
    bcc.positions[:, 2] += top
    atoms = fcc + bcc
    atoms.set_cell([side, side, height])
    atoms.pbc = True
    phases = np.array(["fcc"] * len(fcc) + ["bcc"] * len(bcc))
    planes = np.array([top - gap / 2, height - gap / 2])
    apart = atoms.positions[:, 2, None] - planes
    apart -= height * np.rint(apart / height)
    return Defect(noisy(atoms, 0.03, seed), np.abs(apart).min(1), phases, None)


DEFECTS = {
    "vacancy": vacancies,
    "stacking fault": stacking_fault,
    "grain boundary": grain_boundary,
    "fcc-bcc interface": fcc_beside_bcc,
}
