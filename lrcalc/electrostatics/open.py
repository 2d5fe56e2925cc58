"""Open boundaries: the pair sum of smeared multipoles, in blocks of rows.

With ``d = r_i - r_j`` and ``B_n`` of `kernels.smeared_coulomb` (``∇B_n = -B_{n+1} d``) the
potential of the multipoles of j at i is ``q B0 + (u·d) B1 + ½ (d·Q·d) B2``; field and hessian
are its derivatives. The sum runs over j ≠ i, so there is no self term.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lrcalc.electrostatics.kernels import Sites, Source, smeared_coulomb
from lrcalc.electrostatics.layout import Layout, pack, unpack

BLOCK_PAIRS = 2_000_000
"""Pairs worked on at a time; above it blocks are recomputed in the backward pass."""


class Open(NamedTuple):
    """Padded positions (B, width, 3), mask of real atoms (B, width) and σ."""

    layout: Layout
    positions: Tensor
    real: Tensor
    smearing: float


def prepare_open(positions: Tensor, layout: Layout, smearing: float) -> Open:
    """Pad the positions of a batch of structures without periodic directions."""
    real = pack(layout, torch.ones_like(positions[:, 0])).detach()
    return Open(layout, pack(layout, positions), real, smearing)


def evaluate_open(plan: Open, source: Source, order: int) -> tuple[Tensor, Sites | None]:
    """Energies and potentials of open structures; ``order`` as in `direct.evaluate_direct`."""
    wanted = 0 if source.dipole is None else 1
    wanted = 2 if source.quadrupole is not None else wanted
    wanted = max(wanted, order)
    padded = Source(*(None if x is None else pack(plan.layout, x) for x in source))  # type: ignore[arg-type]
    structures, width = plan.layout.structures, plan.layout.width
    rows = max(1, BLOCK_PAIRS // max(1, structures * width))
    if rows >= width:
        parts = [_rows(plan, padded, 0, width, wanted)]
    else:
        parts = [
            checkpoint(_rows, plan, padded, i, min(i + rows, width), wanted, use_reentrant=False)
            for i in range(0, width, rows)
        ]
    potential, field, hessian = (
        None if entry[0] is None else torch.cat(entry, 1) for entry in zip(*parts, strict=True)
    )
    assert potential is not None
    atomic = padded.charge * potential
    if padded.dipole is not None and field is not None:
        atomic = atomic - (padded.dipole * field).sum(-1)
    if padded.quadrupole is not None and hessian is not None:
        atomic = atomic + 0.5 * (padded.quadrupole * hessian).sum((-1, -2))
    energy = 0.5 * atomic.sum(1)
    if order < 0:
        return energy, None
    found = [potential, field, hessian][: order + 1]
    return energy, Sites(*(unpack(plan.layout, x) for x in found if x is not None))


def _rows(
    plan: Open, source: Source, start: int, stop: int, order: int
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Potential, field, hessian at the atoms start … stop of every structure."""
    d = plan.positions[:, start:stop, None] - plan.positions[:, None]
    width = plan.layout.width
    index = torch.arange(width, device=d.device)
    other = (index[start:stop, None] != index).to(d.dtype)
    weight = other * plan.real[:, start:stop, None] * plan.real[:, None]
    highest = order + (source.dipole is not None)
    highest = order + 2 if source.quadrupole is not None else highest
    b = smeared_coulomb(d.square().sum(-1), plan.smearing, highest) * weight
    q = source.charge[:, None]
    potential = (b[0] * q).sum(-1)
    # coefficients of d in the gradient and of dd in the hessian
    slope = b[1] * q if order >= 1 else None
    curve = b[2] * q if order >= 2 else None
    qd = None
    if source.dipole is not None:
        u_dot = (d * source.dipole[:, None]).sum(-1)
        potential = potential + (u_dot * b[1]).sum(-1)
        slope = None if slope is None else slope + u_dot * b[2]
        curve = None if curve is None else curve + u_dot * b[3]
    if source.quadrupole is not None:
        qd = torch.einsum("bjxy,bijy->bijx", source.quadrupole, d)
        theta = (qd * d).sum(-1)
        potential = potential + 0.5 * (theta * b[2]).sum(-1)
        slope = None if slope is None else slope + 0.5 * theta * b[3]
        curve = None if curve is None else curve + 0.5 * theta * b[4]
    if slope is None:
        return potential, None, None
    field = (slope[..., None] * d).sum(2)
    if source.dipole is not None:
        field = field - b[1] @ source.dipole
    if qd is not None:
        field = field - (b[2][..., None] * qd).sum(2)
    if curve is None:
        return potential, field, None
    hessian = torch.einsum("bij,bijx,bijy->bixy", curve, d, d)
    eye = torch.eye(3, dtype=d.dtype, device=d.device)
    hessian = hessian - slope.sum(-1)[..., None, None] * eye
    mixed = torch.zeros_like(d[:, :, 0, :, None] * eye)
    if source.dipole is not None:
        mixed = mixed - torch.einsum("bij,bijx,bjy->bixy", b[2], d, source.dipole)
    if qd is not None:
        mixed = mixed - torch.einsum("bij,bijx,bijy->bixy", b[3], d, qd)
        hessian = hessian + torch.einsum("bij,bjxy->bixy", b[2], source.quadrupole)
    return potential, field, hessian + mixed + mixed.transpose(-1, -2)
