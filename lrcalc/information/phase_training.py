"""Training of a model of phases on noisy crystals: its labels first, then its score.

Features of the backbone are not learned. Labels come from crystals whose features are kept
(`phase_pool`), by cross entropy; the score by denoising score matching (`phase_step`), on crystals
made at each step on the device. On CUDA that step is recorded once and launched as one graph.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lrcalc.cuda_graph import record
from lrcalc.information.phase_crystals import Crystals, Plan, plan, room_numbers, stack
from lrcalc.information.phase_pool import Pool, label_loss
from lrcalc.information.phase_settings import Settings
from lrcalc.information.phase_state import PARTS, Part, State, resume, save_state, start
from lrcalc.information.phase_step import draw_chance, new_chance, score_loss
from lrcalc.information.phases import PhaseModel
from lrcalc.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms

LOOKS = 2.0
"""Seconds, about, after which the host asks how things stand and looks at the clock."""

MOST = 100
"""Steps between two looks."""

WARM = 200
"""Steps in which the learning rate rises, or a tenth of all."""

CROWDED = 0.05
"""Part of the atoms that may have more neighbours than seats."""

SAVE = 60.0
"""Seconds between states."""

RENEWED = 1
"""Crystals of the pool that are made anew at each step of the labels."""


def train(
    frames: Sequence[Atoms],
    model: PhaseModel,
    settings: Settings,
    *,
    weights: Sequence[float] | None = None,
    known: int = 0,
    state_file: str | os.PathLike[str] | None = None,
) -> tuple[PhaseModel, dict[str, list[list[float]]]]:
    """Train; return the averaged model and the learning curves.

    Parameters
    ----------
    frames : sequence of Atoms
        Perfect crystals, ``info["phase"]``.
    model : PhaseModel
        Freshly made; goes on from ``state_file`` if that is there.
    weights : sequence of float, optional
        How often each frame is drawn, relative to the others.
    known : int, optional
        Invariants of the backbone that are near 1 already (`lrcalc.information.phase_start`).
    state_file : path-like, optional
        Written now and then, and at the end.

    Returns
    -------
    PhaseModel
    dict
        Of each part, rows: step, minutes, and of ``labels`` cross entropy and part of the atoms
        whose label was right, of ``score`` its error over the noise.

    Raises
    ------
    ValueError
        For structures that cannot be learned from, a state of another training, or divergence.
    """
    crystals = stack(frames, model, fewest=settings.crystal_atoms, device=settings.device)
    p = np.ones(len(frames)) if weights is None else np.asarray(weights, dtype=float)
    state = start(model, settings, crystals, known)
    if state_file is not None and Path(state_file).exists():
        resume(state, settings, state_file)
    saving = _Saving(state, settings, state_file)
    for name in PARTS:
        steps, minutes = limits(name, settings)
        if not _over(state.parts[name].told, steps, minutes):
            made = Labels if name == "labels" else Scores
            _run(name, made(state, settings, crystals, p / p.sum()), state, steps, minutes, saving)
    saving(now=True)
    return state.averaged.eval(), {name: part.told["curve"] for name, part in state.parts.items()}


def limits(name: str, settings: Settings) -> tuple[int, float]:
    """Return steps and minutes of a part; 0 minutes: no limit."""
    if name == "labels":
        return settings.label_steps, settings.label_share * settings.max_minutes
    return settings.steps, (1 - settings.label_share) * settings.max_minutes


def _over(told: dict[str, Any], steps: int, minutes: float) -> bool:
    return told["step"] >= steps or bool(minutes and told["minutes"] >= minutes)


class _Saving:
    """Writes the state now and then."""

    def __init__(
        self, state: State, settings: Settings, path: str | os.PathLike[str] | None
    ) -> None:
        self.state, self.settings, self.path = state, settings, path
        self.last = time.monotonic()

    def __call__(self, *, now: bool = False) -> None:
        if self.path is not None and (now or time.monotonic() - self.last > SAVE):
            save_state(self.state, self.settings, self.path)
            self.last = time.monotonic()


def _run(
    name: str, stepper: Labels | Scores, state: State, steps: int, minutes: float, saving: _Saving
) -> None:
    """Take steps of a part until it is over."""
    told = state.parts[name].told
    begun = time.monotonic() - 60 * told["minutes"]
    count = 1
    with progress_bar(steps, unit="step", title=name, initial=told["step"]) as bar:
        while not _over(told, steps, minutes):
            count = min(count, steps - told["step"])
            looked = time.monotonic()
            row = stepper(count, steps, minutes)  # the host waits here
            spent = max(time.monotonic() - looked, 1e-3)
            told["minutes"] = (time.monotonic() - begun) / 60
            told["curve"].append([told["step"], told["minutes"], *row[:2]])
            if not math.isfinite(row[0]):
                raise ValueError(
                    f"the training diverged at step {told['step']} of {name}: take a smaller "
                    "`learning_rate`"
                )
            bar.update(told["step"] - bar.n)
            bar.set_postfix_str(" ".join(f"{x:.3f}" for x in row))
            count = max(1, min(MOST, 2 * count, round(LOOKS * count / spent)))
            saving()


def anneal(told: dict[str, Any], steps: int, minutes: float) -> float:
    """Factor of the learning rate: it rises at first, then falls along a cosine."""
    done = told["step"] / steps
    if minutes:
        done = max(done, told["minutes"] / minutes)
    warm = min(WARM, max(1.0, steps / 10))
    return min(1.0, (told["step"] + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def set_rates(part: Part, settings: Settings, steps: int, minutes: float) -> None:
    """Set learning rate and share in the average for the next step."""
    step = part.told["step"]
    rate = settings.learning_rate * anneal(part.told, steps, minutes)
    part.rate.fill_(rate)
    part.share.fill_(1 - min(settings.ema, (1 + step) / (10 + step)))
    if not part.rate.is_cuda:
        part.optimizer.param_groups[0]["lr"] = rate


def update(part: Part, loss: Tensor, clip: float) -> None:
    """Change weights and their average by the gradient of a loss."""
    parameters = list(part.new.parameters())
    # a constant of the energy has no gradient
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    part.optimizer.step()
    with torch.no_grad():
        old: list[Tensor] = list(part.old.parameters())
        new: list[Tensor] = list(parameters)
        change = list(torch._foreach_sub(new, old))
        torch._foreach_mul_(change, part.share)
        torch._foreach_add_(old, change)


class Labels:
    """Steps of the labels, with crystals of a pool."""

    def __init__(self, state: State, settings: Settings, crystals: Crystals, p: np.ndarray) -> None:
        self.state, self.settings, self.part = state, settings, state.parts["labels"]
        self.pool = Pool(state.model, crystals, settings, p, state.rng, state.choice)
        self.pool.renew(4 * settings.label_crystals)

    def __call__(self, count: int, steps: int, minutes: float) -> list[float]:
        """Take ``count`` steps; return mean cross entropy and part of right labels."""
        sums = torch.zeros(2, device=self.settings.device)
        for _ in range(count):
            set_rates(self.part, self.settings, steps, minutes)
            self.pool.renew(RENEWED)
            batch = self.pool.draw(self.settings.label_crystals)
            loss, told = label_loss(self.state.model, batch)
            update(self.part, loss, self.settings.clip)
            self.part.told["step"] += 1
            sums += told
        return (sums / count).tolist()


class Scores:
    """Steps of the score: crystals drawn by the host, everything else on the device.

    Batches have one shape, so that a step can be recorded.
    """

    def __init__(self, state: State, settings: Settings, crystals: Crystals, p: np.ndarray) -> None:
        self.state, self.settings, self.crystals, self.p = state, settings, crystals, p
        self.part = state.parts["score"]
        mean = crystals.counts.mean(0)
        parts = settings.batch_atoms * mean / mean.sum()
        self.sizes = np.maximum(parts, crystals.counts.max(0)).astype(int)
        self.n_rows = max(1, int(self.sizes.sum() / crystals.counts.sum(1).min()))
        self.numbers = room_numbers(state.model, self.sizes)
        like = crystals.positions
        self.chance = new_chance(self.n_rows, like.shape[1], like)
        index = torch.zeros(0, dtype=torch.int64, device=like.device)
        self.at = Plan(index.new_zeros(self.n_rows), index.new_zeros(int(self.sizes.sum())))
        self.told = like.new_zeros(2)
        self._go: Callable[[], object] | None = None
        self._kept: Any = None

    def __call__(self, count: int, steps: int, minutes: float) -> list[float]:
        """Take ``count`` steps; return the mean error, and the part of crowded atoms."""
        plans = [self.drawn() for _ in range(count)]
        rows, place = (
            torch.from_numpy(np.stack(x)).to(self.told.device) for x in zip(*plans, strict=True)
        )
        self.told.zero_()
        for k in range(count):
            self.at.rows.copy_(rows[k])
            self.at.place.copy_(place[k])
            draw_chance(self.chance, self.state.rng)
            set_rates(self.part, self.settings, steps, minutes)
            self._launch()
            self.part.told["step"] += 1
        row: list[float] = (self.told / count).tolist()
        if row[1] > CROWDED:
            raise ValueError(
                f"{100 * row[1]:.0f} % of the atoms have more neighbours than there are seats: "
                "these structures are denser than others of their kind; take a smaller `cutoff`"
            )
        return row

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and places of a batch."""
        room = self.sizes.copy()
        rows: list[int] = []
        while len(rows) < self.n_rows:
            row = int(self.state.choice.choice(len(self.p), p=self.p))
            if (self.crystals.counts[row] > room).any():
                break
            rows.append(row)
            room -= self.crystals.counts[row]
        rows += [-1] * (self.n_rows - len(rows))
        return plan(self.crystals, rows, self.sizes)

    def _launch(self) -> None:
        """Take one step, recorded where that works."""
        ready = self.told.is_cuda and self.settings.graph and self.part.told["step"] >= 5
        if self._go is None and ready:
            try:
                self._kept = record(self._work)
                self._go = self._kept.replay
                return  # recording ran it once
            except RuntimeError as error:
                reason = str(error).partition("\n")[0]
                warnings.warn(f"steps are not recorded as CUDA graphs: {reason}", stacklevel=2)
                self._go = self._work
        (self._go or self._work)()

    def _work(self) -> None:
        loss, told = score_loss(
            self.state.model, self.crystals, self.at, self.numbers, self.chance, self.settings
        )
        update(self.part, loss, self.settings.clip)
        self.told += told
