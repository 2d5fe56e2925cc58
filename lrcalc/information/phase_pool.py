"""Noisy crystals whose features are kept: labels are learned from them many times.

Features of the backbone are not learned, so they are made once for each noisy crystal. A pool of
crystals is renewed one batch after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.information.phase_batch import disorder, prepare
from lrcalc.information.phase_crystals import Crystals, Plan, plan, room_numbers
from lrcalc.information.phase_settings import Settings
from lrcalc.information.phase_step import draw_chance, new_chance
from lrcalc.information.phases import PhaseModel


class Kept(NamedTuple):
    """One noisy crystal.

    Attributes
    ----------
    features : Tensor, shape (n, F)
    mean : Tensor, shape (n, n)
        Of each atom, its share in the average around each other.
    phase : int
    """

    features: Tensor
    mean: Tensor
    phase: int


@torch.no_grad()
def make_kept(
    model: PhaseModel, crystals: Crystals, rows: list[int], settings: Settings, rng: torch.Generator
) -> list[Kept]:
    """Noisy copies of crystals, with their features."""
    device = crystals.positions.device
    at = Plan(*(torch.from_numpy(x).to(device) for x in plan(crystals, rows)))
    chance = new_chance(len(rows), crystals.positions.shape[1], crystals.positions)
    draw_chance(chance, rng)
    low, high = settings.noise
    noise = low + (high - low) * chance.level[:, 0]
    noisy = disorder(crystals, at, noise, chance.xi, settings.strain * chance.strain)
    jitter = 1 + settings.jitter * chance.jitter
    numbers = room_numbers(model, crystals.counts[rows].sum(0))
    found = prepare(model, at, numbers, noisy.positions, noisy.cell, jitter=jitter)
    positions = found.system.positions
    vectors = positions[found.pairs.j] - positions[found.pairs.i] + found.offset
    edges = model.backbone.edges(found.pairs, vectors, len(positions), square=found.square)
    features = model.backbone(found.system, edges)
    most = found.square.most
    matrices = features.new_zeros(len(rows) * most * most)
    matrices = matrices.index_add(0, found.square.slot, edges.weight).view(-1, most, most)
    owner, local = found.owner, at.place % most
    kept = []
    for b, row in enumerate(rows):
        own = (owner == b).nonzero()[:, 0]
        places = local[own]
        matrix = matrices[b][places][:, places] + torch.eye(len(own), device=device)
        kept.append(
            Kept(features[own], matrix / matrix.sum(1, keepdim=True), int(crystals.phases[row]))
        )
    return kept


def chances_of(model: PhaseModel, crystal: Kept) -> Tensor:
    """``log softmax_c l_ac`` of a kept crystal, (n, C), as `PhaseModel.chances`."""
    z = model.classes(crystal.features)
    for _ in range(model.smooth):
        z = crystal.mean @ z
    return torch.log_softmax(z, dim=1)


def label_loss(model: PhaseModel, batch: list[Kept]) -> tuple[Tensor, Tensor]:
    """Cross entropy of some crystals; and that, with the part of right labels, to be told."""
    sizes = [len(crystal.features) for crystal in batch]
    z = model.classes(torch.cat([crystal.features for crystal in batch]))
    for _ in range(model.smooth):
        parts = zip(batch, z.split(sizes), strict=True)
        z = torch.cat([crystal.mean @ part for crystal, part in parts])
    phase = torch.tensor([crystal.phase for crystal in batch]).repeat_interleave(
        torch.tensor(sizes)
    )
    phase = phase.to(z.device)
    loss = torch.nn.functional.cross_entropy(z, phase)
    right = (z.detach().argmax(1) == phase).to(loss.dtype).mean()
    return loss, torch.stack([loss.detach(), right])


class Pool:
    """Kept crystals, of which the oldest are replaced.

    Parameters
    ----------
    model, crystals, settings
    p : ndarray
        How often each crystal comes.
    rng, choice
        Random numbers of noise, and of crystals.
    """

    def __init__(
        self, model: PhaseModel, crystals: Crystals, settings: Settings, p: np.ndarray,
        rng: torch.Generator, choice: np.random.Generator,
    ) -> None:  # fmt: skip
        self.model, self.crystals, self.settings = model, crystals, settings
        self.p, self.rng, self.choice = p, rng, choice
        self.kept: list[Kept] = []
        self.next = 0

    def renew(self, count: int = 4) -> None:
        """Make some crystals; they take the place of the oldest where the pool is full."""
        rows = self.choice.choice(len(self.p), size=count, p=self.p).tolist()
        for crystal in make_kept(self.model, self.crystals, rows, self.settings, self.rng):
            if len(self.kept) < self.settings.pool:
                self.kept.append(crystal)
            else:
                self.kept[self.next] = crystal
                self.next = (self.next + 1) % self.settings.pool

    def draw(self, count: int) -> list[Kept]:
        """Draw some of the crystals that are kept."""
        return [self.kept[k] for k in self.choice.integers(len(self.kept), size=count)]
