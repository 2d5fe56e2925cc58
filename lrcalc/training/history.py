"""The learning curve of a training: its table, and whether it shows overfitting."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrcalc.files import replacing

COLUMNS = [
    "epoch", "learning_rate", "loss", "train_energy", "train_forces", "valid_energy",
    "valid_forces", "valid_stress", "seconds", "seen_energy", "seen_forces",
    "valid_born", "valid_dipole", "valid_polarizability", "valid_epsilon_infinity",
    "valid_epsilon_static",
]  # fmt: skip
"""``train_`` is measured while the weights change, ``valid_`` with their average at the end of the
epoch, ``seen_`` with that same average on a sample of the training frames; RMSE in eV/atom, eV/Å,
eV/Å³, and of electrical labels in the units of `lrcalc.training.loss.TERMS`."""

UNITS = {"forces": (1e3, "meV/Å"), "energy": (1e3, "meV/atom")}
"""What is drawn and told of a curve."""

RISES, FALLS = 1.1, 0.97
"""What validation must rise by, and training fall to, from the best epoch on: overfitting."""


def write_history(history: Sequence[Sequence[float]], path: Path) -> None:
    """Write the learning curve atomically; rows of an older lrcalc, which are shorter, too."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for row in history:
            padded = [*row, *[float("nan")] * (len(COLUMNS) - len(row))]
            writer.writerow([f"{x:.8g}" for x in padded])


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Columns of a learning curve.

    ``seen_`` is ``train_`` where the file is of an older lrcalc, which did not measure it.
    """
    table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
    found = {str(name): table[name] for name in table.dtype.names or ()}
    for quantity in UNITS:
        seen, before = f"seen_{quantity}", found[f"train_{quantity}"]
        found[seen] = np.where(np.isfinite(found.get(seen, before * np.nan)), found.get(seen, 0.0),
                               before)  # fmt: skip
    return found


def describe_overfitting(history: dict[str, np.ndarray]) -> str | None:
    """Say that validation rose while training fell, with the way out, or None.

    Parameters
    ----------
    history : dict
        As `read_history` gives it. Compared are the last epochs (a tenth, at least three) with as
        many around the best.
    """
    n = len(history["epoch"])
    width = max(3, n // 10)
    if n < 3 * width:
        return None
    for quantity, (factor, unit) in UNITS.items():
        valid, seen = (
            np.convolve(history[f"{kind}_{quantity}"], np.ones(width) / width, "valid")
            for kind in ("valid", "seen")
        )
        best = int(np.argmin(valid))
        if valid[-1] > RISES * valid[best] and seen[-1] < FALLS * seen[best]:
            return (
                f"overfitting: from epoch {int(history['epoch'][best + width // 2])} on the error "
                f"of {quantity} rose from {factor * valid[best]:.3g} to {factor * valid[-1]:.3g} "
                f"{unit} in validation while it fell from {factor * seen[best]:.3g} to "
                f"{factor * seen[-1]:.3g} in training (the model kept is of the best epoch): more, "
                "or more varied, frames, a larger --weight-decay, or fewer --channels help"
            )
    return None
