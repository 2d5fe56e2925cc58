"""Spreading and gathering of `mesh` in one kernel each, which make spline weights as they go.

Spreading is linear in moments m_a of the derivatives D_a of the spline product W of an atom,
``ρ(n) = Σ_i Σ_a m_ia D_a W(t_i - n)``, and gathering is its transpose. Each one's derivatives are
the other one with one derivative more, so both can be differentiated as often as splines can.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain
from lrcalc.electrostatics import compiled_mesh
from lrcalc.electrostatics.kernels import Sites, Source


class Grid(NamedTuple):
    """Mesh and splines.

    Attributes
    ----------
    sizes : tuple of int
        Points along the three cell vectors.
    structures : int
        One mesh for each.
    batch : Tensor, shape (N,), int64
        Structure of each atom.
    order : int
        Of the splines, p.
    matrix : Tensor, shape (p, (p + 5) p)
        Powers to weights and their derivatives, see `splines`.
    functions : CDLL or None
        Of `compiled_mesh`, on a CPU; None: kernels.
    """

    sizes: tuple[int, int, int]
    structures: int
    batch: Tensor
    order: int
    matrix: Tensor
    functions: ctypes.CDLL | None = None


class FusedSpread(NamedTuple):
    """The mesh sum at given positions, for any multipoles; does what `mesh.Spread` does.

    Attributes
    ----------
    grid : Grid
    at : Tensor, shape (N, 3)
        Mesh coordinates.
    scaled : Tensor, shape (B, 3, 3)
        Derivatives of mesh coordinates (last index) with respect to position, Å⁻¹.
    green : Tensor, shape (B, K1, K2, K3/2 + 1)
        Filter.
    domain : Domain or None
    """

    grid: Grid
    at: Tensor
    scaled: Tensor
    green: Tensor
    domain: Domain | None = None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Points along the three cell vectors."""
        return self.grid.sizes

    def put(self, source: Source) -> Tensor:
        """Density of multipoles on the flat mesh."""
        columns = [source.charge[:, None]]
        if source.dipole is not None or source.quadrupole is not None:
            dipole = source.dipole
            zero = source.charge.new_zeros((len(source.charge), 3))
            columns.append(zero if dipole is None else self._into_mesh(dipole))
        if source.quadrupole is not None:
            once = self._into_mesh(source.quadrupole.transpose(1, 2))
            m = self._into_mesh(once.transpose(1, 2))
            half = 0.5 * m
            along = [
                half[:, 0, 0],
                m[:, 0, 1],
                m[:, 0, 2],
                half[:, 1, 1],
                m[:, 1, 2],
                half[:, 2, 2],
            ]
            columns.append(torch.stack(along, dim=1))
        moments = torch.cat(columns, dim=1) if len(columns) > 1 else columns[0]
        return spread(self.at, moments, self.grid, len(columns) - 1)

    def take(self, potential: Tensor, derivatives: int) -> Sites:
        """Potential, field and hessian at the atoms from the potential on the flat mesh."""
        found = gather(self.at, potential, self.grid, derivatives)
        value = found[:, 0]
        if derivatives == 0:
            return Sites(value)
        field = -self._from_mesh(found[:, 1:4])
        if derivatives == 1:
            return Sites(value, field)
        xx, xy, xz, yy, yz, zz = found[:, 4:10].unbind(1)
        curve = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
        once = self._from_mesh(curve)
        return Sites(value, field, self._from_mesh(once.transpose(1, 2)).transpose(1, 2))

    def _into_mesh(self, vectors: Tensor) -> Tensor:
        """``vectors`` (N, ..., 3) along mesh coordinates, last index first: v @ scaled."""
        return times_own(vectors, self.scaled, self.grid.batch)

    def _from_mesh(self, slopes: Tensor) -> Tensor:
        """Turn derivatives (N, ..., 3) by mesh coordinates to those by position: scaled @ s."""
        return times_own(slopes, self.scaled.transpose(1, 2), self.grid.batch)


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


