"""Pictures of a training: its learning curve, and labels against what the model makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.training.history import UNITS, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrcalc.model_errors import Errors

ROOM = 1.25
"""Factor between the curves and the ends of their axes."""

MARGINS = {"left": 0.1, "right": 0.98, "bottom": 0.15, "top": 0.92, "wspace": 0.28}
"""Fixed ones: a layout engine draws everything several times."""


def curve_picture(output: Path) -> Path:
    """Draw the learning curve beside the model: training and validation of the same weights."""
    from matplotlib.figure import Figure

    history = read_history(output.with_suffix(".csv"))
    figure = Figure(figsize=(8, 3.4))
    figure.subplots_adjust(**MARGINS)
    for axis, (quantity, (factor, unit)) in zip(figure.subplots(1, 2), UNITS.items(), strict=True):
        curves = {
            "training frames": factor * history[f"seen_{quantity}"],
            "validation": factor * history[f"valid_{quantity}"],
        }
        for label, values in curves.items():
            axis.plot(history["epoch"], values, label=label, marker="." * (len(values) < 3))
        _robust(axis, list(curves.values()))
        axis.set(xlabel="epoch", ylabel=f"{quantity}, RMSE ({unit})")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(True, which="both", alpha=0.3)
        axis.legend(frameon=False, loc="upper right")
    return _save(figure, output.with_suffix(".png"))


def _robust(axis: Axes, curves: list[np.ndarray]) -> None:
    """Logarithmic, from the lowest value to what all but the first epochs stay below."""
    from matplotlib.ticker import LogFormatter

    values = np.concatenate(curves)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return
    axis.set_yscale("log")
    for part in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        part(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.7)))
    later = np.concatenate([curve[len(curve) // 20 :] for curve in curves])
    top = float(np.nanmax(later, initial=0.0)) or float(values.max())
    axis.set_ylim(values.min() / ROOM, top * ROOM)
    if values.max() > ROOM * top:
        axis.set_title(f"first epochs: up to {values.max():.4g}", fontsize="small", color="0.4")


def parity_picture(
    values: Mapping[str, tuple[np.ndarray, np.ndarray]], found: Mapping[str, Errors], path: Path
) -> Path:
    """Draw what the model makes of validation frames against their labels.

    Parameters
    ----------
    values : mapping
        ``energy`` (eV/atom, without the composition's part), ``forces`` (eV/Å): model and data.
    found : mapping
        Their errors.
    path : Path
    """
    from matplotlib.figure import Figure

    titles = {"energy": ("energy without the composition's part", "meV/atom", 1e3),
              "forces": ("force components", "eV/Å", 1.0)}  # fmt: skip
    figure = Figure(figsize=(8, 4.1))
    figure.subplots_adjust(**MARGINS)
    for axis, (name, (title, unit, factor)) in zip(
        figure.subplots(1, 2), titles.items(), strict=True
    ):
        model, data = (factor * np.ravel(x) for x in values[name])
        low, high = min(model.min(), data.min()), max(model.max(), data.max())
        margin = 0.05 * (high - low) or 1.0
        ends = (low - margin, high + margin)
        size, alpha = (16, 0.7) if len(data) < 500 else (4, 0.3)
        axis.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
        axis.scatter(data, model, s=size, alpha=alpha, linewidths=0, rasterized=True)
        shown = f"RMSE {1e3 * found[name].rmse:.3g} {'meV/Å' if name == 'forces' else 'meV/atom'}"
        axis.set(xlim=ends, ylim=ends, aspect="equal", title=title, xlabel=f"labels ({unit})",
                 ylabel=f"model ({unit})")  # fmt: skip
        axis.annotate(f"{shown}\nR² {found[name].r2:.4g}, n = {found[name].n}", (0.04, 0.96),
                      xycoords="axes fraction", va="top")  # fmt: skip
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=130)
    return path
