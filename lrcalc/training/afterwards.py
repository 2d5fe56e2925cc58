"""What a finished model says about the labels that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lrcalc.models.potential import Potential
from lrcalc.system import volumes
from lrcalc.training.composition import counts_of
from lrcalc.training.data import Frame, batch_to, collate
from lrcalc.training.loss import residuals
from lrcalc.training.scales import describe_stress_ratio
from lrcalc.training.slopes import Slope, slope

KNOWN_FORCES = 0.7
"""R² of its forces from which on a model's stress means something."""

MOST_FRAMES = 16
"""A sign needs no more."""


def stress_slope(potential: Potential, frames: Sequence[Frame], device: str) -> Slope:
    """Labelled stresses over the model's own, variations over the frames.

    Nothing (a correlation of 0) where the model does not know the forces, of which its stress is
    made.
    """
    labels, made = [], []
    left = size = 0.0
    for frame in frames:
        batch = batch_to(collate([frame]), device)
        shifts = torch.zeros(1 + frame.source, dtype=torch.float64, device=device)
        errors = residuals(potential, batch, shifts, training=False, stress=True)
        label = batch.stress[batch.stress_rows]
        labels.append(label.cpu().numpy())
        made.append((label - errors["stress"]).detach().cpu().numpy())
        left += float(errors["forces"].detach().square().sum())
        size += float(batch.forces.square().sum())
    if not left < (1.0 - KNOWN_FORCES) * size:
        return Slope(1.0, 0.0)
    pair = [np.concatenate(x) for x in (labels, made)]
    varying = [x - x.mean(0) if len(frames) > 2 else x for x in pair]
    return slope(*varying)


def predictions(
    potential: Potential, frames: Sequence[Frame], device: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Model and labels: ``energy`` (eV/atom) without the composition's part, ``forces`` (eV/Å).

    That part is the reference energies of the model, which were fitted to the training frames.
    Energies of files after the first are compared without the mean offset to the model's.
    """
    made: dict[str, list[np.ndarray]] = {"energy": [], "forces": []}
    data: dict[str, list[np.ndarray]] = {"energy": [], "forces": []}
    reference = potential.reference_energy.cpu().numpy()
    for frame in frames:
        batch = batch_to(collate([frame]), device)
        shifts = torch.zeros(1 + frame.source, dtype=torch.float64, device=device)
        left = residuals(potential, batch, shifts, training=False, stress=False)
        counts = counts_of([frame.system.numbers.numpy()], potential.species)
        targets = {
            "energy": (frame.energy - counts @ reference) / len(frame.system.numbers),
            "forces": frame.forces.numpy(),
        }
        for name, label in targets.items():
            data[name].append(label)
            made[name].append(label - left[name].detach().cpu().numpy())
    pairs = {name: (np.concatenate(made[name]), np.concatenate(data[name])) for name in made}
    energies, labels = pairs["energy"]
    sources = np.array([frame.source for frame in frames])
    for source in set(sources.tolist()) - {0}:
        own = sources == source
        energies[own] += (labels[own] - energies[own]).mean()
    return pairs


def describe_model_stress(potential: Potential, frames: Sequence[Frame], device: str) -> str | None:
    """Say that labelled stresses have another sign or unit than the model's own, or None.

    Parameters
    ----------
    potential : Potential
        Trained.
    frames : sequence of Frame
        Those with a stress are looked at, `MOST_FRAMES` of them.
    device : str
    """
    stressed = [f for f in frames if f.stress is not None]
    chosen = stressed[:: max(1, len(stressed) // MOST_FRAMES)][:MOST_FRAMES]
    if not chosen:
        return None
    volume = float(np.mean([float(volumes(f.system.cell)[0]) for f in chosen]))
    found = stress_slope(potential, chosen, device)
    return describe_stress_ratio(found, volume, "the trained model's own")
