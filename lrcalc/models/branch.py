"""Follow a structure across the boundary of its cell, so that its dipole keeps its branch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


ANOTHER = 0.5
"""Å, median displacement between two calls beyond which they saw unrelated structures."""


class Branch:
    """Remembers where the atoms were and undoes jumps by whole lattice vectors.

    An atom that moved by more than half a lattice vector since the last call is taken to have
    been wrapped. Another set of atoms or boundary, or another structure of the same atoms (half
    of them farther than `ANOTHER` away, whole lattice vectors aside), starts a new branch.
    """

    def __init__(self) -> None:
        self._numbers: np.ndarray | None = None
        self._pbc: np.ndarray | None = None
        self._fractional: np.ndarray | None = None
        self._shifts: np.ndarray | None = None

    def follow(self, atoms: Atoms) -> Atoms:
        """Return ``atoms``, or a copy whose positions continue those of the last call."""
        if not atoms.pbc.any():
            return atoms
        cell = np.asarray(atoms.cell.complete())
        fractional = np.linalg.solve(cell.T, atoms.positions.T).T
        same = (
            self._numbers is not None
            and self._pbc is not None
            and np.array_equal(self._numbers, atoms.numbers)
            and np.array_equal(self._pbc, atoms.pbc)
        )
        if same and self._fractional is not None and self._shifts is not None:
            step = fractional - self._fractional
            jump = np.rint(step) * atoms.pbc
            distance = np.linalg.norm((step - jump) @ cell, axis=1)
            related = np.median(distance) < ANOTHER
            self._shifts = self._shifts - jump if related else np.zeros_like(fractional)
        else:
            self._shifts = np.zeros_like(fractional)
        self._numbers, self._pbc = atoms.numbers.copy(), atoms.pbc.copy()
        self._fractional = fractional
        if not self._shifts.any():
            return atoms
        unwrapped = atoms.copy()
        unwrapped.positions = atoms.positions + self._shifts @ cell
        return unwrapped