def spread(at: Tensor, moments: Tensor, grid: Grid, order: int) -> Tensor:
    """Add ``moments`` (N, components) of atoms at mesh coordinates ``at`` (N, 3) to a flat mesh."""
    return _Spread.apply(at, moments, grid, order)  # type: ignore[no-any-return]


def gather(at: Tensor, mesh: Tensor, grid: Grid, order: int) -> Tensor:
    """Read a flat mesh and its derivatives at ``at`` (N, 3), shape (N, components)."""
    return _Gather.apply(at, mesh, grid, order)  # type: ignore[no-any-return]


class _Spread(torch.autograd.Function):
    """`spread`; adjoint of `_Gather`."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, moments: Tensor, grid: Grid, order: int) -> Tensor:
        ctx.save_for_backward(at, moments)
        ctx.options = (grid, order)
        return _put(at.detach(), moments.detach(), grid, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        at, moments = ctx.saved_tensors
        grid, order = ctx.options
        if torch.is_grad_enabled():
            found = gather(at, gradients[0], grid, order + 1)
            return _slopes(found, moments), found[:, : components(order)], None, None
        values, slopes = _take(at, gradients[0], grid, order, moments)
        assert slopes is not None
        return slopes, values, None, None


class _Gather(torch.autograd.Function):
    """`gather`; adjoint of `_Spread`."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, mesh: Tensor, grid: Grid, order: int) -> Tensor:
        ctx.save_for_backward(at, mesh)
        ctx.options = (grid, order)
        return _take(at.detach(), mesh.detach(), grid, order)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        at, mesh = ctx.saved_tensors
        grid, order = ctx.options
        moments = gradients[0]
        if torch.is_grad_enabled():
            slopes: Tensor | None = _slopes(gather(at, mesh, grid, order + 1), moments)
        else:
            slopes = _take(at, mesh, grid, order, moments)[1]
        assert slopes is not None
        return slopes, spread(at, moments, grid, order), None, None


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


def _put(at: Tensor, moments: Tensor, grid: Grid, order: int) -> Tensor:
    """Run `programs.mesh.spread`, or what does so on a CPU."""
    if grid.functions is not None:
        return compiled_mesh.put(at, moments, grid, order)
    from lrcalc.electrostatics.programs import mesh as programs

    k1, k2, k3 = grid.sizes
    mesh = moments.new_zeros(grid.structures * k1 * k2 * k3)
    if len(at):
        arrays = [at.contiguous(), moments.contiguous(), grid.batch, grid.matrix, mesh]
        programs.spread[(len(at),)](*arrays, *grid.sizes, ORDER=order, **_splines(grid))
    return mesh


def _take(
    at: Tensor, mesh: Tensor, grid: Grid, order: int, moments: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Run `programs.mesh.gather`, or its like: values, and slopes if there are ``moments``."""
    if grid.functions is not None:
        return compiled_mesh.take(at, mesh, grid, components(order), order, moments)
    from lrcalc.electrostatics.programs import mesh as programs

    at = at.contiguous()
    values = at.new_empty((len(at), components(order)))
    slopes = None if moments is None else torch.empty_like(at)
    if len(at):
        known = [values if x is None else x.contiguous() for x in (moments, slopes)]
        arrays = [at, known[0], grid.batch, grid.matrix, mesh.contiguous(), values, known[1]]
        programs.gather[(len(at),)](
            *arrays, *grid.sizes, ORDER=order, VALUES=True, SLOPES=int(slopes is not None),
            **_splines(grid),
        )  # fmt: skip
    return values, slopes


def _splines(grid: Grid) -> dict[str, int]:
    width = 1 << (grid.order - 1).bit_length()
    return {"P": grid.order, "WIDTH": width, "STRIDE": grid.matrix.shape[1], "num_warps": 1}
