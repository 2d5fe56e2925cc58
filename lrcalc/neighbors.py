"""Pairs: the neighbour list of a batch of structures, searched by vesin, kept while it is good."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from lrcalc.kernels.pairs import follow
from lrcalc.system import System, own_cell

MINIMUM_DISTANCE = 0.3
"""Å. Atoms closer than this are an error in the input, not chemistry."""

SKIN = 0.6
"""Å. Of runs: the cheapest for water at 300 K in steps of 0.5 fs (`benchmarks/house.py`)."""

MOST_BATCHES, MOST_ATOMS = 8, 10_000
"""Batches whose candidates are kept, and the atoms in them: beads come in several calls a step."""

MARGIN = 1e-6
"""Å by which candidates are searched further: whether a pair counts is decided in one place."""


FAR = 1000.0
"""Å, beyond any cutoff: distance of what fills up a list of pairs."""


class Origin(NamedTuple):
    """Where pairs come from: a search, since when atoms have moved little and the cell not at all.

    Attributes
    ----------
    positions : Tensor, shape (N, 3), Å
    vectors : Tensor, shape (E, 3), Å
        Of the pairs at these positions, or now (``seats``), in the precision that pair vectors are
        to have: a vector plus how the two atoms have moved is then as good as one of positions in
        double precision.
    seats : Tensor or None, shape (N + 1,), int64
        Rows where the pairs of each atom begin, where ``vectors`` are those of now already, and
        `lrcalc.kernels` are there.
    """

    positions: Tensor
    vectors: Tensor
    seats: Tensor | None = None


class Known(NamedTuple):
    """What of pairs is known without a look at them.

    Attributes
    ----------
    most : int
        At least as many as an atom has neighbours of one species.
    cutoff : float
        Å.
    near : Tensor, shape (T,), int64
        Rows of the pairs closer than ``cutoff``, and perhaps of some that are no pairs.
    real : Tensor or None, shape (E,), bool
        Rows that are pairs; the others fill up an array of fixed size, have a vector of length
        `FAR` and carry nothing. None: all are.
    origin : Origin or None
        Where the cell is that of a search.
    """

    most: int
    cutoff: float
    near: Tensor
    real: Tensor | None = None
    origin: Origin | None = None


class Pairs(NamedTuple):
    """Directed pairs ``i → j`` within the cutoff, sorted by ``i``; each pair appears both ways.

    Attributes
    ----------
    i, j : Tensor, shape (E,), int64
        Centre and neighbour.
    shift : Tensor, shape (E, 3), int64
        Lattice translation of the neighbour, so that
        ``vector = positions[j] - positions[i] + shift @ cell``.
    """

    i: Tensor
    j: Tensor
    shift: Tensor

    @property
    def known(self) -> Known | None:
        """What need not be looked up; None but for `FamiliarPairs`."""
        return None


class FamiliarPairs(Pairs):
    """Pairs that come again and again, as in training: a GPU need not be asked about them.

    A tuple of three as all pairs are; what is made from it (a slice, `_replace`) is not known.
    """

    _known: Known | None = None

    def __new__(cls, i: Tensor, j: Tensor, shift: Tensor, known: Known | None = None) -> Self:
        """Join pairs and what is known of them; torch makes tuples anew of their three alone."""
        pairs = super().__new__(cls, i, j, shift)
        pairs._known = known
        return pairs

    @property
    def known(self) -> Known | None:
        """What need not be looked up."""
        return self._known

    def __getnewargs__(self) -> tuple[Any, ...]:
        """For copies and pickles."""
        return (*self, self.known)


def pair_vectors(system: System, pairs: Pairs) -> Tensor:
    """Vectors from centre to neighbour, shape (E, 3), Å."""
    known = pairs.known
    if known is None or known.origin is None or system.cell.requires_grad:
        vectors = _vectors(system, pairs)
    else:
        before, start, seats = known.origin
        if seats is not None and system.once:
            return follow(system.positions, start, seats, pairs.j)
        moved = (system.positions - before).to(start.dtype)
        here, there = (moved.index_select(0, atoms) for atoms in (pairs.i, pairs.j))
        vectors = start + (there - here)
    if known is None or known.real is None:
        return vectors
    return torch.where(known.real[:, None], vectors, FAR / math.sqrt(3.0))


def _vectors(system: System, pairs: Pairs) -> Tensor:
    """From positions and lattice translations."""
    here, there = (system.positions.index_select(0, atoms) for atoms in (pairs.i, pairs.j))
    vectors, lattice = there - here, pairs.shift.to(here.dtype)
    if system.n_structures == 1:
        return vectors + lattice @ own_cell(system)[0]
    shift_cell = system.cell.index_select(0, system.batch[pairs.i])
    return vectors + torch.einsum("ea,eab->eb", lattice, shift_cell)


def rows_within(pairs: Pairs, vectors: Tensor, cutoff: float) -> Tensor:
    """Rows (T,) of the pairs whose ``vectors`` (E, 3) are shorter than ``cutoff``, Å."""
    if pairs.known is not None and pairs.known.cutoff == cutoff:
        return pairs.known.near
    with torch.no_grad():
        near = (vectors * vectors).sum(1) < cutoff**2
        return near.nonzero()[:, 0]


class NeighborList:
    """`build_pairs` that keeps what it found from call to call.

    Candidates out to ``cutoff + skin`` are kept for each structure of the batch, and at each call
    those within the cutoff are picked: the pairs of `build_pairs`, in its order. They are good as
    long as no pair from beyond can have come within the cutoff: until an atom has moved by half
    the skin, apart from what a changed cell took along, and less where the cell has shrunk. The
    skin is searched only where atoms move little from call to call, as in a run or a relaxation;
    with unrelated frames it would cost and be of no use. Candidates of a few batches are kept, so
    that several runs, or the beads of one in several calls, may take turns.

    Parameters
    ----------
    cutoff : float
        Å, positive.
    skin : float, optional
        Å; 0 searches anew at each call.
    closest : float, optional
        Å; atoms closer than this are refused.

    Raises
    ------
    ValueError
        For a cutoff that is not positive or a negative skin.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from lrcalc.neighbors import NeighborList
    >>> from lrcalc.system import from_ase
    >>> pairs = NeighborList(3.0, skin=0.5)(from_ase(bulk("Cu")))
    >>> len(pairs.i)
    12
    """

    def __init__(
        self, cutoff: float, skin: float = 0.0, *, closest: float = MINIMUM_DISTANCE
    ) -> None:
        if not cutoff > 0:
            raise ValueError(f"`cutoff` is {cutoff} Å but must be positive")
        if not skin >= 0:
            raise ValueError(f"`skin` is {skin} Å but must be zero or positive")
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.closest = float(closest)
        self._kept: list[list[_Candidates]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Leave the candidates out of copies and pickles."""
        return {**self.__dict__, "_kept": []}

    def __call__(self, system: System) -> Pairs:
        """All pairs within the cutoff, sorted by centre, neighbour and shift.

        Raises
        ------
        ValueError
            For two atoms closer than 0.3 Å.
        """
        positions = system.positions.detach().cpu().double().numpy()
        cells = system.cell.detach().cpu().double().numpy()
        pbc = system.pbc.cpu().numpy().astype(bool)
        ends = np.cumsum(np.bincount(system.batch.cpu().numpy(), minlength=len(cells)))
        before = self._before(ends, positions, cells, pbc)
        kept, columns, start = [], [], 0
        for s, end in enumerate(ends):
            last = before[s] if before else None
            candidates = self._candidates(last, positions[start:end], cells[s], pbc[s])
            i, j, shift = _within(candidates, self.cutoff, self.closest)
            columns.append((i + start, j + start, shift))
            kept.append(candidates)
            start = int(end)
        self._keep(kept, before)
        device = system.positions.device
        found = zip(*columns, strict=True)
        joined = [torch.from_numpy(np.concatenate(list(x))).to(device) for x in found]
        return Pairs(joined[0], joined[1], joined[2])

    def _before(
        self, ends: np.ndarray, positions: np.ndarray, cells: np.ndarray, pbc: np.ndarray
    ) -> list[_Candidates]:
        """Of the batches that are kept the one that this one has come from; none if there is none.

        It is the one whose first structure is nearest. A mistake costs a search, no more.
        """
        first, least = positions[: ends[0]], self.skin
        found: list[_Candidates] = []
        for batch in self._kept:
            one = batch[0]
            if len(batch) == len(ends) and one.is_of(len(first), pbc[0]):
                moved = _change(one.positions, one.cell, first, cells[0], pbc[0])[0]
                if moved <= least:
                    found, least = batch, moved
        return found

    def _keep(self, batch: list[_Candidates], before: list[_Candidates]) -> None:
        """Keep a batch in the place of what it has come from, and drop the oldest if need be."""
        if not self.skin:
            return
        kept = [*(x for x in self._kept if x is not before), batch][-MOST_BATCHES:]
        while len(kept) > 1 and sum(len(x.positions) for b in kept for x in b) > MOST_ATOMS:
            kept.pop(0)
        self._kept = kept

    def _candidates(
        self, last: _Candidates | None, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> _Candidates:
        """Those of the last call, if they are good, else new ones."""
        reach = self.cutoff + MARGIN
        if last is not None and last.is_of(len(positions), pbc):
            moved, stretch = _change(last.first_positions, last.first_cell, positions, cell, pbc)
            if last.reach * stretch - 2 * moved >= reach:
                return last.at(positions, cell)
            moved, stretch = _change(last.positions, last.cell, positions, cell, pbc)
            if reach * (1 - stretch) + 2 * moved <= self.skin / 2:  # it will last for some calls
                reach += self.skin
        return _search(positions, cell, pbc, reach)


def build_pairs(system: System, cutoff: float) -> Pairs:
    """Find all pairs within ``cutoff``, exactly as ASE's neighbour list does.

    Any cell: triclinic, smaller than the cutoff, open or partly periodic. Each structure of the
    batch has its own list.

    Parameters
    ----------
    system : System
        Batch of structures.
    cutoff : float
        Å, positive.

    Returns
    -------
    Pairs
        Sorted by centre, neighbour and shift.

    Raises
    ------
    ValueError
        For a cutoff that is not positive, or two atoms closer than 0.3 Å.
    """
    return NeighborList(cutoff)(system)


class _Candidates(NamedTuple):
    """Pairs of one structure out to ``reach`` as it was at first, and where its atoms are now."""

    reach: float
    pbc: np.ndarray
    first_positions: np.ndarray
    first_cell: np.ndarray
    i: np.ndarray
    j: np.ndarray
    shift: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    offset: np.ndarray
    """``shift @ cell``, shape (3, E), in the cell of now."""

    def is_of(self, n_atoms: int, pbc: np.ndarray) -> bool:
        return len(self.positions) == n_atoms and bool((self.pbc == pbc).all())

    def at(self, positions: np.ndarray, cell: np.ndarray) -> _Candidates:
        same = (cell == self.cell).all()
        offset = self.offset if same else _offset(self.shift, cell)
        return self._replace(positions=positions.copy(), cell=cell.copy(), offset=offset)


def _change(
    positions: np.ndarray, cell: np.ndarray,
    new_positions: np.ndarray, new_cell: np.ndarray, pbc: np.ndarray,
) -> tuple[float, float]:  # fmt: skip
    """How far an atom went (Å) beyond what the cell took along, and the cell's least stretch.

    A vector ``v`` between atoms became ``v F`` and what the two atoms moved: no shorter than
    ``stretch |v| - 2 moved``, with ``stretch`` the smallest singular value of ``F``.
    """
    carried, stretch = positions, 1.0
    if (cell[pbc] != new_cell[pbc]).any():
        if not pbc.all():
            return np.inf, 1.0
        deformation = np.linalg.solve(cell, new_cell)
        carried = positions @ deformation
        stretch = float(np.linalg.svd(deformation, compute_uv=False).min())
    moved = new_positions - carried
    moved -= moved.mean(axis=0)  # all atoms together move no pair
    return float(np.sqrt((moved * moved).sum(axis=1).max())), stretch


def _search(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float) -> _Candidates:
    from vesin import NeighborList as Finder

    box = complete_cell(positions, cell, pbc, reach)
    finder = Finder(cutoff=reach, full_list=True)
    i, j, shift = finder.compute(points=positions, box=box, periodic=pbc, quantities="ijS")
    i, j, shift = i.astype(np.int64), j.astype(np.int64), shift.astype(np.int64).reshape(-1, 3)
    place = i * len(positions) + j
    if len(shift):
        low, span = shift.min(axis=0), np.ptp(shift, axis=0) + 1
        for axis in range(3):
            place = place * span[axis] + (shift[:, axis] - low[axis])
    order = np.argsort(place, kind="stable")  # quick on what is nearly sorted
    i, j, shift = i[order], j[order], shift[order]
    here, box = positions.copy(), cell.copy()
    return _Candidates(reach, pbc.copy(), here, box, i, j, shift, here, box, _offset(shift, cell))


def _offset(shift: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """``shift @ cell``, (3, E); in whole columns, so that each pair is rounded in the same way."""
    a, b, c = shift.T.astype(float)
    return np.stack([a * cell[0, x] + b * cell[1, x] + c * cell[2, x] for x in range(3)])


def _within(
    candidates: _Candidates, cutoff: float, closest: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pick the pairs closer than ``cutoff``; refuse overlapping atoms."""
    i, j, shift = candidates.i, candidates.j, candidates.shift
    square = np.zeros(len(i))
    for x, offset in zip(candidates.positions.T.copy(), candidates.offset, strict=True):
        component = x.take(j)
        component -= x.take(i)
        component += offset
        component *= component
        square += component
    if len(square) and square.min() < closest**2:
        k = int(square.argmin())
        raise ValueError(
            f"atoms {int(i[k])} and {int(j[k])} are {np.sqrt(square[k]):.3f} Å apart (less than "
            f"{closest:g} Å): overlapping atoms; check the structure, its cell and its units"
        )
    near = np.flatnonzero(square < cutoff * cutoff)
    return i.take(near), j.take(near), shift.take(near, axis=0)


def complete_cell(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> np.ndarray:
    """Give open directions a lattice vector that plays no part, longer than the positions reach."""
    if pbc.all():
        return cell
    box = np.where(pbc[:, None], cell, 0.0)
    # orthonormal directions outside the span of the periodic vectors
    _, singular, axes = np.linalg.svd(box)
    rank = int((singular > 1e-9).sum())
    span = np.ptp(positions, axis=0).max() + 2 * cutoff + 1.0
    box[np.flatnonzero(~pbc)] = axes[rank:] * span
    return box
