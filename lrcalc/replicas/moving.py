"""Structures that move, as tensors: what integrators take and give back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from lrcalc.system import sum_by_structure


class Matter(NamedTuple):
    """What does not change while atoms move.

    Attributes
    ----------
    masses : Tensor, shape (N, 1), u
    mobile : Tensor, shape (N, 1)
        1, or 0 for fixed atoms.
    batch : Tensor, shape (N,), int64
        Structure of each atom.
    structures : int
        S.
    atoms : int
        Of a structure: all have as many.
    degrees : int
        That share the temperature of a structure.
    """

    masses: Tensor
    mobile: Tensor
    batch: Tensor
    structures: int
    atoms: int
    degrees: int

    def sums(self, values: Tensor) -> Tensor:
        """Sum values (N, ...) of atoms over each structure, (S, ...)."""
        return sum_by_structure(values, self.batch, self.structures)

    def kinetic(self, momenta: Tensor) -> Tensor:
        """Kinetic energies (S,), eV, of momenta (N, 3)."""
        return self.sums(0.5 * (momenta.square() / self.masses).sum(1))

    def each(self, values: Tensor) -> Tensor:
        """Values (S,) of structures for their atoms, (N, 1)."""
        return values[self.batch, None]


class Moving(NamedTuple):
    """Where structures are, and what they feel there.

    Attributes
    ----------
    positions : Tensor, shape (N, 3), Å
    momenta : Tensor, shape (N, 3), u Å by ASE's unit of time
    cell : Tensor, shape (S, 3, 3), Å
    energy : Tensor, shape (S,), eV
    forces : Tensor, shape (N, 3), eV/Å
        Zero on fixed atoms.
    stress : Tensor or None, shape (S, 3, 3), eV/Å³
        Without that of the kinetic energy.
    """

    positions: Tensor
    momenta: Tensor
    cell: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor | None = None


Evaluate = Callable[[Moving], Moving]
"""Energy, forces and, where the cell moves, stress at the positions and cells of what is given."""
