"""Pairs in arrays whose sizes stay the same while atoms move: candidates in, padded pairs out.

Candidates reach farther than the cutoff by a skin and are good for many steps. In each step those
within the cutoff are picked without a look at how many they are: they go to the front of the seats
of their centre, and what is left over of the seats is filled up with pairs that carry nothing, of
an atom with itself and a vector far beyond the cutoff (`Known.real`). Every atom has at least one
of them, so that rows of another list that has to be filled up find one to name.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import available
from lrcalc.kernels.pairs import choose, spread
from lrcalc.neighbors import FAR, FamiliarPairs, Known, Origin, Pairs
from lrcalc.system import System

GROWTH = 1.15
"""By how much more than is needed arrays are made, so that the next search fits in too."""


EDGE = 1e-5
"""Å; pairs that are farther than the cutoff by less, in single precision, do no harm: they carry
nothing."""


class Sizes(NamedTuple):
    """Sizes of arrays.

    Attributes
    ----------
    candidates : int
        C, rows of candidates.
    pairs : int
        E, rows of pairs; more than there are atoms.
    near : int
        T, rows of near pairs (`Known.near`).
    most : int
        Most candidates that an atom has of one species (`Known.most`).
    """

    candidates: int
    pairs: int
    near: int
    most: int

    def hold(self, needed: Sizes) -> bool:
        """Whether ``needed`` fits in."""
        return all(mine >= theirs for mine, theirs in zip(self, needed, strict=True))


class Candidates(NamedTuple):
    """Pairs out to cutoff and skin, sorted by centre, filled up to C rows.

    Attributes
    ----------
    i, j : Tensor, shape (C,), int64
    shift : Tensor, shape (C, 3), int32
    vectors : Tensor, shape (C, 3), Å
        From centre to neighbour, when they were searched; float32 or float64.
    first : Tensor, shape (N + 1,), int64
        Row where those of each atom begin; the last is how many there are.
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    vectors: Tensor
    first: Tensor


class Change(NamedTuple):
    """How atoms have moved since candidates were searched.

    Attributes
    ----------
    system : System
        As it is now.
    before : Tensor, shape (N, 3), Å
        Positions then.
    moved : Tensor, shape (N, 3), Å
        What atoms have moved beyond what a deformed cell took along.
    deformation : Tensor or None, shape (S, 3, 3)
        F, by which vectors between atoms that did not move became ``v F``; None where cells are
        the same.
    """

    system: System
    before: Tensor
    moved: Tensor
    deformation: Tensor | None


class Picked(NamedTuple):
    """Pairs of one step, and what has to be looked at afterwards.

    Attributes
    ----------
    pairs : FamiliarPairs
    rows, near : Tensor, scalar, int64
        How many rows are needed; more than the arrays hold if results are to be thrown away.
    closest : Tensor, scalar
        Å², square of the shortest distance.
    """

    pairs: FamiliarPairs
    rows: Tensor
    near: Tensor
    closest: Tensor


def measure(
    found: Pairs, numbers: Tensor, distance2: Tensor, cutoff: float, near_cutoff: float
) -> Sizes:
    """Sizes that candidates and what is within the cutoffs need; looks at values.

    Parameters
    ----------
    found : Pairs
        Candidates.
    numbers : Tensor, shape (N,)
        Atomic numbers.
    distance2 : Tensor, shape (C,), Å²
    cutoff, near_cutoff : float, Å
    """
    n = len(numbers)
    _, species = torch.unique(numbers, return_inverse=True)
    kinds = int(species.max()) + 1
    group = found.i * kinds + species[found.j]
    counts = torch.zeros(n * kinds, dtype=torch.int64, device=group.device)
    counts = counts.index_add(0, group, torch.ones_like(group))
    within, near = (int((distance2 < x * x).sum()) for x in (cutoff, near_cutoff))
    return Sizes(max(1, len(found.i)), within + n, near, max(1, int(counts.max())))


