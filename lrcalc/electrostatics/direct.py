"""Direct reciprocal-space sum: the reference, batched over periodic structures.

``S(k) = Σ_i (q_i + i k·u_i - ½ k·Q_i·k) exp(i k·r_i)``, ``E = (1/2V) Σ_k v̂(k)|S(k)|²``
(Kim et al., arXiv:2605.05746). With fractional coordinates the phase factorises,
``exp(i k·r) = e₁(n₁) e₂(n₂) e₃(n₃)``, so that S over half of reciprocal space is one matrix
product of a table over (n₁, n₂) with a table over n₃ into which the multipoles are folded.
The cost is O(N N_k), but spent in a matrix product and not in sines and cosines.
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Sites, Source, reciprocal_weight
from lrcalc.electrostatics.layout import Layout, pack, unpack
from lrcalc.electrostatics.slab import truncate_weight


class Direct(NamedTuple):
    """Everything of the k-sum that does not depend on the multipoles.

    Attributes
    ----------
    layout : Layout
    inverse : Tensor, shape (B, 3, 3)
        2π times the inverse cell, Å⁻¹: ``k·u = n·(u @ inverse)``.
    plane : Tensor, shape (B, 2 width, P)
        Cosines, then sines of the phases over the P pairs (n₁, n₂).
    cosine, sine : Tensor, shape (B, width, T)
        Phases over n₃ = 0 … T - 1.
    weight : Tensor, shape (B, P, T)
        v̂(k)/V, twice for n₃ > 0, eV e⁻².
    powers : Tensor, shape (6, P)
        1, n₁, n₂, n₁², n₁n₂, n₂².
    """

    layout: Layout
    inverse: Tensor
    plane: Tensor
    cosine: Tensor
    sine: Tensor
    weight: Tensor
    powers: Tensor


def prepare_direct(
    positions: Tensor,
    cell: Tensor,
    layout: Layout,
    smearing: float,
    k_cutoff: float,
    height: float | None = None,
) -> Direct:
    """Phases and weights of a batch of periodic structures.

    Parameters
    ----------
    positions : Tensor, shape (N, 3), Å
    cell : Tensor, shape (B, 3, 3), Å
        Cell vectors as rows.
    layout : Layout
    smearing : float
        σ, Å.
    k_cutoff : float
        Largest wave number in the sum, Å⁻¹.
    height : float or None
        For slabs: length of the third cell vector, which is normal to the other two (see `slab`).
    """
    inverse = torch.linalg.inv(cell)
    volume = torch.linalg.det(cell).abs()
    fractional = pack(layout, positions) @ inverse
    # the sum is periodic: wrapping keeps phases small, which single precision needs
    fractional = fractional - fractional.detach().floor()
    first, second, third = _index_box(cell.detach(), inverse.detach(), k_cutoff)

    pair_grid = torch.stack([first, second], -1).to(cell.dtype)
    rows = 2.0 * pi * inverse.transpose(1, 2)
    in_plane = pair_grid @ rows[:, :2]
    out_of_plane = third.to(cell.dtype)[:, None] * rows[:, None, 2]
    k2 = (
        in_plane.square().sum(-1)[:, :, None]
        + out_of_plane.square().sum(-1)[:, None, :]
        + 2.0 * in_plane @ out_of_plane.transpose(1, 2)
    )
    double = torch.where(third > 0, 2.0, 1.0).to(cell.dtype)
    weight = reciprocal_weight(k2, smearing, k_cutoff)
    if height is not None:
        weight = truncate_weight(weight, in_plane.square().sum(-1), third, height)
    weight = weight * double / volume[:, None, None]

    c1, s1 = _table(fractional[..., 0], first)
    c2, s2 = _table(fractional[..., 1], second)
    plane = torch.cat([c1 * c2 - s1 * s2, c1 * s2 + s1 * c2], 1)
    angle = 2.0 * pi * fractional[..., 2:] * third.to(cell.dtype)
    n1, n2 = pair_grid.unbind(-1)
    powers = torch.stack([torch.ones_like(n1), n1, n2, n1 * n1, n1 * n2, n2 * n2])
    scaled = 2.0 * pi * inverse
    return Direct(layout, scaled, plane, angle.cos(), angle.sin(), weight, powers)


def evaluate_direct(plan: Direct, source: Source, order: int) -> tuple[Tensor, Sites | None]:
    """Energies of the structures and, up to ``order``, the potential at the sites.

    Own contributions are included. ``order``: -1 energy only, 0 potential, 1 field, 2 hessian.

    Returns
    -------
    energy : Tensor, shape (B,), eV
    sites : Sites or None
    """
    real, imaginary = _structure_factor(plan, source)
    weighted_real, weighted_imaginary = plan.weight * real, plan.weight * imaginary
    energy = 0.5 * (weighted_real * real + weighted_imaginary * imaginary).sum((1, 2))
    if order < 0:
        return energy, None
    return energy, _back_transform(plan, weighted_real, weighted_imaginary, order)


def _index_box(cell: Tensor, inverse: Tensor, k_cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Integer triples that can lie within the cutoff: pairs (n₁, n₂) and n₃ ≥ 0."""
    # |n_j| = |k·a_j|/2π ≤ k_c |a_j|/2π
    limits = (k_cutoff * cell.norm(dim=-1).amax(0) / (2.0 * pi) * (1.0 + 1e-6)).floor()
    m1, m2, m3 = (int(x) for x in limits)
    device = cell.device
    first = torch.arange(-m1, m1 + 1, device=device).repeat_interleave(2 * m2 + 1)
    second = torch.arange(-m2, m2 + 1, device=device).repeat(2 * m1 + 1)
    third = torch.arange(m3 + 1, device=device)
    # the component of k perpendicular to b₃ bounds |k| from below whatever n₃ is
    rows = 2.0 * pi * inverse.transpose(1, 2)
    axis = rows[:, 2] / rows[:, 2].norm(dim=-1, keepdim=True)
    in_plane = torch.stack([first, second], -1).to(cell.dtype) @ rows[:, :2]
    along = (in_plane @ axis[:, :, None]).squeeze(-1)
    lowest = in_plane.square().sum(-1) - along.square()
    keep = (lowest <= k_cutoff**2 * (1.0 + 1e-5)).any(0)
    return first[keep], second[keep], third


