"""Dipole of local charges in C++: `dipole.permanent_dipole`, once differentiable."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.fused_moment import Handed


def compiled_moment(
    vectors: Tensor, amount: Tensor, positions: Tensor, dipole: Tensor | None, handed: Handed
) -> Tensor | None:
    """Return what `lrcalc.models.dipole.permanent_dipole` returns; None where it is not compiled.

    Differentiable once, by all but the charges that are kept.
    """
    kinds = {x.dtype for x in (vectors, amount, handed.kept, dipole) if x is not None}
    if vectors.device.type != "cpu" or len(kinds) > 1 or positions.dtype != torch.float64:
        return None
    functions = library("moments", ("moments.cpp",), vectors.dtype)
    if functions is None:
        return None
    made: Tensor = _Moment.apply(vectors, amount, positions, dipole, functions, handed)
    return made


class _Handed(ctypes.Structure):
    """``struct Handed`` of ``cpp/moments.cpp``."""

    _fields_ = [
        ("rows", POINTER), ("first", POINTER), ("batch", POINTER), ("vectors", POINTER),
        ("amount", POINTER), ("kept", POINTER), ("count", INTEGER), ("pairs", INTEGER),
        ("n", INTEGER), ("structures", INTEGER),
    ]  # fmt: skip


def _told(handed: Handed, vectors: Tensor, amount: Tensor) -> Any:
    rows, i, batch, count, kept = handed
    pointers = (at(x) for x in (rows, i, batch, vectors, amount, kept))
    return ctypes.byref(_Handed(*pointers, len(rows), len(vectors), len(kept), count))


class _Moment(torch.autograd.Function):
    """Forward and backward of `compiled_moment`."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, amount: Tensor, positions: Tensor, dipole: Tensor | None,
        functions: ctypes.CDLL, handed: Handed,
    ) -> Tensor:  # fmt: skip
        vectors, amount, positions = (x.detach().contiguous() for x in (vectors, amount, positions))
        rows, i, batch, count, kept = handed
        plain = (x.detach().contiguous() for x in (rows, i, batch, kept))
        rows, i, batch, kept = plain
        handed = Handed(rows, i, batch, count, kept)
        added = None if dipole is None else dipole.detach().contiguous()
        ctx.save_for_backward(vectors, amount)
        ctx.rest = functions, handed, dipole is not None
        out = positions.new_empty((count, 3))
        functions.moments(_told(handed, vectors, amount), at(positions), at(added), at(out))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        vectors, amount = ctx.saved_tensors
        functions, handed, has_dipole = ctx.rest
        given = gradients[0].contiguous()
        shape = (len(handed.kept), 3)
        found = torch.empty_like(vectors), torch.empty_like(amount), given.new_empty(shape)
        dipole = vectors.new_empty(shape) if has_dipole else None
        told = _told(handed, vectors, amount)
        functions.moments_backward(told, at(given), *map(at, found), at(dipole))
        return *found, dipole, None, None
