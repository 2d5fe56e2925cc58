"""The training loop: deterministic under its seed, resumable after a kill, one model file out."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrcalc.checkpoint import save
from lrcalc.memory import keep_freed_memory
from lrcalc.models.potential import Potential
from lrcalc.models.sign import fix_sign
from lrcalc.training.data import (
    Frame,
    batch_to,
    check_species,
    collate,
    collate_labelled,
    labelled_to,
    reference_energies,
)
from lrcalc.training.electrical import Labelled, check_labelled, wanted_labels
from lrcalc.training.history import COLUMNS, write_history
from lrcalc.training.loss import (
    TERMS,
    Accumulator,
    electrical_residuals,
    gradient_is_finite,
    loss,
    residuals,
    weights_of,
)
from lrcalc.training.settings import TrainingSettings, check_numbers
from lrcalc.training.state import State, averaged_model, identity, resume, write_state


def fit(
    train: Sequence[Frame],
    valid: Sequence[Frame],
    config: dict[str, Any],
    settings: TrainingSettings,
    output: str | os.PathLike[str],
    *,
    labelled: Sequence[Labelled] = (),
    labelled_valid: Sequence[Labelled] = (),
    metadata: dict[str, Any] | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
    note: Callable[[str], None] | None = None,
    restart: bool = False,
) -> Potential:
    """Train a potential and write ``output``, ``output``'s CSV and its resumable state.

    Parameters
    ----------
    train, valid : sequence of Frame
        Validation frames choose the epoch that is kept; they are not fitted.
    config : dict
        Options of `Potential`.
    settings : TrainingSettings
    output : path-like
        Model file, ending in ``.pt``.
    labelled, labelled_valid : sequence of Labelled
        Structures with electrical labels to train on, and to validate with (without any, some of
        the former). As many as a batch has are seen at every step, however few there are.
    metadata : dict, optional
        Card of the model.
    report : callable, optional
        Called with the figures of each epoch.
    note : callable, optional
        Called with a line about a run that is resumed.
    restart : bool
        Ignore a state left by an earlier run.

    Returns
    -------
    Potential
        The averaged weights of the best epoch.

    Raises
    ------
    ValueError
        If a setting cannot be used, if there are no frames, if the state belongs to a run with
        another model, other settings or other data, or if the loss diverges.
    """
    check_numbers({**config, **settings._asdict(), **(metadata or {})})
    if not train:
        raise ValueError("no training frames; give at least one file with --train")
    if not valid:
        raise ValueError("no validation frames; give --valid or a smaller --valid-every")
    check_species(train, valid, "validation")
    keep_freed_memory()
    output = Path(output)
    state_path = output.with_suffix(".state.pt")
    state = _start(train, config, settings, metadata or {})
    check_labelled(
        state.potential, labelled, wanted_labels(settings, state.potential.config["level"])
    )
    progress = state.progress
    run = identity(state.potential, settings, train, valid, labelled)
    if state_path.is_file() and not restart:
        changes = resume(state, state_path, run)
        _rewrite(state, output, train, settings)
        if note:
            done = f"{state_path} continues after epoch {progress['epoch']} of {settings.epochs}"
            note("; ".join([done, *(f"the card now says {c}" for c in changes)]))
    n_sources = 1 + max(f.source for f in [*train, *valid])
    if len(progress["shifts"]) != n_sources:
        progress["shifts"] = torch.zeros(n_sources, dtype=torch.float64)
    sample = seen_sample(train, len(valid))
    few = labelled[:: max(1, len(labelled) // 4)][:4]
    while progress["epoch"] < settings.epochs and progress["stale"] < settings.patience:
        started = time.perf_counter()
        row = _epoch(state, train, labelled, settings)
        row |= validate(
            state.averaged, valid, settings, progress["shifts"], labelled=labelled_valid or few
        )
        seen = validate(state.averaged, sample, settings, progress["shifts"], stress=False)
        row |= {f"seen_{key}": seen[f"valid_{key}"] for key in ("energy", "forces")}
        row["seconds"] = time.perf_counter() - started
        progress["epoch"] += 1
        row["epoch"] = progress["epoch"]
        progress["history"].append([float(row[c]) for c in COLUMNS])
        _keep_best(state, row, settings, output, train)
        write_state(state, state_path, run)
        write_history(progress["history"], output.with_suffix(".csv"))
        if report:
            report(row)
    return best_of(state, train, settings)


def best_of(state: State, train: Sequence[Frame], settings: TrainingSettings) -> Potential:
    """Return the averaged weights of the best epoch, with their errors in the card."""
    best = copy.deepcopy(state.averaged)
    best.load_state_dict(state.progress["best_state"])
    if state.progress["best_errors"]:
        best.metadata["errors"] = state.progress["best_errors"]
    return oriented(best, train, settings.device)


def labels_used(
    train: Sequence[Frame], settings: TrainingSettings, labelled: Sequence[Labelled] = ()
) -> list[str]:
    """Labels that a training learns from, for the card."""
    electrical = [name for name in TERMS if any(name in one.labels for one in labelled)]
    stress = settings.stress_weight > 0 and any(f.stress is not None for f in train)
    return ["energy", "forces", *(["stress"] if stress else []), *electrical]


def oriented(potential: Potential, train: Sequence[Frame], device: str) -> Potential:
    """Return a copy whose latent multipoles have the sign that chemistry expects."""
    potential = copy.deepcopy(potential)
    if potential.config["level"] != "sr":
        ions = [f for f in train if bool((f.system.total_charge != 0).any())]
        # one ion is enough to fix the sign, and must then be seen
        spread_out = list(train[:: max(1, len(train) // 4)])
        sample = batch_to(collate((ions[:1] + spread_out)[:4]), device)
        potential.metadata["sign"] = fix_sign(potential, sample.system, sample.pairs)
    return potential


def _start(
    train: Sequence[Frame],
    config: dict[str, Any],
    settings: TrainingSettings,
    metadata: dict[str, Any],
) -> State:
    species = tuple(sorted({int(z) for f in train for z in f.system.numbers.tolist()}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        potential = Potential(species, **config)
    potential.reference_energy.copy_(reference_energies(train, species))
    potential.metadata |= metadata
    potential.to(settings.device)
    sample = batch_to(collate(train[:: max(1, len(train) // 8)][:8]), settings.device)
    potential.calibrate(sample.system, sample.pairs)
    average = averaged_model(potential, settings.ema)
    optimizer = torch.optim.AdamW(
        potential.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        amsgrad=True,
    )
    progress = {
        "epoch": 0, "step": 0, "best": math.inf, "stale": 0, "history": [],
        "best_state": copy.deepcopy(potential.state_dict()), "best_errors": {},
        "shifts": torch.zeros(0, dtype=torch.float64),
    }  # fmt: skip
    return State(potential, average, optimizer, progress)


def _epoch(
    state: State, train: Sequence[Frame], labelled: Sequence[Labelled], settings: TrainingSettings
) -> dict[str, float]:
    potential, progress = state.potential, state.progress
    total_steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    late = progress["epoch"] >= 0.75 * settings.epochs
    weights = weights_of(settings)
    weights["energy"] *= settings.energy_boost if late else 1.0
    labels = _labels(labelled, settings, progress["epoch"])
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
        errors |= electrical_errors(potential, next(labels, []), settings, training=True)
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
        state.average.update_parameters(potential)
        measured.add(errors)
        losses.append(float(value.detach()))
        for source, error in zip(
            batch.source.tolist(), errors["energy"].detach().tolist(), strict=True
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


def _shuffled(
    train: Sequence[Frame], settings: TrainingSettings, epoch: int
) -> Iterator[list[Frame]]:
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch)
    order = torch.randperm(len(train), generator=generator).tolist()
    for start in range(0, len(order), settings.batch_size):
        yield [train[k] for k in order[start : start + settings.batch_size]]


def _labels(
    labelled: Sequence[Labelled], settings: TrainingSettings, epoch: int
) -> Iterator[list[Labelled]]:
    """Batches of labelled structures without end, none twice before all were seen."""
    generator = torch.Generator().manual_seed(settings.seed * 100_003 + epoch + 50_000)
    size = min(settings.batch_size, len(labelled))
    while labelled:
        order = torch.randperm(len(labelled), generator=generator).tolist()
        for start in range(0, len(order) - size + 1, size):
            yield [labelled[k] for k in order[start : start + size]]


def electrical_errors(
    potential: Potential,
    labelled: Sequence[Labelled],
    settings: TrainingSettings,
    *,
    training: bool,
) -> dict[str, Tensor]:
    """Residuals of labelled structures; nothing where there are none."""
    if not labelled:
        return {}
    batch = labelled_to(collate_labelled(labelled), settings.device)
    return electrical_residuals(potential, batch, training=training)


def seen_sample(train: Sequence[Frame], n_valid: int) -> Sequence[Frame]:
    """Training frames from all over the data that tell what the averaged weights know of them.

    As many as validate, but no more than a twentieth (or four), which costs next to nothing.
    """
    n = min(n_valid, max(4, len(train) // 20), len(train))
    return [train[k * len(train) // n] for k in range(n)]


def validate(
    potential: Potential,
    frames: Sequence[Frame],
    settings: TrainingSettings,
    shifts: Tensor,
    *,
    stress: bool = True,
    labelled: Sequence[Labelled] = (),
) -> dict[str, float]:
    """Root mean square errors over ``frames`` (eV/atom, eV/Å, eV/Å³), and of electrical labels."""
    measured = Accumulator()
    for start in range(0, len(frames), settings.batch_size):
        batch = batch_to(collate(frames[start : start + settings.batch_size]), settings.device)
        measured.add(
            residuals(potential, batch, shifts.to(settings.device), training=False, stress=stress)
        )
    for start in range(0, len(labelled), settings.batch_size):
        chosen = labelled[start : start + settings.batch_size]
        measured.add(electrical_errors(potential, chosen, settings, training=False))
    return {f"valid_{key}": value for key, value in measured.rmse().items()}


def _keep_best(
    state: State,
    row: dict[str, float],
    settings: TrainingSettings,
    output: Path,
    train: Sequence[Frame],
) -> None:
    score = (
        settings.energy_weight * settings.energy_boost * row["valid_energy"] ** 2
        + settings.forces_weight * row["valid_forces"] ** 2
    )
    for name, weight in weights_of(settings).items():
        error = row[f"valid_{name}"]
        if TERMS[name].residual is not None and math.isfinite(error):
            score += weight * error**2
    progress = state.progress
    if not math.isfinite(score):
        bad = ", ".join(k for k in ("energy", "forces") if not math.isfinite(row[f"valid_{k}"]))
        raise ValueError(
            f"the validation error of {bad} is not finite in epoch {progress['epoch']}; lower "
            f"--learning-rate (now {settings.learning_rate:g})"
        )
    if score < progress["best"]:
        progress["best"], progress["stale"] = score, 0
        progress["best_state"] = copy.deepcopy(state.averaged.state_dict())
        progress["best_errors"] = {
            k: v for k, v in row.items() if k.startswith("valid_") and math.isfinite(v)
        }
        save(best_of(state, train, settings), output)
    else:
        progress["stale"] += 1


def _rewrite(
    state: State, output: Path, train: Sequence[Frame], settings: TrainingSettings
) -> None:
    """Write the model and its learning curve again: its card may say something new by now."""
    if state.progress["best_errors"]:
        save(best_of(state, train, settings), output)
    write_history(state.progress["history"], output.with_suffix(".csv"))
