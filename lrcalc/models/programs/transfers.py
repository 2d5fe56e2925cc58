"""Weights of handing charge on, of `lrcalc.models.transfers`; a lane is a pair and a channel."""

from __future__ import annotations

import math

import triton
import triton.language as tl

PI = tl.constexpr(math.pi)


@triton.jit
def _pairs(vectors, rows, i, j, species, first, count, CUTOFF, SPECIES, BLOCK):
    """Row, direction, distance and species of pairs (BLOCK, 1); which there are, and in reach."""
    lane = first + tl.arange(0, BLOCK)[:, None]
    inside = lane < count
    row = tl.load(rows + lane, mask=inside, other=0)
    x = tl.load(vectors + 3 * row, mask=inside, other=0.0)
    y = tl.load(vectors + 3 * row + 1, mask=inside, other=0.0)
    z = tl.load(vectors + 3 * row + 2, mask=inside, other=0.0)
    square = x * x + y * y + z * z
    near = inside & (square < CUTOFF * CUTOFF) & (square > 0.0)
    r = tl.sqrt(tl.where(near, square, 1.0))
    one = tl.load(species + tl.load(i + row, mask=near, other=0), mask=near, other=0)
    two = tl.load(species + tl.load(j + row, mask=near, other=0), mask=near, other=0)
    return lane, inside, near, row, x / r, y / r, z / r, r, one * SPECIES + two


@triton.jit
def weights(
    vectors, rows, i, j, species, learned, decay, out, count,
    CUTOFF: tl.constexpr, SCALE: tl.constexpr, SPECIES: tl.constexpr, BASIS: tl.constexpr,
    C: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Weights (count, C) of the pairs ``rows``."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    lane, inside, near, _, _, _, _, r, couple = _pairs(
        vectors, rows, i, j, species, first, count, CUTOFF, SPECIES, BLOCK
    )
    channel = tl.arange(0, WIDTH)[None, :]
    mask = near & (channel < C)
    q = r / CUTOFF
    q2 = q * q
    envelope = 1.0 + q2 * q2 * q2 * (-28.0 + q * (48.0 - 21.0 * q))
    table = learned + couple * ((BASIS + 1) * C) + channel
    exponent = tl.load(table + BASIS * C, mask=mask, other=0.0)
    exponent -= (r - 1.0) / tl.load(decay + channel, mask=channel < C, other=1.0)
    front = SCALE * envelope / r
    for n in tl.static_range(BASIS):
        wave = tl.sin(r * ((n + 1) * PI / CUTOFF))
        exponent += front * wave * tl.load(table + n * C, mask=mask, other=0.0)
    value = tl.where(near, envelope * tl.exp(exponent), 0.0)
    tl.store(out + lane * C + channel, value, mask=inside & (channel < C))


@triton.jit
def weights_gradient(
    vectors, rows, i, j, species, learned, decay, slope, gradient, count,
    CUTOFF: tl.constexpr, SCALE: tl.constexpr, SPECIES: tl.constexpr, BASIS: tl.constexpr,
    C: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient by the vectors, into their rows of ``gradient`` (E, 3)."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    lane, inside, near, row, x, y, z, r, couple = _pairs(
        vectors, rows, i, j, species, first, count, CUTOFF, SPECIES, BLOCK
    )
    channel = tl.arange(0, WIDTH)[None, :]
    mask = near & (channel < C)
    q = r / CUTOFF
    q2 = q * q
    envelope = 1.0 + q2 * q2 * q2 * (-28.0 + q * (48.0 - 21.0 * q))
    bend = (-168.0 / CUTOFF) * q2 * q2 * q * (1.0 - q) * (1.0 - q)
    table = learned + couple * ((BASIS + 1) * C) + channel
    inverse = 1.0 / tl.load(decay + channel, mask=channel < C, other=1.0)
    exponent = tl.load(table + BASIS * C, mask=mask, other=0.0) - (r - 1.0) * inverse
    change = tl.zeros_like(exponent) - inverse
    front = SCALE * envelope / r
    front_bend = SCALE * bend / r - front / r
    for n in tl.static_range(BASIS):
        value = tl.load(table + n * C, mask=mask, other=0.0)
        sine = tl.sin(r * ((n + 1) * PI / CUTOFF))
        cosine = tl.cos(r * ((n + 1) * PI / CUTOFF)) * ((n + 1) * PI / CUTOFF)
        exponent += front * sine * value
        change += (front_bend * sine + front * cosine) * value
    own = tl.load(slope + lane * C + channel, mask=mask, other=0.0)
    along = tl.where(mask, own * tl.exp(exponent) * (bend + envelope * change), 0.0)
    along = tl.sum(along, 1, keep_dims=True)
    tl.store(gradient + 3 * row, along * x, mask=inside)
    tl.store(gradient + 3 * row + 1, along * y, mask=inside)
    tl.store(gradient + 3 * row + 2, along * z, mask=inside)
