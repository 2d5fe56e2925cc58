"""Dipole of `lrcalc.models.dipole`, of local charges; a lane is a pair, and an atom."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _add_sum(out, x, y, z):
    """Add the sum of vectors (BLOCK,)."""
    tl.atomic_add(out, tl.sum(x, 0))
    tl.atomic_add(out + 1, tl.sum(y, 0))
    tl.atomic_add(out + 2, tl.sum(z, 0))


@triton.jit
def _add(out, batch, atom, x, y, z, inside):
    """Add vectors (BLOCK,) of atoms to those of their structures.

    Those of one structure are summed first. What is zero is not added: of pairs that fill up
    arrays there are many.
    """
    structure = tl.load(batch + atom, mask=inside, other=-1)
    last = tl.maximum(tl.max(structure, 0), 0)
    structure = tl.where(inside, structure, last)  # what is none does not make two of one
    if tl.min(structure, 0) == last:
        _add_sum(out + 3 * last, x, y, z)
    else:
        tl.atomic_add(out + 3 * structure, x, mask=inside & (x != 0.0))
        tl.atomic_add(out + 3 * structure + 1, y, mask=inside & (y != 0.0))
        tl.atomic_add(out + 3 * structure + 2, z, mask=inside & (z != 0.0))


@triton.jit
def moments(
    vectors, amount, positions, kept, dipole, rows, i, batch, out, pairs, atoms,
    HAS_DIPOLE: tl.constexpr, ONE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add ``Σ kept_i r_i - Σ t_ij d_ij + Σ u_i`` to ``out`` (S, 3), in float64."""
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < pairs
    row = tl.load(rows + lane, mask=inside, other=0)
    given = tl.load(amount + lane, mask=inside, other=0.0).to(tl.float64)
    x = -given * tl.load(vectors + 3 * row, mask=inside, other=0.0).to(tl.float64)
    y = -given * tl.load(vectors + 3 * row + 1, mask=inside, other=0.0).to(tl.float64)
    z = -given * tl.load(vectors + 3 * row + 2, mask=inside, other=0.0).to(tl.float64)
    here = lane < atoms
    charge = tl.load(kept + lane, mask=here, other=0.0).to(tl.float64)
    u = charge * tl.load(positions + 3 * lane, mask=here, other=0.0).to(tl.float64)
    v = charge * tl.load(positions + 3 * lane + 1, mask=here, other=0.0).to(tl.float64)
    w = charge * tl.load(positions + 3 * lane + 2, mask=here, other=0.0).to(tl.float64)
    if HAS_DIPOLE:
        u += tl.load(dipole + 3 * lane, mask=here, other=0.0).to(tl.float64)
        v += tl.load(dipole + 3 * lane + 1, mask=here, other=0.0).to(tl.float64)
        w += tl.load(dipole + 3 * lane + 2, mask=here, other=0.0).to(tl.float64)
    if ONE:
        _add_sum(out, x + u, y + v, z + w)
    else:
        _add(out, batch, tl.load(i + row, mask=inside, other=0), x, y, z, inside)
        _add(out, batch, lane, u, v, w, here)


@triton.jit
def moments_gradient(
    vectors, amount, kept, rows, i, batch, slope,
    of_vectors, of_amount, of_positions, of_dipole, pairs, atoms,
    HAS_DIPOLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of dipoles that are weighed by ``slope`` (S, 3), by all that they are made of.

    Those by the vectors go into their rows of ``of_vectors`` (E, 3).
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < pairs
    row = tl.load(rows + lane, mask=inside, other=0)
    centre = tl.load(i + row, mask=inside, other=0)
    own = slope + 3 * tl.load(batch + centre, mask=inside, other=0)
    given = tl.load(amount + lane, mask=inside, other=0.0).to(tl.float64)
    along = tl.zeros((BLOCK,), dtype=tl.float64)
    for k in tl.static_range(3):
        weight = tl.load(own + k, mask=inside, other=0.0)
        along -= weight * tl.load(vectors + 3 * row + k, mask=inside, other=0.0).to(tl.float64)
        tl.store(of_vectors + 3 * row + k, -given * weight, mask=inside)
    tl.store(of_amount + lane, along, mask=inside)
    here = lane < atoms
    own = slope + 3 * tl.load(batch + lane, mask=here, other=0)
    charge = tl.load(kept + lane, mask=here, other=0.0).to(tl.float64)
    for k in tl.static_range(3):
        weight = tl.load(own + k, mask=here, other=0.0)
        tl.store(of_positions + 3 * lane + k, charge * weight, mask=here)
        if HAS_DIPOLE:
            tl.store(of_dipole + 3 * lane + k, weight, mask=here)
