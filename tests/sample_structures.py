"""Structures that several tests share."""

import numpy as np
from ase import Atoms
from ase.build import molecule

TRICLINIC = np.array([[6.0, 0.0, 0.0], [1.4, 5.6, 0.0], [-0.9, 0.7, 6.3]])


def water_box(cell=TRICLINIC, seed=1, n=4, pbc=True):
    """``n`` waters, randomly placed and turned, no closer than 1.2 Å to one another."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(cell=cell, pbc=True)
    while len(atoms) < 3 * n:
        new = molecule("H2O")
        new.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        new.translate(rng.uniform(0, 1, 3) @ cell)
        trial = atoms + new
        distances = trial.get_all_distances(mic=True)[len(atoms) :, : len(atoms)]
        if distances.size == 0 or distances.min() > 1.2:
            atoms = trial
    atoms.pbc = pbc
    return atoms


def cluster(seed=2, n=3):
    """An open cluster of waters."""
    atoms = water_box(seed=seed, n=n, pbc=False)
    atoms.cell = np.zeros((3, 3))
    return atoms
