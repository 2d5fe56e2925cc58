"""What a training of phases is at: its two parts, how they start, and the file they go on from."""

from __future__ import annotations

import copy
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lrcalc.checkpoint import read_tensors, write_tensors
from lrcalc.information.phase_batch import disorder, prepare
from lrcalc.information.phase_crystals import Crystals, Plan, plan, room_numbers
from lrcalc.information.phase_settings import DEFAULTS, FREE, Settings
from lrcalc.information.phase_step import draw_chance, new_chance, noise_levels
from lrcalc.information.phases import PhaseModel

PARTS = ("labels", "score")
"""Their order."""

ANEW = (
    "to forget it and start anew take `--restart` (or remove the file), to keep it another `--out`"
)
"""What to do about a state that this training cannot go on from."""


class Part(NamedTuple):
    """One half of the training: what of the model it changes, and how far it is.

    Attributes
    ----------
    new, old : nn.Module
        Weights, and their average.
    optimizer : torch.optim.Optimizer
    rate, share : Tensor, shape ()
        Learning rate, and share of the new weights in the average, on the device.
    told : dict
        ``step``, ``minutes``, and ``curve``, its rows.
    """

    new: nn.Module
    old: nn.Module
    optimizer: torch.optim.Optimizer
    rate: Tensor
    share: Tensor
    told: dict[str, Any]


class State(NamedTuple):
    """What goes on from step to step.

    Attributes
    ----------
    model, averaged : PhaseModel
    parts : dict of str to Part
    rng : torch.Generator
        Of noise.
    choice : numpy.random.Generator
        Of crystals.
    """

    model: PhaseModel
    averaged: PhaseModel
    parts: dict[str, Part]
    rng: torch.Generator
    choice: np.random.Generator


def start(model: PhaseModel, settings: Settings, crystals: Crystals, known: int = 0) -> State:
    """Begin a training of a model that is new, or whose first invariants are ``known``."""
    device = settings.device
    model = model.to(device).train().requires_grad_(True)
    rng = torch.Generator(device).manual_seed(settings.seed)
    choice = np.random.default_rng(settings.seed)
    if known < len(model.backbone.mean):
        _calibrate(model, settings, crystals, rng, choice, known)
    averaged = copy.deepcopy(model).requires_grad_(False)
    parts = {
        "labels": _part(model.classes, averaged.classes, settings),
        "score": _part(model.energy, averaged.energy, settings),
    }
    return State(model, averaged, parts, rng, choice)


def _part(new: nn.Module, old: nn.Module, settings: Settings) -> Part:
    cuda = torch.device(settings.device).type == "cuda"
    rate = torch.tensor(settings.learning_rate, device=settings.device)
    optimizer = torch.optim.AdamW(
        new.parameters(), lr=rate if cuda else settings.learning_rate, betas=(0.9, 0.99),
        weight_decay=settings.weight_decay, fused=cuda, capturable=cuda,
    )  # fmt: skip
    if cuda:  # it may have been copied
        rate = optimizer.param_groups[0]["lr"]
    told: dict[str, Any] = {"step": 0, "minutes": 0.0, "curve": []}
    return Part(new, old, optimizer, rate, torch.tensor(1.0, device=settings.device), told)


@torch.no_grad()
def _calibrate(
    model: PhaseModel, settings: Settings, crystals: Crystals, rng: torch.Generator,
    choice: np.random.Generator, known: int,
) -> None:  # fmt: skip
    """Bring features near 1 by crystals of all noise levels."""
    rows = choice.permutation(len(crystals.phases))[:24].tolist()
    at = Plan(*(torch.from_numpy(x).to(settings.device) for x in plan(crystals, rows)))
    chance = new_chance(len(rows), crystals.positions.shape[1], crystals.positions)
    draw_chance(chance, rng)
    noisy = disorder(crystals, at, noise_levels(chance, *settings.noise), chance.xi)
    numbers = room_numbers(model, crystals.counts[rows].sum(0))
    found = prepare(model, at, numbers, noisy.positions, noisy.cell)
    x = found.system.positions
    vectors = x[found.pairs.j] - x[found.pairs.i] + found.offset
    edges = model.backbone.edges(found.pairs, vectors, len(x), square=found.square)
    model.backbone.calibrate(found.system, edges, found.real, known)


def _plain(model: PhaseModel, settings: Settings) -> dict[str, Any]:
    kept = {k: v for k, v in settings._asdict().items() if k not in FREE}
    kept["noise"] = list(settings.noise)
    own = {k: v for k, v in model.settings.items() if k != "smooth"}  # of no weight's shape
    return {**kept, "phases": list(model.phases), "species": list(model.species), **own}


def save_state(state: State, settings: Settings, path: str | os.PathLike[str]) -> None:
    """Write all that a training needs to go on."""
    where = state.choice.bit_generator.state["state"]
    write_tensors(
        {
            "model": state.model.state_dict(),
            "averaged": state.averaged.state_dict(),
            "optimizers": [state.parts[n].optimizer.state_dict()["state"] for n in PARTS],
            "choice": [str(where["state"]), str(where["inc"])],
            "told": [dict(state.parts[n].told) for n in PARTS],
            "settings": _plain(state.model, settings),
        },
        path,
    )


def resume(state: State, settings: Settings, path: str | os.PathLike[str]) -> None:
    """Go on from what `save_state` wrote; refuse what another training wrote."""
    content = read_tensors(path)
    if "told" not in content or "settings" not in content:
        raise ValueError(f"{path} is not the state of a training of phases: {ANEW}")
    known, there = _plain(state.model, settings), content["settings"]
    usual = {**DEFAULTS, **Settings._field_defaults}  # what older states do not have
    was = {k: there.get(k, usual.get(k)) for k in known}
    other = [f"{k} ({was[k]}, now {v})" for k, v in known.items() if was[k] != v]
    if other:
        raise ValueError(f"{path} is the state of a training with other {', '.join(other)}: {ANEW}")
    state.model.load_state_dict(content["model"])
    state.averaged.load_state_dict(content["averaged"])
    for name, kept, told in zip(PARTS, content["optimizers"], content["told"], strict=True):
        part = state.parts[name]
        groups = part.optimizer.state_dict()["param_groups"]
        part.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        if part.rate.is_cuda:
            part.optimizer.param_groups[0]["lr"] = part.rate  # the one that is set at each step
        part.told.update(told)
    generator = dict(state.choice.bit_generator.state)
    where, inc = content["choice"]
    generator["state"] = {"state": int(where), "inc": int(inc)}
    state.choice.bit_generator.state = generator
    done = sum(part.told["step"] for part in state.parts.values())
    state.rng.manual_seed(settings.seed + 1 + done)  # other noise than at the start
