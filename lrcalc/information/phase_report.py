"""Tables and pictures of a training of phases."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lrcalc.files import replacing
from lrcalc.information.phase_validation import Validation
from lrcalc.information.phases import PhaseModel

COLUMNS = ("part", "step", "minutes", "error", "right")


def curve_file(curves: Mapping[str, Sequence[Sequence[float]]], path: Path) -> Path:
    """Write the learning curves: cross entropy and part that is right, or the score's error."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for part, rows in curves.items():
            shown = 4 if part == "labels" else 3
            writer.writerows([[part, *(f"{x:.6g}" for x in row[:shown])] for row in rows])
    return path


def report(found: Validation, model: PhaseModel, output: Path) -> list[Path]:
    """Print what is right; write OUT-validation.csv and .png."""
    print(summary(found, model.phases))
    return [
        validation_file(found, model.phases, output.with_name(f"{output.stem}-validation.csv")),
        picture(found, model.phases, output.with_name(f"{output.stem}-validation.png")),
    ]


def summary(found: Validation, phases: Sequence[str], named: int = 8) -> str:
    """Return lines: part of right labels by noise, and what is confused most."""
    shown = list(phases)[:named]
    head = "  ".join(f"{name[:7]:>7}" for name in ["all", *shown])
    lines = [f"right labels (%), mean over phases and of single ones\n  noise steps  {head}   left"]
    for number, level in enumerate(found.levels):
        for k in range(len(found.right)):
            row = found.right[k, number]
            cells = "  ".join(f"{100 * x:7.1f}" for x in [row.mean(), *row[: len(shown)]])
            left = 100 * found.left[k, number].mean()
            lines.append(f"  {100 * level:4.0f}% {k:5d}  {cells}  {left:4.1f}%")
    at = min(2, len(found.levels) - 1)
    wrong = found.confusion[at] * (1 - np.eye(len(phases)))
    worst = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None)[:5], wrong.shape))[0]
    told = [
        f"{phases[a]} as {phases[b]} {100 * wrong[a, b]:.0f} %" for a, b in worst if wrong[a, b] > 0
    ]
    lines.append(f"confused most at {100 * found.levels[at]:g} %: {', '.join(told) or 'none'}")
    return "\n".join(lines)


def validation_file(found: Validation, phases: Sequence[str], path: Path) -> Path:
    """Write a row for each phase, noise level and number of steps."""
    with replacing(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["phase", "noise", "steps", "right", "left", "confused_with", "how_often"])
        for c, phase in enumerate(phases):
            for number, level in enumerate(found.levels):
                other = found.confusion[number, c].copy()
                other[c] = 0
                worst = int(other.argmax())
                for k in range(len(found.right)):
                    writer.writerow([
                        phase, level, k, f"{found.right[k, number, c]:.4f}",
                        f"{found.left[k, number, c]:.4f}", phases[worst] if other[worst] else "",
                        f"{other[worst]:.4f}",
                    ])  # fmt: skip
    return path


def picture(found: Validation, phases: Sequence[str], path: Path) -> Path:
    """Draw how many labels are right, by phase and noise."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.22 * len(phases) + 2.5, 3.2), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(100 * found.right[0], vmin=0, vmax=100, cmap="viridis", aspect="auto")
    axis.set_xticks(range(len(phases)), phases, rotation=90, fontsize=7)
    axis.set_yticks(range(len(found.levels)), [f"{100 * x:g} %" for x in found.levels])
    axis.set_ylabel("noise / nearest neighbours")
    figure.colorbar(image, ax=axis, label="right labels (%)")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)
    return path
