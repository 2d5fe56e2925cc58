"""The training loop: deterministic under its seed, resumable after a kill, one model file out."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from lrcalc.checkpoint import save
from lrcalc.hashing import hash_of
from lrcalc.memory import keep_freed_memory
from lrcalc.models.backbone import refuse_broken
from lrcalc.models.card import TOTAL_CHARGES
from lrcalc.models.potential import Potential
from lrcalc.models.sign import fix_sign
from lrcalc.training.batches import Batches, shuffled
from lrcalc.training.charge_family import OXIDATION, hold_oxidation
from lrcalc.training.clock import Clock
from lrcalc.training.data import Frame, batch_to, check_species, collate, reference_energies
from lrcalc.training.electrical import Labelled, check_labelled, wanted_labels
from lrcalc.training.history import COLUMNS, write_history
from lrcalc.training.loop import epoch, learning_rate, validate
from lrcalc.training.loss import TERMS, weights_of
from lrcalc.training.pretrained import Pretrained
from lrcalc.training.ranks import ALONE, Ranks
from lrcalc.training.recorded import RecordedGradients
from lrcalc.training.settings import TrainingSettings, check_numbers, describe_training
from lrcalc.training.state import State, identity, make_optimizer, resume, write_state
from lrcalc.training.walls import lower_wall


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
    ranks: Ranks = ALONE,
    start: Potential | None = None,
    pretrained: Pretrained | None = None,
    freeze: bool = False,
) -> Potential:
    """Train a potential and write ``output``, ``output``'s CSV and its resumable state.

    Parameters
    ----------
    train, valid : sequence of Frame
        Validation frames choose the epoch that is kept; they are not fitted.
    config : dict
        Options of `Potential`; those of ``start`` where that is given.
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
    ranks : Ranks
        Processes that do this together, all with the same arguments.
    start : Potential, optional
        Finished model whose weights and reference energies are the first ones, instead of random.
    pretrained : Pretrained, optional
        Backbone to start from, of the settings in ``config``; without ``start``.
    freeze : bool
        Leave the backbone as it is; only what is read out of its features is trained.

    Returns
    -------
    Potential
        The averaged weights of the best epoch; those of ``start`` if none validates better.

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
    told: dict[str, Any] = {"labels": labels_used(train, settings, labelled)}
    if start is None:  # else the card says how the model was made that this one starts from
        told["training"] = describe_training(settings)
    metadata = {**(metadata or {}), **told, **charges_seen(train, start)}
    state = _start(train, config, settings, metadata, start, pretrained, freeze)
    check_labelled(
        state.potential, labelled, wanted_labels(settings, state.potential.config["level"])
    )
    progress = state.progress
    run = identity(state.potential, settings, train, valid, labelled)
    if start is not None:
        run["settings"] |= {"start": weights_hash(start), "freeze": freeze}
    if state_path.is_file() and not restart:
        changes = resume(state, state_path, run)
        _rewrite(state, output, train, settings)
        if note:
            done = f"{state_path} continues after epoch {progress['epoch']} of {settings.epochs}"
            note("; ".join([done, *(f"the card now says {c}" for c in changes)]))
    n_sources = 1 + max(f.source for f in [*train, *valid])
    if len(progress["shifts"]) != n_sources:
        progress["shifts"] = torch.zeros(n_sources, dtype=torch.float64)
    parts = [Batches(x, state.potential) for x in (train, valid, seen_sample(train, len(valid)))]
    few = labelled[:: max(1, len(labelled) // 4)][:4]
    if start is not None and not progress["epoch"] and math.isinf(progress["best"]):
        # the first that later epochs have to surpass: a model never comes out worse than it went in
        row = validate(
            state.averaged, parts[1], settings, progress["shifts"],
            labelled=labelled_valid or few, ranks=ranks,
        )  # fmt: skip
        _keep_best(state, row, settings, output if ranks.rank == 0 else None, train)
    recorded = None
    if settings.keep_batches > 1 and not labelled and can_record(ranks, parts[0]):
        recorded = RecordedGradients(state.potential, parts[0], n_sources, settings)
    # of batches by atoms, each epoch has about as many as the first
    steps = settings.epochs * len(shuffled(parts[0].sizes, settings, 0))
    clock = Clock(settings.max_minutes)
    while progress["epoch"] < settings.epochs and progress["stale"] < settings.patience:
        if not clock.allows_another(ranks):
            if note:
                note(clock.told(progress["epoch"], settings.epochs))
            break
        row = _one_epoch(
            state, parts, (labelled, labelled_valid or few), steps, settings, ranks, recorded
        )
        row["seconds"] = clock.lap()
        progress["epoch"] += 1
        row["epoch"] = progress["epoch"]
        progress["history"].append([float(row[c]) for c in COLUMNS])
        _keep_best(state, row, settings, output if ranks.rank == 0 else None, train)
        if ranks.rank == 0:
            write_state(state, state_path, run)
            write_history(progress["history"], output.with_suffix(".csv"))
        if report:
            report(row)
    if start is not None and note and progress["stale"] == progress["epoch"]:
        note(
            "no epoch validated better than the model as it was, which is what is kept; lower "
            f"--learning-rate (now {settings.learning_rate:g}) or give more frames"
        )
    return best_of(state, train, settings)


def can_record(ranks: Ranks, train: Batches) -> bool:
    """Whether steps can be recorded: those of one process, on a GPU."""
    return ranks.size == 1 and train.device.type == "cuda"


def _one_epoch(
    state: State,
    parts: Sequence[Batches],
    labelled: tuple[Sequence[Labelled], Sequence[Labelled]],
    steps: int,
    settings: TrainingSettings,
    ranks: Ranks,
    recorded: RecordedGradients | None,
) -> dict[str, float]:
    """Go through one epoch of ``steps`` in all; errors of training, validation, sampled frames."""
    train, valid, sample = parts
    progress = state.progress
    plan = shuffled(train.sizes, settings, progress["epoch"])
    peak = settings.learning_rate
    rates = [learning_rate(progress["step"] + k, steps, peak) for k in range(len(plan))]
    row = epoch(state, train, labelled[0], plan, rates, settings, ranks, recorded)
    shifts = progress["shifts"]
    row |= validate(state.averaged, valid, settings, shifts, labelled=labelled[1], ranks=ranks)
    seen = validate(state.averaged, sample, settings, shifts, stress=False, ranks=ranks)
    return row | {f"seen_{key}": seen[f"valid_{key}"] for key in ("energy", "forces")}


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


def charges_seen(train: Sequence[Frame], start: Potential | None) -> dict[str, list[float]]:
    """Total charges (e) of the training frames, for the card, with those that ``start`` knows.

    Nothing where a model is gone on with that does not say: it may know more of them.
    """
    known = [] if start is None else start.metadata.get(TOTAL_CHARGES)
    if known is None:
        return {}
    there = {round(float(q), 6) + 0.0 for f in train for q in f.system.total_charge}
    return {TOTAL_CHARGES: sorted({*known, *there})}


def weights_hash(potential: Potential) -> str:
    """Short hash of a model's weights, by which a resumed run knows what it started from."""
    tensors = [v.detach().cpu().numpy() for v in potential.state_dict().values()]
    return hash_of(*tensors, length=16)


def oriented(potential: Potential, train: Sequence[Frame], device: str) -> Potential:
    """Return a copy whose latent multipoles have the sign of the labels, else of chemistry."""
    potential = copy.deepcopy(potential)
    if potential.config["level"] != "sr":
        ions = [f for f in train if bool((f.system.total_charge != 0).any())]
        # one ion is enough to fix the sign, and must then be seen
        spread_out = list(train[:: max(1, len(train) // 4)])
        sample = batch_to(collate((ions[:1] + spread_out)[:4]), device)
        known = ""
        if OXIDATION in potential.metadata:
            known = "oxidation states"
        elif {"born", "dipole"} & set(potential.metadata.get("labels", [])):
            known = "electrical labels"
        potential.metadata["sign"] = fix_sign(potential, sample.system, sample.pairs, known=known)
    return potential


def _start(
    train: Sequence[Frame],
    config: dict[str, Any],
    settings: TrainingSettings,
    metadata: dict[str, Any],
    start: Potential | None,
    pretrained: Pretrained | None,
    freeze: bool,
) -> State:
    if start is None:
        species = tuple(sorted({int(z) for f in train for z in f.system.numbers.tolist()}))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            potential = Potential(species, **config)
        prior = [float(potential.prior_energy(f.system, f.pairs)) for f in train]
        potential.reference_energy.copy_(reference_energies(train, species, prior))
    else:
        potential = copy.deepcopy(start).train()
        for frame in train:
            potential.check_species(frame.system.numbers)
        lower_wall(potential, train)
    potential.metadata |= metadata
    if pretrained is not None:
        pretrained.fill(potential.backbone)
        refuse_broken(potential.backbone, pretrained.file)
        card = {"file": pretrained.file, "sha256": pretrained.sha256, "frozen": freeze}
        potential.metadata["backbone_file"] = card
    potential.to(settings.device)
    if start is None and (pretrained is None or not pretrained.scaled):
        sample = batch_to(collate(train[:: max(1, len(train) // 8)][:8]), settings.device)
        potential.calibrate(sample.system, sample.pairs)
    potential.requires_grad_(True)
    cast(torch.nn.Module, potential.backbone).requires_grad_(not freeze)
    hold_oxidation(potential)
    if potential.surface is not None:
        potential.surface.requires_grad_(False)
    averaged = copy.deepcopy(potential).requires_grad_(False)
    optimizer = make_optimizer(potential, settings)
    progress = {
        "epoch": 0, "step": 0, "best": math.inf, "stale": 0, "history": [],
        "best_state": copy.deepcopy(potential.state_dict()), "best_errors": {},
        "shifts": torch.zeros(0, dtype=torch.float64),
    }  # fmt: skip
    return State(potential, averaged, optimizer, progress)


def seen_sample(train: Sequence[Frame], n_valid: int) -> Sequence[Frame]:
    """Training frames from all over the data that tell what the averaged weights know of them.

    As many as validate, but no more than a twentieth (or four), which costs next to nothing.
    """
    n = min(n_valid, max(4, len(train) // 20), len(train))
    return [train[k * len(train) // n] for k in range(n)]


def _keep_best(
    state: State,
    row: dict[str, float],
    settings: TrainingSettings,
    output: Path | None,
    train: Sequence[Frame],
) -> None:
    """Keep the averaged weights if they validate best, and write them where ``output`` says."""
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
        if output is not None:
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
