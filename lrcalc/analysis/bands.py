"""Named bands of a spectrum: mean wavenumber, maximum and share of area, each with its error.

The mean of a band is ``m = ∫ν(S − L)dν / ∫(S − L)dν`` over its range, L the straight line between
the two ends of the range: what a flat noise or the tail of a band beside it adds is taken off, and
a measured spectrum can be treated alike. Its error is of first order in what each block deviates
by, ``dm_b = ∫(ν − m)(d_b − L[d_b])dν / ∫(S − L)dν`` (:mod:`lrcalc.analysis.uncertainty`). A few
picoseconds tell it to some cm⁻¹ where noise on a broad band moves the maximum by a hundred.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.peaks import SIGMAS, peaks
from lrcalc.analysis.uncertainty import standard_error


class Range(NamedTuple):
    """Where a band is looked for and what was measured, cm⁻¹."""

    low: float
    high: float
    measured: str = ""
    """Place of the maximum."""
    mean: float = float("nan")
    """Measured mean, by the equation above."""


WATER_BANDS = {
    "H-bond stretch (shoulder)": Range(100.0, 300.0, "186", 174.0),
    "libration": Range(400.0, 1000.0, "614–619", 673.0),
    "bend": Range(1500.0, 1800.0, "1640–1645", 1645.0),
    "combination": Range(1900.0, 2400.0, "2121–2126", 2141.0),
    "stretch": Range(2800.0, 4000.0, "3391–3394", 3360.0),
}
"""Liquid water at 298 K in n·α.

Bertie & Lan, Appl. Spectrosc. 50, 1047 (1996); the means are of their table. In α alone libration
lies at 676.
"""

Ranges = Mapping[str, tuple[Any, ...]]
"""Name to :class:`Range`, or to the first two or three of its fields."""

KNOWN_PLACE = 0.25
"""Part of a band's range that the error of its place may be."""

FOOT = 1.0 / 12.0
"""Part of the range, at either end, whose mean is an end of the line that is taken off."""


class Band(NamedTuple):
    """A named range: its maximum, its share of the whole area, and what was measured."""

    name: str
    low: float
    high: float
    maximum: float
    height: float
    share: float
    measured: str
    error: float = np.nan
    """Standard error of the height."""
    clear: bool = True
    """The maximum is one of :func:`lrcalc.analysis.peaks.peaks`: it stands out of its error bar."""
    maximum_error: float = np.nan
    """Standard error of the place of the maximum, cm⁻¹."""
    share_error: float = np.nan
    """Standard error of the share."""
    mean: float = np.nan
    """Mean wavenumber, cm⁻¹; NaN where no band stands out of the line between the range's ends."""
    mean_error: float = np.nan
    """Standard error of the mean, cm⁻¹."""
    measured_mean: float = np.nan
    """Measured mean, cm⁻¹; NaN where none is known."""


def mean_wavenumber(
    wavenumber: np.ndarray, value: np.ndarray, deviations: np.ndarray
) -> tuple[float, float]:
    """Mean wavenumber of one band above the line between its ends, and its standard error.

    Parameters
    ----------
    wavenumber, value
        (F,) the points within the range.
    deviations
        (B, F) each block's share of the deviation.

    Returns
    -------
    tuple
        Mean and error in cm⁻¹; NaN, NaN if the area above the line is less than three times what
        chance makes of a spectrum that follows the line, or if the mean may be anywhere in the
        range. The noise of a spectrum is a share of it: where the line is at half the spectrum,
        so is its noise.
    """
    above, moved = _above_the_line(wavenumber, value), _above_the_line(wavenumber, deviations)
    area = float(np.trapezoid(above, wavenumber))
    part = np.divide(value - above, value, out=np.ones_like(value), where=value > 0)
    chance = _above_the_line(wavenumber, deviations * np.clip(part, 0.0, 1.0))
    noise = float(standard_error(np.trapezoid(chance, wavenumber, axis=1)))
    unknown = float("nan"), float("nan")
    if area <= 0.0 or area < SIGMAS * noise:
        return unknown
    mean = float(np.trapezoid(above * wavenumber, wavenumber)) / area
    parts = np.trapezoid(moved * (wavenumber - mean), wavenumber, axis=1) / area
    error = float(standard_error(parts))
    width = wavenumber[-1] - wavenumber[0]
    if not wavenumber[0] < mean < wavenumber[-1] or error > KNOWN_PLACE * width:
        return unknown
    return mean, error


