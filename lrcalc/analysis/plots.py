"""Pictures, drawn on figure objects so that no global matplotlib state is touched."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrcalc.analysis.output import write_atomic

CALCULATED, MEASURED = "#1f5fa8", "#b5452c"


def new_figure(rows: int = 1, width: float = 7.0, height: float = 4.2) -> tuple[Figure, Any]:
    """Figure with ``rows`` axes above each other, sharing x."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True)
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure (PNG, PDF, SVG by the suffix) atomically."""
    return write_atomic(path, lambda target: figure.savefig(target, dpi=150))


def spectrum_figure(
    wavenumber: np.ndarray,
    value: np.ndarray,
    error: np.ndarray,
    *,
    label: str,
    y_label: str,
    title: str = "",
    marks: Sequence[tuple[float, float]] = (),
    measured: np.ndarray | None = None,
    measured_label: str = "experiment",
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw a spectrum with its error band, marked peaks and an optional measured curve (x, y)."""
    figure, axis = new_figure()
    if measured is not None:
        axis.plot(measured[:, 0], measured[:, 1], color=MEASURED, lw=1.2, label=measured_label)
    axis.plot(wavenumber, value, color=CALCULATED, lw=1.4, label=label)
    if np.isfinite(error).all():
        axis.fill_between(
            wavenumber, value - error, value + error, color=CALCULATED, alpha=0.25, lw=0
        )
    top = (
        float(np.max(value)) if measured is None else float(max(value.max(), measured[:, 1].max()))
    )
    for x, y in marks:
        axis.annotate(
            f"{x:.0f}",
            (x, y),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=CALCULATED,
        )
    low = min(0.0, float(np.min(value)))
    axis.set_ylim(low - 0.02 * top, 1.12 * top)
    axis.set_xlim(*(limits or (0.0, float(wavenumber[-1]))))
    axis.set_xlabel("wavenumber (cm⁻¹)")
    axis.set_ylabel(y_label)
    axis.set_title(title, fontsize=10)
    axis.legend(frameon=False, fontsize=9)
    return figure


def lines_figure(
    curves: Sequence[tuple[str, np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    title: str = "",
    decorate: Callable[[Any], None] | None = None,
) -> Figure:
    """Several named curves in one frame."""
    figure, axis = new_figure()
    for name, x, y in curves:
        axis.plot(x, y, lw=1.3, label=name)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.set_title(title, fontsize=10)
    if decorate:
        decorate(axis)
    if len(curves) > 1:
        axis.legend(frameon=False, fontsize=9)
    return figure
