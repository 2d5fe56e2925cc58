"""The part of a rank: `lrcalc.domain.Domain` by LAMMPS' halo exchange and MPI."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrcalc.lammps.library import Plugin, View


class Part:
    """Atoms of one rank.

    Parameters
    ----------
    plugin : Plugin
    communicator : mpi4py.MPI.Intracomm
        Of LAMMPS' world.
    """

    def __init__(self, plugin: Plugin, communicator: Any) -> None:
        self._plugin = plugin
        self._mpi = communicator
        self._view: View | None = None
        self.owned = self.seen = self.atoms = self.first = 0

    @property
    def first_rank(self) -> bool:
        """Whether this rank speaks for all."""
        return bool(self._mpi.rank == 0)

    def take(self, view: View) -> None:
        """Take up the atoms of this step; all ranks do it together."""
        self._view = view
        self.owned, self.seen = int(view.nlocal), int(view.nlocal + view.nghost)
        self.atoms = int(view.natoms)
        if view.rebuilt:
            counts = self._mpi.allgather(self.owned)
            self.first = sum(counts[: self._mpi.rank])
            if sum(counts) != self.atoms:
                raise ValueError(
                    f"LAMMPS counts {self.atoms} atoms but the ranks have {sum(counts)}: atoms "
                    "were lost: is the timestep small enough, and is the order of the elements of "
                    "pair_coeff that of the types? Where atoms may leave, boundary s instead of f"
                )

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all ranks."""
        return self._reduced(values, "SUM")

    def largest(self, values: Tensor) -> Tensor:
        """Maximum over all ranks."""
        return self._reduced(values, "MAX")

    def _reduced(self, values: Tensor, operation: str) -> Tensor:
        result = values.detach().clone(memory_format=torch.contiguous_format)
        if self._mpi.size == 1:
            return result
        from mpi4py import MPI

        host = result.cpu()
        self._mpi.Allreduce(MPI.IN_PLACE, host.numpy(), op=getattr(MPI, operation))
        return host.to(values.device)

    def to_ghosts(self, rows: Tensor) -> Tensor:
        """Own rows to those of own atoms and ghosts."""
        flat = np.zeros((self.seen, _width(rows)))
        flat[: self.owned] = rows.detach().reshape(self.owned, _width(rows)).cpu().numpy()
        return self._exchanged(flat, rows, self.seen, reverse=False)

    def to_owners(self, rows: Tensor) -> Tensor:
        """Rows of own atoms and ghosts to own ones, ghosts' added."""
        flat = rows.detach().reshape(self.seen, _width(rows)).cpu().double().numpy().copy()
        return self._exchanged(flat, rows, self.owned, reverse=True)

    def _exchanged(self, flat: np.ndarray, like: Tensor, count: int, *, reverse: bool) -> Tensor:
        assert self._view is not None, "`take` comes before"
        flat = np.ascontiguousarray(flat)
        self._plugin.exchange(self._view, flat, reverse=reverse)
        return torch.from_numpy(flat[:count]).to(like).reshape(count, *like.shape[1:])


def _width(rows: Tensor) -> int:
    """Numbers of a row, however many rows there are."""
    return int(np.prod(rows.shape[1:]))
