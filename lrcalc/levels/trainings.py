"""Levels of the theory side by side: one data set, the same epochs, several seeds each.

The hierarchy of multipoles and responses claims that each step improves the surface (Kim et al.,
arXiv:2605.05746). A single training cannot tell: seeds differ by as much as levels do. So each
level is trained from several seeds and measured on frames that nothing was chosen by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from lrcalc.model_errors import collect, summarise
from lrcalc.models.potential import Potential
from lrcalc.training.charge_family import choose_charges
from lrcalc.training.data import Frame
from lrcalc.training.electrical import Labelled
from lrcalc.training.fit import fit
from lrcalc.training.labels import has_label
from lrcalc.training.settings import TrainingSettings

CALLS = 5
"""Energy + forces calls of which the quickest is told."""


class Entrant(NamedTuple):
    """One model that is to be trained: level, family of charges, seed."""

    level: str
    charges: str
    seed: int

    @property
    def name(self) -> str:
        """Level and charges, which seeds are means over."""
        return self.level if self.level == "sr" else f"{self.level}, {self.charges}"

    def file(self, folder: Path) -> Path:
        """Where its model is."""
        charges = "" if self.level == "sr" else f"-{self.charges}"
        return folder / f"{self.level}{charges}-seed{self.seed}.pt"


class Measured(NamedTuple):
    """What became of an entrant.

    Attributes
    ----------
    entrant : Entrant
    values : dict of str to float
        Measure (`MEASURES`) → value on the frames kept out; those that the data have.
    """

    entrant: Entrant
    values: dict[str, float]


class Measure(NamedTuple):
    """One column: what it is called, where it is found, and its unit."""

    title: str
    quantity: str
    figure: str
    factor: float
    unit: str


MEASURES = {
    "forces": Measure("forces, RMSE", "forces", "rmse", 1e3, "meV/Å"),
    "energy": Measure("energy, RMSE", "energy_shifted", "rmse", 1e3, "meV/atom"),
    "born": Measure("Born charges, R²", "born", "r2", 1.0, ""),
    "born_mae": Measure("Born charges, MAE", "born", "mae", 1.0, "e"),
    "dipole": Measure("dipole, R²", "dipole", "r2", 1.0, ""),
    "quadrupole": Measure("quadrupole, R²", "quadrupole", "r2", 1.0, ""),
    "polarizability": Measure("isotropic polarizability, R²", "polarizability_isotropic", "r2", 1.0,
                              ""),
}  # fmt: skip
"""Measure → where `lrcalc.model_errors.summarise` has it. Energies without a constant offset, which
two files may differ by."""

COSTS = {
    "parameters": ("parameters", ""),
    "call": ("energy + forces", "ms"),
    "minutes": ("training", "min"),
}
"""What is told of each model beside its errors: title and unit. Times are of this machine as busy
as it was."""


def entrants(
    levels: Sequence[str], charges: Sequence[str], seeds: int, train: Sequence[Frame]
) -> list[Entrant]:
    """All models to train, each once: a short-ranged one has no charges.

    Parameters
    ----------
    levels, charges : sequence of str
        ``charges`` may hold "auto" (`choose_charges`).
    seeds : int
        Of each, counted from 0.
    train : sequence of Frame
    """
    found = []
    for level in levels:
        families = [choose_charges(family, train, level)[0] for family in charges]
        for family in ["none"] if level == "sr" else dict.fromkeys(families):
            found += [Entrant(level, family, seed) for seed in range(seeds)]
    return list(dict.fromkeys(found))


def train_one(
    entrant: Entrant,
    split: dict[str, Any],
    config: dict[str, Any],
    settings: TrainingSettings,
    folder: Path,
    *,
    metadata: dict[str, Any],
    labelled: Sequence[Labelled] = (),
    report: Callable[[dict[str, float]], None] | None = None,
) -> Potential:
    """Train one model into `Entrant.file`, or go on where it was left; the same for all but these.

    Raises
    ------
    ValueError
        As `fit`; for a file of another data set or other settings too.
    """
    config = {**config, "level": entrant.level}
    if entrant.level != "sr":
        config["charges"] = entrant.charges
    return fit(
        split["training"], split["validation"], config, settings._replace(seed=entrant.seed),
        entrant.file(folder), labelled=labelled, metadata=metadata, report=report,
    )  # fmt: skip


def measure(
    potential: Potential,
    structures: Sequence[Atoms],
    polarizability: Callable[[Atoms], np.ndarray | None] = lambda atoms: None,
    *,
    device: str = "cpu",
) -> dict[str, float]:
    """Errors on structures, and milliseconds of an energy + forces call for the largest of them.

    Parameters
    ----------
    potential : Potential
    structures : sequence of Atoms
        Labelled, seen by no training.
    polarizability : callable, optional
        Polarizability (3, 3), e Å²/V, that a structure carries, or None.
    device : str
    """
    from lrcalc.evaluator import Evaluator

    evaluator = Evaluator(potential, device=device)
    level = potential.config["level"]
    if level == "sr":
        structures = [without_electrical(atoms) for atoms in structures]
    responds = "i" in level
    values = collect(
        evaluator, structures, polarizability=polarizability if responds else lambda atoms: None
    )
    numbers = [atoms.numbers for atoms in structures if has_label(atoms, "energy")]
    errors = {name: found._asdict() for name, found in summarise(values, numbers).items()}
    out = {
        name: m.factor * errors[m.quantity][m.figure]
        for name, m in MEASURES.items()
        if m.quantity in errors
    }
    largest = max(structures, key=len)
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        evaluator([largest], ["energy", "forces"])
        times.append(time.perf_counter() - begun)
    out["call"] = 1e3 * min(times)
    out["parameters"] = float(sum(p.numel() for p in potential.parameters()))
    return out


def without_electrical(atoms: Atoms) -> Atoms:
    """Copy of a structure with labels of energy, forces and stress alone."""
    from lrcalc.model_errors import BORN_KEYS

    bare = atoms.copy()
    bare.calc = atoms.calc
    for key in BORN_KEYS:
        bare.arrays.pop(key, None)
    for key in ("REF_dipole", "REF_quadrupole"):
        bare.info.pop(key, None)
    return bare


def over_seeds(measured: Sequence[Measured]) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Mean, standard error of the mean (NaN of one seed) and number of seeds of each measure.

    Returns
    -------
    dict
        `Entrant.name` → measure or cost → three numbers, in the order of ``measured``.
    """
    table: dict[str, dict[str, tuple[float, float, int]]] = {}
    for name in dict.fromkeys(one.entrant.name for one in measured):
        rows = [one.values for one in measured if one.entrant.name == name]
        table[name] = {}
        for key in dict.fromkeys(key for row in rows for key in row):
            values = np.array([row[key] for row in rows if key in row])
            n = len(values)
            error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
            table[name][key] = (float(values.mean()), error, n)
    return table