def _above_the_line(wavenumber: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (…, F) minus the line through the means over the feet at both ends."""
    foot = max(1, int(FOOT * len(wavenumber)))
    left, right = wavenumber[:foot].mean(), wavenumber[-foot:].mean()
    low = values[..., :foot].mean(-1, keepdims=True)
    high = values[..., -foot:].mean(-1, keepdims=True)
    return np.asarray(values - low - (high - low) * (wavenumber - left) / (right - left))


def bands(result: Any, ranges: Ranges = WATER_BANDS, *, noise: bool = True) -> list[Band]:
    """Means, maxima and shares of n·α within named ranges, beside the measured ones.

    Where the highest point is at the edge of the range, because a stronger band beside it reaches
    in, the highest of the maxima inside is taken. A shoulder has none: ``maximum`` is NaN.

    Parameters
    ----------
    result : InfraredSpectrum
    noise
        False: ranges in which no band stands out of the noise (no mean) are left out, and a maximum
        that does not stand out of its error bar, or may be anywhere in the range, is none (NaN).
    """
    nu, value, deviations = result.wavenumber, result.n_alpha, result.deviations
    whole = float(np.trapezoid(value, nu))
    total = np.trapezoid(deviations, nu, axis=1)
    found = {peak.wavenumber for peak in peaks(nu, value, result.error)}
    table = []
    for name, given in ranges.items():
        low, high, measured, measured_mean = Range(*given)
        inside = np.flatnonzero((nu >= low) & (nu <= high))
        if len(inside) < 3:
            continue
        mean, mean_error = mean_wavenumber(nu[inside], value[inside], deviations[:, inside])
        if np.isnan(mean) and not noise:
            continue
        tops = [i for i in inside[1:-1] if value[i - 1] < value[i] >= value[i + 1]]
        top = max(tops, key=lambda i: value[i]) if tops else inside[np.argmax(value[inside])]
        share = float(np.trapezoid(value[inside], nu[inside])) / whole
        parts = np.trapezoid(deviations[:, inside], nu[inside], axis=1)
        band = Band(
            name,
            low,
            high,
            float(nu[top]) if tops else float("nan"),
            float(value[top]),
            share,
            measured,
            float(result.error[top]),
            float(nu[top]) in found,
            place_error(nu, value, deviations, top) if tops else np.nan,
            float(standard_error((parts - share * total) / whole)),
            mean,
            mean_error,
            measured_mean,
        )
        known = band.clear and not band.maximum_error > KNOWN_PLACE * (high - low)
        table.append(band if noise or known else band._replace(maximum=float("nan")))
    return table


def place_error(
    wavenumber: np.ndarray, value: np.ndarray, deviations: np.ndarray, top: int
) -> float:
    """Return the standard error (cm⁻¹) of the place of the maximum at index ``top``.

    Of the vertex of the parabola through the upper third of the line, to first order in what each
    block deviates by (B, F), and of the grid, on which the maximum is given.
    """
    below = np.flatnonzero(value < value[top] - abs(value[top]) / 3.0)
    left = int(below[below < top].max(initial=-1)) + 1
    right = int(below[below > top].min(initial=len(value)))
    near = slice(max(min(left, top - 2), 0), max(right, top + 3))
    x = wavenumber[near] - wavenumber[top]
    fit = np.linalg.pinv(np.vander(x, 3))
    curve, slope, _ = fit @ value[near]
    if curve >= 0:
        return float("nan")
    vertex = -0.5 * slope / curve
    bent, tilted, _ = fit @ deviations[:, near].T
    moved = standard_error(-(tilted + 2.0 * vertex * bent) / (2.0 * curve))
    return float(np.hypot(moved, (wavenumber[1] - wavenumber[0]) / np.sqrt(12.0)))


def _place(value: float, error: float, mark: str = "") -> str:
    """``1631 ± 4``; no error narrower than 1 cm⁻¹ is claimed."""
    known = "" if np.isnan(error) else f" ± {max(error, 1.0):.0f}"
    return f"{value:.0f}{mark}{known}"


def band_table(result: Any, ranges: Ranges = WATER_BANDS, *, noise: bool = True) -> str:
    """Named bands beside the measured ones (of n·α) as text, with one standard error.

    Means are of what lies above the line between the ends of the range; ``-``: nothing there stands
    out of its error bar. ``edge of range``: no maximum inside, a stronger band beside the range
    leans in. With a question mark the maximum does not stand out of its error bar. Without
    ``noise`` these maxima are a dash, and bands without a mean are left out.
    """
    rows = [
        f"  {'n·α':26s}{'mean (cm⁻¹)':>13s}{'measured':>9s}"
        f"{'maximum':>14s}{'measured':>11s}{'share (%)':>13s}"
    ]
    for band in bands(result, ranges, noise=noise):
        top = _place(band.maximum, band.maximum_error, "" if band.clear else "?")
        if np.isnan(band.maximum):
            top = "edge of range" if noise else "-"
        mean = "-" if np.isnan(band.mean) else _place(band.mean, band.mean_error)
        known = "" if np.isnan(band.measured_mean) else f"{band.measured_mean:.0f}"
        share = f"{100 * band.share:.1f} ± {100 * band.share_error:.1f}"
        rows.append(
            f"  {band.name:26s}{mean:>13s}{known:>9s}{top:>14s}{band.measured:>11s}{share:>13s}"
        )
    if any(" - " in row for row in rows):
        rows.append("  -: nothing that stands out of its error bar; run longer")
    if any("?" in row for row in rows):
        rows.append("  ?: a maximum that does not stand out of its error bar; run longer")
    return "\n".join(rows)
