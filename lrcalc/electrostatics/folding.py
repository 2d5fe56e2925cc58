"""Multipoles folded into the phases over n₃, and the way back, for the sum of `direct`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Sites, Source
from lrcalc.electrostatics.layout import Layout, pack, unpack


class Phases(NamedTuple):
    """What the positions of the atoms make of the k-sum.

    Attributes
    ----------
    layout : Layout
    inverse : Tensor, shape (B, 3, 3)
        2π times the inverse cell, Å⁻¹: ``k·u = n·(u @ inverse)``.
    cosine, sine : Tensor, shape (B, width, T)
        Phases over n₃ = 0 … T - 1.
    """

    layout: Layout
    inverse: Tensor
    cosine: Tensor
    sine: Tensor


def fold(phases: Phases, source: Source) -> Tensor:
    """Multipoles times phases over n₃, shape (B, 2 width, 2 channels T).

    Rows as those of a plane; columns: what adds to the real, then to the imaginary part of S, for
    each channel 1, n₁, n₂ … that is present.
    """
    c, s = phases.cosine, phases.sine
    third = torch.arange(c.shape[-1], device=c.device, dtype=c.dtype)
    charge = pack(phases.layout, source.charge)[..., None]
    if source.dipole is None and source.quadrupole is None:
        real, imaginary = [charge * c], [charge * s]
    else:
        even, odd = _folded(phases, source, charge, third)
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


def _folded(
    phases: Phases, source: Source, charge: Tensor, third: Tensor
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Multipoles as polynomials: real and imaginary coefficient of 1, n₁, n₂, n₁², n₁n₂, n₂²."""
    even: list[Tensor | None] = [charge, None, None]
    odd: list[Tensor | None] = [None, None, None]
    if source.dipole is not None:
        dipole = pack(phases.layout, source.dipole) @ phases.inverse
        odd = [dipole[..., 2:] * third, dipole[..., 0:1], dipole[..., 1:2]]
    if source.quadrupole is not None:
        inverse = phases.inverse[:, None]
        q = inverse.transpose(2, 3) @ pack(phases.layout, source.quadrupole) @ inverse
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


def unfold(phases: Phases, product: Tensor, derivatives: int) -> Sites:
    """Σ_k of the weighted structure factor times exp(-i k·r), and its derivatives.

    ``product`` (B, 2 width, 2 channels T) is the part of the sum over n₁ and n₂.
    """
    product = product.unflatten(-1, (2, (1, 3, 6)[derivatives], -1))
    cosine, sine = product.chunk(2, 1)
    partial_real = cosine[:, :, 0] + sine[:, :, 1]
    partial_imaginary = cosine[:, :, 1] - sine[:, :, 0]
    c, s = phases.cosine[:, :, None], phases.sine[:, :, None]
    # real and imaginary part of Σ S exp(-i k·r), still resolved by n₃
    even = partial_real * c + partial_imaginary * s
    third = torch.arange(c.shape[-1], device=c.device, dtype=c.dtype)
    potential = unpack(phases.layout, even[:, :, 0].sum(-1))
    if derivatives == 0:
        return Sites(potential)
    odd = partial_imaginary * c - partial_real * s
    sums = odd.sum(-1)
    along = (odd[:, :, 0] * third).sum(-1)
    reduced = -torch.stack([sums[:, :, 1], sums[:, :, 2], along], -1)
    field_vector = unpack(phases.layout, reduced @ phases.inverse.transpose(1, 2))
    if derivatives == 1:
        return Sites(potential, field_vector)
    zero = even.sum(-1)
    one = (even[:, :, :3] * third).sum(-1)
    two = (even[:, :, 0] * third.square()).sum(-1)
    entries = [zero[:, :, 3], zero[:, :, 4], one[:, :, 1], zero[:, :, 5], one[:, :, 2], two]
    xx, xy, xz, yy, yz, zz = entries
    matrix = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).unflatten(-1, (3, 3))
    inverse = phases.inverse[:, None]
    hessian = -inverse @ matrix @ inverse.transpose(2, 3)
    return Sites(potential, field_vector, unpack(phases.layout, hessian))
