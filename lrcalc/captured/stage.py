"""A set of atoms on the device, in tensors that stay where they are: what a captured step reads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.captured.cell_list import find_pairs, largest_of_each
from lrcalc.captured.padding import (
    Candidates,
    Change,
    Sizes,
    fill,
    measure,
    pick,
    with_room,
)
from lrcalc.neighbors import MARGIN, FamiliarPairs
from lrcalc.system import System, inverses, sum_by_structure


class Ready(NamedTuple):
    """What a step starts from.

    Attributes
    ----------
    system : System
    pairs : FamiliarPairs
    status : Tensor, shape (4,), float64
        See `Verdict`.
    """

    system: System
    pairs: FamiliarPairs
    status: Tensor


class Verdict(NamedTuple):
    """Whether a step that has been made was one of the pairs there are.

    Attributes
    ----------
    slack : float
        Å that atoms may still move apart or together until a pair may be missing; negative: one
        may be missing already.
    pairs, near : int
        Rows that were needed.
    closest : float
        Å², square of the shortest distance.
    """

    slack: float
    pairs: int
    near: int
    closest: float


class Stage:
    """Positions, cells and field of one set of atoms, and its candidates for pairs.

    Parameters
    ----------
    host : System
        In the host's memory.
    device : torch.device
    cutoff : float
        Of pairs, Å.
    near_cutoff : float
        Of `Known.near`, Å.
    skin : float
        Å.
    dtype : torch.dtype, optional
        That pair vectors are to have.

    Attributes
    ----------
    host : System
        In the cells that were loaded last.
    searches : int
        How often candidates were searched for.
    sizes : Sizes or None
        Of the arrays; another object than before, if they have changed.
    moving : bool
        Whether the cell has changed since the atoms came here. Settable.
    """

    def __init__(
        self, host: System, device: torch.device, cutoff: float, near_cutoff: float, skin: float,
        dtype: torch.dtype = torch.float64,
    ) -> None:  # fmt: skip
        self.host, self.device, self.dtype = host, device, dtype
        self.cutoff, self.near_cutoff, self.skin = cutoff, near_cutoff, skin
        n, structures = len(host.numbers), host.n_structures
        self._ends = (3 * n, 3 * n + 9 * structures, 3 * n + 9 * structures + 3)
        pinned = device.type == "cuda"
        self._sent = torch.zeros(self._ends[-1], dtype=torch.float64, pin_memory=pinned)
        self._inputs = torch.zeros_like(self._sent, device=device)
        self._reference = torch.zeros_like(self._inputs[: self._ends[1]])
        fixed = (host.numbers, host.pbc, host.batch, host.total_charge)
        self._fixed = [x.to(device) for x in fixed]
        counts = torch.bincount(host.batch, minlength=structures)
        self._counts = counts.to(device, torch.float64)
        self._closed = bool(host.pbc.all())
        self._cells = host.cell.numpy().copy()
        self._searched_cells: np.ndarray | None = None
        self._candidates: Candidates | None = None
        self.sizes: Sizes | None = None
        self.moving = False
        self.searches = 0
        self._slack, self._drop = -1.0, 0.0

    @property
    def held(self) -> Tensor:
        """Value of the field (3,)."""
        return self._inputs[self._ends[1] : self._ends[2]]

    @property
    def cells(self) -> np.ndarray:
        """Cells (S, 3, 3) that were loaded last, Å."""
        return self._cells

    def load(self, positions: np.ndarray, cells: np.ndarray, held: tuple[float, ...]) -> None:
        """Send positions (N, 3), cells (S, 3, 3) in Å and the field's value (3,) to the device.

        Whoever loads again has waited for what was made of the last ones.
        """
        if (cells != self._cells).any():
            self.moving = True
            self._cells = cells.copy()
            self.host = self.host._replace(cell=torch.from_numpy(self._cells))
        sent = self._sent.numpy()
        first, second, third = self._ends
        sent[:first] = positions.reshape(-1)
        sent[first:second] = cells.reshape(-1)
        sent[second:third] = held
        self._inputs.copy_(self._sent, non_blocking=True)

    def search_if_due(self) -> None:
        """Search candidates where those there are will hardly do."""
        moved = self._searched_cells is None or (self._cells != self._searched_cells).any()
        if (moved and not self._closed) or self._slack - 1.5 * self._drop <= 0.0:
            self.search()
            self._drop *= 0.7  # not measured in a step with new candidates

    def search(self) -> None:
        """Search candidates at the positions that were loaded last."""
        reach = self.cutoff + self.skin + MARGIN
        self._candidates = None  # first to go where memory is short
        system = self._system()
        pbc = self.host.pbc.numpy()
        found, vectors = find_pairs(system.positions, self._cells, pbc, system.batch, reach)
        square = (vectors * vectors).sum(1)
        needed = measure(found, system.numbers, square, self.cutoff, self.near_cutoff)
        if self.sizes is None or not self.sizes.hold(needed):
            self.sizes = with_room(needed)
        vectors = vectors.to(self.dtype)
        self._take(fill(found, vectors, len(system.numbers), self.sizes.candidates))
        self._reference.copy_(self._inputs[: self._ends[1]])
        self._searched_cells = self._cells
        self._slack = self.skin
        self.searches += 1

    def _take(self, candidates: Candidates) -> None:
        """Write candidates to where those of the last search are, if they have that size."""
        kept: Candidates | None = getattr(self, "_kept", None)
        if kept is not None and len(kept.i) == len(candidates.i):
            for old, new in zip(kept, candidates, strict=True):
                old.copy_(new)
            candidates = kept
        self._kept = self._candidates = candidates

    def ready(self) -> Ready:
        """System and pairs of a step; looks at no value."""
        assert self._candidates is not None, "`search` comes before"
        assert self.sizes is not None
        system = self._system()
        change = self._change(system)
        picked = pick(self._candidates, change, self.cutoff, self.near_cutoff, self.sizes)
        numbers = (self._left(change), picked.rows, picked.near, picked.closest)
        status = torch.stack([x.to(torch.float64) for x in numbers])
        return Ready(system, picked.pairs, status)

    def judge(self, status: np.ndarray) -> Verdict:
        """Say how it went, by the ``status`` (4,) of the step that was made last."""
        slack, pairs, near, closest = status.tolist()
        if self._slack > slack:
            self._drop = self._slack - slack
        self._slack = slack
        return Verdict(slack, int(pairs), int(near), closest)

    def make_room(self, verdict: Verdict) -> bool:
        """Enlarge arrays that were too small; whether there were any."""
        assert self.sizes is not None
        needed = self.sizes._replace(pairs=verdict.pairs, near=verdict.near)
        if self.sizes.hold(needed):
            return False
        larger = with_room(needed)
        self.sizes = self.sizes._replace(
            pairs=max(self.sizes.pairs, larger.pairs), near=max(self.sizes.near, larger.near)
        )
        return True

    def _system(self) -> System:
        n, structures = len(self.host.numbers), self.host.n_structures
        first, second = self._ends[:2]
        positions = self._inputs[:first].view(n, 3)
        cell = self._inputs[first:second].view(structures, 3, 3)
        numbers, pbc, batch, charge = self._fixed
        return System(positions, cell, numbers, pbc, batch, charge, host=self.host)

    def _change(self, system: System) -> Change:
        first = self._ends[0]
        before = self._reference[:first].view(-1, 3)
        if not (self.moving and self._closed):
            return Change(system, before, system.positions - before, None)
        deformation = inverses(self._reference[first:].view(-1, 3, 3)) @ system.cell
        carried = torch.einsum("na,nab->nb", before, deformation[system.batch])
        return Change(system, before, system.positions - carried, deformation)

    def _left(self, change: Change) -> Tensor:
        """How much nearer two atoms may still come before they may be a pair unseen, Å.

        Between atoms a vector ``v`` became ``v F`` and what the two atoms moved: no shorter than
        ``(1 - |F - 1|) |v| - 2 moved``, for a cell that was deformed by F.
        """
        system, moved = change.system, change.moved
        reach: Tensor | float = self.cutoff + self.skin
        if change.deformation is not None:
            unit = torch.eye(3, dtype=moved.dtype, device=moved.device)
            reach = reach * (1.0 - (change.deformation - unit).square().sum((1, 2)).sqrt())
        mean = sum_by_structure(moved, system.batch, system.n_structures) / self._counts[:, None]
        length = (moved - mean[system.batch]).square().sum(1)
        farthest = largest_of_each(length, system.batch, system.n_structures).sqrt()
        return (reach - self.cutoff - 2.0 * farthest).min()
