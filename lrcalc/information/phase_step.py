"""Errors of a score on noisy crystals: a function of tensors on the device, which CUDA can record.

With ``r = r0 + σξ`` the loss of an atom is ``|σ_s² s + (r - r0)|² / 3(σ² + σ_0²)``: denoising score
matching, over the noise, so that small noise counts as much as large (physics §8). The network is
not told σ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.information.phase_batch import disorder, prepare
from lrcalc.information.phase_crystals import Crystals, Plan
from lrcalc.information.phase_settings import Settings
from lrcalc.information.phases import PhaseModel


class Chance(NamedTuple):
    """Random numbers of a step.

    Attributes
    ----------
    xi : Tensor, shape (B, M, 3)
        Normal, of the displacements.
    strain : Tensor, shape (B, 3, 3)
        Normal.
    jitter : Tensor, shape (B,)
        Normal.
    level : Tensor, shape (B, 2)
        Uniform: which of two distributions, and where in it.
    """

    xi: Tensor
    strain: Tensor
    jitter: Tensor
    level: Tensor


def new_chance(rows: int, most: int, like: Tensor) -> Chance:
    """Room for the random numbers of a step."""
    return Chance(
        like.new_zeros(rows, most, 3), like.new_zeros(rows, 3, 3), like.new_zeros(rows),
        like.new_zeros(rows, 2),
    )  # fmt: skip


def draw_chance(chance: Chance, rng: torch.Generator) -> None:
    """Draw anew, in place."""
    for normal in chance[:3]:
        normal.normal_(generator=rng)
    chance.level.uniform_(generator=rng)


def noise_levels(chance: Chance, low: float, high: float) -> Tensor:
    """Noise (B,): of one half uniform from ``low`` to ``high``, of the other uniform in its log."""
    which, u = chance.level.unbind(1)
    return torch.where(which < 0.5, low + (high - low) * u, low * (high / low) ** u)


def score_loss(
    model: PhaseModel, crystals: Crystals, at: Plan, numbers: Tensor, chance: Chance, w: Settings
) -> tuple[Tensor, Tensor]:
    """Mean loss of the atoms of a batch; and that, with the part of crowded atoms, to be told."""
    noise = noise_levels(chance, *w.noise)
    noisy = disorder(crystals, at, noise, chance.xi, w.strain * chance.strain)
    jitter = 1 + w.jitter * chance.jitter
    found = prepare(model, at, numbers, noisy.positions, noisy.cell, jitter=jitter)
    positions = found.system.positions.requires_grad_(True)
    there, here = (positions.index_select(0, atoms) for atoms in (found.pairs.j, found.pairs.i))
    edges = model.backbone.edges(
        found.pairs, there - here + found.offset, len(positions), square=found.square
    )
    energy = model.energies(
        model.backbone(found.system._replace(positions=positions), edges, model.score_rounds)
    )
    real = found.real.to(positions.dtype)
    (gradient,) = torch.autograd.grad((energy * real).sum(), positions, create_graph=True)
    place = at.place.clamp(max=chance.xi.shape[0] * chance.xi.shape[1] - 1)
    moved = (noisy.clean - noisy.positions).reshape(-1, 3).index_select(0, place)
    step = model.sigma**2 * gradient * found.length.index_select(0, found.owner)[:, None]  # Å
    floor = w.floor * crystals.nearest[at.rows]
    scale = 3 * (noisy.sigma**2 + floor**2).index_select(0, found.owner)
    loss = ((step - moved).square().sum(1) / scale * real).sum() / real.sum()
    return loss, torch.stack([loss, found.crowded.to(loss.dtype)]).detach()
