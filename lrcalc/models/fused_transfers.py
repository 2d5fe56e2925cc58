"""Weights of handing charge on in one kernel: `transfers.transfer_weights` once differentiable."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import refuse_second_derivatives

BLOCK = 32
"""Pairs of a program."""


class Reach(NamedTuple):
    """Between whom charge is handed on, and what was learned of it.

    Attributes
    ----------
    rows : Tensor, shape (T,), int64
        Pairs; those beyond the cutoff get zero, and only such may come twice.
    i, j : Tensor, shape (E,), int64
        Centre and neighbour of all pairs.
    species : Tensor, shape (N,), int64
    learned : Tensor, shape (S, S, B + 1, C)
        Of each two species, coefficients of the radial basis and a constant.
    decay : Tensor, shape (C,), Å
    cutoff : float
        Å.
    """

    rows: Tensor
    i: Tensor
    j: Tensor
    species: Tensor
    learned: Tensor
    decay: Tensor
    cutoff: float


def fused_weights(vectors: Tensor, reach: Reach) -> Tensor:
    """Weights (T, C) from all pair ``vectors`` (E, 3), Å.

    Differentiable once, by the vectors alone.
    """
    learned, decay = (x.detach().contiguous() for x in (reach.learned, reach.decay))
    return _Weights.apply(vectors, reach._replace(learned=learned, decay=decay))  # type: ignore[no-any-return]


class _Weights(torch.autograd.Function):
    """Forward and backward of `fused_weights`."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, reach: Reach) -> Tensor:
        vectors = vectors.detach().contiguous()
        ctx.save_for_backward(vectors)
        ctx.reach = reach
        out = vectors.new_empty((len(reach.rows), reach.learned.shape[-1]))
        _launch("weights", vectors, reach, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivatives()
        (vectors,) = ctx.saved_tensors
        out = torch.zeros_like(vectors)
        _launch("weights_gradient", vectors, ctx.reach, gradients[0].contiguous(), out)
        return out, None


def _launch(name: str, vectors: Tensor, reach: Reach, *tensors: Tensor) -> None:
    from lrcalc.models.programs import transfers as programs

    count = len(reach.rows)
    if count == 0:
        return
    species, _, basis, channels = reach.learned.shape
    getattr(programs, name)[((count + BLOCK - 1) // BLOCK,)](
        vectors, *reach[:-1], *tensors, count,
        CUTOFF=reach.cutoff, SCALE=math.sqrt(2.0 / reach.cutoff), SPECIES=species,
        BASIS=basis - 1, C=channels, WIDTH=1 << (channels - 1).bit_length(), BLOCK=BLOCK,
        num_warps=4,
    )  # fmt: skip
