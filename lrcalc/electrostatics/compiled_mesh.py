"""Spreading and gathering of `fused_mesh` in C++, on a CPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads

if TYPE_CHECKING:
    from lrcalc.electrostatics.fused_mesh import Grid


def compiled_functions(like: Tensor, order: int) -> ctypes.CDLL | None:
    """Functions for splines of this order, and the type of ``like``; None where there are none."""
    return (
        library("mesh", ("mesh.cpp",), like.dtype, P=order) if like.device.type == "cpu" else None
    )


class _Grid(ctypes.Structure):
    """``struct Grid`` of ``lrcalc/cpp/mesh.cpp``."""

    _fields_ = [
        ("at", POINTER), ("batch", POINTER), ("matrix", POINTER), ("stride", INTEGER),
        ("atoms", INTEGER), ("structures", INTEGER), ("k1", INTEGER), ("k2", INTEGER),
        ("k3", INTEGER), ("order", INTEGER), ("threads", INTEGER),
    ]  # fmt: skip


def put(where: Tensor, moments: Tensor, grid: Grid, order: int) -> Tensor:
    """As `spreading.spread`, without a gradient."""
    k1, k2, k3 = grid.sizes
    mesh = moments.new_zeros(grid.structures * k1 * k2 * k3)
    kept = [x.contiguous() for x in (where, grid.batch, grid.matrix, moments)]
    _functions(grid).spread(_told(kept, grid, order), at(kept[3]), at(mesh))
    return mesh


def take(
    where: Tensor, mesh: Tensor, grid: Grid, count: int, order: int, moments: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """As `spreading.gather`, without a gradient: ``count`` values, and slopes with ``moments``."""
    kept = [x.contiguous() for x in (where, grid.batch, grid.matrix, mesh)]
    moments = None if moments is None else moments.contiguous()
    values = where.new_empty((len(where), count))
    slopes = None if moments is None else torch.empty_like(kept[0])
    tensors = (kept[3], moments, values, slopes)
    _functions(grid).gather(_told(kept, grid, order), *map(at, tensors))
    return values, slopes


def _functions(grid: Grid) -> ctypes.CDLL:
    assert grid.functions is not None
    return grid.functions


def _told(kept: list[Tensor], grid: Grid, order: int) -> Any:
    where, batch, matrix = kept[:3]
    numbers = (matrix.shape[1], len(where), grid.structures, *grid.sizes, order, threads())
    return ctypes.byref(_Grid(at(where), at(batch), at(matrix), *numbers))
