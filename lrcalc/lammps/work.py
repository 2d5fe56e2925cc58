"""Work of forces that have no energy: of a field on atomic charges in periodic cells."""

from __future__ import annotations

import torch
from torch import Tensor

from lrcalc.lammps.exchange import Part


class FieldWork:
    """Work since the first step, by the trapezoidal rule, as `lrcalc.models.branch.worked` has it.

    Atoms migrate, so where they were and what pulled them is known to every rank, by their IDs.

    Parameters
    ----------
    part : Part
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._past: Tensor | None = None
        self.total = 0.0

    def go_on(self, before: FieldWork) -> None:
        """Take up the account of an earlier run of the same process."""
        self._past, self.total = before._past, before.total

    def add(self, tags: Tensor, positions: Tensor, forces: Tensor) -> float:
        """Return the work (eV) up to this step.

        Parameters
        ----------
        tags : Tensor, shape (n,), int64
            IDs of own atoms.
        positions : Tensor, shape (n, 3), Å
            Unwrapped.
        forces : Tensor, shape (n, 3), eV/Å
            Those without energy.
        """
        highest = int(self._part.largest(torch.cat([tags, tags.new_zeros(1)]).max()))
        table = torch.zeros(highest + 1, 2, 3, dtype=torch.float64)
        table[tags] = torch.stack([positions, forces], dim=1)
        table = self._part.sum(table)
        if self._past is not None and len(self._past) == len(table):
            moved = table[:, 0] - self._past[:, 0]
            self.total += float(0.5 * ((table[:, 1] + self._past[:, 1]) * moved).sum())
        self._past = table
        return self.total
