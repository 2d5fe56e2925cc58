"""Charge handed from atom to atom: how far, in how many hops, and what that can represent.

Of its emission ``c`` each atom hands shares ``p_ij`` (rows of P, sum at most 1) to its neighbours,
and is left with what is missing: ``q = c - Pᵀc``. That is a high-pass filter. A pattern of charge
that P keeps to the fraction λ comes through with ``1 - λ``: λ is near 1 for patterns that are even
over several bonds, which hence are hardly there, and learn with the square of that; and -1 for one
that alternates over bonds, which comes twice. With several hops, of which the s-th hands out the
multiple ``1/(1 - λ_s)`` of what there is,

    q = c - r(Pᵀ) c ,    r(λ) = Π_s (λ - λ_s)/(1 - λ_s) ,    r(1) = 1 ,

is conserved hop by hop, and r is as small as it can be on [-1, 1 - ε] when the λ_s are the nodes of
a Chebyshev polynomial (the polynomial acceleration of iterative solvers: Saad, *Iterative Methods
for Sparse Linear Systems*, 2nd ed., §12.3). So a few hops give atomic charges minus their mean over
a soft neighbourhood, and their levers remain those of the pairs.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lrcalc.domain import Domain, settled
from lrcalc.models.radial import envelope, radial_basis

RESIDUAL = 0.05
"""What r is below, on the interval where several hops flatten the filter."""

FREE_WEIGHT = 0.02
"""Weight of keeping a charge rather than handing it to a neighbour: lets a transfer fade smoothly
as the last neighbour leaves."""


def hop_multiples(hops: int) -> list[float]:
    """Multiple of its charge that an atom hands out in each hop.

    ``1/(1 - λ_s)`` with the nodes λ_s of the Chebyshev polynomial on [-1, 1 - ε], where ε makes
    its maximum `RESIDUAL`. A single hop hands out everything.
    """
    if hops == 1:
        return [1.0]
    ratio = math.cosh(math.acosh(1.0 / RESIDUAL) / hops)
    half = 2.0 / (1.0 + ratio)  # of the interval's length: (2 + ε)/(2 - ε) = ratio
    nodes = [half - 1.0 + half * math.cos(math.pi * (s + 0.5) / hops) for s in range(hops)]
    # what is uneven goes first, in small steps, so that no pattern grows in between
    return sorted(1.0 / (1.0 - node) for node in nodes)


def transfer_weights(distance: Tensor, learned: Tensor, decay: Tensor, cutoff: float) -> Tensor:
    """Return weights ``envelope × exp(a(r) - (r - 1 Å)/decay)`` of handing charge on, (T, C).

    Parameters
    ----------
    distance : Tensor, shape (T,), Å
    learned : Tensor, shape (T, B + 1, C)
        Of each pair and channel, coefficients of the radial basis and a constant, which make a.
    decay : Tensor, shape (C,), Å
    cutoff : float
        Å.
    """
    basis = radial_basis(distance, cutoff, learned.shape[1] - 1)
    basis = torch.cat([basis, torch.ones_like(distance)[:, None]], dim=1)
    # so many products of small matrices cost more than their terms
    exponent = (basis[:, :, None] * learned).sum(1) - (distance[:, None] - 1.0) / decay
    return envelope(distance, cutoff)[:, None] * torch.exp(exponent)


def handed_out(
    emitted: Tensor,
    weight: Tensor,
    i: Tensor,
    j: Tensor,
    hops: int,
    domain: Domain | None = None,
) -> Tensor:
    """Charge that ``i`` gains and ``j`` loses, as ``i`` counts its emission and ``j`` is handed it.

    Parameters
    ----------
    emitted : Tensor, shape (N, C), e
    weight : Tensor, shape (T, C), ≥ 0
    i, j : Tensor, shape (T,)
        Atom that gains it and atom that loses it; each pair in both directions.
    hops : int
        How often charge is handed on.
    domain : Domain or None
        Whose ghosts emit nothing: what they are handed goes on from their owners.
    """
    total = weight.new_zeros(emitted.shape).index_add(0, i, weight) + FREE_WEIGHT
    share = weight / rows_of(total, i)
    gone = 1.0 - FREE_WEIGHT / total
    first, *later = hop_multiples(hops)
    given = handed = first * emitted
    for multiple in later:
        arrived = share * rows_of(given, i)
        emitted = settled(domain, (emitted - gone * given).index_add(0, j, arrived))
        given = multiple * emitted
        handed = handed + given
    # shares are the same in every hop, so what goes over a pair is summed at its atom
    return (share * rows_of(handed, i)).sum(1)


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """Rows of a narrow array (N, C); torch starts a block of threads for each on a GPU."""
    return _Rows.apply(values, rows) if values.is_cuda else values.index_select(0, rows)  # type: ignore[no-any-return]


class _Rows(torch.autograd.Function):
    """``values[rows]``, entry by entry."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape = values.shape
        channels = values.shape[1]
        lanes = torch.arange(channels, device=values.device)
        return torch.take(values, rows[:, None] * channels + lanes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return gradients[0].new_zeros(ctx.shape).index_add(0, rows, gradients[0]), None
