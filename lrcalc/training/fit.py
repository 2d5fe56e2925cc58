"""The training loop: deterministic under its seed, resumable after a kill, one model file out."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.checkpoint import read_tensors, save, write_tensors
from lrcalc.memory import keep_freed_memory
from lrcalc.models.orientation import orient
from lrcalc.models.potential import Potential
from lrcalc.neighbors import pair_vectors
from lrcalc.training.data import Frame, batch_to, collate, reference_energies
from lrcalc.training.loss import Accumulator, Weights, gradient_is_finite, loss, residuals

COLUMNS = [
    "epoch", "learning_rate", "loss", "train_energy", "train_forces", "valid_energy",
    "valid_forces", "valid_stress", "seconds",
]  # fmt: skip


class Settings(NamedTuple):
    """How to train.

    Attributes
    ----------
    epochs : int
    batch_size : int
        Structures per step.
    learning_rate : float
        Peak; warmed up over the first steps, then a cosine to 1 % of it.
    energy_weight, forces_weight, stress_weight : float
        Of squared errors in eV/atom, eV/Å, eV/Å³.
    energy_boost : float
        Factor on ``energy_weight`` over the last quarter of the epochs.
    weight_decay : float
        Decoupled weight decay of AdamW.
    ema : float
        Decay per step of the averaged weights, which are what is validated and saved.
    patience : int
        Epochs without a better validation loss after which training stops.
    seed : int
        Of the initial weights and of the order of the frames.
    device : str
        Torch device.
    """

    epochs: int = 100
    batch_size: int = 1
    learning_rate: float = 3e-3
    energy_weight: float = 20.0
    forces_weight: float = 1.0
    stress_weight: float = 100.0
    energy_boost: float = 4.0
    weight_decay: float = 1e-3
    ema: float = 0.995
    patience: int = 100
    seed: int = 0
    device: str = "cpu"


class State(NamedTuple):
    """Everything a resumed run needs, updated in place."""

    potential: Potential
    average: Potential
    optimizer: torch.optim.Optimizer
    progress: dict[str, Any]


def fit(
    train: Sequence[Frame],
    valid: Sequence[Frame],
    config: dict[str, Any],
    settings: Settings,
    output: str | os.PathLike[str],
    *,
    metadata: dict[str, Any] | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
    restart: bool = False,
) -> Potential:
    """Train a potential and write ``output``, ``output``'s CSV and its resumable state.

    Parameters
    ----------
    train, valid : sequence of Frame
        Validation frames choose the epoch that is kept; they are not fitted.
    config : dict
        Options of `Potential`.
    settings : Settings
    output : path-like
        Model file, ending in ``.pt``.
    metadata : dict, optional
        Card of the model.
    report : callable, optional
        Called with the figures of each epoch.
    restart : bool
        Ignore a state left by an earlier run.

    Returns
    -------
    Potential
        The averaged weights of the best epoch.

    Raises
    ------
    ValueError
        If there are no frames, if the state belongs to another model, or if the loss diverges.
    """
    if not train:
        raise ValueError("no training frames; give at least one file with --train")
    if not valid:
        raise ValueError("no validation frames; give --valid or a larger --valid-every")
    keep_freed_memory()
    output = Path(output)
    state_path = output.with_suffix(".state.pt")
    state = _start(train, config, settings, metadata or {})
    if state_path.is_file() and not restart:
        _resume(state, state_path, config, settings)
    progress = state.progress
    n_sources = 1 + max(f.source for f in [*train, *valid])
    if len(progress["shifts"]) != n_sources:
        progress["shifts"] = torch.zeros(n_sources, dtype=torch.float64)
    while progress["epoch"] < settings.epochs and progress["stale"] < settings.patience:
        started = time.perf_counter()
        row = _epoch(state, train, settings)
        row |= validate(state.average, valid, settings, progress["shifts"])
        row["seconds"] = time.perf_counter() - started
        progress["epoch"] += 1
        row["epoch"] = progress["epoch"]
        progress["history"].append([float(row[c]) for c in COLUMNS])
        _keep_best(state, row, settings, output, train)
        _write_state(state, state_path, config, settings)
        write_history(progress["history"], output.with_suffix(".csv"))
        if report:
            report(row)
    best = copy.deepcopy(state.average)
    best.load_state_dict(progress["best_state"])
    return oriented(best, train, settings.device)


def oriented(potential: Potential, train: Sequence[Frame], device: str) -> Potential:
    """Return a copy whose latent multipoles have the sign that chemistry expects."""
    potential = copy.deepcopy(potential)
    if potential.config["level"] != "sr":
        sample = batch_to(collate(train[:4]), device)
        potential.metadata["sign"] = orient(potential, sample.system, sample.pairs)
    return potential


def _start(
    train: Sequence[Frame], config: dict[str, Any], settings: Settings, metadata: dict[str, Any]
) -> State:
    species = tuple(sorted({int(z) for f in train for z in f.system.numbers.tolist()}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        potential = Potential(species, **config)
    potential.reference_energy.copy_(reference_energies(train, species))
    potential.metadata |= metadata
    potential.to(settings.device)
    sample = batch_to(collate(train[:: max(1, len(train) // 8)][:8]), settings.device)
    vectors = pair_vectors(sample.system, sample.pairs).to(potential.dtype)
    potential.backbone.calibrate(sample.system, sample.pairs, vectors)
    average = copy.deepcopy(potential).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        potential.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        amsgrad=True,
    )
    progress = {
        "epoch": 0, "step": 0, "best": math.inf, "stale": 0, "history": [],
        "best_state": copy.deepcopy(average.state_dict()),
        "shifts": torch.zeros(0, dtype=torch.float64),
    }  # fmt: skip
    return State(potential, average, optimizer, progress)


def _epoch(state: State, train: Sequence[Frame], settings: Settings) -> dict[str, float]:
    potential, progress = state.potential, state.progress
    total_steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    late = progress["epoch"] >= 0.75 * settings.epochs
    weights = Weights(
        settings.energy_weight * (settings.energy_boost if late else 1.0),
        settings.forces_weight,
        settings.stress_weight,
    )
    measured = Accumulator()
    losses = []
    by_source: dict[int, list[float]] = {}
    shifts = progress["shifts"].to(settings.device)
    for frames in _shuffled(train, settings, progress["epoch"]):
        rate = learning_rate(progress["step"], total_steps, settings.learning_rate)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        batch = batch_to(collate(frames), settings.device)
        errors = residuals(
            potential, batch, shifts, training=True, stress=settings.stress_weight > 0
        )
        value = loss(errors, weights)
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        if not (math.isfinite(float(value.detach())) and gradient_is_finite(potential)):
            raise ValueError(
                f"the loss became {float(value.detach())} in epoch {progress['epoch'] + 1}; lower "
                f"--learning-rate (now {settings.learning_rate:g}) or look for outliers in the "
                "data; the last whole epoch is kept and will be resumed"
            )
        torch.nn.utils.clip_grad_norm_(potential.parameters(), 10.0)
        state.optimizer.step()
        progress["step"] += 1
        _update_average(state, settings.ema)
        measured.add(errors)
        losses.append(float(value.detach()))
        for source, error in zip(
            batch.source.tolist(), errors.energy.detach().tolist(), strict=True
        ):
            by_source.setdefault(source, []).append(error)
    _update_shifts(progress["shifts"], by_source)
    rmse = measured.rmse()
    return {
        "learning_rate": rate,
        "loss": sum(losses) / len(losses),
        "train_energy": rmse["energy"],
        "train_forces": rmse["forces"],
    }


def _update_shifts(shifts: Tensor, by_source: dict[int, list[float]]) -> None:
    """Take up what is left of the mean energy error of each file beyond that of the first."""
    if 0 not in by_source:
        return
    first = sum(by_source[0]) / len(by_source[0])
    for source, errors in by_source.items():
        if source > 0:
            shifts[source] += 0.5 * (sum(errors) / len(errors) - first)


def learning_rate(step: int, total: int, peak: float, warmup: int = 50) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    fraction = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction)))


def _shuffled(train: Sequence[Frame], settings: Settings, epoch: int) -> Iterator[list[Frame]]:
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
    order = torch.randperm(len(train), generator=generator).tolist()
    for start in range(0, len(order), settings.batch_size):
        yield [train[k] for k in order[start : start + settings.batch_size]]


@torch.no_grad()
def _update_average(state: State, decay: float) -> None:
    # a young average must not remember the random start
    decay = min(decay, (1 + state.progress["step"]) / (10 + state.progress["step"]))
    for mean, new in zip(state.average.parameters(), state.potential.parameters(), strict=True):
        mean.lerp_(new, 1.0 - decay)


def validate(
    potential: Potential, frames: Sequence[Frame], settings: Settings, shifts: Tensor
) -> dict[str, float]:
    """Root mean square errors over ``frames`` (eV/atom, eV/Å, eV/Å³)."""
    measured = Accumulator()
    for start in range(0, len(frames), settings.batch_size):
        batch = batch_to(collate(frames[start : start + settings.batch_size]), settings.device)
        measured.add(
            residuals(potential, batch, shifts.to(settings.device), training=False, stress=True)
        )
    return {f"valid_{key}": value for key, value in measured.rmse().items()}


def _keep_best(
    state: State,
    row: dict[str, float],
    settings: Settings,
    output: Path,
    train: Sequence[Frame],
) -> None:
    score = (
        settings.energy_weight * settings.energy_boost * row["valid_energy"] ** 2
        + settings.forces_weight * row["valid_forces"] ** 2
    )
    progress = state.progress
    if not math.isfinite(score):
        raise ValueError(f"validation errors are not finite in epoch {progress['epoch']}: {row}")
    if score < progress["best"]:
        progress["best"], progress["stale"] = score, 0
        progress["best_state"] = copy.deepcopy(state.average.state_dict())
        state.average.metadata["errors"] = {
            k: v for k, v in row.items() if k.startswith("valid_") and math.isfinite(v)
        }
        save(oriented(state.average, train, settings.device), output)
    else:
        progress["stale"] += 1


def _write_state(state: State, path: Path, config: dict[str, Any], settings: Settings) -> None:
    write_tensors(
        {
            "format": "lrcalc-training-1",
            "config": repr(sorted(config.items())),
            "settings": repr(tuple(settings._replace(epochs=0, patience=0, device=""))),
            "potential": state.potential.state_dict(),
            "average": state.average.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "progress": state.progress,
        },
        path,
    )


def _resume(state: State, path: Path, config: dict[str, Any], settings: Settings) -> None:
    saved = read_tensors(path)
    same = saved.get("config") == repr(sorted(config.items())) and saved.get("settings") == repr(
        tuple(settings._replace(epochs=0, patience=0, device=""))
    )
    if saved.get("format") != "lrcalc-training-1" or not same:
        raise ValueError(
            f"{path} was left by a run with other settings; give the same ones to resume it, "
            "another --out, or --restart to start over"
        )
    state.potential.load_state_dict(saved["potential"])
    state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.progress.update(saved["progress"])


def write_history(history: Sequence[Sequence[float]], path: Path) -> None:
    """Write the learning curve (RMSE in eV/atom, eV/Å, eV/Å³) atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows([[f"{x:.8g}" for x in row] for row in history])
    os.replace(temporary, path)
