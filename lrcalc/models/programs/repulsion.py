"""Prior and wall of `lrcalc.models.prior` and `wall`; a program is an atom, a lane is a pair."""

from __future__ import annotations

import triton
import triton.language as tl

TERMS = tl.constexpr(4)  # of the screening function


@triton.jit
def _pair(
    vectors, neighbour, species, strength, rate, start, own, lane, inside,
    CUTOFF: tl.constexpr, WALL: tl.constexpr, SPECIES: tl.constexpr,
):  # fmt: skip
    """Components, half of the energy, and its slope over the distance, of pairs (BLOCK,)."""
    x = tl.load(vectors + 3 * lane, mask=inside, other=1.0)
    y = tl.load(vectors + 3 * lane + 1, mask=inside, other=1.0)
    z = tl.load(vectors + 3 * lane + 2, mask=inside, other=1.0)
    r = tl.sqrt(x * x + y * y + z * z)
    other = tl.load(species + tl.load(neighbour + lane, mask=inside, other=0))
    couple = own * SPECIES + other
    value = tl.zeros_like(r)
    change = tl.zeros_like(r)
    for k in tl.static_range(TERMS):
        falling = tl.load(rate + couple * TERMS + k)
        term = tl.load(strength + couple * TERMS + k) * tl.exp(-falling * r)
        value += term
        change -= term * falling
    u = r / CUTOFF
    t = tl.where(u > 1.0, 1.0, u)  # what is no number stays none
    t5 = t * t * t * t * t
    envelope = tl.where(u > 1.0, 0.0, 1.0 + t5 * t * (-28.0 + t * (48.0 - 21.0 * t)))
    bend = (-168.0 / CUTOFF) * t5 * (1.0 - t) * (1.0 - t)
    gap = tl.load(start + couple) - r
    gap = tl.where(gap < 0.0, 0.0, gap)
    square = WALL * gap * gap
    energy = 0.5 * (value / r * envelope + square * gap)
    pull = 0.5 / r * ((envelope * (change - value / r) + value * bend) / r - 3.0 * square)
    return x, y, z, energy, pull


@triton.jit
def energies(
    vectors, first, neighbour, species, strength, rate, start, out,
    CUTOFF: tl.constexpr, WALL: tl.constexpr, SPECIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Energies of atoms (N,), half of those of their pairs, summed in float64."""
    atom = tl.program_id(0).to(tl.int64)
    begin = tl.load(first + atom)
    end = tl.load(first + atom + 1)
    own = tl.load(species + atom)
    total = tl.zeros((BLOCK,), dtype=tl.float64)
    for pair in range(begin, end, BLOCK):
        lane = pair + tl.arange(0, BLOCK)
        inside = lane < end
        _, _, _, energy, _ = _pair(
            vectors, neighbour, species, strength, rate, start, own, lane, inside,
            CUTOFF, WALL, SPECIES,
        )  # fmt: skip
        total += tl.where(inside, energy, 0.0).to(tl.float64)
    tl.store(out + atom, tl.sum(total, 0))


@triton.jit
def gradient(
    vectors, first, neighbour, species, strength, rate, start, slope, out,
    CUTOFF: tl.constexpr, WALL: tl.constexpr, SPECIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient by the vectors, ``out`` (E, 3), of energies that are weighed by ``slope`` (N,)."""
    atom = tl.program_id(0).to(tl.int64)
    begin = tl.load(first + atom)
    end = tl.load(first + atom + 1)
    own = tl.load(species + atom)
    weight = tl.load(slope + atom).to(out.dtype.element_ty)
    for pair in range(begin, end, BLOCK):
        lane = pair + tl.arange(0, BLOCK)
        inside = lane < end
        x, y, z, _, pull = _pair(
            vectors, neighbour, species, strength, rate, start, own, lane, inside,
            CUTOFF, WALL, SPECIES,
        )  # fmt: skip
        tl.store(out + 3 * lane, weight * pull * x, mask=inside)
        tl.store(out + 3 * lane + 1, weight * pull * y, mask=inside)
        tl.store(out + 3 * lane + 2, weight * pull * z, mask=inside)
