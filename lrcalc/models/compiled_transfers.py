"""Weights of handing charge on in C++: `transfers.transfer_weights` once differentiable."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.fused_transfers import Reach


def compiled_weights(vectors: Tensor, reach: Reach) -> Tensor | None:
    """Weights (T, C) from all pair ``vectors`` (E, 3), Å; None where they cannot be compiled.

    Differentiable once, by the vectors alone.
    """
    species, _, basis, channels = reach.learned.shape
    sizes = {"SPECIES": species, "BASIS": basis - 1, "CHANNELS": channels}
    functions = library("transfers", ("transfers.cpp",), vectors.dtype, **sizes)
    if functions is None or vectors.device.type != "cpu":
        return None
    rows, i, j, known, learned, decay = (x.detach().contiguous() for x in _tensors(reach))
    reach = Reach(rows, i, j, known, learned, decay, reach.cutoff)
    weights: Tensor = _Weights.apply(vectors, functions, reach)
    return weights


class _Reach(ctypes.Structure):
    """``struct Reach`` of ``cpp/transfers.cpp``."""

    _fields_ = [
        ("vectors", POINTER), ("rows", POINTER), ("centre", POINTER), ("neighbour", POINTER),
        ("species", POINTER), ("learned", POINTER), ("decay", POINTER), ("count", INTEGER),
        ("cutoff", ctypes.c_double), ("threads", INTEGER),
    ]  # fmt: skip


def _tensors(reach: Reach) -> tuple[Tensor, ...]:
    return reach.rows, reach.i, reach.j, reach.species, reach.learned, reach.decay


def _told(vectors: Tensor, reach: Reach) -> Any:
    pointers = (at(x) for x in (vectors, *_tensors(reach)))
    return ctypes.byref(_Reach(*pointers, len(reach.rows), reach.cutoff, threads()))


class _Weights(torch.autograd.Function):
    """Forward and backward of `compiled_weights`."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, functions: ctypes.CDLL, reach: Reach) -> Tensor:
        vectors = vectors.detach().contiguous()
        ctx.save_for_backward(vectors)
        ctx.rest = functions, reach
        weights = vectors.new_empty(len(reach.rows), reach.learned.shape[-1])
        functions.weights(_told(vectors, reach), at(weights))
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivatives()
        (vectors,) = ctx.saved_tensors
        functions, reach = ctx.rest
        given, gradient = gradients[0].contiguous(), torch.zeros_like(vectors)
        functions.weights_backward(_told(vectors, reach), at(given), at(gradient))
        return gradient, None, None