def _table(coordinate: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2π n s, computed once for each n and spread to the list of indices."""
    limit = int(index.max())
    grid = torch.arange(-limit, limit + 1, device=index.device).to(coordinate.dtype)
    angle = 2.0 * pi * coordinate[..., None] * grid
    position = index + limit
    return angle.cos()[..., position], angle.sin()[..., position]


def _structure_factor(plan: Direct, source: Source) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of S over the half space, shape (B, P, T)."""
    c, s = plan.cosine, plan.sine
    third = torch.arange(c.shape[-1], device=c.device, dtype=c.dtype)
    charge = pack(plan.layout, source.charge)[..., None]
    if source.dipole is None and source.quadrupole is None:
        real, imaginary = [charge * c], [charge * s]
    else:
        even, odd = _folded(plan, source, charge, third)
        real, imaginary = [], []
        for a, b in zip(even, odd, strict=True):
            if a is not None and b is None:
                real.append(a * c)
                imaginary.append(a * s)
            elif a is None and b is not None:
                real.append(-b * s)
                imaginary.append(b * c)
            elif a is not None and b is not None:
                real.append(a * c - b * s)
                imaginary.append(a * s + b * c)
    channels = len(real)
    re, im = torch.cat(real, -1), torch.cat(imaginary, -1)
    table = torch.cat([torch.cat([re, im], -1), torch.cat([-im, re], -1)], 1)
    product = plan.plane.transpose(1, 2) @ table
    product = product.unflatten(-1, (2, channels, -1))
    if channels == 1:
        total = product[:, :, :, 0]
    else:
        powers = plan.powers[:channels].T[:, None, :, None]
        total = (product * powers).sum(3)
    return total[:, :, 0], total[:, :, 1]


def _folded(
    plan: Direct, source: Source, charge: Tensor, third: Tensor
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Multipoles as polynomials: real and imaginary coefficient of 1, n₁, n₂, n₁², n₁n₂, n₂²."""
    even: list[Tensor | None] = [charge, None, None]
    odd: list[Tensor | None] = [None, None, None]
    if source.dipole is not None:
        dipole = pack(plan.layout, source.dipole) @ plan.inverse
        odd = [dipole[..., 2:] * third, dipole[..., 0:1], dipole[..., 1:2]]
    if source.quadrupole is not None:
        inverse = plan.inverse[:, None]
        q = inverse.transpose(2, 3) @ pack(plan.layout, source.quadrupole) @ inverse
        even = [
            charge - 0.5 * q[..., 2, 2, None] * third.square(),
            -q[..., 0, 2, None] * third,
            -q[..., 1, 2, None] * third,
            -0.5 * q[..., 0, 0, None],
            -q[..., 0, 1, None],
            -0.5 * q[..., 1, 1, None],
        ]
        odd = [*odd, None, None, None]
    return even, odd


def _back_transform(plan: Direct, real: Tensor, imaginary: Tensor, order: int) -> Sites:
    """Σ_k of the weighted structure factor times exp(-i k·r), and its derivatives."""
    channels = (1, 3, 6)[order]
    powers = plan.powers[:channels].T[:, None, :, None]
    field = torch.stack([real, imaginary], 2)[:, :, :, None] * powers
    product = (plan.plane @ field.flatten(2)).unflatten(-1, (2, channels, -1))
    cosine, sine = product.chunk(2, 1)
    partial_real = cosine[:, :, 0] + sine[:, :, 1]
    partial_imaginary = cosine[:, :, 1] - sine[:, :, 0]
    c, s = plan.cosine[:, :, None], plan.sine[:, :, None]
    # real and imaginary part of Σ S exp(-i k·r), still resolved by n₃
    even = partial_real * c + partial_imaginary * s
    third = torch.arange(c.shape[-1], device=c.device, dtype=c.dtype)
    potential = unpack(plan.layout, even[:, :, 0].sum(-1))
    if order == 0:
        return Sites(potential)
    odd = partial_imaginary * c - partial_real * s
    sums = odd.sum(-1)
    along = (odd[:, :, 0] * third).sum(-1)
    reduced = -torch.stack([sums[:, :, 1], sums[:, :, 2], along], -1)
    field_vector = unpack(plan.layout, reduced @ plan.inverse.transpose(1, 2))
    if order == 1:
        return Sites(potential, field_vector)
    zero = even.sum(-1)
    one = (even[:, :, :3] * third).sum(-1)
    two = (even[:, :, 0] * third.square()).sum(-1)
    entries = [zero[:, :, 3], zero[:, :, 4], one[:, :, 1], zero[:, :, 5], one[:, :, 2], two]
    xx, xy, xz, yy, yz, zz = entries
    matrix = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
    inverse = plan.inverse[:, None]
    hessian = -inverse @ matrix @ inverse.transpose(2, 3)
    return Sites(potential, field_vector, unpack(plan.layout, hessian))
