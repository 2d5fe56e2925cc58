"""Candidates to pairs in two passes, and pair vectors whose gradient is gathered in one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import refuse_second_derivatives

BLOCK = 32
"""Candidates, or pairs, of an atom at a time: a warp."""


class Chosen(NamedTuple):
    """Pairs within the cutoff, each atom's at the front of its seats, which are filled up.

    Attributes
    ----------
    i, j : Tensor, shape (E,), int64
    shift : Tensor, shape (E, 3)
        Of the type that those of the candidates have.
    real : Tensor, shape (E,), bool
    vectors : Tensor, shape (E, 3), Å
        As they are now; those that fill up are far.
    seats : Tensor, shape (N + 1,), int64
        First row of each atom, and the end.
    near : Tensor, shape (T,), int64
    count, near_count : Tensor, scalar, int64
    closest : Tensor, scalar
        Å².
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    real: Tensor
    vectors: Tensor
    seats: Tensor
    near: Tensor
    count: Tensor  # type: ignore[assignment]
    near_count: Tensor
    closest: Tensor


def choose(
    first: Tensor, j: Tensor, shift: Tensor, vectors: Tensor, moved: Tensor, batch: Tensor,
    deformation: Tensor | None, limits: tuple[float, float], rows: tuple[int, int], far: float,
) -> Chosen:  # fmt: skip
    """Choose pairs of candidates; looks at no value.

    Parameters
    ----------
    first : Tensor, shape (N + 1,), int64
        Candidates of each atom.
    j, shift, vectors : Tensor, shapes (C,), (C, 3), (C, 3)
        Of the candidates, when they were searched.
    moved : Tensor, shape (N, 3), Å
        Of the type of ``vectors``.
    batch : Tensor, shape (N,)
    deformation : Tensor or None, shape (S, 3, 3)
    limits : tuple of float, Å
        Of pairs, and of near ones.
    rows : tuple of int
        E and T.
    far : float
        Component, Å, of vectors that fill up.
    """
    from lrcalc.kernels.programs import pairs as programs

    n, device = len(moved), moved.device
    moved = moved.contiguous()
    warped = deformation is not None
    turned = moved if deformation is None else deformation.to(moved.dtype).contiguous()
    counts = torch.empty(2, n, dtype=torch.int64, device=device)
    closest = moved.new_empty(n)
    squares = (limits[0] ** 2, limits[1] ** 2)
    given = (moved, turned, batch)
    programs.count[(n,)](
        first, j, vectors, *given, counts[0], counts[1], closest, *squares,
        WARPED=warped, BLOCK=BLOCK, num_warps=1,
    )  # fmt: skip
    ends = torch.nn.functional.pad(torch.cumsum(counts, 1), (1, 0))
    count, near_count = ends[0, -1], ends[1, -1]
    seats = spread(ends[0], rows[0])
    i, other = (torch.empty(rows[0], dtype=torch.int64, device=device) for _ in range(2))
    lattice = shift.new_empty((rows[0], 3))
    real = torch.empty(rows[0], dtype=torch.bool, device=device)
    now = moved.new_empty((rows[0], 3))
    spare = (seats[1:].clamp(max=rows[0]) - 1).index_select(
        0, torch.arange(rows[1], device=device) % n
    )
    programs.place[(n,)](
        first, j, vectors, shift, *given, seats, ends[1].contiguous(), rows[0], rows[1],
        i, other, lattice, real, now, spare, *squares, far,
        WARPED=warped, BLOCK=BLOCK, num_warps=1,
    )  # fmt: skip
    return Chosen(i, other, lattice, real, now, seats, spare, count, near_count, closest.min())


def spread(ends: Tensor, rows: int) -> Tensor:
    """First seat of each atom (N + 1,): for its pairs, one more, and its share of what is left.

    Parameters
    ----------
    ends : Tensor, shape (N + 1,), int64
        Pairs of the atoms before each; the last is how many there are.
    rows : int
        Seats.
    """
    n = len(ends) - 1
    extra = (rows - n - ends[-1]).clamp(min=0)
    atoms = torch.arange(n + 1, device=ends.device)
    return ends + atoms + torch.div(atoms * extra, n, rounding_mode="floor")


def follow(positions: Tensor, vectors: Tensor, seats: Tensor, j: Tensor) -> Tensor:
    """``vectors`` (E, 3) as a function of ``positions`` (N, 3), differentiable once.

    Parameters
    ----------
    positions : Tensor
        That the vectors were made of.
    vectors : Tensor
        From each atom to its neighbours.
    seats : Tensor, shape (N + 1,), int64
        First row of each atom.
    j : Tensor, shape (E,)
    """
    return _Follow.apply(positions, vectors, seats, j)  # type: ignore[no-any-return]


class _Follow(torch.autograd.Function):
    """Vectors go to where they came from."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, vectors: Tensor, seats: Tensor, j: Tensor) -> Tensor:
        ctx.save_for_backward(seats, j)
        ctx.like = positions.dtype
        return vectors.view_as(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        from lrcalc.kernels.programs import pairs as programs

        refuse_second_derivatives()
        seats, j = ctx.saved_tensors
        n = len(seats) - 1
        out = torch.zeros(n, 3, dtype=ctx.like, device=j.device)
        programs.gather_gradient[(n,)](
            seats, j, gradients[0].contiguous(), out, BLOCK=BLOCK, num_warps=1
        )
        return out, None, None, None
