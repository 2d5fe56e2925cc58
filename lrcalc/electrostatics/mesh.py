"""Smooth particle mesh for multipoles: the sum of `direct` in O(N log N).

Essmann et al., J. Chem. Phys. 103, 8577 (1995); Sagui, Pedersen, Darden, J. Chem. Phys. 120, 73
(2004) for multipoles. The multipoles are spread by derivatives of B-splines, filtered in
reciprocal space with ``v̂(k)`` (the same cutoff as the direct sum) and gathered by the same
splines, so energy, potential and field are exact derivatives of one another on any mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import pi
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain, shared, total
from lrcalc.electrostatics.compiled_mesh import compiled_functions
from lrcalc.electrostatics.fused_mesh import FusedSpread, Grid
from lrcalc.electrostatics.kernels import Sites, Source, reciprocal_weight
from lrcalc.electrostatics.mesh_filter import filtered
from lrcalc.electrostatics.mesh_size import choose_mesh, fft_size
from lrcalc.electrostatics.splines import spline_filter, spline_matrix, spline_weights
from lrcalc.electrostatics.spreading import times_own
from lrcalc.electrostatics.sums import Geometry, Interaction
from lrcalc.kernels.choice import available
from lrcalc.kernels.trial import tried
from lrcalc.system import inverses, volumes

SORT_ABOVE = 2048
"""Number of atoms above which they are sorted by mesh cell."""


class _Scatter(torch.autograd.Function):
    """Add values (M,) to a flat mesh at points (M,); adjoint of `_Collect`.

    The pair of functions exists because ``gather`` and indexing, which autograd would use,
    are many times slower on a CPU than ``index_select`` and ``scatter_add``.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, points: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(points)
        return values.new_zeros(count).scatter_add_(0, points, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Collect.apply(gradients[0], *ctx.saved_tensors), None, None


class _Collect(torch.autograd.Function):
    """Read a flat mesh at points (M,); adjoint of `_Scatter`."""

    @staticmethod
    def forward(ctx: Any, mesh: Tensor, points: Tensor) -> Tensor:
        ctx.save_for_backward(points)
        ctx.count = len(mesh)
        return mesh.index_select(0, points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(gradients[0], *ctx.saved_tensors, ctx.count), None


class MeshPlan(NamedTuple):
    """What of the mesh sum depends on the cells and sizes alone.

    Attributes
    ----------
    batch : Tensor, shape (N,)
    sizes : tuple of int
        Mesh points along the three cell vectors.
    points : Tensor, shape (3,), int64
        The same as a tensor.
    order : int
        Of the B-splines, p.
    derivatives : int
        Of the splines that multipoles and potential need.
    matrix : Tensor, shape (p, (p + 5) p)
        Powers to weights and their derivatives, see `splines`.
    windows : tuple of Tensor
        ``|b|²`` of each axis of the half mesh of a real transform.
    green : Tensor or None, shape (B, K1, K2, K3/2 + 1)
        Filter ``v̂(k)|b|²/V``, eV e⁻²; None where it is made anew, as it is if the cells want a
        gradient.
    domain : Domain or None
        Processes whose densities are added.
    compiled : bool
        By functions that are compiled, where there are some (`lrcalc.compiled`).
    """

    batch: Tensor
    sizes: tuple[int, int, int]
    points: Tensor
    order: int
    derivatives: int
    matrix: Tensor
    windows: tuple[Tensor, Tensor, Tensor]
    green: Tensor | None = None
    domain: Domain | None = None
    compiled: bool = False


class Spread(NamedTuple):
    """The mesh sum at given positions, for any multipoles.

    Attributes
    ----------
    sizes : tuple of int
    scaled : Tensor, shape (N, 3, 3)
        Derivatives of mesh coordinates (last index) with respect to position, Å⁻¹.
    touched : Tensor, shape (N p³,)
        Flat mesh points touched by each atom.
    weights : Tensor, shape (N, 3, derivatives + 1, p)
    sorting, back : Tensor or None, shape (N,)
        Atoms in the sequence of their mesh cells, which keeps memory access local, and back.
    green : Tensor, shape (B, K1, K2, K3/2 + 1)
        Filter.
    domain : Domain or None
    """

    sizes: tuple[int, int, int]
    scaled: Tensor
    touched: Tensor
    weights: Tensor
    sorting: Tensor | None
    back: Tensor | None
    green: Tensor
    domain: Domain | None = None

    def put(self, source: Source) -> Tensor:
        """Density of multipoles on the flat mesh."""
        if self.sorting is not None:
            source = Source(*(None if x is None else x[self.sorting] for x in source))  # type: ignore[arg-type]
        k1, k2, k3 = self.sizes
        values = _spread(self, source).flatten()
        return _Scatter.apply(values, self.touched, len(self.green) * k1 * k2 * k3)  # type: ignore[no-any-return]

    def take(self, potential: Tensor, derivatives: int) -> Sites:
        """Potential, field and hessian at the atoms from the potential on the flat mesh."""
        sites = _gather(self, potential, derivatives)
        if self.back is None:
            return sites
        return Sites(*(None if x is None else x[self.back] for x in sites))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Mesh:
    """Mesh sum with waves up to ``k_cutoff`` (Å⁻¹), of Gaussians of width ``smearing`` (Å).

    ``accuracy`` is the relative error of the mesh, see `mesh_size.mesh_error`.
    """

    smearing: float
    k_cutoff: float
    accuracy: float
    contains_self: ClassVar[bool] = True

    def plan(self, geometry: Geometry) -> MeshPlan:
        """Mesh of one size for all structures; the filter if no gradient by the cell is wanted."""
        cell = geometry.cells.detach()
        order, (k1, k2, k3) = self.sizes(cell, geometry.atoms, geometry.multipole)
        points = torch.tensor([k1, k2, k3], device=cell.device)
        w1, w2, w3 = (
            spline_filter(_indices(size, half, cell.device), size, order).to(cell.dtype)
            for size, half in ((k1, False), (k2, False), (k3, True))
        )
        matrix = spline_matrix(order, order + 4).to(cell)
        derivatives = max(geometry.multipole, geometry.derivatives)
        windows = (w1, w2, w3)
        plan = MeshPlan(
            geometry.batch, (k1, k2, k3), points, order, derivatives, matrix, windows,
            domain=geometry.domain, compiled=geometry.compiled,
        )  # fmt: skip
        if geometry.cells.requires_grad:
            return plan
        return plan._replace(green=self._green(plan, cell, inverses(cell)))

    def sizes(self, cell: Tensor, atoms: int, multipole: int) -> tuple[int, tuple[int, int, int]]:
        """Order of the splines, and mesh points along the three vectors of ``cell`` (B, 3, 3)."""
        lengths = cell.norm(dim=-1).amax(0).tolist()
        volume = float(volumes(cell).max())
        # two digits are enough to balance costs, and let the choice be remembered
        density = float(f"{atoms / (len(cell) * volume):.1e}")
        order, spacing = choose_mesh(
            self.smearing, self.k_cutoff, self.accuracy, multipole, density
        )
        k1, k2, k3 = (fft_size(max(length / spacing, order)) for length in lengths)
        return order, (k1, k2, k3)

    def still_holds(self, plan: MeshPlan, positions: Tensor) -> bool:
        """Say yes: positions have no part in the plan."""
        return True

    def evaluate(self, plan: MeshPlan, positions: Tensor, cell: Tensor | None) -> Interaction:
        """Splines of the atoms, and the filter where the plan has none."""
        assert cell is not None
        inverse = inverses(cell)
        scaled = shared(plan.domain, inverse) * plan.points.to(cell.dtype)
        green = plan.green
        if green is None or cell.requires_grad:
            green = self._green(plan, cell, inverse)
        functions = compiled_functions(positions, plan.order) if plan.compiled else None
        if functions is not None:
            known = by_kernels(plan, positions, scaled, green)
            known = known._replace(grid=known.grid._replace(functions=functions))
            return partial(_interact, known)
        make = by_kernels if _by_kernels(plan, positions) else by_torch
        return partial(_interact, make(plan, positions, scaled, green))

    def _green(self, plan: MeshPlan, cell: Tensor, inverse: Tensor) -> Tensor:
        """v̂(k)|b₁b₂b₃|²/V on the half mesh of a real transform."""
        rows = 2.0 * pi * inverse.transpose(1, 2)
        halves = (False, False, True)
        k1, k2, k3 = (
            _indices(size, half, cell.device).to(cell.dtype)[:, None] * rows[:, None, j]
            for j, (size, half) in enumerate(zip(plan.sizes, halves, strict=True))
        )
        plane = k1[:, :, None] + k2[:, None]
        square = (
            plane.square().sum(-1)[..., None]
            + k3.square().sum(-1)[:, None, None]
            + 2.0 * plane @ k3.transpose(1, 2)[:, None]
        )
        volume = volumes(cell)[:, None, None, None]
        b1, b2, b3 = plan.windows
        window = (b1[:, None] * b2)[:, :, None] * b3
        return reciprocal_weight(square, self.smearing, self.k_cutoff) * window / volume


def _by_kernels(plan: MeshPlan, positions: Tensor) -> bool:
    """Whether there are kernels where ``positions`` are, and they give what torch gives."""
    if not available(positions):
        return False
    from lrcalc.electrostatics.mesh_trial import cases

    key = (plan.order, plan.derivatives)
    return tried("the mesh", positions, key, lambda: cases(plan, positions))


def by_kernels(plan: MeshPlan, positions: Tensor, scaled: Tensor, green: Tensor) -> FusedSpread:
    """Mesh coordinates of the atoms, of which kernels make the splines; arguments of `by_torch`."""
    grid = Grid(plan.sizes, len(scaled), plan.batch, plan.order, plan.matrix)
    at = times_own(positions, scaled, plan.batch)
    return FusedSpread(grid, at, scaled, green, plan.domain)


def by_torch(plan: MeshPlan, positions: Tensor, scaled: Tensor, green: Tensor) -> Spread:
    """Splines of atoms at ``positions`` (N, 3), with `Spread.scaled` (B, 3, 3) of structures."""
    batch, scaled = plan.batch, scaled[plan.batch]
    mesh_position = (positions[:, None] @ scaled).squeeze(1)
    lowest = mesh_position.detach().floor()
    sorting = back = None
    if len(positions) > SORT_ABOVE:
        k1, k2, k3 = plan.sizes
        cells = (lowest.long() // plan.order).remainder(plan.points)
        key = ((batch * k1 + cells[:, 0]) * k2 + cells[:, 1]) * k3 + cells[:, 2]
        sorting = torch.argsort(key)
        back = torch.argsort(sorting)
        lowest, batch = lowest[sorting], batch[sorting]
        mesh_position, scaled = mesh_position[sorting], scaled[sorting]
    weights = spline_weights(mesh_position - lowest - 0.5, plan.matrix, plan.derivatives)
    touched = _touched(lowest.long(), batch, plan)
    return Spread(plan.sizes, scaled, touched, weights, sorting, back, green, plan.domain)


def _interact(
    spread: Spread | FusedSpread, source: Source, derivatives: int
) -> tuple[Tensor, Sites | None]:
    density = total(spread.domain, spread.put(source)).reshape(len(spread.green), *spread.sizes)
    energy, potential = filtered(density, spread.green)
    if derivatives < 0:
        return energy, None
    return energy, spread.take(shared(spread.domain, potential).flatten(), derivatives)


def _indices(size: int, half: bool, device: torch.device) -> Tensor:
    """Wave indices of a mesh axis in the sequence of a transform; half of them of a real one."""
    n = torch.arange(size // 2 + 1 if half else size, device=device)
    return torch.where(n > size // 2, n - size, n)


def _touched(lowest: Tensor, batch: Tensor, plan: MeshPlan) -> Tensor:
    """Flat index of the p³ mesh points of each atom."""
    step = torch.arange(1 - plan.order, 1, device=lowest.device)
    sizes = plan.sizes
    node = (lowest[:, :, None] + step).remainder(plan.points[:, None])
    # plates of y and z first: long inner loops add several times faster than short ones
    slab = (node[:, 0] + batch[:, None] * sizes[0]) * (sizes[1] * sizes[2])
    plate = ((node[:, 1] * sizes[2])[:, :, None] + node[:, 2, None]).flatten(1)
    return (slab[:, :, None] + plate[:, None]).flatten()


def _spread(at: Spread, source: Source) -> Tensor:
    """Values (N, p, p²) that each atom adds to its mesh points."""
    x, y, z = at.weights.unbind(1)
    charge = source.charge[:, None, None]
    if source.dipole is None and source.quadrupole is None:
        lines = charge * x[:, 0, :, None]
        return lines * (y[:, 0, :, None] * z[:, 0, None, :]).flatten(1)[:, None]
    # plates[a] multiplies derivative a of the first spline: a polynomial of y and z splines
    q = charge
    y0, z0 = y[:, 0, :, None], z[:, 0, None, :]
    plates = [q * (y0 * z0)]
    top = 0
    if source.dipole is not None:
        u = (source.dipole[:, None] @ at.scaled).transpose(1, 2)[..., None]
        y1, z1 = y[:, 1, :, None], z[:, 1, None, :]
        plates[0] = plates[0] + (u[:, 1] * y1) * z0 + y0 * (u[:, 2] * z1)
        plates.append((u[:, 0] * y0) * z0)
        top = 1
    if source.quadrupole is not None:
        m = at.scaled.transpose(1, 2) @ source.quadrupole @ at.scaled
        m = m[..., None, None]
        y1, z1, y2, z2 = y[:, 1, :, None], z[:, 1, None, :], y[:, 2, :, None], z[:, 2, None, :]
        flat = y1 * (m[:, 1, 2] * z1) + (0.5 * m[:, 1, 1] * y2) * z0 + y0 * (0.5 * m[:, 2, 2] * z2)
        edge = (m[:, 0, 1] * y1) * z0 + y0 * (m[:, 0, 2] * z1)
        plates[0] = plates[0] + flat
        plates = [plates[0], plates[1] + edge if top else edge, (0.5 * m[:, 0, 0] * y0) * z0]
    stacked = torch.stack(plates, 1).flatten(2)
    return x[:, : len(plates)].transpose(1, 2) @ stacked


def _gather(at: Spread, potential: Tensor, derivatives: int) -> Sites:
    """Potential, field and hessian at the atoms from the potential on the mesh."""
    atoms, _, _, p = at.weights.shape
    x, y, z = at.weights[:, :, : derivatives + 1].unbind(1)
    near = _Collect.apply(potential, at.touched).reshape(atoms, p, p * p)
    plates = (x @ near).unflatten(-1, (p, p))
    rows = plates @ z.transpose(1, 2)[:, None]
    # tensor[a, b, c]: derivative a, b, c along the three mesh coordinates
    tensor = y[:, None] @ rows
    value = tensor[:, 0, 0, 0]
    if derivatives == 0:
        return Sites(value)
    slope = torch.stack([tensor[:, 1, 0, 0], tensor[:, 0, 1, 0], tensor[:, 0, 0, 1]], -1)
    field = -(at.scaled @ slope[..., None]).squeeze(-1)
    if derivatives == 1:
        return Sites(value, field)
    xx, yy, zz = tensor[:, 2, 0, 0], tensor[:, 0, 2, 0], tensor[:, 0, 0, 2]
    xy, xz, yz = tensor[:, 1, 1, 0], tensor[:, 1, 0, 1], tensor[:, 0, 1, 1]
    curve = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
    return Sites(value, field, at.scaled @ curve @ at.scaled.transpose(1, 2))
