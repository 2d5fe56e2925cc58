"""Clebsch-Gordan products of a density with itself, and invariants, element by element.

Coefficients are part of the programs, so that only those that are not zero cost anything. A lane
is an atom and a channel; components (lm, atoms, channels) of the density come first in memory, and
factors of what is mixed to ℓ are (2ℓ + 1, atoms, paths and the density itself, channels).
"""

from __future__ import annotations

import triton
import triton.language as tl

from lrcalc.models.native.coupling import L_MAX, N_LM, coupling

_FIRST, _SECOND, _MATRIX, _PATHS = coupling(symmetric=True)


def _by_row() -> list[list[tuple]]:
    """Terms (first, second, coefficient) of each row of the products."""
    columns = list(zip(_FIRST.tolist(), _SECOND.tolist(), strict=True))
    return [
        [(*pair, value) for pair, value in zip(columns, row, strict=True) if abs(value) > 1e-12]
        for row in _MATRIX.tolist()
    ]


def _by_factor() -> list[list[tuple]]:
    """Terms (row, other, coefficient) of the derivative by each component."""
    terms: list[list[tuple]] = [[] for _ in range(N_LM)]
    for row, found in enumerate(_by_row()):
        for one, two, value in found:
            terms[one].append((row, two, value))
            terms[two].append((row, one, value))
    return terms


def _flat(terms: list[list[tuple]]) -> tuple[tl.constexpr, ...]:
    """Where the terms of each begin, and the end; then their columns."""
    ends = [0]
    for found in terms:
        ends.append(ends[-1] + len(found))
    columns = zip(*(term for found in terms for term in found), strict=True)
    return tuple(tl.constexpr(tuple(x)) for x in (ends, *columns))


def _places(own: bool) -> tuple[tl.constexpr, ...]:
    """Where rows of the products, or the density itself, are among the factors.

    Blocks of (atoms, channels) before, channels of an atom in units of C, and those before.
    """
    found, before = [], 0
    for ell, count in enumerate(_PATHS):
        for path in [count] if own else range(count):
            found += [(before + m * (count + 1), count + 1, path) for m in range(2 * ell + 1)]
        before += (2 * ell + 1) * (count + 1)
    return tuple(tl.constexpr(x) for x in zip(*found, strict=True))


ROW, FIRST, SECOND, VALUE = _flat(_by_row())
FACTOR, OF_ROW, OTHER, WEIGHT = _flat(_by_factor())
ROW_BLOCK, ROW_WIDTH, ROW_PATH = _places(own=False)
OWN_BLOCK, OWN_WIDTH, OWN_PATH = _places(own=True)
N_ROWS = tl.constexpr(len(_MATRIX))
COMPONENTS = tl.constexpr(N_LM)
SCALARS = tl.constexpr(_PATHS[0])
ORDERS = tl.constexpr(L_MAX + 1)
NORM = tl.constexpr(tuple((2 * ell + 1) ** -0.5 for ell in range(L_MAX + 1)))
BLOCKS = sum((2 * ell + 1) * (count + 1) for ell, count in enumerate(_PATHS))
"""How many times the size of one component the factors have."""
INVARIANTS = 1 + _PATHS[0] + 2 * (L_MAX + 1)


@triton.jit
def _of_row(k: tl.constexpr, atom, channel, total, C: tl.constexpr):
    """Where an element of a row of the products is among the factors."""
    return ROW_BLOCK[k] * total + atom * (ROW_WIDTH[k] * C) + ROW_PATH[k] * C + channel


@triton.jit
def _of_own(k: tl.constexpr, atom, channel, total, C: tl.constexpr):
    """Where an element of the density itself is among the factors."""
    return OWN_BLOCK[k] * total + atom * (OWN_WIDTH[k] * C) + OWN_PATH[k] * C + channel


