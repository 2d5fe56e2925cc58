"""Weights of handing charge on in one kernel: `transfers.transfer_weights` once differentiable."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import available, refuse_second_derivatives
from lrcalc.kernels.trial import tried, weighed
from lrcalc.models.transfers import transfer_weights

Case = tuple[str, Tensor, Tensor]

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


def usable(vectors: Tensor, reach: Reach) -> bool:
    """Whether there is a kernel where ``vectors`` are, and it gives what torch gives."""
    if not available(vectors):
        return False
    known = (reach.learned, reach.decay, reach.cutoff)
    key = (tuple(reach.learned.shape), reach.cutoff)
    return tried("transfers", vectors, key, lambda: cases(vectors, *known))


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


def cases(like: Tensor, learned: Tensor, decay: Tensor, cutoff: float) -> Iterator[Case]:
    """Weigh a few pairs by the kernel and by torch, see `lrcalc.kernels.trial`."""
    make = torch.Generator().manual_seed(0)
    species = len(learned)
    vectors = 0.5 * cutoff * torch.randn(70, 3, dtype=torch.float64, generator=make)
    vectors[5] *= 100.0
    rows = torch.cat([torch.randperm(70, generator=make)[:50], torch.tensor([5, 5])])
    i, j = torch.randint(0, 9, (2, 70), generator=make)
    table = 0.3 * torch.randn(learned.shape, dtype=torch.float64, generator=make)
    rows, i, j, kinds = (x.to(like.device) for x in (rows, i, j, torch.arange(9) % species))
    leaf = vectors.to(like).requires_grad_()
    reach = Reach(rows, i, j, kinds, table.to(like), decay.to(like), cutoff)
    couple = kinds[i[rows]] * species + kinds[j[rows]]
    own = reach.learned.flatten(0, 1).index_select(0, couple)
    distance = torch.linalg.vector_norm(leaf.index_select(0, rows), dim=1)
    values = fused_weights(leaf, reach), transfer_weights(distance, own, reach.decay, cutoff)
    yield "a weight", *values
    slopes = [torch.autograd.grad(weighed(x), leaf)[0] for x in values]
    yield "the gradient of weights", slopes[0], slopes[1]


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
