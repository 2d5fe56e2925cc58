"""Vectors of pairs in C++: `lrcalc.neighbors.pair_vectors`, once differentiable."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.neighbors import Pairs, pair_vectors
from lrcalc.system import System, own_cell


def vectors_of(system: System, pairs: Pairs, dtype: torch.dtype) -> Tensor:
    """Vectors (E, 3), Å, of ``dtype``, in C++ where that may be used, there and for this."""
    functions = None
    if _usable(system, pairs):
        functions = library("vectors", ("vectors.cpp",), dtype)
    if functions is None:
        return pair_vectors(system, pairs).to(dtype)
    given = (system.batch, pairs.i, pairs.j, pairs.shift)
    ends = _Ends(*(x.contiguous() for x in given))
    vectors: Tensor = _Vectors.apply(system.positions, own_cell(system), functions, ends, dtype)
    return vectors


def _usable(system: System, pairs: Pairs) -> bool:
    """Not where vectors are known of before."""
    plain = system.once and system.compiled and pairs.known is None
    return (
        plain
        and system.positions.device.type == "cpu"
        and system.positions.dtype == system.cell.dtype == torch.float64
    )


class _Ends(NamedTuple):
    batch: Tensor
    first: Tensor
    second: Tensor
    shift: Tensor


class _Told(ctypes.Structure):
    """``struct Ends`` of ``cpp/vectors.cpp``."""

    _fields_ = [
        ("positions", POINTER), ("cells", POINTER), ("batch", POINTER), ("first", POINTER),
        ("second", POINTER), ("shift", POINTER), ("n_pairs", INTEGER), ("n", INTEGER),
        ("structures", INTEGER), ("threads", INTEGER),
    ]  # fmt: skip


def _told(positions: Tensor | None, cells: Tensor, ends: _Ends) -> Any:
    pointers = (at(x) for x in (positions, cells, *ends))
    return ctypes.byref(_Told(*pointers, len(ends.first), len(ends.batch), len(cells), threads()))


class _Vectors(torch.autograd.Function):
    """Positions (N, 3) and cells (S, 3, 3), float64, to vectors (E, 3)."""

    @staticmethod
    def forward(
        ctx: Any, positions: Tensor, cells: Tensor, functions: ctypes.CDLL, ends: _Ends,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        positions, cells = positions.detach().contiguous(), cells.detach().contiguous()
        ctx.rest = functions, ends, cells
        vectors = positions.new_empty(len(ends.first), 3, dtype=dtype)
        functions.vectors(_told(positions, cells, ends), at(vectors))
        return vectors

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        refuse_second_derivatives()
        functions, ends, cells = ctx.rest
        given = given.contiguous()
        gradient = given.new_empty(len(ends.batch), 3, dtype=torch.float64)
        by_cells = torch.empty_like(cells) if ctx.needs_input_grad[1] else None
        told = _told(None, cells, ends)
        functions.vectors_backward(told, at(given), at(gradient), at(by_cells))
        return gradient, by_cells, None, None, None
