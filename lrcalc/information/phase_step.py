"""One step of the training of phases: a function of tensors on the device, so that CUDA records it.

With ``r = r0 + σξ`` the loss of an atom is

    w |σ_s² s + (r - r0)|² / 3(σ² + σ_0²)  -  log softmax_c l_ac ,   c the crystal's phase,

the first term over the noise, so that small noise counts as much as large (physics §8). The
network is not told σ.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.information.phase_crystals import Crystals, Plan, disorder, prepare
from lrcalc.information.phases import PhaseModel, score


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


class Weighed(NamedTuple):
    """What of a loss may be chosen: see `lrcalc.information.phase_training.Settings`."""

    noise: tuple[float, float]
    floor: float
    strain: float
    jitter: float
    score_weight: float


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


def losses(
    model: PhaseModel, crystals: Crystals, at: Plan, numbers: Tensor, chance: Chance, w: Weighed
) -> tuple[Tensor, Tensor]:
    """Loss, and what is told of it: loss, cross entropy, score, part that is right, crowded."""
    noise = noise_levels(chance, *w.noise)
    noisy = disorder(crystals, at, noise, chance.xi, w.strain * chance.strain)
    jitter = 1 + w.jitter * chance.jitter
    found = prepare(model, at, numbers, noisy.positions, noisy.cell, jitter=jitter)
    logits, gradient = score(model, found.system, found.pairs, found.offset, train=True)
    place = at.place.clamp(max=chance.xi.shape[0] * chance.xi.shape[1] - 1)
    moved = (noisy.clean - noisy.positions).reshape(-1, 3).index_select(0, place)
    step = model.sigma**2 * gradient * found.length.index_select(0, found.owner)[:, None]  # Å
    floor = w.floor * crystals.nearest[at.rows]
    scale = 3 * (noisy.sigma**2 + floor**2).index_select(0, found.owner)
    real = found.real.to(gradient.dtype)
    share = real / real.sum()
    matching = ((step - moved).square().sum(1) / scale * share).sum()
    phase = crystals.phase[at.rows].index_select(0, found.owner)
    entropy = -(logits.chances.gather(1, phase[:, None])[:, 0] * share).sum()
    loss = entropy + w.score_weight * matching
    right = ((logits.chances.argmax(1) == phase) * share).sum()
    told = torch.stack([loss, entropy, matching, right, found.crowded.to(loss.dtype)])
    return loss, told.detach()
