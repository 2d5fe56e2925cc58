"""Parts of a polarizability surface, `lrcalc.models.surface`; a program is an atom."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _table(start, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr):
    """Weights (rows, columns) of an array that is ``WIDE`` numbers wide; zero beyond it."""
    mask = (rows[:, None] < ROWS) & (columns[None, :] < COLUMNS)
    return tl.load(start + rows[:, None] * WIDE + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _sigmoid(x):
    """``1/(1 + exp(-x))``, of which nothing overflows."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x > 0.0, 1.0, small) / (1.0 + small)


@triton.jit
def parts(
    scalars, tensors, species, first, second, constant, unit, inner, gates, out,
    K: tl.constexpr, H: tl.constexpr, C: tl.constexpr,
    KW: tl.constexpr, HW: tl.constexpr, CW: tl.constexpr,
):  # fmt: skip
    """Six numbers of each atom, ``out`` (N, 6); what is inside of the layer and the gates, too."""
    atom = tl.program_id(0).to(tl.int64)
    own = tl.load(species + atom)
    k, h, c = tl.arange(0, KW), tl.arange(0, HW), tl.arange(0, CW)
    x = tl.load(scalars + atom * K + k, mask=k < K, other=0.0)
    p = tl.sum(x[:, None] * _table(first + own * K * H, k, h, K, H, H), 0)
    tl.store(inner + atom * H + h, p, mask=h < H)
    hidden = p * _sigmoid(p)
    second += own * H * (1 + C)
    gate = tl.sum(hidden[:, None] * _table(second + 1, h, c, H, C, 1 + C), 0)
    tl.store(gates + atom * C + c, gate, mask=c < C)
    scale = tl.load(unit).to(tl.float64)
    scalar = tl.sum(hidden * tl.load(second + h * (1 + C), mask=h < H, other=0.0), 0)
    scalar += tl.load(constant + own)
    tl.store(out + 6 * atom, scale * scalar.to(tl.float64))
    for m in tl.static_range(5):
        t = tl.load(tensors + (atom * C + c) * 5 + m, mask=c < C, other=0.0)
        tl.store(out + 6 * atom + 1 + m, scale * tl.sum(gate * t, 0).to(tl.float64))


@triton.jit
def parts_gradient(
    tensors, species, first, second, unit, inner, gates, slope, stride, of_scalars, of_tensors,
    K: tl.constexpr, H: tl.constexpr, C: tl.constexpr,
    KW: tl.constexpr, HW: tl.constexpr, CW: tl.constexpr,
):  # fmt: skip
    """Gradients of what is weighed by ``slope`` (N, 6), rows ``stride`` numbers apart."""
    atom = tl.program_id(0).to(tl.int64)
    own = tl.load(species + atom)
    k, h, c = tl.arange(0, KW), tl.arange(0, HW), tl.arange(0, CW)
    gate = tl.load(gates + atom * C + c, mask=c < C, other=0.0)
    slope += atom * stride
    scale = tl.load(unit).to(tl.float64)
    of_gate = tl.zeros_like(gate)
    for m in tl.static_range(5):
        place = (atom * C + c) * 5 + m
        weight = (scale * tl.load(slope + 1 + m)).to(gate.dtype)
        of_gate += weight * tl.load(tensors + place, mask=c < C, other=0.0)
        tl.store(of_tensors + place, weight * gate, mask=c < C)
    weight = (scale * tl.load(slope)).to(gate.dtype)
    second += own * H * (1 + C)
    of_hidden = tl.sum(of_gate[None, :] * _table(second + 1, h, c, H, C, 1 + C), 1)
    of_hidden += weight * tl.load(second + h * (1 + C), mask=h < H, other=0.0)
    p = tl.load(inner + atom * H + h, mask=h < H, other=0.0)
    of_inner = of_hidden * _sigmoid(p) * (1.0 + p * _sigmoid(-p))
    of_scalar = tl.sum(of_inner[None, :] * _table(first + own * K * H, k, h, K, H, H), 1)
    tl.store(of_scalars + atom * K + k, of_scalar, mask=k < K)
