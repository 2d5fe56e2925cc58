"""Candidates for pairs to pairs, and gradients of pair vectors to those of positions.

A program is an atom, its lanes are candidates or pairs of that atom.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _vector(start, moved, deformation, row, inside, other, mx, my, mz, WARPED: tl.constexpr):
    """Vectors of candidates now: those of the search, and how the two atoms have moved since."""
    x = tl.load(start + 3 * row, mask=inside, other=0.0)
    y = tl.load(start + 3 * row + 1, mask=inside, other=0.0)
    z = tl.load(start + 3 * row + 2, mask=inside, other=0.0)
    if WARPED:
        u = x * tl.load(deformation) + y * tl.load(deformation + 3) + z * tl.load(deformation + 6)
        v = x * tl.load(deformation + 1) + y * tl.load(deformation + 4)
        v += z * tl.load(deformation + 7)
        w = x * tl.load(deformation + 2) + y * tl.load(deformation + 5)
        w += z * tl.load(deformation + 8)
        x, y, z = u, v, w
    x += tl.load(moved + 3 * other, mask=inside, other=0.0) - mx
    y += tl.load(moved + 3 * other + 1, mask=inside, other=0.0) - my
    z += tl.load(moved + 3 * other + 2, mask=inside, other=0.0) - mz
    square = x * x + y * y + z * z
    return x, y, z, tl.where(inside, square, float("inf"))


@triton.jit
def count(
    first, j, start, moved, deformation, batch, counts, nears, closest, limit2, near2,
    WARPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Pairs of each atom within the cutoff, within the nearer one, and its shortest distance²."""
    atom = tl.program_id(0).to(tl.int64)
    begin = tl.load(first + atom)
    end = tl.load(first + atom + 1)
    mx = tl.load(moved + 3 * atom)
    my = tl.load(moved + 3 * atom + 1)
    mz = tl.load(moved + 3 * atom + 2)
    if WARPED:
        deformation += 9 * tl.load(batch + atom)
    lane = tl.arange(0, BLOCK)
    within = tl.zeros((BLOCK,), dtype=tl.int64)
    near = tl.zeros((BLOCK,), dtype=tl.int64)
    low = tl.full((BLOCK,), float("inf"), dtype=start.dtype.element_ty)
    for row in range(begin, end, BLOCK):
        inside = row + lane < end
        other = tl.load(j + row + lane, mask=inside, other=0)
        square = _vector(start, moved, deformation, row + lane, inside, other, mx, my, mz, WARPED)[
            3
        ]
        within += (square < limit2).to(tl.int64)
        near += (square < near2).to(tl.int64)
        low = tl.minimum(low, square)
    tl.store(counts + atom, tl.sum(within, 0))
    tl.store(nears + atom, tl.sum(near, 0))
    tl.store(closest + atom, tl.min(low, 0))


