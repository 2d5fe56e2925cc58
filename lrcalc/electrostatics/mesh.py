"""Smooth particle mesh for multipoles: the sum of `direct` in O(N log N).

Essmann et al., J. Chem. Phys. 103, 8577 (1995); Sagui, Pedersen, Darden, J. Chem. Phys. 120, 73
(2004) for multipoles. The multipoles are spread by derivatives of B-splines, filtered in
reciprocal space with ``v̂(k)`` (the same cutoff as the direct sum) and gathered by the same
splines, so energy, potential and field are exact derivatives of one another on any mesh.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, exp, pi, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Sites, Source, reciprocal_weight
from lrcalc.electrostatics.splines import spline_filter, spline_weights

ORDERS = (6, 8, 10, 12)
"""B-spline orders to choose from; energies are then at least four times differentiable."""

FFT_COST = 1.5
"""Time spent on one mesh point in units of the time for one of the p³ points of an atom."""

SORT_ABOVE = 2048
"""Number of atoms above which they are sorted by mesh cell."""

POINT_NUMBERS, TOUCHED_NUMBERS = 11, 4
"""Numbers held at a time for each mesh point and each of the p³ points of an atom."""


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


class Mesh(NamedTuple):
    """Everything of the mesh sum that does not depend on the multipoles.

    Attributes
    ----------
    sizes : tuple of int
        Mesh points along the three cell vectors.
    scaled : Tensor, shape (N, 3, 3)
        Derivatives of mesh coordinates (last index) with respect to position, Å⁻¹.
    points : Tensor, shape (N p³,)
        Flat mesh points touched by each atom.
    weights : Tensor, shape (N, 3, derivatives + 1, p)
    order, inverse_order : Tensor or None, shape (N,)
        Atoms in the order of their mesh cells, which keeps memory access local, and back.
    green : Tensor, shape (B, K1, K2, K3/2 + 1)
        Filter v̂(k)|b|²/V, eV e⁻².
    """

    sizes: tuple[int, int, int]
    scaled: Tensor
    points: Tensor
    weights: Tensor
    order: Tensor | None
    inverse_order: Tensor | None
    green: Tensor


def prepare_mesh(
    positions: Tensor,
    cell: Tensor,
    batch: Tensor,
    smearing: float,
    k_cutoff: float,
    accuracy: float,
    multipole: int,
    derivatives: int,
) -> Mesh:
    """Splines and filter of a batch of periodic structures on meshes of one size.

    Parameters
    ----------
    positions : Tensor, shape (N, 3), Å
    cell : Tensor, shape (B, 3, 3), Å
    batch : Tensor, shape (N,)
    smearing, k_cutoff, accuracy : float
        σ in Å, largest wave number in Å⁻¹, relative error asked for (see `choose_mesh`).
    multipole : int
        Highest multipole order present (0 … 2).
    derivatives : int
        The larger of that and the highest derivative of the potential wanted.
    """
    lengths = [float(x) for x in cell.detach().norm(dim=-1).amax(0)]
    volume = float(torch.linalg.det(cell.detach()).abs().max())
    # two digits are enough to balance costs, and let the choice be remembered
    density = float(f"{len(positions) / (len(cell) * volume):.1e}")
    order, spacing = choose_mesh(smearing, k_cutoff, accuracy, multipole, density)
    sizes = tuple(fft_size(max(length / spacing, order)) for length in lengths)
    inverse = torch.linalg.inv(cell)
    factor = cell.new_tensor(sizes)
    scaled = (inverse * factor)[batch]
    mesh_position = (positions[:, None] @ scaled).squeeze(1)
    lowest = mesh_position.detach().floor()
    sorting = back = None
    if len(positions) > SORT_ABOVE:
        cells = (lowest.long() // order).remainder(torch.tensor(sizes, device=batch.device))
        key = ((batch * sizes[0] + cells[:, 0]) * sizes[1] + cells[:, 1]) * sizes[2] + cells[:, 2]
        sorting = torch.argsort(key)
        back = torch.argsort(sorting)
        lowest, batch = lowest[sorting], batch[sorting]
        mesh_position, scaled = mesh_position[sorting], scaled[sorting]
    weights = spline_weights(mesh_position - lowest - 0.5, order, derivatives)
    touched = _touched(lowest.long(), batch, sizes, order)
    green = _filter(cell, inverse, sizes, order, smearing, k_cutoff)
    return Mesh((sizes[0], sizes[1], sizes[2]), scaled, touched, weights, sorting, back, green)


def evaluate_mesh(plan: Mesh, source: Source, order: int) -> tuple[Tensor, Sites | None]:
    """Energies and potentials; arguments and result as `direct.evaluate_direct`."""
    if plan.order is not None:
        source = Source(*(None if x is None else x[plan.order] for x in source))  # type: ignore[arg-type]
    values = _spread(plan, source)
    structures = len(plan.green)
    count = plan.sizes[0] * plan.sizes[1] * plan.sizes[2]
    density = _Scatter.apply(values.flatten(), plan.points, structures * count)
    density = density.reshape(structures, *plan.sizes)
    transform = torch.fft.rfftn(density, dim=(1, 2, 3))
    # irfftn divides by the number of points, the sum over k does not
    potential = torch.fft.irfftn(transform * (plan.green * count), plan.sizes, dim=(1, 2, 3))
    energy = 0.5 * (potential * density).sum((1, 2, 3))
    if order < 0:
        return energy, None
    sites = _gather(plan, potential.flatten(), order)
    if plan.inverse_order is not None:
        sites = Sites(*(None if x is None else x[plan.inverse_order] for x in sites))  # type: ignore[arg-type]
    return energy, sites


@lru_cache(maxsize=256)
def choose_mesh(
    smearing: float, k_cutoff: float, accuracy: float, multipole: int, density: float
) -> tuple[int, float]:
    """Spline order and spacing (Å) that reach ``accuracy`` at the least cost.

    Parameters
    ----------
    smearing, k_cutoff, accuracy : float
    multipole : int
        Highest multipole order present: 0 charges, 1 dipoles, 2 quadrupoles.
    density : float
        Atoms per Å³, which balances the cost of spreading against that of the transforms.
    """
    best: tuple[float, int, float] | None = None
    for order in ORDERS:
        spacing = pi / k_cutoff
        while mesh_error(smearing, k_cutoff, order, spacing, multipole) > accuracy:
            spacing *= 0.97
        cost = order**3 + FFT_COST / (max(density, 1e-6) * spacing**3)
        if best is None or cost < best[0]:
            best = (cost, order, spacing)
    assert best is not None
    return best[1], best[2]


def mesh_error(
    smearing: float, k_cutoff: float, order: int, spacing: float, multipole: int
) -> float:
    """Estimate of the relative root-mean-square error of forces, and a bound for energies.

    Notes
    -----
    On a mesh of spacing h a wave of wave number k comes with an aliased one of relative
    amplitude ``r^p``, ``r = x/(1-x)``, ``x = k h/2π``. Each of the l + 1 derivatives in the force
    on a multipole of order l enhances it by ``1/r``. Weighted with the force spectrum of
    uncorrelated multipoles, ``exp(-σ²k²) k^{4l}``, and summed over the six nearest aliases::

        error² = 6 a ∫ exp(-σ²k²) k^{4l} r^{2m} dk / ∫ exp(-σ²k²) k^{4l} dk ,  m = p - l - 1

    a = 1/(2m + 1) is the average over the direction of k against the mesh for l ≥ 1. For charges
    the error of a site's own potential adds coherently, and a = 1 is what measurements need
    (``benchmarks/electrostatics.py`` prints estimate and measured error side by side). Multipoles
    of one order alone reach 0.4 to 0.7 of the estimate, mixtures a tenth to a third.
    """
    signal = noise = 0.0
    steps = 64
    for step in range(steps):
        k = k_cutoff * (step + 0.5) / steps
        x = min(k * spacing / (2.0 * pi), 0.5)
        spectrum = exp(-((smearing * k) ** 2)) * (smearing * k) ** (4 * multipole)
        signal += spectrum
        noise += spectrum * (x / (1.0 - x)) ** (2 * (order - multipole - 1))
    if signal == 0.0:  # no wave within the cutoff carries anything
        return 0.0
    average = 1.0 if multipole == 0 else 1.0 / (2 * (order - multipole) - 1)
    return sqrt(6.0 * average * noise / signal)


def mesh_bytes(points: int, atoms: int, order: int, dtype: torch.dtype) -> int:
    """Estimate the memory (bytes) of energy and forces: what the mesh and what the atoms take."""
    touched = atoms * order**3
    return (POINT_NUMBERS * points + TOUCHED_NUMBERS * touched) * dtype.itemsize + 8 * touched


def fft_size(points: float) -> int:
    """Smallest even product of 2, 3, 5 and 7 that is not below ``points``."""
    size = max(2, 2 * ceil(points / 2.0 - 1e-9))
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2


def _touched(lowest: Tensor, batch: Tensor, sizes: tuple[int, ...], order: int) -> Tensor:
    """Flat index of the p³ mesh points of each atom."""
    step = torch.arange(1 - order, 1, device=lowest.device)
    size = torch.tensor(sizes, device=lowest.device)
    node = (lowest[:, :, None] + step).remainder(size[:, None])
    # plates of y and z first: long inner loops add several times faster than short ones
    slab = (node[:, 0] + batch[:, None] * sizes[0]) * (sizes[1] * sizes[2])
    plate = ((node[:, 1] * sizes[2])[:, :, None] + node[:, 2, None]).flatten(1)
    return (slab[:, :, None] + plate[:, None]).flatten()


def _filter(
    cell: Tensor,
    inverse: Tensor,
    sizes: tuple[int, ...],
    order: int,
    smearing: float,
    k_cutoff: float,
) -> Tensor:
    """v̂(k)|b₁b₂b₃|²/V on the half mesh of a real transform."""
    indices = []
    for axis, size in enumerate(sizes):
        n = torch.arange(size // 2 + 1 if axis == 2 else size, device=cell.device)
        indices.append(torch.where(n > size // 2, n - size, n))
    b1, b2, b3 = (
        spline_filter(n, size, order).to(cell.dtype) for n, size in zip(indices, sizes, strict=True)
    )
    rows = 2.0 * pi * inverse.transpose(1, 2)
    k1, k2, k3 = (n.to(cell.dtype)[:, None] * rows[:, None, j] for j, n in enumerate(indices))
    plane = k1[:, :, None] + k2[:, None]
    square = (
        plane.square().sum(-1)[..., None]
        + k3.square().sum(-1)[:, None, None]
        + 2.0 * plane @ k3.transpose(1, 2)[:, None]
    )
    volume = torch.linalg.det(cell).abs()[:, None, None, None]
    window = (b1[:, None] * b2)[:, :, None] * b3
    return reciprocal_weight(square, smearing, k_cutoff) * window / volume


def _spread(plan: Mesh, source: Source) -> Tensor:
    """Values (N, p, p²) that each atom adds to its mesh points."""
    x, y, z = plan.weights.unbind(1)
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
        u = (source.dipole[:, None] @ plan.scaled).transpose(1, 2)[..., None]
        y1, z1 = y[:, 1, :, None], z[:, 1, None, :]
        plates[0] = plates[0] + (u[:, 1] * y1) * z0 + y0 * (u[:, 2] * z1)
        plates.append((u[:, 0] * y0) * z0)
        top = 1
    if source.quadrupole is not None:
        m = plan.scaled.transpose(1, 2) @ source.quadrupole @ plan.scaled
        m = m[..., None, None]
        y1, z1, y2, z2 = y[:, 1, :, None], z[:, 1, None, :], y[:, 2, :, None], z[:, 2, None, :]
        flat = y1 * (m[:, 1, 2] * z1) + (0.5 * m[:, 1, 1] * y2) * z0 + y0 * (0.5 * m[:, 2, 2] * z2)
        edge = (m[:, 0, 1] * y1) * z0 + y0 * (m[:, 0, 2] * z1)
        plates[0] = plates[0] + flat
        plates = [plates[0], plates[1] + edge if top else edge, (0.5 * m[:, 0, 0] * y0) * z0]
    stacked = torch.stack(plates, 1).flatten(2)
    return x[:, : len(plates)].transpose(1, 2) @ stacked


def _gather(plan: Mesh, potential: Tensor, order: int) -> Sites:
    """Potential, field and hessian at the atoms from the potential on the mesh."""
    atoms, _, _, p = plan.weights.shape
    x, y, z = plan.weights[:, :, : order + 1].unbind(1)
    near = _Collect.apply(potential, plan.points).reshape(atoms, p, p * p)
    plates = (x @ near).unflatten(-1, (p, p))
    rows = plates @ z.transpose(1, 2)[:, None]
    # tensor[a, b, c]: derivative a, b, c along the three mesh coordinates
    tensor = y[:, None] @ rows
    value = tensor[:, 0, 0, 0]
    if order == 0:
        return Sites(value)
    slope = torch.stack([tensor[:, 1, 0, 0], tensor[:, 0, 1, 0], tensor[:, 0, 0, 1]], -1)
    field = -(plan.scaled @ slope[..., None]).squeeze(-1)
    if order == 1:
        return Sites(value, field)
    xx, yy, zz = tensor[:, 2, 0, 0], tensor[:, 0, 2, 0], tensor[:, 0, 0, 2]
    xy, xz, yz = tensor[:, 1, 1, 0], tensor[:, 1, 0, 1], tensor[:, 0, 1, 1]
    curve = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
    return Sites(value, field, plan.scaled @ curve @ plan.scaled.transpose(1, 2))
