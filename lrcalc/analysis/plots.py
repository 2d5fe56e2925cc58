"""Pictures, drawn on figure objects so that no global matplotlib state is touched."""

import textwrap
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrcalc.analysis.modes import Modes, lines
from lrcalc.analysis.output import write_atomic
from lrcalc.analysis.raman_modes import raman_lines

CALCULATED, MEASURED = "#1f5fa8", "#b5452c"


def new_figure(rows: int = 1, width: float = 7.0, height: float = 4.2) -> tuple[Figure, Any]:
    """Figure with ``rows`` axes above each other, sharing x."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=True)
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def axis_label(text: str, unit: str, width: int = 18) -> str:
    """Label of an axis in lines that fit a panel of a third of a figure: ``text (unit)``."""
    return textwrap.fill(f"{text} ({unit})", width, break_long_words=False, break_on_hyphens=False)


def whole_ticks(axis: Any) -> None:
    """Put ticks of an axis (``axes.xaxis``) that counts at whole numbers alone."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


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
    stems: bool = False,
    measured: np.ndarray | None = None,
    measured_label: str = "experiment",
    limits: tuple[float, float] | None = None,
    others: Sequence[tuple[str, np.ndarray, np.ndarray]] = (),
    other_errors: Sequence[np.ndarray | None] = (),
    signed: bool = False,
) -> Figure:
    """Draw a spectrum with its error band, marked peaks and an optional measured curve (x, y).

    Parameters
    ----------
    marks
        Points (x, y) of the curve whose x is written above it: its maxima, or means of its bands.
    stems
        A dotted line from each mark down to the axis, since a mean need be no maximum.
    others, other_errors
        More curves (name, x, y), and their error bands where there are any.
    signed
        The spectrum goes both ways: the whole error band is shown.
    """
    figure, axis = new_figure()
    if measured is not None:
        axis.plot(measured[:, 0], measured[:, 1], color=MEASURED, lw=1.2, label=measured_label)
    axis.plot(wavenumber, value, color=CALCULATED, lw=1.4, label=label)
    colours = cycle(("#2f8f5b", "#8a4fb0", "0.35", "#c98a1b"))
    bands = [*other_errors, *[None] * len(others)]
    for (name, x, y), colour, band in zip(others, colours, bands, strict=False):
        axis.plot(x, y, lw=1.1, ls="--", color=colour, label=name)
        if band is not None and np.isfinite(band).all():
            axis.fill_between(x, y - band, y + band, color=colour, alpha=0.2, lw=0)
    if np.isfinite(error).all():
        axis.fill_between(
            wavenumber, value - error, value + error, color=CALCULATED, alpha=0.25, lw=0
        )
    for place, height in marks:
        axis.annotate(
            f"{place:.0f}",
            (place, height),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=CALCULATED,
        )
        if stems:
            axis.plot([place, place], [0.0, height], color=CALCULATED, lw=0.8, ls=":")
    noise = np.nan_to_num(error)
    curves = [value, *(y for *_, y in others), *([] if measured is None else [measured[:, 1]])]
    top = max(float(np.max(y)) for y in curves)
    low = min(0.0, *(float(np.min(y)) for y in curves))
    # a band is shown whole unless it would press the curve flat
    most, least = float(np.max(value + noise)), float(np.min(value - noise))
    top = max(top, most if signed else min(most, 1.4 * top))
    low = min(low, least if signed else max(least, -0.1 * top))
    axis.set_ylim(low - 0.02 * (top - low), top + 0.12 * (top - low))
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
    errors: Sequence[np.ndarray | None] = (),
    level: tuple[float, float, str] | None = None,
) -> Figure:
    """Several named curves in one frame.

    Parameters
    ----------
    errors
        Standard errors of the curves, drawn as bands.
    level
        Value, error and name of a horizontal band.
    """
    figure, axis = new_figure()
    bands = [*errors, *[None] * len(curves)]
    for (name, x, y), error in zip(curves, bands, strict=False):
        _banded(axis, x, y, error, name)
    if level is not None:
        value, half, name = level
        axis.axhspan(value - half, value + half, color=MEASURED, alpha=0.25, label=name)
        axis.axhline(value, color=MEASURED, lw=1.2)
        axis.set_xlim(0, curves[0][1][-1])
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.set_title(title, fontsize=10)
    if len(curves) > 1 or level is not None:
        axis.legend(framealpha=0.85, edgecolor="none", fontsize=9)
    return figure


def panels_figure(
    x: np.ndarray, panels: dict[str, list[Any]], title: str, x_label: str = "wavenumber (cm⁻¹)"
) -> Figure:
    """Panels above each other on one logarithmic axis, without its first point.

    Parameters
    ----------
    panels
        By the name of the y axis: curves (name, y, standard error), all over ``x``.
    """
    figure, axes = new_figure(len(panels), height=3.0 * len(panels))
    for axis, (label, curves) in zip(axes, panels.items(), strict=True):
        for name, y, error in curves:
            _banded(axis, x[1:], y[1:], error[1:], name)
        axis.set_ylabel(label)
        axis.legend(frameon=False)
    axes[0].set_title(title, fontsize=10)
    axes[-1].set_xlabel(x_label)
    axes[-1].set_xscale("log")
    axes[-1].set_xlim(x[1], x[-1])
    return figure