@triton.jit(do_not_specialize=["atoms"])
def couple(density, factors, atoms, C: tl.constexpr, BLOCK: tl.constexpr):
    """Factors of what is mixed: products of the ``density``, and itself."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = atoms.to(tl.int64) * C
    mask = lane < total
    atom, channel = lane // C, lane % C
    d = ()
    for k in tl.static_range(COMPONENTS):
        d = d + (tl.load(density + k * total + lane, mask=mask, other=0.0),)
    for k in tl.static_range(COMPONENTS):
        tl.store(factors + _of_own(k, atom, channel, total, C), d[k], mask=mask)
    for row in tl.static_range(N_ROWS):
        value = tl.zeros((BLOCK,), dtype=density.dtype.element_ty)
        for term in tl.static_range(tl.constexpr(ROW[row]), tl.constexpr(ROW[row + 1])):
            value += VALUE[term] * (d[FIRST[term]] * d[SECOND[term]])
        tl.store(factors + _of_row(row, atom, channel, total, C), value, mask=mask)


@triton.jit(do_not_specialize=["atoms"])
def couple_gradient(
    density, slope, invariant_slope, gradient, atoms,
    C: tl.constexpr, KINDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add to ``gradient`` (lm, atoms, C) what the factors' ``slope`` makes, and the scalars'."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = atoms.to(tl.int64) * C
    mask = lane < total
    atom, channel = lane // C, lane % C
    d = ()
    for k in tl.static_range(COMPONENTS):
        d = d + (tl.load(density + k * total + lane, mask=mask, other=0.0),)
    g = ()
    for row in tl.static_range(N_ROWS):
        at = slope + _of_row(row, atom, channel, total, C)
        value = tl.load(at, mask=mask, other=0.0)
        if row < SCALARS:
            at = invariant_slope + atom * (KINDS * C) + (1 + row) * C + channel
            value += tl.load(at, mask=mask, other=0.0)
        g = g + (value,)
    for k in tl.static_range(COMPONENTS):
        at = slope + _of_own(k, atom, channel, total, C)
        value = tl.load(at, mask=mask, other=0.0)
        value += tl.load(gradient + k * total + lane, mask=mask, other=0.0)
        for term in tl.static_range(tl.constexpr(FACTOR[k]), tl.constexpr(FACTOR[k + 1])):
            value += WEIGHT[term] * (g[OF_ROW[term]] * d[OTHER[term]])
        tl.store(gradient + k * total + lane, value, mask=mask)


@triton.jit(do_not_specialize=["atoms"])
def invariants(
    density, product, factors, place, out, vector, tensor, atoms,
    C: tl.constexpr, KINDS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Invariants (atoms, KINDS C) in the order by species, vectors and tensors in that of atoms."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = atoms.to(tl.int64) * C
    mask = lane < total
    atom, channel = lane // C, lane % C
    row = tl.load(place + atom, mask=mask, other=0)
    here = row * C + channel
    d, p = (), ()
    for k in tl.static_range(COMPONENTS):
        d = d + (tl.load(density + k * total + here, mask=mask, other=0.0),)
        p = p + (tl.load(product + k * total + here, mask=mask, other=0.0),)
    to = out + row * (KINDS * C) + channel
    tl.store(to, d[0], mask=mask)
    for k in tl.static_range(SCALARS):
        at = factors + _of_row(k, row, channel, total, C)
        tl.store(to + (1 + k) * C, tl.load(at, mask=mask, other=0.0), mask=mask)
    for ell in tl.static_range(ORDERS):
        first, second = tl.zeros_like(d[0]), tl.zeros_like(d[0])
        for m in tl.static_range(2 * ell + 1):
            first += p[ell * ell + m] * d[ell * ell + m]
            second += p[ell * ell + m] * p[ell * ell + m]
        tl.store(to + (1 + SCALARS + ell) * C, NORM[ell] * first, mask=mask)
        tl.store(to + (1 + SCALARS + ORDERS + ell) * C, NORM[ell] * second, mask=mask)
    for m in tl.static_range(3):
        at = vector + atom * (6 * C) + channel * 3 + m
        tl.store(at, d[1 + m], mask=mask)
        tl.store(at + 3 * C, p[1 + m], mask=mask)
    for m in tl.static_range(5):
        at = tensor + atom * (10 * C) + channel * 5 + m
        tl.store(at, d[4 + m], mask=mask)
        tl.store(at + 5 * C, p[4 + m], mask=mask)


@triton.jit(do_not_specialize=["atoms"])
def invariants_gradient(
    density, product, place, slope, vector, tensor, passed, to_density, to_product, atoms,
    C: tl.constexpr, KINDS: tl.constexpr, BLOCK: tl.constexpr,
    VECTOR: tl.constexpr, TENSOR: tl.constexpr, PASSED: tl.constexpr,
):  # fmt: skip
    """Gradients by density and product, of those of `invariants`, and of the product's own."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = atoms.to(tl.int64) * C
    mask = lane < total
    atom, channel = lane // C, lane % C
    row = tl.load(place + atom, mask=mask, other=0)
    here = row * C + channel
    g = slope + row * (KINDS * C) + channel
    for ell in tl.static_range(ORDERS):
        first = NORM[ell] * tl.load(g + (1 + SCALARS + ell) * C, mask=mask, other=0.0)
        second = tl.load(g + (1 + SCALARS + ORDERS + ell) * C, mask=mask, other=0.0)
        second = (2.0 * NORM[ell]) * second
        for m in tl.static_range(2 * ell + 1):
            at = (ell * ell + m) * total + here
            d = tl.load(density + at, mask=mask, other=0.0)
            p = tl.load(product + at, mask=mask, other=0.0)
            by_d, by_p = first * p, first * d + second * p
            if ell == 0:
                by_d += tl.load(g, mask=mask, other=0.0)
            if VECTOR and ell == 1:
                of = vector + atom * (6 * C) + channel * 3 + m
                by_d += tl.load(of, mask=mask, other=0.0)
                by_p += tl.load(of + 3 * C, mask=mask, other=0.0)
            if TENSOR and ell == 2:
                of = tensor + atom * (10 * C) + channel * 5 + m
                by_d += tl.load(of, mask=mask, other=0.0)
                by_p += tl.load(of + 5 * C, mask=mask, other=0.0)
            if PASSED:
                by_p += tl.load(passed + at, mask=mask, other=0.0)
            tl.store(to_density + at, by_d, mask=mask)
            tl.store(to_product + at, by_p, mask=mask)
