"""What a model of phases gets right: by phase and noise, at once and after steps of denoising."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from lrcalc.information.phase_batch import disorder, prepare
from lrcalc.information.phase_crystals import Crystals, Plan, plan, room_numbers
from lrcalc.information.phases import PhaseModel, score

LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Noise of the tables, in units of the distance of nearest neighbours."""


class Validation(NamedTuple):
    """Results for L noise levels, C phases, K + 1 numbers of denoising steps.

    Attributes
    ----------
    levels : tuple of float
    right : ndarray, shape (K + 1, L, C)
        Part of the atoms of a phase with the right label, after k steps.
    left : ndarray, shape (K + 1, L, C)
        Rms displacement (of a Cartesian component) from the crystal, over the distance of nearest
        neighbours.
    confusion : ndarray, shape (L, C, C)
        Part of the atoms of the first phase that are called the second, after ``at_step`` steps.
    """

    levels: tuple[float, ...]
    right: np.ndarray
    left: np.ndarray
    confusion: np.ndarray


def validate(
    model: PhaseModel, crystals: Crystals, *, levels: tuple[float, ...] = LEVELS, steps: int = 0,
    copies: int = 1, atoms: int = 4000, seed: int = 1, at_step: int = 0,
) -> Validation:  # fmt: skip
    """Label each crystal ``copies`` times at each noise level, after 0 … ``steps`` steps.

    Parameters
    ----------
    atoms : int
        Of a batch, at least those of one crystal.
    at_step : int
        Number of steps for the table of confusion.
    """
    n = len(model.phases)
    device = crystals.positions.device
    rng = torch.Generator(device).manual_seed(seed)
    seen = np.zeros((len(levels), n))
    right = np.zeros((steps + 1, len(levels), n))
    square = np.zeros_like(right)
    confusion = np.zeros((len(levels), n, n))
    for number, level in enumerate(levels):
        for rows in _batches(crystals, copies, atoms):
            at = Plan(*(torch.from_numpy(x).to(device) for x in plan(crystals, rows)))
            numbers = room_numbers(model, crystals.counts[rows].sum(0))
            shape = (len(rows), crystals.positions.shape[1], 3)
            xi = torch.randn(shape, generator=rng, device=device, dtype=crystals.positions.dtype)
            noise = torch.full((len(rows),), level, device=device, dtype=xi.dtype)
            clean, positions, cell, _ = disorder(crystals, at, noise, xi)
            length = None
            for k in range(steps + 1):
                found = prepare(model, at, numbers, positions, cell, length)
                length = found.length
                phase = crystals.phases[rows][found.owner.cpu().numpy()]
                logits, gradient = score(model, found.system, found.pairs, found.offset)
                label = logits.chances.argmax(1).cpu().numpy()
                np.add.at(right[k, number], phase, label == phase)
                if k == 0:
                    np.add.at(seen[number], phase, 1)
                if k == at_step:
                    np.add.at(confusion[number], (phase, label), 1)
                away = (positions - clean) / crystals.nearest[at.rows][:, None, None]
                away = away.reshape(-1, 3)[at.place].square().mean(1)
                np.add.at(square[k, number], phase, away.cpu().double().numpy())
                step = model.sigma**2 * gradient * length[found.owner][:, None]
                flat = positions.reshape(-1, 3).index_add(0, at.place, step)
                positions = flat.view(positions.shape)
    total = np.maximum(seen, 1)
    return Validation(levels, right / total, np.sqrt(square / total), confusion / total[:, :, None])


def _batches(crystals: Crystals, copies: int, atoms: int) -> list[list[int]]:
    """Rows of the crystals, in batches."""
    made: list[list[int]] = [[]]
    total = 0
    for row in [r for r in range(len(crystals.counts)) for _ in range(copies)]:
        size = int(crystals.counts[row].sum())
        if made[-1] and total + size > atoms:
            made.append([])
            total = 0
        made[-1].append(row)
        total += size
    return made
