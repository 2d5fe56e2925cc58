"""Cardinal B-splines as polynomials of the position within a mesh cell.

For a point at ``v ∈ [-½, ½)`` from the middle of its cell the p weights on the nearest nodes are
polynomials of v (Essmann et al., J. Chem. Phys. 103, 8577 (1995)). Derivatives of order a are
again such polynomials, which makes mesh sums differentiable as often as the order allows.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import pi
from typing import Any

import torch
from torch import Tensor


@lru_cache
def spline_coefficients(order: int) -> tuple[tuple[float, ...], ...]:
    """Coefficients [node][power] of the order-p B-spline weights in powers of v.

    Node j (j = 0 … p - 1) is the cell's index minus p - 1 plus j; its weight is
    ``M_p(v + ½ + p - 1 - j)``. Worked out in rational numbers.
    """
    half = Fraction(1, 2)
    # pieces[k] are the coefficients of M_n on [k, k + 1] in powers of v = x - k - ½
    pieces = [[Fraction(1)]]
    for n in range(2, order + 1):
        grown = []
        for k in range(n):
            total = [Fraction(0)] * n
            # M_n(x) = (x M_{n-1}(x) + (n - x) M_{n-1}(x - 1))/(n - 1), with x = v + k + ½
            for piece, slope, constant in (
                (pieces[k] if k < n - 1 else [], 1, k + half),
                (pieces[k - 1] if k > 0 else [], -1, n - k - half),
            ):
                for power, value in enumerate(piece):
                    total[power] += constant * value / (n - 1)
                    total[power + 1] += slope * value / (n - 1)
            grown.append(total)
        pieces = grown
    return tuple(tuple(float(x) for x in pieces[order - 1 - j]) for j in range(order))


@lru_cache
def spline_matrix(order: int, derivatives: int) -> Tensor:
    """Matrix (p, (derivatives + 1) p) from powers of v to the weights and their derivatives."""
    base = torch.tensor(spline_coefficients(order), dtype=torch.float64)
    columns = []
    for _ in range(derivatives + 1):
        columns.append(base.T)
        shifted = base[:, 1:] * torch.arange(1, order, dtype=torch.float64)
        base = torch.cat([shifted, torch.zeros_like(base[:, :1])], 1)
    return torch.cat(columns, 1)


class _Splines(torch.autograd.Function):
    """Weights and their derivatives; the derivative of derivative a is derivative a + 1."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, matrix: Tensor, low: int, high: int) -> Tensor:
        ctx.save_for_backward(v, matrix)
        ctx.range = (low, high)
        order = len(matrix)
        powers = v.detach()[..., None] ** torch.arange(order, device=v.device)
        weights = powers @ matrix[:, low * order : (high + 1) * order]
        return weights.unflatten(-1, (high - low + 1, order))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        v, matrix = ctx.saved_tensors
        low, high = ctx.range
        slope = _Splines.apply(v, matrix, low + 1, high + 1)
        return (gradients[0] * slope).sum((-1, -2)), None, None, None


def spline_weights(v: Tensor, matrix: Tensor, derivatives: int) -> Tensor:
    """Weights on the p nodes and their derivatives 0 … ``derivatives``.

    Parameters
    ----------
    v : Tensor, shape (...)
        Offset from the middle of the mesh cell, in [-½, ½).
    matrix : Tensor
        `spline_matrix` of the order, with as many derivatives as will be taken in all.

    Returns
    -------
    Tensor, shape (..., derivatives + 1, order)
    """
    return _Splines.apply(v, matrix, 0, derivatives)  # type: ignore[no-any-return]


def spline_filter(index: Tensor, size: int, order: int) -> Tensor:
    """Squared factor ``|b(n)|²`` that makes the mesh phase closest to the exact one.

    With ``M̂(x) = sinc(x)^p``, x = n/K, the choice ``b = M̂(x)/Σ_m M̂(x + m)²`` minimises the mean
    square of ``exp(2πi x t) - b Σ_j M_p(t - j) exp(2πi x j)`` over the position t; the sum over
    images is the Fourier series of the samples of the spline of order 2p.
    """
    x = index.to(torch.float64) / size
    transform = torch.sinc(x) ** order
    # the values at the knots are the ends of the polynomial pieces
    pieces = torch.tensor(spline_coefficients(2 * order), dtype=torch.float64)
    ends = pieces @ (0.5 ** torch.arange(2 * order, dtype=torch.float64))
    knots = torch.arange(2 * order, 0, -1, dtype=torch.float64)
    phase = torch.cos(2.0 * pi * x[:, None] * (knots - order).to(x.device))
    images = phase @ ends.to(x.device)
    return (transform / images) ** 2
