"""Sums over the neighbours of an atom of radial functions times spherical harmonics.

A program is an atom. Its lanes are (pair, column), a column being a neighbour species and a radial
function: harmonics, radial functions and the sum over pairs stay in registers.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

S3, S5, S7, S15 = (tl.constexpr(math.sqrt(n)) for n in (3.0, 5.0, 7.0, 15.0))
S105 = tl.constexpr(math.sqrt(105.0))
C9 = tl.constexpr(math.sqrt(42.0 * 15.0) / 6.0)
C11 = tl.constexpr(math.sqrt(168.0) / 8.0)
PI = tl.constexpr(math.pi)


@triton.jit
def _unit(vectors, pair, inside, cutoff: tl.constexpr):
    """Direction and distance of pairs (E, 1); what is beyond the cutoff is left out."""
    x = tl.load(vectors + 3 * pair, mask=inside, other=0.0)
    y = tl.load(vectors + 3 * pair + 1, mask=inside, other=0.0)
    z = tl.load(vectors + 3 * pair + 2, mask=inside, other=0.0)
    square = x * x + y * y + z * z
    heard = inside & (square < cutoff * cutoff) & (square > 0.0)
    r = tl.sqrt(tl.where(heard, square, 1.0))
    return x / r, y / r, z / r, r, heard


@triton.jit
def _envelope(r, cutoff: tl.constexpr):
    x = r / cutoff
    x2 = x * x
    return 1.0 + x2 * x2 * x2 * (-28.0 + x * (48.0 - 21.0 * x))


@triton.jit(do_not_specialize=["atoms"])
def density(
    vectors, start, neighbour, species, place, rows, atoms,
    CUTOFF: tl.constexpr, SCALE: tl.constexpr, BASIS: tl.constexpr,
    COLUMNS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Rows (16, atoms, COLUMNS) of atoms in the order ``place``; WIDTH is a power of two."""
    atom = tl.program_id(0).to(tl.int64)
    first = tl.load(start + atom)
    last = tl.load(start + atom + 1)
    column = tl.arange(0, WIDTH)[None, :]
    kind = column // BASIS
    lane = tl.arange(0, BLOCK)[:, None]
    zero = tl.zeros((BLOCK, WIDTH), dtype=rows.dtype.element_ty)
    order = (column % BASIS + 1).to(rows.dtype.element_ty)
    wave = order * (PI / CUTOFF)
    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
    s8, s9, s10, s11, s12, s13, s14, s15 = zero, zero, zero, zero, zero, zero, zero, zero
    for pair in range(first, last, BLOCK):
        inside = pair + lane < last
        x, y, z, r, heard = _unit(vectors, pair + lane, inside, CUTOFF)
        other = tl.load(neighbour + pair + lane, mask=heard, other=0)
        other = tl.load(species + other, mask=heard, other=-1)
        radial = SCALE * _envelope(r, CUTOFF) / r * tl.sin(r * wave) / order
        radial = tl.where(heard & (other == kind), radial, 0.0)
        x2, y2, z2 = x * x, y * y, z * z
        xz2, zx2 = x2 + z2, z2 - x2
        s0 += radial
        s1 += radial * (S3 * x)
        s2 += radial * (S3 * y)
        s3 += radial * (S3 * z)
        s4 += radial * (S15 * x * z)
        s5 += radial * (S15 * x * y)
        s6 += radial * (S5 * (y2 - 0.5 * xz2))
        s7 += radial * (S15 * y * z)
        s8 += radial * (0.5 * S15 * zx2)
        s9 += radial * (C9 * x * (1.5 * z2 - 0.5 * x2))
        s10 += radial * (S105 * x * y * z)
        s11 += radial * (C11 * (4.0 * y2 - xz2) * x)
        s12 += radial * (0.5 * S7 * y * (2.0 * y2 - 3.0 * xz2))
        s13 += radial * (C11 * (4.0 * y2 - xz2) * z)
        s14 += radial * (0.5 * S105 * zx2 * y)
        s15 += radial * (C9 * z * (0.5 * z2 - 1.5 * x2))
    here = tl.load(place + atom)
    at = tl.arange(0, WIDTH)
    mask = at < COLUMNS
    out = rows + here * COLUMNS + at
    step = atoms.to(tl.int64) * COLUMNS
    tl.store(out, tl.sum(s0, 0), mask=mask)
    tl.store(out + step, tl.sum(s1, 0), mask=mask)
    tl.store(out + 2 * step, tl.sum(s2, 0), mask=mask)
    tl.store(out + 3 * step, tl.sum(s3, 0), mask=mask)
    tl.store(out + 4 * step, tl.sum(s4, 0), mask=mask)
    tl.store(out + 5 * step, tl.sum(s5, 0), mask=mask)
    tl.store(out + 6 * step, tl.sum(s6, 0), mask=mask)
    tl.store(out + 7 * step, tl.sum(s7, 0), mask=mask)
    tl.store(out + 8 * step, tl.sum(s8, 0), mask=mask)
    tl.store(out + 9 * step, tl.sum(s9, 0), mask=mask)
    tl.store(out + 10 * step, tl.sum(s10, 0), mask=mask)
    tl.store(out + 11 * step, tl.sum(s11, 0), mask=mask)
    tl.store(out + 12 * step, tl.sum(s12, 0), mask=mask)
    tl.store(out + 13 * step, tl.sum(s13, 0), mask=mask)
    tl.store(out + 14 * step, tl.sum(s14, 0), mask=mask)
    tl.store(out + 15 * step, tl.sum(s15, 0), mask=mask)


