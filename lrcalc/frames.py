"""Frames: structures of the same atoms as arrays, which is how engines send them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


class Frames(NamedTuple):
    """S structures of the same N atoms, such as the beads of a ring polymer.

    Attributes
    ----------
    numbers : ndarray, shape (N,)
        Atomic numbers.
    pbc : ndarray, shape (3,), bool
        Periodic directions.
    charge : float
        Net charge of each structure, e.
    cells : ndarray, shape (S, 3, 3), Å
        Rows are the lattice vectors.
    positions : ndarray, shape (S, N, 3), Å
        Not wrapped.
    """

    numbers: np.ndarray
    pbc: np.ndarray
    charge: float
    cells: np.ndarray
    positions: np.ndarray

    def parts(self, count: int) -> list[Frames]:
        """Cut into pieces of ``count`` structures, the last perhaps shorter."""
        starts = range(0, len(self.cells), count)
        return [
            self._replace(cells=self.cells[k : k + count], positions=self.positions[k : k + count])
            for k in starts
        ]

    def atoms(self) -> list[Atoms]:
        """As ASE's structures."""
        from ase import Atoms

        info = {"charge": self.charge} if self.charge else {}
        return [
            Atoms(numbers=self.numbers, positions=x, cell=cell, pbc=self.pbc, info=dict(info))
            for x, cell in zip(self.positions, self.cells, strict=True)
        ]
