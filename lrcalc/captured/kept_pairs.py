"""Pairs of the same structures from call to call, found and kept on the device of their positions.

Candidates out to ``cutoff + skin`` are searched by a cell list and kept while no pair can have been
missed; at each call those within the cutoff are picked. The host waits twice: for two numbers that
say whether the candidates are good and the atoms apart, and for how many pairs there are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.captured.cell_list import find_pairs, largest_of_each
from lrcalc.neighbors import MARGIN, MINIMUM_DISTANCE, SKIN, Pairs, pair_vectors
from lrcalc.system import System, inverses, sum_by_structure


class Candidates(NamedTuple):
    """Pairs out to a distance, and where the atoms were.

    Attributes
    ----------
    pairs : Pairs
    positions : Tensor, shape (N, 3), Å
    cell : Tensor, shape (S, 3, 3), Å
    host_cells : ndarray, shape (S, 3, 3), Å
    """

    pairs: Pairs
    positions: Tensor
    cell: Tensor
    host_cells: np.ndarray


class KeptPairs:
    """Finds pairs of structures whose atoms and boundaries stay what they are.

    Parameters
    ----------
    cutoff : float
        Å.
    pbc : ndarray, shape (S, 3), bool
        Periodic directions.
    skin : float, optional
        Å.

    Attributes
    ----------
    searches : int
        How often candidates were searched for.
    """

    def __init__(self, cutoff: float, pbc: np.ndarray, skin: float = SKIN) -> None:
        self.cutoff, self.pbc, self.skin = cutoff, pbc, skin
        self._closed = bool(pbc.all())
        self._kept: Candidates | None = None
        self.searches = 0

    def __call__(self, system: System, cells: np.ndarray) -> Pairs:
        """All pairs within the cutoff, sorted by centre.

        Parameters
        ----------
        system : System
        cells : ndarray, shape (S, 3, 3), Å
            Those of ``system``, on the host.

        Raises
        ------
        ValueError
            For two atoms closer than 0.3 Å, or positions that are not finite.
        """
        kept = self._kept
        moved = kept is not None and (kept.host_cells != cells).any()
        if kept is None or (moved and not self._closed):
            kept = self._search(system, cells)
        square, left, closest = self._look(kept, system)
        if not left >= 0.0:
            kept = self._search(system, cells)
            square, left, closest = self._look(kept, system)
        if not left >= 0.0:
            raise ValueError(
                "positions or cells are NaN or infinite: the run that made them diverged; go back "
                "to an earlier frame, or take a smaller time step"
            )
        if closest < MINIMUM_DISTANCE**2:
            self._refuse(kept.pairs, square)
        rows = (square < self.cutoff**2).nonzero()[:, 0]
        return Pairs(*(column.index_select(0, rows) for column in kept.pairs))

    def _search(self, system: System, cells: np.ndarray) -> Candidates:
        self._kept = None  # first to go where memory is short
        reach = self.cutoff + self.skin + MARGIN
        positions = system.positions.detach()
        pairs = find_pairs(positions, cells, self.pbc, system.batch, reach).pairs
        self._kept = Candidates(pairs, positions.clone(), system.cell.detach().clone(), cells)
        self.searches += 1
        return self._kept

    def _look(self, kept: Candidates, system: System) -> tuple[Tensor, float, float]:
        """Squares of the distances of the candidates, what is left of the skin, the smallest."""
        vectors = pair_vectors(system, kept.pairs)
        square = (vectors * vectors).sum(1)
        closest = torch.cat([square, square.new_full((1,), torch.inf)]).min()
        left, smallest = torch.stack([self._left(kept, system), closest]).tolist()
        return square, left, smallest

    def _left(self, kept: Candidates, system: System) -> Tensor:
        """How much nearer two atoms may still come before they may be a pair unseen, Å.

        Between atoms a vector ``v`` became ``v F`` and what the two atoms moved: no shorter than
        ``(1 - |F - 1|) |v| - 2 moved``, for a cell that was deformed by F.
        """
        carried, reach = kept.positions, self.cutoff + self.skin
        shrunk: Tensor | float = 0.0
        if self._closed:
            deformation = inverses(kept.cell) @ system.cell
            carried = torch.einsum("na,nab->nb", carried, deformation[system.batch])
            unit = torch.eye(3, dtype=carried.dtype, device=carried.device)
            shrunk = (deformation - unit).square().sum((1, 2)).sqrt() * reach
        moved = system.positions - carried
        count = sum_by_structure(torch.ones_like(moved[:, 0]), system.batch, system.n_structures)
        mean = sum_by_structure(moved, system.batch, system.n_structures) / count[:, None]
        length = (moved - mean[system.batch]).square().sum(1)
        farthest = largest_of_each(length, system.batch, system.n_structures).sqrt()
        return (reach - self.cutoff - shrunk - 2.0 * farthest).min()

    def _refuse(self, pairs: Pairs, square: Tensor) -> None:
        k = int(square.argmin())
        raise ValueError(
            f"atoms {int(pairs.i[k])} and {int(pairs.j[k])} are {float(square[k]) ** 0.5:.3f} Å "
            f"apart (less than {MINIMUM_DISTANCE:g} Å): overlapping atoms; check the structure, "
            "its cell and its units"
        )
