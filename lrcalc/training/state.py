"""The state of an unfinished training: what a resumed run needs, and whose it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ase.data import chemical_symbols

from lrcalc.checkpoint import read_tensors, write_tensors
from lrcalc.models.potential import Potential
from lrcalc.training.charge_family import OXIDATION
from lrcalc.training.data import Frame, frame_hash, labelled_hash
from lrcalc.training.electrical import Labelled
from lrcalc.training.settings import TrainingSettings

FORMAT = "lrcalc-training-2"

LATER = {
    "batch_atoms": 0, "born_weight": 0, "dipole_weight": 0, "polarizability_weight": 0,
    "dielectric_weight": 0, "loss": "mse", "keep_batches": 1, "step_memory": 0,
}  # fmt: skip
"""Settings that older states do not have, and what was meant: part of a run where they are not."""

Identity = dict[str, Any]
"""What makes a run: plain values that JSON gives back unchanged."""


class State(NamedTuple):
    """Everything a resumed run needs, updated in place."""

    potential: Potential
    averaged: Potential
    optimizer: torch.optim.Optimizer
    progress: dict[str, Any]


@torch.no_grad()
def average(averaged: Potential, potential: Potential, decay: float, step: int) -> None:
    """Take step ``step``, counted from 1, into the exponential average of the weights.

    It decays faster while it is young: a young average must not remember the random start.
    """
    now = min(decay, (1 + step) / (10 + step))
    mean, new = ([p.data for p in model.parameters()] for model in (averaged, potential))
    torch._foreach_lerp_(mean, new, 1.0 - now)


def make_optimizer(potential: Potential, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW with the settings of a training; on a GPU a single kernel.

    Adam divides by the root of the mean square of past gradients. An untrained model of a crystal
    whose atoms hardly move errs by 30 eV/Å where forces are 0.05: the squares of its first
    gradients are 10⁶ times those that follow, and AMSGrad, which divides by the largest mean, never
    forgets them, nor does a mean over a thousand steps within a short training. A mean over
    ``step_memory`` steps, and no largest one, does.
    """
    memory = settings.step_memory
    return torch.optim.AdamW(
        [parameter for parameter in potential.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 1.0 - 1.0 / memory if memory else 0.999),
        amsgrad=not memory,
        fused=torch.device(settings.device).type == "cuda",
    )


def identity(
    potential: Potential,
    settings: TrainingSettings,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    labelled: Sequence[Labelled] = (),
) -> Identity:
    """Collect what must not change in a run: model, settings, elements, frames in their order.

    Epochs, patience and device may differ: a run may be made longer, or moved.
    """
    free = ["epochs", "patience", "device", "max_minutes"]
    free += ["huber_scale"] if settings.loss == "mse" else []
    told = [(k, v) for k, v in settings._asdict().items() if k not in free]
    run: dict[str, Any] = {
        "model": potential.config,
        "settings": {k: v for k, v in told if k not in LATER or v != LATER[k]},
        "elements": [chemical_symbols[z] for z in potential.species],
        "training": [frame_hash(f) for f in train],
        "validation": [frame_hash(f) for f in valid],
    }
    file = potential.metadata.get("backbone_file")
    if file:
        run["settings"] |= {"backbone_sha256": file["sha256"], "freeze": file["frozen"]}
    if OXIDATION in potential.metadata:  # divided by √ε_∞, which enters the training by that
        run["settings"] |= {
            key: potential.metadata.get(key, 1.0) for key in (OXIDATION, "epsilon_infinity")
        }
    if labelled:
        run["labels"] = [labelled_hash(one) for one in labelled]
        run["settings"]["epsilon_infinity"] = potential.metadata.get("epsilon_infinity", 1.0)
    if any(bool((f.system.total_charge != 0).any()) for f in (*train, *valid)):
        # latent total charges are the physical ones over √ε_∞: here it enters the training
        run["settings"]["epsilon_infinity"] = potential.metadata.get("epsilon_infinity", 1.0)
    same: Identity = json.loads(json.dumps(run))
    return same


def write_state(state: State, path: Path, run: Identity) -> None:
    """Write the state atomically; the card goes with it, so that a resumed run can compare."""
    write_tensors(
        {
            "format": FORMAT,
            "run": json.dumps(run),
            "card": json.dumps(state.potential.metadata),
            "potential": state.potential.state_dict(),
            "average": state.averaged.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "progress": state.progress,
        },
        path,
    )


def resume(state: State, path: Path, run: Identity) -> list[str]:
    """Continue from the state in ``path``; return what the new card says differently.

    Raises
    ------
    ValueError
        If the state was left by another run, naming what differs.
    """
    saved = read_tensors(path)
    over = f"remove {path} to start over (`lrcalc train --restart` does)"
    remedy = f"give the same data and settings to resume it, another --out, or {over}"
    if saved.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {saved.get('format')!r}, not {FORMAT!r}, and does not say what it "
            f"was trained on; give another --out, or {over}"
        )
    different = differences(json.loads(saved["run"]), run)
    if different:
        raise ValueError(f"{path} was left by another run: {'; '.join(different)}; {remedy}")
    state.potential.load_state_dict(saved["potential"])
    state.averaged.load_state_dict(saved["average"])
    fused = state.optimizer.param_groups[0]["fused"]
    state.optimizer.load_state_dict(saved["optimizer"])
    for group in state.optimizer.param_groups:
        group["fused"] = fused  # that of this device
    state.progress.update(saved["progress"])
    return card_changes(json.loads(saved["card"]), state.potential.metadata)


def differences(old: Identity, new: Identity) -> list[str]:
    """Put into words what two runs do not share."""
    found = []
    for part in ("model", "settings"):
        for key in sorted({*old[part], *new[part]}):
            before, now = old[part].get(key), new[part].get(key)
            if before != now:
                found.append(f"`{key}` was {before}, now {now}")
    if old["elements"] != new["elements"]:
        found.append(f"elements were {_list(old['elements'])}, now {_list(new['elements'])}")
    if old.get("labels") != new.get("labels"):
        found.append("the electrical labels differ")
    for part in ("training", "validation"):
        before, now = old[part], new[part]
        if before == now:
            continue
        if len(before) != len(now):
            found.append(f"{len(before)} {part} frames, now {len(now)}")
        elif sorted(before) == sorted(now):
            found.append(f"the same {part} frames in another order")
        else:
            unlike = [i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b]
            found.append(
                f"{len(unlike)} of {len(now)} {part} frames or their labels differ (first: "
                f"{part} frame {unlike[0]})"
            )
    return found


def card_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Entries of the card that a resumed run may change, for they do not enter the training."""
    keys = ("epsilon_infinity", "licence", "source")
    return [f"{key} {new.get(key)!r} (was {old.get(key)!r})"
            for key in keys if old.get(key) != new.get(key)]  # fmt: skip


def _list(words: Sequence[str]) -> str:
    return ", ".join(words)
