"""Teach a finished model a polarizability surface: its energies, forces and charges stay.

The local description is fixed, so features are computed once and a fit takes a minute or two.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from lrcalc.models.backbone import Features
from lrcalc.models.enthalpy import polarizability
from lrcalc.models.potential import Potential
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase
from lrcalc.training.settings import SurfaceSettings, check_numbers


class Sample(NamedTuple):
    """One structure, as the fit sees it."""

    features: Features
    species: Tensor
    target: Tensor


def make_samples(
    potential: Potential, structures: Sequence[Atoms], targets: Sequence[np.ndarray]
) -> list[Sample]:
    """Features and what the surface has to add to the model's own response."""
    screening = potential.screening
    samples = []
    for atoms, target in zip(structures, targets, strict=True):
        system = from_ase([atoms])
        potential.check_species(system.numbers)
        pairs = build_pairs(system, potential.cutoff)
        with torch.no_grad():
            vectors = pair_vectors(system, pairs).to(potential.dtype)
            features = potential.backbone(system, pairs, vectors)
            rest = torch.from_numpy(target)
            if "i" in potential.config["level"]:
                terms = potential(system, pairs, surface=False)
                rest = rest - polarizability(system, terms, screening)[0]
        species = potential.species_of_number[system.numbers]
        samples.append(Sample(features, species, rest))
    return samples


def fit_surface(
    potential: Potential,
    train: Sequence[Sample],
    valid: Sequence[Sample],
    settings: SurfaceSettings,
    report: Callable[[dict[str, float]], None] | None = None,
) -> Potential:
    """Return a copy of ``potential`` with a polarizability surface fitted to ``train``.

    Parameters
    ----------
    potential : Potential
        Unchanged; a surface that it has is replaced.
    train, valid : sequence of Sample
        From `make_samples`; the validation part chooses the epoch that is kept.
    settings : SurfaceSettings
    report : callable, optional
        Called with ``{"epoch", "train", "valid"}``, errors (RMSE of a component, e Å²/V).

    Raises
    ------
    ValueError
        Without training or validation samples, or if the fit diverges.
    """
    check_numbers(settings._asdict())
    if not train or not valid:
        raise ValueError(
            f"{len(train)} training and {len(valid)} validation structures are too few: give at "
            "least one of each"
        )
    potential = copy.deepcopy(potential)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        surface = potential.add_surface(settings.hidden)
    surface.requires_grad_(True)
    targets = torch.stack([s.target for s in train])
    mean_atoms = sum(len(s.species) for s in train) / len(train)
    with torch.no_grad():
        spread = float((targets - targets.mean(0)).square().mean().sqrt())
        # outputs are per atom and independent, so the cell's spread is √N times theirs
        surface.unit.fill_(3.0 * max(spread, 1e-3 * float(targets.abs().max())) / mean_atoms**0.5)
        mean = float(targets.diagonal(dim1=1, dim2=2).mean())
        surface.constant.fill_(mean / mean_atoms / float(surface.unit))
    optimizer = torch.optim.AdamW(
        surface.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, settings.epochs))
    generator = torch.Generator().manual_seed(settings.seed)
    best, best_state = math.inf, copy.deepcopy(surface.state_dict())
    for epoch in range(settings.epochs):
        order = torch.randperm(len(train), generator=generator).tolist()
        total = 0.0
        for start in range(0, len(order), settings.batch_size):
            chosen = [train[k] for k in order[start : start + settings.batch_size]]
            squares = _residual(potential, chosen).square()
            loss = squares.mean() / (float(surface.unit) ** 2 * mean_atoms)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(squares.detach().mean((1, 2)).sum())
        schedule.step()
        with torch.no_grad():
            error = float(_residual(potential, valid).square().mean().sqrt())
        if not math.isfinite(error):
            raise ValueError(
                f"the fit diverged in epoch {epoch + 1}; lower the learning rate "
                f"(now {settings.learning_rate:g})"
            )
        if error < best:
            best, best_state = error, copy.deepcopy(surface.state_dict())
        if report:
            report({"epoch": epoch + 1, "train": (total / len(train)) ** 0.5, "valid": error})
    surface.load_state_dict(best_state)
    surface.requires_grad_(False)
    return potential


def _residual(potential: Potential, samples: Sequence[Sample]) -> Tensor:
    """Model minus data of several structures, (S, 3, 3), e Å²/V."""
    surface = potential.surface
    assert surface is not None
    parts = (torch.cat(x) for x in zip(*(s.features[:3] for s in samples), strict=True))
    scalars, vectors, tensors = parts
    features = Features(scalars, vectors, tensors)
    species = torch.cat([s.species for s in samples])
    counts = torch.tensor([len(s.species) for s in samples])
    batch = torch.repeat_interleave(torch.arange(len(samples)), counts)
    made = surface(features, species, batch, len(samples))
    return made - torch.stack([s.target for s in samples])
