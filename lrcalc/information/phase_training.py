"""Training of a model of phases: denoising score matching and cross entropy on noisy crystals.

Crystals, noise and neighbours are made on the device at each step (`phase_step`); on CUDA the step
is recorded once and launched as one graph.
"""

from __future__ import annotations

import copy
import math
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.checkpoint import read_tensors, write_tensors
from lrcalc.cuda_graph import record
from lrcalc.information.phase_crystals import (
    Crystals,
    Plan,
    disorder,
    plan,
    prepare,
    room_numbers,
    stack,
)
from lrcalc.information.phase_settings import FREE, Settings
from lrcalc.information.phase_step import (
    Chance,
    Weighed,
    draw_chance,
    losses,
    new_chance,
    noise_levels,
)
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


class State(NamedTuple):
    """What goes on from step to step.

    Attributes
    ----------
    model, averaged : PhaseModel
    optimizer : torch.optim.Optimizer
    rate, share : Tensor, shape ()
        Learning rate, and share of the new weights in the average, on the device.
    rng : torch.Generator
        Of noise.
    choice : numpy.random.Generator
        Of crystals.
    told : dict
        ``step``, ``minutes``, and ``curve``, its rows.
    """

    model: PhaseModel
    averaged: PhaseModel
    optimizer: torch.optim.Optimizer
    rate: Tensor
    share: Tensor
    rng: torch.Generator
    choice: np.random.Generator
    told: dict[str, Any]


def train(
    frames: Sequence[Atoms],
    model: PhaseModel,
    settings: Settings,
    *,
    weights: Sequence[float] | None = None,
    state_file: str | os.PathLike[str] | None = None,
) -> tuple[PhaseModel, list[list[float]]]:
    """Train; return the averaged model and the learning curve.

    Parameters
    ----------
    frames : sequence of Atoms
        Perfect crystals, ``info["phase"]``.
    model : PhaseModel
        Freshly made; goes on from ``state_file`` if that is there.
    weights : sequence of float, optional
        How often each frame is drawn, relative to the others.
    state_file : path-like, optional
        Written now and then, and at the end.

    Returns
    -------
    PhaseModel
    list
        Rows: step, minutes, loss, cross entropy, error of the score over noise, part of the atoms
        whose label was right.

    Raises
    ------
    ValueError
        For structures that cannot be learned from, a state of another training, or divergence.
    """
    crystals = stack(frames, model, device=settings.device)
    p = np.ones(len(frames)) if weights is None else np.asarray(weights, dtype=float)
    state = _start(model, settings, crystals)
    if state_file is not None and Path(state_file).exists():
        _resume(state, settings, state_file)
    stepper = Stepper(state, settings, crystals)
    begun = time.monotonic() - 60 * state.told["minutes"]
    saved = time.monotonic()
    title, count = "phases", 1
    with progress_bar(settings.steps, unit="step", title=title, initial=state.told["step"]) as bar:
        while state.told["step"] < settings.steps and not _late(state.told, settings):
            count = min(count, settings.steps - state.told["step"])
            looked = time.monotonic()
            row = stepper(count, p / p.sum())  # the host waits here
            spent = max(time.monotonic() - looked, 1e-3)
            state.told["minutes"] = (time.monotonic() - begun) / 60
            state.told["curve"].append([state.told["step"], state.told["minutes"], *row[:4]])
            _refuse_divergence(row, state.told["step"])
            bar.update(state.told["step"] - bar.n)
            count = max(1, min(MOST, 2 * count, round(LOOKS * count / spent)))
            bar.set_postfix_str(f"CE {row[1]:.3f}, score {row[2]:.3f}, right {row[3]:.3f}")
            if state_file is not None and time.monotonic() - saved > SAVE:
                _save_state(state, settings, state_file)
                saved = time.monotonic()
    if state_file is not None:
        _save_state(state, settings, state_file)
    return state.averaged.eval(), state.told["curve"]


