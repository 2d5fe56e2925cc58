"""Neighbours in the bins around an atom. A program is an atom, its lanes are atoms of a bin."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _bin(at, width):
    """Bin within the cell, and image of the cell, of a place (in bins) that may be outside."""
    image = at // width
    image = image - ((at - image * width) < 0).to(tl.int64)
    return at - image * width, image


@triton.jit
def search(
    positions, box, batch, wrapped, places, order, starts, widths, images, periodic, firsts,
    offsets, around, reach2, counts, rows, i_out, j_out, shift_out, vector_out,
    WRITE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the neighbours of each atom, or WRITE them from the atom's first of ``rows``.

    Positions (N, 3) are wrapped, ``order`` are the atoms bin by bin, ``offsets`` (around, 3).
    """
    atom = tl.program_id(0).to(tl.int64)
    structure = tl.load(batch + atom)
    n0 = tl.load(widths + 3 * structure)
    n1 = tl.load(widths + 3 * structure + 1)
    n2 = tl.load(widths + 3 * structure + 2)
    x = tl.load(positions + 3 * atom)
    y = tl.load(positions + 3 * atom + 1)
    z = tl.load(positions + 3 * atom + 2)
    lane = tl.arange(0, BLOCK)
    found = tl.zeros((BLOCK,), dtype=tl.int64)
    seat = tl.load(rows + atom)
    cell = box + 9 * structure
    for step in range(0, around):
        o0 = tl.load(offsets + 3 * step)
        o1 = tl.load(offsets + 3 * step + 1)
        o2 = tl.load(offsets + 3 * step + 2)
        b0, s0 = _bin(tl.load(places + 3 * atom) + o0, n0)
        b1, s1 = _bin(tl.load(places + 3 * atom + 1) + o1, n1)
        b2, s2 = _bin(tl.load(places + 3 * atom + 2) + o2, n2)
        allowed = (tl.abs(o0) <= tl.load(images + 3 * structure)) & (
            (s0 == 0) | (tl.load(periodic + 3 * structure) != 0)
        )
        allowed = allowed & (tl.abs(o1) <= tl.load(images + 3 * structure + 1))
        allowed = allowed & ((s1 == 0) | (tl.load(periodic + 3 * structure + 1) != 0))
        allowed = allowed & (tl.abs(o2) <= tl.load(images + 3 * structure + 2))
        allowed = allowed & ((s2 == 0) | (tl.load(periodic + 3 * structure + 2) != 0))
        here = tl.load(firsts + structure) + (b0 * n1 + b1) * n2 + b2
        begin = tl.load(starts + here)
        end = tl.where(allowed, tl.load(starts + here + 1), begin)
        f0, f1, f2 = s0.to(tl.float64), s1.to(tl.float64), s2.to(tl.float64)
        tx = f0 * tl.load(cell) + f1 * tl.load(cell + 3) + f2 * tl.load(cell + 6) - x
        ty = f0 * tl.load(cell + 1) + f1 * tl.load(cell + 4) + f2 * tl.load(cell + 7) - y
        tz = f0 * tl.load(cell + 2) + f1 * tl.load(cell + 5) + f2 * tl.load(cell + 8) - z
        for spot in range(begin, end, BLOCK):
            inside = spot + lane < end
            other = tl.load(order + spot + lane, mask=inside, other=0)
            u = tl.load(positions + 3 * other, mask=inside, other=0.0) + tx
            v = tl.load(positions + 3 * other + 1, mask=inside, other=0.0) + ty
            w = tl.load(positions + 3 * other + 2, mask=inside, other=0.0) + tz
            itself = (other == atom) & (s0 == 0) & (s1 == 0) & (s2 == 0)
            near = inside & (u * u + v * v + w * w < reach2) & (itself == 0)
            ones = near.to(tl.int64)
            if WRITE:
                at = seat + tl.cumsum(ones, 0) - 1
                tl.store(i_out + at, atom + tl.zeros_like(at), mask=near)
                tl.store(j_out + at, other, mask=near)
                tl.store(vector_out + 3 * at, u, mask=near)
                tl.store(vector_out + 3 * at + 1, v, mask=near)
                tl.store(vector_out + 3 * at + 2, w, mask=near)
                c0 = s0 + tl.load(wrapped + 3 * atom)
                c1 = s1 + tl.load(wrapped + 3 * atom + 1)
                c2 = s2 + tl.load(wrapped + 3 * atom + 2)
                c0 = c0 - tl.load(wrapped + 3 * other, mask=near, other=0)
                c1 = c1 - tl.load(wrapped + 3 * other + 1, mask=near, other=0)
                c2 = c2 - tl.load(wrapped + 3 * other + 2, mask=near, other=0)
                tl.store(shift_out + 3 * at, c0, mask=near)
                tl.store(shift_out + 3 * at + 1, c1, mask=near)
                tl.store(shift_out + 3 * at + 2, c2, mask=near)
                seat += tl.sum(ones, 0)
            else:
                found += ones
    if not WRITE:
        tl.store(counts + atom, tl.sum(found, 0))
