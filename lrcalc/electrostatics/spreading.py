"""Spreading multipoles and gathering their potential, where a sum is linear and has an adjoint.

Spreading is linear in moments m_a of the derivatives D_a of what an atom at t is seen as, spline
weights at points of a mesh or waves: ``ρ(n) = Σ_i Σ_a m_ia D_a W_n(t_i)``. Gathering is its
transpose. Each one's derivatives are the other one with one derivative more, so both can be
differentiated as often as W can.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Sites, Source


class Places(Protocol):
    """What atoms are spread over. Components come as 1; x, y, z; xx, xy, xz, yy, yz, zz; ..."""

    def put(self, at: Tensor, moments: Tensor, order: int) -> Tensor:
        """Add ``moments`` (N, components) of atoms at ``at`` (N, 3), without a gradient."""

    def take(
        self, at: Tensor, flat: Tensor, order: int, moments: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Transpose: values (N, components), and slopes (N, 3) of their sum with ``moments``."""


def put(source: Source, at: Tensor, scaled: Tensor, batch: Tensor, places: Places) -> Tensor:
    """Spread multipoles, flat.

    Parameters
    ----------
    source : Source
    at : Tensor, shape (N, 3)
        Coordinates.
    scaled : Tensor, shape (B, 3, 3)
        Derivatives of coordinates (last index) with respect to position, Å⁻¹.
    batch : Tensor, shape (N,)
        Structure of each atom.
    places : Places
    """
    columns = [source.charge[:, None]]
    if source.dipole is not None or source.quadrupole is not None:
        dipole = source.dipole
        zero = source.charge.new_zeros((len(source.charge), 3))
        columns.append(zero if dipole is None else times_own(dipole, scaled, batch))
    if source.quadrupole is not None:
        once = times_own(source.quadrupole.transpose(1, 2), scaled, batch)
        m = times_own(once.transpose(1, 2), scaled, batch)
        half = 0.5 * m
        along = [half[:, 0, 0], m[:, 0, 1], m[:, 0, 2], half[:, 1, 1], m[:, 1, 2], half[:, 2, 2]]
        columns.append(torch.stack(along, dim=1))
    moments = torch.cat(columns, dim=1) if len(columns) > 1 else columns[0]
    return spread(at, moments, places, len(columns) - 1)


def take(
    flat: Tensor, at: Tensor, scaled: Tensor, batch: Tensor, places: Places, derivatives: int
) -> Sites:
    """Gather potential, field and hessian at the atoms; arguments as of `put`."""
    found = gather(at, flat, places, derivatives)
    value = found[:, 0]
    if derivatives == 0:
        return Sites(value)
    back = scaled.transpose(1, 2)
    field = -times_own(found[:, 1:4], back, batch)
    if derivatives == 1:
        return Sites(value, field)
    xx, xy, xz, yy, yz, zz = found[:, 4:10].unbind(1)
    curve = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
    once = times_own(curve, back, batch)
    hessian = times_own(once.transpose(1, 2), back, batch).transpose(1, 2)
    return Sites(value, field, hessian)


def times_own(vectors: Tensor, matrices: Tensor, batch: Tensor) -> Tensor:
    """``vectors`` (N, ..., 3) times the matrix of each one's structure (B, 3, 3)."""
    if len(matrices) == 1:
        return vectors @ matrices[0]
    own = matrices.index_select(0, batch)
    if vectors.dim() == 2:
        return (vectors[:, None] @ own)[:, 0]
    return vectors @ own


def components(order: int) -> int:
    """How many derivatives there are up to an order."""
    return (order + 1) * (order + 2) * (order + 3) // 6


def spread(at: Tensor, moments: Tensor, places: Places, order: int) -> Tensor:
    """Add ``moments`` (N, components) of atoms at coordinates ``at`` (N, 3), flat."""
    return _Spread.apply(at, moments, places, order)  # type: ignore[no-any-return]


def gather(at: Tensor, flat: Tensor, places: Places, order: int) -> Tensor:
    """Read what is flat and its derivatives at ``at`` (N, 3), shape (N, components)."""
    return _Gather.apply(at, flat, places, order)  # type: ignore[no-any-return]


class _Spread(torch.autograd.Function):
    """`spread`; adjoint of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, moments: Tensor, places: Places, order: int) -> Tensor:
        ctx.save_for_backward(at, moments)
        ctx.options = (places, order)
        return places.put(at.detach(), moments.detach(), order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        at, moments = ctx.saved_tensors
        places, order = ctx.options
        if torch.is_grad_enabled():
            found = gather(at, gradients[0], places, order + 1)
            return _slopes(found, moments), found[:, : components(order)], None, None
        values, slopes = places.take(at, gradients[0], order, moments)
        assert slopes is not None
        return slopes, values, None, None


class _Gather(torch.autograd.Function):
    """`gather`; adjoint of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, flat: Tensor, places: Places, order: int) -> Tensor:
        ctx.save_for_backward(at, flat)
        ctx.options = (places, order)
        return places.take(at.detach(), flat.detach(), order)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        at, flat = ctx.saved_tensors
        places, order = ctx.options
        moments = gradients[0]
        if torch.is_grad_enabled():
            slopes: Tensor | None = _slopes(gather(at, flat, places, order + 1), moments)
        else:
            slopes = places.take(at, flat, order, moments)[1]
        assert slopes is not None
        return slopes, spread(at, moments, places, order), None, None


def _slopes(found: Tensor, moments: Tensor) -> Tensor:
    """``Σ_a moments_a ∂D_a`` (N, 3) of what was ``found`` with one derivative more."""
    up = _one_more(moments.shape[1], str(found.device))
    return (found[:, up].unflatten(1, (3, -1)) * moments[:, None]).sum(-1)


@lru_cache
def _one_more(count: int, device: str) -> Tensor:
    """Which component is the derivative of each by x, of each by y, of each by z."""
    known = [
        (n - rest, rest - z, z) for n in range(7) for rest in range(n + 1) for z in range(rest + 1)
    ][:count]
    up = [[a + int(axis == k) for k, a in enumerate(c)] for axis in range(3) for c in known]
    return torch.tensor([_place(*c) for c in up], device=device)


def _place(x: int, y: int, z: int) -> int:
    """Place of a derivative among 1; x, y, z; xx, xy, xz, yy, yz, zz; ..."""
    n, rest = x + y + z, y + z
    return n * (n + 1) * (n + 2) // 6 + rest * (rest + 1) // 2 + z
