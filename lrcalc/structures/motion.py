"""How many degrees of freedom share the kinetic energy of a structure."""

from __future__ import annotations

import numpy as np
from ase import Atoms

STANDS = 1e-4
"""Kinetic energy of the whole, over the mean of an atom, below which it is rounding of a file."""


def moves_as_a_whole(atoms: Atoms) -> bool:
    """Whether the centre of mass has more than the rounding of a file."""
    whole = float((atoms.get_momenta().sum(0) ** 2).sum() / (2 * atoms.get_masses().sum()))
    return whole > STANDS * atoms.get_kinetic_energy() / len(atoms)


def degrees_of_freedom(atoms: Atoms, fixed: np.ndarray, *, pushed: bool = False) -> int:
    """How many degrees of freedom the kinetic energy is spread over.

    Three for each atom that moves; three less where nothing is fixed and the whole stands still,
    because no force of ours, and no thermostat that scales velocities, ever sets it in motion. A
    thermostat that counted them would heat the rest to N/(N-1) times the temperature asked for.

    Parameters
    ----------
    atoms : Atoms
        With the velocities of the start.
    fixed : ndarray (N,) bool
    pushed : bool
        A force acts on the whole: a net charge in a field.
    """
    count = 3 * int((~fixed).sum())
    still = not (fixed.any() or pushed or moves_as_a_whole(atoms))
    return count - 3 if still and count > 3 else count