@triton.jit
def place(
    first, j, start, shift, moved, deformation, batch, seats, near_seats, total, near_total,
    i_out, j_out, shift_out, real_out, vector_out, near_out, limit2, near2, far,
    WARPED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write pairs within the cutoff to the seats of their atom, and fill up what is left of them.

    Rows of near pairs go to theirs; nothing is written beyond ``total`` and ``near_total`` rows.
    """
    atom = tl.program_id(0).to(tl.int64)
    begin = tl.load(first + atom)
    end = tl.load(first + atom + 1)
    mx = tl.load(moved + 3 * atom)
    my = tl.load(moved + 3 * atom + 1)
    mz = tl.load(moved + 3 * atom + 2)
    if WARPED:
        deformation += 9 * tl.load(batch + atom)
    lane = tl.arange(0, BLOCK)
    seat = tl.load(seats + atom)
    last = tl.load(seats + atom + 1)
    near_seat = tl.load(near_seats + atom)
    for row in range(begin, end, BLOCK):
        inside = row + lane < end
        other = tl.load(j + row + lane, mask=inside, other=0)
        x, y, z, square = _vector(
            start, moved, deformation, row + lane, inside, other, mx, my, mz, WARPED
        )
        within = square < limit2
        ones = within.to(tl.int64)
        at = seat + tl.cumsum(ones, 0) - 1
        fits = within & (at < total)
        tl.store(i_out + at, atom + tl.zeros_like(at), mask=fits)
        tl.store(j_out + at, other, mask=fits)
        tl.store(real_out + at, within, mask=fits)
        tl.store(vector_out + 3 * at, x, mask=fits)
        tl.store(vector_out + 3 * at + 1, y, mask=fits)
        tl.store(vector_out + 3 * at + 2, z, mask=fits)
        a = tl.load(shift + 3 * (row + lane), mask=inside, other=0)
        b = tl.load(shift + 3 * (row + lane) + 1, mask=inside, other=0)
        c = tl.load(shift + 3 * (row + lane) + 2, mask=inside, other=0)
        tl.store(shift_out + 3 * at, a, mask=fits)
        tl.store(shift_out + 3 * at + 1, b, mask=fits)
        tl.store(shift_out + 3 * at + 2, c, mask=fits)
        near = square < near2
        near_ones = near.to(tl.int64)
        near_at = near_seat + tl.cumsum(near_ones, 0) - 1
        tl.store(near_out + near_at, at, mask=near & fits & (near_at < near_total))
        seat += tl.sum(ones, 0)
        near_seat += tl.sum(near_ones, 0)
    zero = tl.zeros((BLOCK,), dtype=tl.int64)
    nowhere = zero.to(moved.dtype.element_ty) + far
    for spare in range(seat, last, BLOCK):
        free = spare + lane
        empty = (free < last) & (free < total)
        tl.store(i_out + free, atom + zero, mask=empty)
        tl.store(j_out + free, atom + zero, mask=empty)
        tl.store(real_out + free, zero != 0, mask=empty)
        for axis in tl.static_range(3):
            tl.store(vector_out + 3 * free + axis, nowhere, mask=empty)
            tl.store(shift_out + 3 * free + axis, zero, mask=empty)


@triton.jit
def gather_gradient(first, j, gradient, out, BLOCK: tl.constexpr):
    """Add the gradient (E, 3) by the vectors to that by the positions, (N, 3), of both atoms."""
    atom = tl.program_id(0).to(tl.int64)
    begin = tl.load(first + atom)
    end = tl.load(first + atom + 1)
    lane = tl.arange(0, BLOCK)
    x = tl.zeros((BLOCK,), dtype=out.dtype.element_ty)
    y = tl.zeros((BLOCK,), dtype=out.dtype.element_ty)
    z = tl.zeros((BLOCK,), dtype=out.dtype.element_ty)
    for row in range(begin, end, BLOCK):
        inside = row + lane < end
        other = tl.load(j + row + lane, mask=inside, other=0)
        at = gradient + 3 * (row + lane)
        a = tl.load(at, mask=inside, other=0.0).to(out.dtype.element_ty)
        b = tl.load(at + 1, mask=inside, other=0.0).to(out.dtype.element_ty)
        c = tl.load(at + 2, mask=inside, other=0.0).to(out.dtype.element_ty)
        felt = inside & ((a != 0.0) | (b != 0.0) | (c != 0.0))
        tl.atomic_add(out + 3 * other, a, mask=felt, sem="relaxed")
        tl.atomic_add(out + 3 * other + 1, b, mask=felt, sem="relaxed")
        tl.atomic_add(out + 3 * other + 2, c, mask=felt, sem="relaxed")
        x += a
        y += b
        z += c
    tl.atomic_add(out + 3 * atom, -tl.sum(x, 0), sem="relaxed")
    tl.atomic_add(out + 3 * atom + 1, -tl.sum(y, 0), sem="relaxed")
    tl.atomic_add(out + 3 * atom + 2, -tl.sum(z, 0), sem="relaxed")