@triton.jit(do_not_specialize=["atoms"])
def density_gradient(
    vectors, start, neighbour, species, place, slope, gradient, atoms,
    CUTOFF: tl.constexpr, SCALE: tl.constexpr, BASIS: tl.constexpr,
    COLUMNS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient (E, 3) by the vectors, of the ``slope`` (16, atoms, COLUMNS) of the rows."""
    atom = tl.program_id(0).to(tl.int64)
    first = tl.load(start + atom)
    last = tl.load(start + atom + 1)
    here = tl.load(place + atom)
    column = tl.arange(0, WIDTH)[None, :]
    mask = column < COLUMNS
    kind = column // BASIS
    lane = tl.arange(0, BLOCK)[:, None]
    order = (column % BASIS + 1).to(gradient.dtype.element_ty)
    wave = order * (PI / CUTOFF)
    at = slope + here * COLUMNS + column
    step = atoms.to(tl.int64) * COLUMNS
    g0 = tl.load(at, mask=mask, other=0.0)
    g1 = tl.load(at + step, mask=mask, other=0.0)
    g2 = tl.load(at + 2 * step, mask=mask, other=0.0)
    g3 = tl.load(at + 3 * step, mask=mask, other=0.0)
    g4 = tl.load(at + 4 * step, mask=mask, other=0.0)
    g5 = tl.load(at + 5 * step, mask=mask, other=0.0)
    g6 = tl.load(at + 6 * step, mask=mask, other=0.0)
    g7 = tl.load(at + 7 * step, mask=mask, other=0.0)
    g8 = tl.load(at + 8 * step, mask=mask, other=0.0)
    g9 = tl.load(at + 9 * step, mask=mask, other=0.0)
    g10 = tl.load(at + 10 * step, mask=mask, other=0.0)
    g11 = tl.load(at + 11 * step, mask=mask, other=0.0)
    g12 = tl.load(at + 12 * step, mask=mask, other=0.0)
    g13 = tl.load(at + 13 * step, mask=mask, other=0.0)
    g14 = tl.load(at + 14 * step, mask=mask, other=0.0)
    g15 = tl.load(at + 15 * step, mask=mask, other=0.0)
    for pair in range(first, last, BLOCK):
        inside = pair + lane < last
        x, y, z, r, heard = _unit(vectors, pair + lane, inside, CUTOFF)
        other = tl.load(neighbour + pair + lane, mask=heard, other=0)
        other = tl.load(species + other, mask=heard, other=-1)
        mine = heard & (other == kind)
        inverse = 1.0 / r
        front = SCALE * _envelope(r, CUTOFF) * inverse
        q = r / CUTOFF
        q2 = q * q
        bend = SCALE * (-168.0 / CUTOFF) * q2 * q2 * q * (1.0 - q) * (1.0 - q) * inverse
        bend = bend - front * inverse
        sine, cosine = tl.sin(r * wave) / order, tl.cos(r * wave)
        radial = tl.where(mine, front * sine, 0.0)
        change = tl.where(mine, bend * sine + front * (PI / CUTOFF) * cosine, 0.0)
        x2, y2, z2 = x * x, y * y, z * z
        xz2, zx2 = x2 + z2, z2 - x2
        xy, yz, xz = x * y, y * z, x * z
        flat = 4.0 * y2 - xz2
        # value along the radius, then slopes of the harmonics as polynomials of the direction
        along = g0 + S3 * (g1 * x + g2 * y + g3 * z)
        along += S15 * (g4 * xz + g5 * xy + g7 * yz + g8 * (0.5 * zx2)) + g6 * (
            S5 * (y2 - 0.5 * xz2)
        )
        along += C9 * (g9 * (x * (1.5 * z2 - 0.5 * x2)) + g15 * (z * (0.5 * z2 - 1.5 * x2)))
        along += S105 * (g10 * (x * yz) + g14 * (0.5 * zx2 * y))
        along += C11 * flat * (g11 * x + g13 * z) + g12 * (0.5 * S7 * y * (2.0 * y2 - 3.0 * xz2))
        dx = S3 * g1 + S15 * (g4 * z + g5 * y - g8 * x) - S5 * (g6 * x)
        dx += C9 * (g9 * (1.5 * zx2) - g15 * (3.0 * xz)) + S105 * (g10 * yz - g14 * xy)
        dx += C11 * (g11 * (flat - 2.0 * x2) - g13 * (2.0 * xz)) - g12 * (3.0 * S7 * xy)
        dy = S3 * g2 + S15 * (g5 * x + g7 * z) + 2.0 * S5 * (g6 * y)
        dy += S105 * (g10 * xz + g14 * (0.5 * zx2)) + 8.0 * C11 * (g11 * xy + g13 * yz)
        dy += g12 * (S7 * (3.0 * y2 - 1.5 * xz2))
        dz = S3 * g3 + S15 * (g4 * x + g7 * y + g8 * z) - S5 * (g6 * z)
        dz += C9 * (g9 * (3.0 * xz) + g15 * (1.5 * zx2)) + S105 * (g10 * xy + g14 * yz)
        dz += C11 * (g13 * (flat - 2.0 * z2) - g11 * (2.0 * xz)) - g12 * (3.0 * S7 * yz)
        around = radial * inverse
        along = change * along - around * (dx * x + dy * y + dz * z)
        to = gradient + 3 * (pair + lane)
        tl.store(to, tl.sum(around * dx + along * x, 1, keep_dims=True), mask=inside)
        tl.store(to + 1, tl.sum(around * dy + along * y, 1, keep_dims=True), mask=inside)
        tl.store(to + 2, tl.sum(around * dz + along * z, 1, keep_dims=True), mask=inside)
