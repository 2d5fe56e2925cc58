"""Steps of a training and its validation, in which the host does not wait for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lrcalc.models.potential import Potential
from lrcalc.training.batches import Batches, in_order
from lrcalc.training.data import Frame, batch_to, collate_labelled
from lrcalc.training.electrical import Labelled
from lrcalc.training.loss import (
    Accumulator,
    Errors,
    electrical_residuals,
    global_counts,
    loss,
    residuals,
    scales_of,
    weights_of,
)
from lrcalc.training.ranks import ALONE, Ranks, sum_gradients
from lrcalc.training.recorded import RecordedGradients
from lrcalc.training.settings import TrainingSettings
from lrcalc.training.state import State, average

BOOST = (0.65, 0.85)
"""Between which fractions of the epochs the weight of energies rises."""

LOOKS = 50
"""Steps after which the host looks whether the loss is finite: each look waits for the device."""


def epoch(
    state: State,
    train: Batches,
    labelled: Sequence[Labelled],
    plan: Sequence[Sequence[int]],
    rates: Sequence[float],
    settings: TrainingSettings,
    ranks: Ranks = ALONE,
    recorded: RecordedGradients | None = None,
) -> dict[str, float]:
    """Take the steps of one epoch; return what the learning curve says of it.

    Parameters
    ----------
    state : State
        Changed in place.
    train : Batches
    labelled : sequence of Labelled
        Structures with electrical labels, of which each step sees some.
    plan : sequence of sequence of int
        Frames of each step.
    rates : sequence of float
        Learning rate of each step.
    settings : TrainingSettings
    ranks : Ranks
    recorded : RecordedGradients, optional
        Of ``train``: steps are taken by it, alone and without labels.

    Raises
    ------
    ValueError
        If the loss is not finite, up to `LOOKS` steps later.
    """
    progress = state.progress
    weights = weights_of(settings)
    weights["energy"] *= boost(progress["epoch"] / settings.epochs, settings.energy_boost)
    labels = label_batches(labelled, settings, progress["epoch"])
    shifts = progress["shifts"].to(train.device)
    measured = Accumulator(len(shifts), train.device)
    losses = torch.zeros((), dtype=torch.float64, device=train.device)
    if recorded is not None:
        recorded.prepare(plan, shifts, weights)
    for k, (frames, rate) in enumerate(zip(plan, rates, strict=True), 1):
        if recorded is not None:
            made = recorded(frames)
            measured.add(made.errors, made.source)
            losses += update(state, made.value, rate, settings)
        else:
            errors = compare(
                state.potential, train, ranks.share(frames, train.sizes), shifts, settings, measured
            )
            some = ranks.share(next(labels, []))
            errors |= electrical_errors(state.potential, some, settings, training=True)
            losses += step(state, errors, weights, rate, settings, ranks)
        if k % LOOKS == 0 or k == len(plan):
            mean = float(ranks.total(losses.clone())) / k
            _refuse_divergence(mean, progress["epoch"] + 1, settings)
    measured.gather(ranks)
    update_shifts(progress["shifts"], measured.by_source)
    rmse = measured.rmse()
    return {
        "learning_rate": rates[-1],
        "loss": mean,
        "train_energy": rmse["energy"],
        "train_forces": rmse["forces"],
    }


def boost(done: float, factor: float) -> float:
    """Factor on the weight of energies when the fraction ``done`` of the epochs is over.

    It rises to ``factor`` over a fifth of the training. At once it is a kick: Adam divides by
    gradients of the past thousand steps, which knew nothing of the larger ones.
    """
    first, last = BOOST
    return factor ** min(max((done - first) / (last - first), 0.0), 1.0)


def compare(
    potential: Potential,
    train: Batches,
    chosen: Sequence[int],
    shifts: Tensor,
    settings: TrainingSettings,
    measured: Accumulator,
) -> Errors:
    """Errors of some training frames, with their graph; none of no frames."""
    if not chosen:
        return {}
    batch = train(chosen)
    stress = settings.stress_weight > 0
    errors = residuals(potential, batch, shifts, training=True, stress=stress)
    measured.add(errors, batch.source)
    return errors


def step(
    state: State,
    errors: Errors,
    weights: dict[str, float],
    rate: float,
    settings: TrainingSettings,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Change weights and their average by the errors of one batch, of which ranks have shares.

    Returns this rank's part of the loss; it is not finite if the gradient is not.
    """
    state.optimizer.zero_grad(set_to_none=True)
    parameters = [p for p in state.potential.parameters() if p.requires_grad]
    device = parameters[0].device
    counts = global_counts(errors, device, ranks)
    value = torch.zeros((), dtype=torch.float64, device=device)
    if errors:
        value = loss(errors, weights, counts, scales_of(settings))
        value.backward()  # type: ignore[no-untyped-call]
    sum_gradients(parameters, ranks)
    return update(state, value.detach(), rate, settings)


def update(state: State, value: Tensor, rate: float, settings: TrainingSettings) -> Tensor:
    """Change weights and their average by the gradients they have.

    Returns ``value``, the loss; it is not finite if the gradient is not.
    """
    parameters = [p for p in state.potential.parameters() if p.requires_grad]
    norm = torch.nn.utils.clip_grad_norm_(parameters, 10.0)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    state.progress["step"] += 1
    average(state.averaged, state.potential, settings.ema, state.progress["step"])
    return value + 0.0 * norm


def _refuse_divergence(value: float, number: int, settings: TrainingSettings) -> None:
    if not math.isfinite(value):
        raise ValueError(
            f"the loss became {value} in epoch {number}; lower --learning-rate (now "
            f"{settings.learning_rate:g}) or look for outliers in the data; the last whole epoch "
            "is kept and will be resumed"
        )


def update_shifts(shifts: Tensor, by_source: Tensor) -> None:
    """Take up what is left of the mean energy error of each file beyond that of the first.

    ``by_source`` (2, n_sources) holds sums of errors and how many there are.
    """
    sums, counts = by_source.cpu()
    if counts[0] == 0:
        return
    mean = sums / counts.clamp(min=1.0)
    shifts += torch.where(counts > 0, 0.5 * (mean - mean[0]), 0.0)


def learning_rate(step: int, total: int, peak: float, warmup: int = 50) -> float:
    """Linear warm-up, then half a cosine down to 1 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    fraction = min(1.0, (step - warmup) / max(1, total - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction)))


def label_batches(
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
) -> Errors:
    """Residuals of labelled structures; nothing where there are none."""
    if not labelled:
        return {}
    batch = batch_to(collate_labelled(labelled), settings.device)
    return electrical_residuals(potential, batch, training=training)


def validate(
    potential: Potential,
    frames: Sequence[Frame] | Batches,
    settings: TrainingSettings,
    shifts: Tensor,
    *,
    stress: bool = True,
    labelled: Sequence[Labelled] = (),
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Root mean square errors over ``frames`` (eV/atom, eV/Å, eV/Å³), and of electrical labels."""
    batches = frames if isinstance(frames, Batches) else Batches(frames, potential)
    shifts = shifts.to(batches.device)
    measured = Accumulator(len(shifts), batches.device)
    for batch in batches.each(ranks.share(in_order(batches.sizes, settings))):
        errors = residuals(potential, batch, shifts, training=False, stress=stress)
        measured.add(errors, batch.source)
    mine = ranks.share(labelled)
    for start in range(0, len(mine), settings.batch_size):
        chosen = mine[start : start + settings.batch_size]
        measured.add(electrical_errors(potential, chosen, settings, training=False))
    measured.gather(ranks)
    return {f"valid_{key}": value for key, value in measured.rmse().items()}
