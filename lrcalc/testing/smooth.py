"""Whether features are smooth all the way: one atom passes another, and leaves."""

from __future__ import annotations

from typing import Any

import torch

from lrcalc.models.backbone import Features
from lrcalc.neighbors import Pairs
from lrcalc.system import System

INTERVALS = 160
"""Of the coarse scan; the fine one has four times as many."""

SHRINKS = 1.0 / 16.0
"""What the finer scan may leave of the coarse one's error: a kink leaves 1/4, a jump all of it,
and what has three derivatives 1/64."""

ROUNDING = 1e-10
"""Errors below this, relative to the largest feature, are not looked at."""


def unsmooth(backbone: Any, scale: float, *, nearest: float, seed: int = 0) -> float:
    """Scan a trimer from ``nearest`` (Å) to beyond the cutoff for jumps and kinks.

    An atom moves away from a central one, past a third that stays at 0.6 cutoffs, so that features
    that count, sort or choose neighbours are seen as well. Slopes by autograd are integrated by the
    trapezoidal rule: what the differences of the features leave of it goes with the cube of the
    step.

    Parameters
    ----------
    backbone : Backbone
        In float64, without gradients of parameters.
    scale : float
        Size of the features.

    Returns
    -------
    float
        0 for smooth features; else the part of the error that a four times finer scan leaves, the
        largest over the species.
    """
    worst = 0.0
    for z in backbone.species[:4]:
        coarse, fine = (
            _left(backbone, [backbone.species[0], z, backbone.species[-1]], count, nearest, seed)
            for count in (INTERVALS, 4 * INTERVALS)
        )
        if fine > ROUNDING * scale and not fine <= SHRINKS * coarse:
            worst = max(worst, fine / coarse)
    return worst


def _left(backbone: Any, numbers: list[int], intervals: int, nearest: float, seed: int) -> float:
    """Largest difference over an interval that the slopes at its ends do not explain."""
    cutoff, n = float(backbone.cutoff), intervals + 1
    way = torch.linspace(nearest, 1.03 * cutoff, n, dtype=torch.float64)
    leaving = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    staying = 0.6 * cutoff * torch.tensor([0.6, -0.8, 0.0], dtype=torch.float64)
    positions = torch.zeros(n, 3, 3, dtype=torch.float64)
    positions[:, 1], positions[:, 2] = way[:, None] * leaving, staying
    positions.requires_grad_()
    first = 3 * torch.arange(n)[:, None]
    i = (first + torch.tensor([0, 0, 1, 1, 2, 2])).flatten()
    j = (first + torch.tensor([1, 2, 0, 2, 0, 1])).flatten()
    flat = positions.view(-1, 3)
    vectors = flat.index_select(0, j) - flat.index_select(0, i)
    kept = vectors.detach().norm(dim=1) < 1.03 * cutoff  # beyond the cutoff it must carry nothing
    zero = torch.zeros(int(kept.sum()), 3, dtype=torch.int64)
    system = System(
        flat.detach(), torch.zeros(n, 3, 3, dtype=torch.float64), torch.tensor(numbers * n),
        torch.zeros(n, 3, dtype=torch.bool), torch.arange(n).repeat_interleave(3),
        torch.zeros(n, dtype=torch.float64),
    )  # fmt: skip
    features: Features = backbone(system, Pairs(i[kept], j[kept], zero), vectors[kept])
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(n, dtype=torch.float64)
    for part in features[:3]:
        each = part.reshape(n, -1)
        weights = torch.randn(each.shape[1], generator=generator, dtype=torch.float64)
        total = total + each @ weights
    (slope,) = torch.autograd.grad(total.sum(), positions)
    along = slope[:, 1] @ leaving
    step = way[1] - way[0]
    return float((total.detach().diff() - step / 2 * (along[1:] + along[:-1])).abs().max())
