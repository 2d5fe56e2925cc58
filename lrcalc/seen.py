"""What a calculator has seen: the structure that its results are of, in arrays of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.calculators.calculator import all_changes

from lrcalc.structures import total_charge

if TYPE_CHECKING:
    from ase import Atoms


class Seen(NamedTuple):
    """One structure as it was; ``atoms`` themselves and entries of ``info`` are in others' hands.

    Attributes
    ----------
    arrays : dict of str to ndarray
        By ASE's names of what may change (``all_changes``); those that the structure has.
    charge : float
        Total charge, e; NaN where it is not clear.
    velocities : ndarray, shape (N, 3)
        ASE's unit.
    """

    arrays: dict[str, np.ndarray]
    charge: float
    velocities: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> Seen:
        """Take a structure down."""
        arrays = {name: array.copy() for name, array in _arrays(atoms).items()}
        return cls(arrays, _charge(atoms), atoms.get_velocities())

    def changes(self, atoms: Atoms, tol: float) -> list[str]:
        """Name what is another than here, velocities aside; as ASE's ``compare_atoms``."""
        now = _arrays(atoms)
        changes = [
            name for name in all_changes if not _alike(self.arrays.get(name), now.get(name), tol)
        ]
        if _charge(atoms) != self.charge and "initial_charges" not in changes:
            changes.append("initial_charges")
        return changes


def _arrays(atoms: Atoms) -> dict[str, np.ndarray]:
    found = {name: atoms.arrays[name] for name in all_changes if name in atoms.arrays}
    return {**found, "cell": atoms.cell.array, "pbc": atoms.pbc}


def _alike(one: np.ndarray | None, other: np.ndarray | None, tol: float) -> bool:
    if one is None or other is None:
        return one is other
    if np.array_equal(one, other):
        return True
    if one.shape != other.shape:
        return False
    return bool((np.abs(np.subtract(one, other, dtype=float)) <= tol).all())


def _charge(atoms: Atoms) -> float:
    """Total charge; NaN, which equals nothing, for what the evaluator will refuse by name."""
    try:
        return total_charge(atoms)
    except ValueError:
        return float("nan")
