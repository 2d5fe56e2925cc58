"""Whether energies and forces determine the charges of a model (physics §9).

In a crystal whose atoms hardly move the long-range part of the forces is nearly a constant matrix
of force constants, which a short-ranged network imitates within its cutoff: forces are as good as
could be wished, whatever the charges. So a short-ranged copy of the model is trained on the
long-range part of the forces alone, for a few epochs. What it cannot imitate is all that tells
charges of one size from those of another; where it is less than the error of the model's forces,
the data do not determine the charges.

Charges that are too large by a fraction δ make the long-range forces too large by 2δ. The
short-ranged part takes that back but for 2δ times the rest, which shows once it is as large as the
error: so ``δ = error/(2 rest)`` is how far off charges may be.

Seen, with 120 to 240 steps of imitation (rest over error of the forces; what is known of charges):

* NaCl displaced by 0.03 Å: 0.68 (errors of 3.5 meV/Å), Z 0.70 where DFT says 1.09; 1.28 for a
  model with errors of 0.9 meV/Å; 3.3 with errors of 0.34 meV/Å, and Z still 17 % too small
* MgO displaced by 0.03 Å: 0.53; Z 1.11 where DFT says 1.98
* bundled `water`: 1.4, and 1.1 when imitated for 288 steps; Born charges R² 0.98
* dipeptides: 1.4, of a model with dipoles of R² 0.6
* bundled `SiO2`: 3.7; Born charges R² 0.99

So the ratio alone tells crystals apart from liquids only at its ends: between `LEAST` and `ENOUGH`
the verdict is "uncertain" unless an ensemble of readouts agrees on the charges.

A linear fit of the readout alone (`long_range_part` did that first) is not enough: it left 1.8
for MgO, because the features adapt too. Readouts trained anew on the same features (`--ensemble`)
are less strict for the same reason, but they give Born charges an error bar.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from ase.data import chemical_symbols

from lrcalc.derivatives import forces_and_stress, strained
from lrcalc.models.potential import Potential
from lrcalc.models.readout import Readout
from lrcalc.prediction import predict
from lrcalc.training.batches import shuffled
from lrcalc.training.charge_family import OXIDATION
from lrcalc.training.data import Frame, batch_to, collate
from lrcalc.training.fit import fit
from lrcalc.training.settings import TrainingSettings

LEAST = 0.8
"""Rest of the long-range forces over the error of all forces, below which charges are not
determined: with other charges the forces would be as good."""

ENOUGH = 10.0
"""The same, above which they are determined: to 5 %."""

NARROW, WIDE = 0.1, 0.3
"""Spread of Born charges over an ensemble relative to their size, below which charges are
determined if the rest lets one doubt, and above which they are not, whatever the rest. Seen, with
one more readout: NaCl 0.42 (ten frames) and 0.13 (80 frames, errors of 1.2 meV/Å, Z 5 % off); the
bundled `water` 0.11 (24 frames, 6 epochs)."""

FRAMES, VALIDATION, EPOCHS = 40, 8, 6
"""Of the imitation: frames to learn from, to judge by, and passes over the former."""

FEWEST_STEPS, PART = 100, 0.1
"""Steps below which an imitation says nothing, and its most of those of the training."""


class Identifiability(NamedTuple):
    """What is known of a model's charges.

    Attributes
    ----------
    share : float
        Long-range part of the forces over all, root mean squares.
    rest : float
        What a short-ranged model cannot imitate of it, eV/Å; NaN where that was not tried.
    error : float
        Of the model's forces, eV/Å.
    born : dict of str to float
        Species → mean Born charge, e.
    spread : dict of str to float
        Species → its standard deviation over an ensemble of readouts, e; empty without one.
    members : int
        Of the ensemble.
    labels : tuple of str
        Electrical labels that were trained on.
    """

    share: float
    rest: float
    error: float
    born: dict[str, float]
    spread: dict[str, float]
    members: int
    labels: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """``labels``, ``determined``, ``not determined``, ``uncertain`` or ``unknown``."""
        if {"born", "dipole", "epsilon_static"} & set(self.labels):
            return "labels"
        spread = self.relative_spread if self.members else float("nan")
        if self.rest < LEAST * self.error or spread > WIDE:
            return "not determined"
        if not np.isfinite(self.rest):
            return "unknown"
        sure = self.rest > ENOUGH * self.error or spread < NARROW
        return "determined" if sure else "uncertain"

    @property
    def relative_spread(self) -> float:
        """Spread of Born charges over the ensemble, relative to their size."""
        size = np.sqrt(np.mean(np.square(list(self.born.values())))) if self.born else 0.0
        spread = np.sqrt(np.mean(np.square(list(self.spread.values())))) if self.spread else 0.0
        return float(spread / max(size, 1e-3))

    def card(self) -> dict[str, Any]:
        """Plain values for the card of a model."""
        return {
            **self._asdict(), "rest": self.rest if np.isfinite(self.rest) else None,
            "labels": list(self.labels), "verdict": self.verdict,
            "relative_spread": self.relative_spread,
        }  # fmt: skip


def identifiability(
    potential: Potential,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    settings: TrainingSettings,
    *,
    ensemble: int = 0,
) -> Identifiability | None:
    """Report on the charges of a trained model; None for one without, or with a field of its own.

    Parameters
    ----------
    potential : Potential
        Trained; unchanged.
    train, valid : sequence of Frame
        Its frames.
    settings : TrainingSettings
        Of its training; electrical weights and labels are not used again.
    ensemble : int
        Readouts to train anew on the same features, from other seeds.
    """
    if potential.config["level"] == "sr" or potential.ewald is None:
        return None
    learned, judged = spread_over(train, FRAMES), spread_over(valid, VALIDATION)
    passes = int(min(EPOCHS, PART * settings.epochs * len(train) / len(learned)))
    share, rest, error = measure(potential, learned, judged, settings, passes)
    own = mean_born(potential, judged, settings.device)
    members = []
    for seed in range(ensemble):
        member = retrained(potential, train, valid, settings, seed + 1)
        members.append(mean_born(member, judged, settings.device))
    spread = {}
    if members:
        spread = {s: float(np.std([b[s] for b in [own, *members]], ddof=1)) for s in own}
    labels = tuple(potential.metadata.get("labels", []))
    return Identifiability(share, rest, error, own, spread, len(members), labels)


def spread_over(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most so many frames, from all over the data."""
    n = min(most, len(frames))
    return [frames[k * len(frames) // n] for k in range(n)]


def measure(
    potential: Potential,
    learned: Sequence[Frame],
    judged: Sequence[Frame],
    settings: TrainingSettings,
    passes: int,
) -> tuple[float, float, float]:
    """Share of the long-range forces, what cannot be imitated of them, and error of all forces.

    The rest is that of frames that the imitation was not trained on, eV/Å.
    """
    train, _, _ = long_range_frames(potential, learned, settings.device)
    valid, total, error = long_range_frames(potential, judged, settings.device)
    share = _rms([f.forces for f in valid]) / max(total, 1e-12)
    sizes = [len(frame.system.numbers) for frame in learned]
    steps = passes * len(shuffled(sizes, settings, 0))
    if steps < FEWEST_STEPS or not isinstance(potential.readout, Readout):
        return share, float("nan"), error
    # as large as all forces: steps of Adam are as long for small labels, which they then blur
    factor = 1.0 / max(share, 1e-6)
    train, valid = (
        [f._replace(energy=factor * f.energy, forces=factor * f.forces) for f in frames]
        for frames in (train, valid)
    )
    # without prior and wall: the labels are the long-range part alone, which must not be imitated
    # less well because the repulsion of nuclei has to be imitated away first
    config = {
        k: v
        for k, v in potential.config.items()
        if k not in ("surface", "prior", "prior_between", "wall")
    }
    config["level"] = "sr"
    short = like(potential, config).to(settings.device)
    with torch.no_grad():
        for parameter in cast(torch.nn.Module, short.readout).parameters():
            parameter.zero_()
    how = unlabelled(settings)._replace(
        epochs=passes, energy_weight=0.0, stress_weight=0.0, weight_decay=0.0, patience=passes,
        loss="mse",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made = fit(train, valid, config, how, Path(folder) / "imitation.pt", start=short)
    return share, float(made.metadata["errors"]["valid_forces"]) / factor, error


def like(potential: Potential, config: dict[str, Any]) -> Potential:
    """Another potential with the backbone's weights; the rest is new."""
    made = Potential(potential.species, **config)
    weights = cast(torch.nn.Module, potential.backbone).state_dict()
    cast(torch.nn.Module, made.backbone).load_state_dict(weights)
    return made


def unlabelled(settings: TrainingSettings) -> TrainingSettings:
    """Return settings without electrical labels and without a limit of time."""
    return settings._replace(
        born_weight=0.0, dipole_weight=0.0, polarizability_weight=0.0, dielectric_weight=0.0,
        max_minutes=0.0,
    )  # fmt: skip


def long_range_frames(
    potential: Potential, frames: Sequence[Frame], device: str
) -> tuple[list[Frame], float, float]:
    """Frames labelled with the long-range part alone; root mean square of all forces, and error."""
    made, total, error = [], [], []
    for frame in frames:
        batch = batch_to(collate([frame]), device)
        leaves = strained(batch.system, stress=False)
        terms = potential(leaves.system, batch.pairs, surface=False)
        assert terms.electrostatics is not None
        long = terms.electrostatics.energy.double()
        part, _ = forces_and_stress(long, leaves, retain_graph=True)
        forces, _ = forces_and_stress(terms.energy, leaves)
        part = part.detach().double().cpu()
        made.append(frame._replace(energy=float(long.detach()), forces=part, stress=None))
        total.append(forces.detach().cpu())
        error.append(frame.forces - forces.detach().cpu())
    return made, _rms(total), _rms(error)


def _rms(tensors: Sequence[torch.Tensor]) -> float:
    return float(torch.cat(list(tensors)).square().mean().sqrt())


def mean_born(potential: Potential, frames: Sequence[Frame], device: str) -> dict[str, float]:
    """Mean Born charge of each species over a few frames, e."""
    found: dict[str, list[float]] = {}
    name = "born_effective_charges"
    for frame in frames[:4]:
        batch = batch_to(collate([frame]), device)
        born = predict(potential, batch.system, batch.pairs, None, [name], check=False)[name]
        trace = born.diagonal(dim1=1, dim2=2).mean(1).tolist()
        for number, charge in zip(frame.system.numbers.tolist(), trace, strict=True):
            found.setdefault(chemical_symbols[number], []).append(charge)
    return {symbol: float(np.mean(values)) for symbol, values in sorted(found.items())}


def retrained(
    potential: Potential,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    settings: TrainingSettings,
    seed: int,
) -> Potential:
    """Train a new readout on the features of a finished model, an eighth of its epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1000 * seed)
        fresh = like(potential, {**potential.config, "surface": 0})
    fresh.reference_energy.copy_(potential.reference_energy)
    kept = ("epsilon_infinity", "epsilon_infinity_from", OXIDATION)
    fresh.metadata |= {k: copy.copy(v) for k, v in potential.metadata.items() if k in kept}
    how = unlabelled(settings)._replace(
        epochs=max(1, settings.epochs // 8), seed=settings.seed + seed
    )
    with tempfile.TemporaryDirectory() as folder:
        return fit(
            train, valid, fresh.config, how, Path(folder) / "member.pt", start=fresh, freeze=True
        )
