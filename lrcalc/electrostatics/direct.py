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
from torch.utils.checkpoint import checkpoint

from lrcalc.electrostatics.kernels import Sites, Source, reciprocal_weight
from lrcalc.electrostatics.layout import Layout, pack, unpack
from lrcalc.electrostatics.slab import truncate_weight

BLOCK_BYTES = 2 * 1024**3
"""Memory of the waves above which they are made block by block and not kept."""

PIECE_BYTES = 128 * 1024**2
"""Memory of the waves that a CPU works on at a time. No single array exceeds an eighth of it, which
allocators reuse; above 32 MB (see `lrcalc.memory`) the system clears the pages every time, which
took more than the sum itself."""

ATOM_NUMBERS, WAVE_NUMBERS, CHANNEL_NUMBERS = 16, 10, 6
"""Numbers held at a time for each pair (n₁, n₂) and atom, each wave, and each wave and channel."""


class Waves(NamedTuple):
    """A block of waves: P pairs (n₁, n₂) with all n₃.

    Attributes
    ----------
    plane : Tensor, shape (B, 2 width, P)
        Cosines, then sines of the phases over the pairs.
    weight : Tensor, shape (B, P, T)
        v̂(k)/V, twice for n₃ > 0, eV e⁻².
    powers : Tensor, shape (6, P)
        1, n₁, n₂, n₁², n₁n₂, n₂².
    """

    plane: Tensor
    weight: Tensor
    powers: Tensor


class Direct(NamedTuple):
    """Everything of the k-sum that does not depend on the multipoles.

    Attributes
    ----------
    layout : Layout
    cell : Tensor, shape (B, 3, 3), Å
    inverse : Tensor, shape (B, 3, 3)
        2π times the inverse cell, Å⁻¹: ``k·u = n·(u @ inverse)``.
    first, second : Tensor, shape (P,)
        The pairs (n₁, n₂).
    tables : tuple of Tensor, shape (B, width, M)
        Complex phases over n₁ and over n₂, from the most negative index.
    cosine, sine : Tensor, shape (B, width, T)
        Phases over n₃ = 0 … T - 1.
    smearing, k_cutoff : float
    height : float or None
    waves : tuple of Waves
        All waves, if they were kept; empty if blocks of ``pairs`` pairs are made when needed.
    pairs : int
        Of a block.
    """

    layout: Layout
    cell: Tensor
    inverse: Tensor
    first: Tensor
    second: Tensor
    tables: tuple[Tensor, Tensor]
    cosine: Tensor
    sine: Tensor
    smearing: float
    k_cutoff: float
    height: float | None
    waves: tuple[Waves, ...]
    pairs: int