def _banded(axis: Any, x: np.ndarray, y: np.ndarray, error: np.ndarray | None, name: str) -> None:
    """One curve and, where it is finite, its error band."""
    (line,) = axis.plot(x, y, lw=1.3, label=name)
    if error is not None and np.isfinite(error).all():
        axis.fill_between(x, y - error, y + error, alpha=0.25, color=line.get_color(), lw=0)


def modes_figure(modes: Modes, curves: dict[str, np.ndarray], *, damping: float) -> Figure:
    """Draw infrared lines with their broadened sum, reflectivity, and Raman lines if there are any.

    Sticks have the axis on the right. ``damping`` is the width of the lines, cm⁻¹, for the title.

    Parameters
    ----------
    curves
        From :meth:`lrcalc.analysis.mode_report.ModeReport.curves`.
    """
    grid, n_alpha = curves["wavenumber_cm-1"], curves["n_alpha_cm-1"]
    raman = curves.get("raman_A4/amu_per_cm-1")
    rows = 2 if raman is None else 3
    figure, (top, bottom, *more) = new_figure(rows, height=3.2 * rows)
    top.set_title(f"lines broadened by {damping:g} cm⁻¹ (full width)", fontsize=9)
    top.plot(grid, n_alpha / 1e3, color=CALCULATED, lw=1.3)
    found = [(line.wavenumber, line.intensity, line.irrep) for line in lines(modes)]
    _sticks(top, found, "intensity (e²/amu)", grid, n_alpha / 1e3)
    top.set_ylabel("n·α, powder (10³ cm⁻¹)", color=CALCULATED)
    for axis, style in zip("xyz", ("-", "--", ":"), strict=True):
        bottom.plot(grid, curves[f"reflectivity_{axis}"], ls=style, lw=1.3, label=f"E ∥ {axis}")
    bottom.set_ylabel("reflectivity")
    highest = max(line.get_ydata().max() for line in bottom.lines)
    bottom.set_ylim(0, 1.02 if highest > 0.1 else 1.2 * highest)
    bottom.set_xlim(0, grid[-1])
    bottom.legend(frameon=False, fontsize=9, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    if raman is not None:
        more[0].plot(grid, raman, color=CALCULATED, lw=1.3)
        scattered = [(line.wavenumber, line.activity, line.irrep) for line in raman_lines(modes)]
        _sticks(more[0], scattered, "45a² + 7γ² (Å⁴/amu)", grid, raman)
        more[0].set_ylabel("Raman (Å⁴/amu per cm⁻¹)", color=CALCULATED)
    [bottom, *more][-1].set_xlabel("wavenumber (cm⁻¹)")
    return figure


def _sticks(
    axis: Any,
    found: Sequence[tuple[float, float, str]],
    label: str,
    grid: np.ndarray,
    curve: np.ndarray,
) -> None:
    """Lines (cm⁻¹, strength, name) as sticks on an axis of their own, the strong ones named.

    The strongest stick is as high as the top of the curve; names stand upright above stick and
    curve, and the weaker of two that would touch is left out.
    """
    strongest = max((strength for nu, strength, _ in found if nu > 0), default=1.0) or 1.0
    top = float(curve.max()) or 1.0
    twin = axis.twinx()
    twin.spines[["top"]].set_visible(False)
    named: list[float] = []
    for nu, strength, name in sorted(found, key=lambda line: -line[1]):
        if nu <= 0 or strength < 1e-4 * strongest:
            continue
        twin.vlines(nu, 0, strength, color=MEASURED, lw=1.0)
        free = all(abs(nu - x) > 0.03 * float(grid[-1]) for x in named)
        if strength > 0.02 * strongest and free:
            named.append(nu)
            near = np.abs(grid - nu) < 0.01 * float(grid[-1])
            height = max(strength, strongest * float(curve[near].max(initial=0.0)) / top)
            twin.annotate(
                f"{nu:.0f} {name}",
                (nu, height),
                xytext=(0, 4),
                textcoords="offset points",
                fontsize=7,
                ha="center",
                va="bottom",
                rotation=90,
            )
    # room for the names
    twin.set_ylim(0, 1.45 * strongest)
    axis.set_ylim(0, 1.45 * top)
    twin.set_ylabel(f"sticks: {label}", color=MEASURED)


def bands_figure(structure: dict[str, Any]) -> Figure:
    """Draw a band structure from :func:`lrcalc.analysis.phonons.band_structure`."""
    figure, axis = new_figure()
    ticks = [structure["distances"][0][0]]
    for distance, band in zip(structure["distances"], structure["wavenumbers"], strict=True):
        axis.plot(distance, band, color=CALCULATED, lw=1.0)
        ticks.append(distance[-1])
    ends = structure["labels"]
    names = [ends[0][0]]
    for (_, end), (start, _) in zip(ends, [*ends[1:], (None, None)], strict=True):
        names.append(end if start in (end, None) else f"{end}|{start}")
    names = [name.replace("G", "Γ") for name in names]
    for tick in ticks:
        axis.axvline(tick, color="0.8", lw=0.7)
    axis.axhline(0, color="0.6", lw=0.7)
    axis.set_xticks(ticks, names)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlim(ticks[0], ticks[-1])
    axis.set_ylabel("wavenumber (cm⁻¹), imaginary below 0")
    axis.set_title(structure["supercell"], fontsize=9)
    return figure