def with_room(needed: Sizes) -> Sizes:
    """Larger sizes, in coarse steps so that equal structures share them."""
    # some hundred rows more: what is small fluctuates most
    rows = [_rounded(int(GROWTH * x) + 64) for x in needed[:3]]
    return Sizes(rows[0], rows[1], rows[2], 4 * -(-int(1.1 * needed.most + 1) // 4))


def _rounded(count: int) -> int:
    """Next multiple of a sixteenth to an eighth of the power of two below."""
    step = max(32, 2 ** (count.bit_length() - 4))
    return step * -(-count // step)


def fill(found: Pairs, vectors: Tensor, n_atoms: int, rows: int) -> Candidates:
    """Candidates with their ``vectors`` (C, 3), Å, filled up to ``rows``."""
    i, j, shift = found
    counts = torch.zeros(n_atoms + 1, dtype=torch.int64, device=i.device)
    counts = counts.index_add(0, i + 1, torch.ones_like(i))
    missing = rows - len(i)
    return Candidates(
        torch.cat([i, i.new_zeros(missing)]),
        torch.cat([j, j.new_zeros(missing)]),
        torch.cat([shift, shift.new_zeros((missing, 3))]).int(),
        torch.cat([vectors, vectors.new_zeros((missing, 3))]),
        torch.cumsum(counts, 0),
    )


def distances_now(candidates: Candidates, change: Change) -> Tensor:
    """Squares of the distances of candidates, (C,), Å²."""
    start = candidates.vectors
    vectors = start
    if change.deformation is not None:
        own = change.deformation.to(start.dtype)
        if len(own) == 1:
            vectors = start @ own[0]
        else:
            rows = own.index_select(0, change.system.batch[candidates.i])
            vectors = torch.einsum("ea,eab->eb", start, rows)
    moved = change.moved.to(start.dtype)
    i, j = candidates.i, candidates.j
    vectors = vectors + (moved.index_select(0, j) - moved.index_select(0, i))
    return (vectors * vectors).sum(1)


@torch.no_grad()
def pick(
    candidates: Candidates, change: Change, cutoff: float, near_cutoff: float, sizes: Sizes
) -> Picked:
    """Pairs within the cutoff, in arrays of the given sizes; looks at no value.

    Parameters
    ----------
    candidates : Candidates
    change : Change
        Since they were searched.
    cutoff, near_cutoff : float, Å
        The second for `Known.near`; what is farther by less than `EDGE` may be in.
    sizes : Sizes
    """
    given = (candidates, change, cutoff, near_cutoff, sizes)
    if available(candidates.vectors) and works(candidates.vectors):
        return pick_by_kernels(*given)
    return pick_by_torch(*given)


def works(like: Tensor) -> bool:
    """Whether kernels compile for this device and type and say what torch says: tried once."""
    from lrcalc.captured.trial import tried

    return tried(like.device, like.dtype)


def pick_by_torch(
    candidates: Candidates, change: Change, cutoff: float, near_cutoff: float, sizes: Sizes
) -> Picked:
    """`pick` operation by operation."""
    n, seats = len(change.before), sizes.pairs
    device = change.before.device
    cutoff, near_limit = cutoff + EDGE, near_cutoff + EDGE
    rows = torch.arange(sizes.candidates, device=device)
    square = distances_now(candidates, change)
    there = rows < candidates.first[-1]
    square = torch.where(there, square, torch.inf)
    within = square < cutoff * cutoff
    rank = _starting_with_zero(within)
    ends = rank[candidates.first]
    count = ends[-1]
    begin = spread(ends, seats)
    seat = rank[:-1] + (begin - ends)[candidates.i]
    seat = torch.where(within, seat, seats).clamp(max=seats)
    row = torch.full((seats + 1,), -1, device=device).scatter(0, seat, rows)[:-1]
    real = row >= 0
    turns = torch.zeros(seats + 1, dtype=torch.int64, device=device)
    turns = turns.scatter(0, begin[1:].clamp(max=seats), 1)
    i = torch.cumsum(turns, 0)[:-1].clamp(max=n - 1)
    row = row.clamp(min=0)
    j = torch.where(real, candidates.j[row], i)
    shift = torch.where(real[:, None], candidates.shift[row], 0)
    near = real & (square[row] < near_limit * near_limit)
    near_rank = _starting_with_zero(near)
    place = torch.where(near, near_rank[:-1], sizes.near).clamp(max=sizes.near)
    # the last seat of each atom is one left over
    spare = begin[1:].clamp(max=seats) - 1
    chosen = spare[torch.arange(sizes.near + 1, device=device) % n]
    chosen = chosen.scatter(0, place, torch.arange(seats, device=device))[:-1]
    origin = None
    if change.deformation is None:
        origin = Origin(change.before, candidates.vectors[row])
    known = Known(sizes.most, near_cutoff, chosen, real, origin)
    pairs = FamiliarPairs(i, j, shift, known)
    return Picked(pairs, count + n, near_rank[-1], square.min())


def pick_by_kernels(
    candidates: Candidates, change: Change, cutoff: float, near_cutoff: float, sizes: Sizes
) -> Picked:
    """`pick` in a few passes (`lrcalc.kernels.pairs`)."""
    found = choose(
        candidates.first, candidates.j, candidates.shift, candidates.vectors,
        change.moved.to(candidates.vectors.dtype), change.system.batch, change.deformation,
        (cutoff + EDGE, near_cutoff + EDGE), (sizes.pairs, sizes.near), FAR / math.sqrt(3.0),
    )  # fmt: skip
    origin = None
    if change.deformation is None:
        origin = Origin(change.system.positions, found.vectors, found.seats)
    known = Known(sizes.most, near_cutoff, found.near, found.real, origin)
    pairs = FamiliarPairs(found.i, found.j, found.shift, known)
    return Picked(pairs, found.count + len(change.before), found.near_count, found.closest)


def _starting_with_zero(chosen: Tensor) -> Tensor:
    """How many of the rows before each are chosen, and of all, (E + 1,), int64."""
    return torch.nn.functional.pad(torch.cumsum(chosen, 0), (1, 0))