def _late(told: dict[str, Any], settings: Settings) -> bool:
    return bool(settings.max_minutes and told["minutes"] >= settings.max_minutes)


def _refuse_divergence(row: list[float], step: int) -> None:
    if not math.isfinite(row[0]):
        raise ValueError(f"the training diverged at step {step}: take a smaller `learning_rate`")
    if row[4] > CROWDED:
        raise ValueError(
            f"{100 * row[4]:.0f} % of the atoms have more neighbours than there are seats: these "
            "structures are denser than others of their kind; take a smaller `cutoff`"
        )


class Stepper:
    """Steps with batches of one shape: crystals drawn by the host, everything else on the device.

    Parameters
    ----------
    state : State
    settings : Settings
    crystals : Crystals
    """

    def __init__(self, state: State, settings: Settings, crystals: Crystals) -> None:
        self.state, self.settings, self.crystals = state, settings, crystals
        mean = crystals.counts.mean(0)
        parts = settings.batch_atoms * mean / mean.sum()
        self.sizes = np.maximum(parts, crystals.counts.max(0)).astype(int)
        self.n_rows = max(1, int(self.sizes.sum() / crystals.counts.sum(1).min()))
        self.numbers = room_numbers(state.model, self.sizes)
        like = crystals.positions
        self.chance: Chance = new_chance(self.n_rows, like.shape[1], like)
        index = torch.zeros(0, dtype=torch.int64, device=like.device)
        self.at = Plan(index.new_zeros(self.n_rows), index.new_zeros(int(self.sizes.sum())))
        self.told = like.new_zeros(5)
        self.weighed = Weighed(
            settings.noise, settings.floor, settings.strain, settings.jitter, settings.score_weight
        )
        self._go: Callable[[], object] | None = None
        self._kept: Any = None

    def __call__(self, count: int, p: np.ndarray) -> list[float]:
        """Take ``count`` steps; return the means of loss and so on."""
        plans = [self._drawn(p) for _ in range(count)]
        rows, place = (
            torch.from_numpy(np.stack(x)).to(self.told.device) for x in zip(*plans, strict=True)
        )
        self.told.zero_()
        for k in range(count):
            self.at.rows.copy_(rows[k])
            self.at.place.copy_(place[k])
            draw_chance(self.chance, self.state.rng)
            step = self.state.told["step"]
            self.state.rate.fill_(
                self.settings.learning_rate * anneal(self.state.told, self.settings)
            )
            self.state.share.fill_(1 - min(self.settings.ema, (1 + step) / (10 + step)))
            self._launch()
            self.state.told["step"] += 1
        return (self.told / count).tolist()

    def _drawn(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        room = self.sizes.copy()
        rows: list[int] = []
        while len(rows) < self.n_rows:
            row = int(self.state.choice.choice(len(p), p=p))
            if (self.crystals.counts[row] > room).any():
                break
            rows.append(row)
            room -= self.crystals.counts[row]
        rows += [-1] * (self.n_rows - len(rows))
        return plan(self.crystals, rows, self.sizes)

    def _launch(self) -> None:
        """Take one step, recorded where that works."""
        ready = self.told.is_cuda and self.settings.graph and self.state.told["step"] >= 5
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
        """Change the weights, and their average, by one batch."""
        model, optimizer = self.state.model, self.state.optimizer
        loss, told = losses(model, self.crystals, self.at, self.numbers, self.chance, self.weighed)
        parameters = list(model.parameters())
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        if not self.told.is_cuda:
            optimizer.param_groups[0]["lr"] = float(self.state.rate)
        optimizer.step()
        with torch.no_grad():
            old: list[Tensor] = list(self.state.averaged.parameters())
            new: list[Tensor] = list(parameters)
            change = list(torch._foreach_sub(new, old))
            torch._foreach_mul_(change, self.state.share)
            torch._foreach_add_(old, change)
            self.told += told


def anneal(told: dict[str, Any], settings: Settings) -> float:
    """Factor of the learning rate: it rises at first, then falls along a cosine."""
    done = told["step"] / settings.steps
    if settings.max_minutes:
        done = max(done, told["minutes"] / settings.max_minutes)
    warm = min(WARM, settings.steps / 10)
    return min(1.0, (told["step"] + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _start(model: PhaseModel, settings: Settings, crystals: Crystals) -> State:
    device = settings.device
    model = model.to(device).train().requires_grad_(True)
    rng = torch.Generator(device).manual_seed(settings.seed)
    choice = np.random.default_rng(settings.seed)
    _calibrate(model, settings, crystals, rng, choice)
    averaged = copy.deepcopy(model).requires_grad_(False)
    cuda = torch.device(device).type == "cuda"
    rate = torch.tensor(settings.learning_rate, device=device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate if cuda else settings.learning_rate, betas=(0.9, 0.99),
        weight_decay=settings.weight_decay, fused=cuda, capturable=cuda,
    )  # fmt: skip
    if cuda:  # it may have been copied
        rate = optimizer.param_groups[0]["lr"]
    told = {"step": 0, "minutes": 0.0, "curve": []}
    share = torch.tensor(1.0, device=device)
    return State(model, averaged, optimizer, rate, share, rng, choice, told)


@torch.no_grad()
def _calibrate(
    model: PhaseModel, settings: Settings, crystals: Crystals, rng: torch.Generator,
    choice: np.random.Generator,
) -> None:  # fmt: skip
    """Bring features near 1 by crystals of all noise levels."""
    rows = choice.permutation(len(crystals.phases))[:24].tolist()
    at = Plan(*(torch.from_numpy(x).to(settings.device) for x in plan(crystals, rows)))
    chance = new_chance(len(rows), crystals.positions.shape[1], crystals.positions)
    draw_chance(chance, rng)
    noisy = disorder(crystals, at, noise_levels(chance, *settings.noise), chance.xi)
    numbers = room_numbers(model, crystals.counts[rows].sum(0))
    found = prepare(model, at, numbers, noisy.positions, noisy.cell)
    positions = found.system.positions
    vectors = positions[found.pairs.j] - positions[found.pairs.i] + found.offset
    model.calibrate(found.system, found.pairs, vectors)


def _plain(model: PhaseModel, settings: Settings) -> dict[str, Any]:
    kept = {k: v for k, v in settings._asdict().items() if k not in FREE}
    kept["noise"] = list(settings.noise)
    return {**kept, "phases": list(model.phases), "species": list(model.species), **model.settings}


def _save_state(state: State, settings: Settings, path: str | os.PathLike[str]) -> None:
    where = state.choice.bit_generator.state["state"]
    write_tensors(
        {
            "model": state.model.state_dict(),
            "averaged": state.averaged.state_dict(),
            "optimizer": state.optimizer.state_dict()["state"],
            "choice": [str(where["state"]), str(where["inc"])],
            "told": dict(state.told),
            "settings": _plain(state.model, settings),
        },
        path,
    )


def _resume(state: State, settings: Settings, path: str | os.PathLike[str]) -> None:
    content = read_tensors(path)
    known = _plain(state.model, settings)
    other = [k for k, v in known.items() if content.get("settings", {}).get(k) != v]
    if other:
        raise ValueError(
            f"{path} is the state of a training with other {', '.join(other)}: remove it to start "
            "anew, or write to another model file"
        )
    state.model.load_state_dict(content["model"])
    state.averaged.load_state_dict(content["averaged"])
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": content["optimizer"], "param_groups": groups})
    if isinstance(groups[0]["lr"], Tensor):
        state.optimizer.param_groups[0]["lr"] = state.rate  # the one that is set at each step
    generator = dict(state.choice.bit_generator.state)
    where, inc = content["choice"]
    generator["state"] = {"state": int(where), "inc": int(inc)}
    state.choice.bit_generator.state = generator
    state.told.update(content["told"])
    state.rng.manual_seed(settings.seed + 1 + state.told["step"])  # other noise than at the start
