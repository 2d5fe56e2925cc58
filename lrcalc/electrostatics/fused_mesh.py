"""Spreading and gathering of `mesh` in one kernel each, which make spline weights as they go."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain
from lrcalc.electrostatics import compiled_mesh, spreading
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

    def put(self, at: Tensor, moments: Tensor, order: int) -> Tensor:
        """As `spreading.Places.put`: run `programs.mesh.spread`, or what does so on a CPU."""
        if self.functions is not None:
            return compiled_mesh.put(at, moments, self, order)
        from lrcalc.electrostatics.programs import mesh as programs

        k1, k2, k3 = self.sizes
        mesh = moments.new_zeros(self.structures * k1 * k2 * k3)
        if len(at):
            arrays = [at.contiguous(), moments.contiguous(), self.batch, self.matrix, mesh]
            programs.spread[(len(at),)](*arrays, *self.sizes, ORDER=order, **_splines(self))
        return mesh

    def take(
        self, at: Tensor, flat: Tensor, order: int, moments: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `spreading.Places.take`: run `programs.mesh.gather`, or its like."""
        count = spreading.components(order)
        if self.functions is not None:
            return compiled_mesh.take(at, flat, self, count, order, moments)
        from lrcalc.electrostatics.programs import mesh as programs

        at = at.contiguous()
        values = at.new_empty((len(at), count))
        slopes = None if moments is None else torch.empty_like(at)
        if len(at):
            known = [values if x is None else x.contiguous() for x in (moments, slopes)]
            arrays = [at, known[0], self.batch, self.matrix, flat.contiguous(), values, known[1]]
            programs.gather[(len(at),)](
                *arrays, *self.sizes, ORDER=order, VALUES=True, SLOPES=int(slopes is not None),
                **_splines(self),
            )  # fmt: skip
        return values, slopes


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
        return spreading.put(source, self.at, self.scaled, self.grid.batch, self.grid)

    def take(self, potential: Tensor, derivatives: int) -> Sites:
        """Potential, field and hessian at the atoms from the potential on the flat mesh."""
        grid = self.grid
        return spreading.take(potential, self.at, self.scaled, grid.batch, grid, derivatives)


def _splines(grid: Grid) -> dict[str, int]:
    width = 1 << (grid.order - 1).bit_length()
    return {"P": grid.order, "WIDTH": width, "STRIDE": grid.matrix.shape[1], "num_warps": 1}
