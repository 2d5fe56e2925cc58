"""Velocities at the start of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import units

if TYPE_CHECKING:
    from ase import Atoms


def draw_velocities(
    atoms: Atoms, temperature: float, rng: np.random.Generator, fixed: np.ndarray
) -> None:
    """Maxwell-Boltzmann velocities of what moves.

    Without motion of the whole, unless there is something to hold on to (fixed atoms) or nothing
    else (one atom).

    Parameters
    ----------
    atoms : Atoms
        Changed in place.
    temperature : float
        K.
    rng : Generator
    fixed : ndarray (N,) bool
    """
    mass = atoms.get_masses()[:, None]
    momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(mass * units.kB * temperature)
    if fixed.any():
        momenta[fixed] = 0.0
    elif len(atoms) > 1:
        momenta -= momenta.sum(0) * mass / mass.sum()
    atoms.set_momenta(momenta)