def prepare_direct(
    positions: Tensor,
    cell: Tensor,
    layout: Layout,
    smearing: float,
    k_cutoff: float,
    height: float | None = None,
    order: int = 2,
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
    order : int
        The larger of the highest multipole order and the highest derivative wanted; memory only.
    """
    inverse = torch.linalg.inv(cell)
    fractional = pack(layout, positions) @ inverse
    # the sum is periodic: wrapping keeps phases small, which single precision needs
    fractional = fractional - fractional.detach().floor()
    first, second, third = _index_box(cell.detach(), inverse.detach(), k_cutoff)
    tables = _table(fractional[..., 0], first), _table(fractional[..., 1], second)
    angle = 2.0 * pi * fractional[..., 2:] * third.to(cell.dtype)
    each = direct_bytes(layout.structures, layout.width, 1, len(third), order, cell.dtype)
    kept = len(first) * each <= BLOCK_BYTES
    block = PIECE_BYTES if kept and cell.device.type == "cpu" else BLOCK_BYTES
    plan = Direct(
        layout, cell, 2.0 * pi * inverse, first, second, tables, angle.cos(), angle.sin(),
        smearing, k_cutoff, height, (), max(1, block // each),
    )  # fmt: skip
    if kept:
        plan = plan._replace(waves=tuple(_waves(plan, *ends) for ends in _blocks(plan)))
    return plan


def evaluate_direct(plan: Direct, source: Source, order: int) -> tuple[Tensor, Sites | None]:
    """Energies of the structures and, up to ``order``, the potential at the sites.

    Own contributions are included. ``order``: -1 energy only, 0 potential, 1 field, 2 hessian.

    Returns
    -------
    energy : Tensor, shape (B,), eV
    sites : Sites or None
    """
    table = _fold(plan, source)
    if plan.waves:
        parts = [_sum(waves, table, order) for waves in plan.waves]
    else:
        # recomputed in the backward pass, so that no block stays in memory
        parts = [
            checkpoint(_sum_block, plan, table, order, *ends, use_reentrant=False)
            for ends in _blocks(plan)
        ]
    energy, product = parts[0]
    for part, more in parts[1:]:
        energy = energy + part
        product = None if product is None or more is None else product + more
    return energy, None if product is None else _unfold(plan, product, order)


def direct_bytes(
    structures: int, width: int, pairs: int, third: int, order: int, dtype: torch.dtype
) -> int:
    """Estimate the memory (bytes) of energy and forces by ``pairs`` times ``third`` waves."""
    channels = (1, 3, 6)[order]
    numbers = pairs * (ATOM_NUMBERS * width + (WAVE_NUMBERS + CHANNEL_NUMBERS * channels) * third)
    return structures * numbers * dtype.itemsize


def _blocks(plan: Direct) -> list[tuple[int, int]]:
    """First and last pair (exclusive) of each block."""
    count = len(plan.first)
    return [(i, min(i + plan.pairs, count)) for i in range(0, count, plan.pairs)]


def _waves(plan: Direct, start: int, stop: int) -> Waves:
    """Phases and weights of the pairs start … stop."""
    first, second = plan.first[start:stop], plan.second[start:stop]
    dtype = plan.cell.dtype
    third = torch.arange(plan.cosine.shape[-1], device=first.device)
    volume = torch.linalg.det(plan.cell).abs()
    pair_grid = torch.stack([first, second], -1).to(dtype)
    rows = plan.inverse.transpose(1, 2)
    in_plane = pair_grid @ rows[:, :2]
    out_of_plane = third.to(dtype)[:, None] * rows[:, None, 2]
    k2 = (
        in_plane.square().sum(-1)[:, :, None]
        + out_of_plane.square().sum(-1)[:, None, :]
        + 2.0 * in_plane @ out_of_plane.transpose(1, 2)
    )
    double = torch.where(third > 0, 2.0, 1.0).to(dtype)
    weight = reciprocal_weight(k2, plan.smearing, plan.k_cutoff)
    if plan.height is not None:
        weight = truncate_weight(weight, in_plane.square().sum(-1), third, plan.height)
    weight = weight * double / volume[:, None, None]

    # complex numbers pass half as often through memory as their parts, which the matrix
    # products want
    one, two = (x.shape[-1] // 2 for x in plan.tables)
    phases = plan.tables[0][..., first + one] * plan.tables[1][..., second + two]
    plane = torch.cat([phases.real, phases.imag], 1)
    n1, n2 = pair_grid.unbind(-1)
    powers = torch.stack([torch.ones_like(n1), n1, n2, n1 * n1, n1 * n2, n2 * n2])
    return Waves(plane, weight, powers)


def _sum(waves: Waves, table: Tensor, order: int) -> tuple[Tensor, Tensor | None]:
    """Contribution of a block of waves to the energies (B,) and to the argument of `_unfold`."""
    real, imaginary = _structure_factor(waves, table)
    weighted_real, weighted_imaginary = waves.weight * real, waves.weight * imaginary
    energy = 0.5 * (weighted_real * real + weighted_imaginary * imaginary).sum((1, 2))
    if order < 0:
        return energy, None
    powers = waves.powers[: (1, 3, 6)[order]].T[:, None, :, None]
    field = torch.stack([weighted_real, weighted_imaginary], 2)[:, :, :, None] * powers
    return energy, waves.plane @ field.flatten(2)


def _sum_block(
    plan: Direct, table: Tensor, order: int, start: int, stop: int
) -> tuple[Tensor, Tensor | None]:
    return _sum(_waves(plan, start, stop), table, order)


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


def _table(coordinate: Tensor, index: Tensor) -> Tensor:
    """Calculate exp(2πi n s) for each n from minus to plus the largest in ``index``."""
    limit = int(index.max())
    grid = torch.arange(-limit, limit + 1, device=index.device).to(coordinate.dtype)
    angle = 2.0 * pi * coordinate[..., None] * grid
    return torch.complex(angle.cos(), angle.sin())


def _fold(plan: Direct, source: Source) -> Tensor:
    """Multipoles times phases over n₃, shape (B, 2 width, 2 channels T).

    Rows as those of a plane; columns: what adds to the real, then to the imaginary part of S, for
    each channel 1, n₁, n₂ … that is present.
    """
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
    re, im = torch.cat(real, -1), torch.cat(imaginary, -1)
    return torch.cat([torch.cat([re, im], -1), torch.cat([-im, re], -1)], 1)


def _structure_factor(waves: Waves, table: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of S, shape (B, P, T)."""
    third = waves.weight.shape[-1]
    product = (waves.plane.transpose(1, 2) @ table).unflatten(-1, (2, -1, third))
    channels = product.shape[3]
    if channels == 1:
        total = product[:, :, :, 0]
    else:
        powers = waves.powers[:channels].T[:, None, :, None]
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


def _unfold(plan: Direct, product: Tensor, order: int) -> Sites:
    """Σ_k of the weighted structure factor times exp(-i k·r), and its derivatives.

    ``product`` (B, 2 width, 2 channels T) is the part of the sum over n₁ and n₂.
    """
    product = product.unflatten(-1, (2, (1, 3, 6)[order], -1))
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
