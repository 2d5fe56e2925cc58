"""Neighbour densities in one pass over the pairs: `lrcalc.models.native.local` in a kernel."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import refuse_second_derivatives

MOST_COLUMNS = 128
"""Species times radial functions, above which registers do not suffice."""


class Neighbours(NamedTuple):
    """Who hears whom.

    Attributes
    ----------
    start : Tensor, shape (N + 1,), int64
        First pair of each centre, and the end.
    j : Tensor, shape (E,), int64
        Neighbour of each pair.
    species : Tensor, shape (M,), int64
        Of all atoms.
    place : Tensor, shape (N,), int64
        Row of each centre in the result.
    """

    start: Tensor
    j: Tensor
    species: Tensor
    place: Tensor


def neighbour_rows(
    vectors: Tensor, at: Neighbours, cutoff: float, n_species: int, n_basis: int
) -> Tensor:
    """``Σ_j R_n(r_ij)/n Y_lm(r̂_ij)`` over each centre's neighbours of a species.

    Parameters
    ----------
    vectors : Tensor, shape (E, 3), Å
        Sorted by centre; beyond the cutoff they carry nothing.
    at : Neighbours
    cutoff : float
        Å.
    n_species, n_basis : int

    Returns
    -------
    Tensor, shape (16, N, n_species n_basis)
        Differentiable once by the vectors.
    """
    return _Rows.apply(vectors, at, cutoff, n_species, n_basis)  # type: ignore[no-any-return]


class _Rows(torch.autograd.Function):
    """Forward and backward of `neighbour_rows`."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, at: Neighbours, cutoff: float, n_species: int, n_basis: int
    ) -> Tensor:
        vectors = vectors.detach().contiguous()
        ctx.save_for_backward(vectors, *at)
        ctx.options = (cutoff, n_species, n_basis)
        rows = vectors.new_empty((16, len(at.place), n_species * n_basis))
        _launch("density", vectors, at, rows, rows, *ctx.options)
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        refuse_second_derivatives()
        vectors, *at = ctx.saved_tensors
        slope, out = gradients[0].contiguous(), torch.empty_like(vectors)
        _launch("density_gradient", vectors, Neighbours(*at), slope, out, *ctx.options)
        return out, None, None, None, None


def _launch(
    name: str, vectors: Tensor, at: Neighbours, rows: Tensor, out: Tensor,
    cutoff: float, n_species: int, n_basis: int,
) -> None:  # fmt: skip
    from lrcalc.models.native.fused.programs import density as programs

    atoms, columns = rows.shape[1], rows.shape[2]
    if atoms == 0:
        return
    width = 1 << (columns - 1).bit_length()
    arrays = [vectors, at.start, at.j, at.species, at.place]
    arrays += [rows] if name == "density" else [rows, out]
    block, warps = SHAPE[name]
    block = max(1, block * 16 // width)
    getattr(programs, name)[(atoms,)](
        *arrays, atoms,
        CUTOFF=cutoff, SCALE=math.sqrt(2.0 / cutoff), BASIS=n_basis,
        COLUMNS=columns, WIDTH=width, BLOCK=block, num_warps=warps,
    )  # fmt: skip


SHAPE = {"density": (8, 1), "density_gradient": (8, 1)}
"""Pairs at a time with 16 columns, and warps."""
