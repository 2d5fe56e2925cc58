"""Maxima of spectra that stand out of their error bars, and the bands of liquid water."""

from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.uncertainty import standard_error

WATER_BANDS = {
    "H-bond stretch (shoulder)": (100.0, 300.0, "186"),
    "libration": (400.0, 1000.0, "614–619"),
    "bend": (1500.0, 1800.0, "1640–1645"),
    "combination": (1900.0, 2400.0, "2121–2126"),
    "stretch": (2800.0, 4000.0, "3391–3394"),
}
"""Liquid water at 298 K in n·α: range searched and measured maximum, cm⁻¹.

Bertie & Lan, Appl. Spectrosc. 50, 1047 (1996). In α alone libration lies at 676.
"""

SIGMAS = 3.0
"""What stands out by less than so many standard errors is noise."""


class Peak(NamedTuple):
    """A maximum: cm⁻¹, height and its error, full width at half prominence in cm⁻¹."""

    wavenumber: float
    height: float
    error: float
    width: float


def peaks(
    wavenumber: np.ndarray, value: np.ndarray, error: np.ndarray, *, sigmas: float = SIGMAS
) -> list[Peak]:
    """Maxima that stand out by more than ``sigmas`` standard errors and 2 % of the highest.

    The error counts as its root mean square over the points within the resolution: from few blocks
    it is itself rough, and where it comes out small by chance a shoulder would pass for a maximum.
    """
    from scipy.signal import find_peaks, peak_widths

    noise = np.sqrt(np.convolve(np.nan_to_num(error, nan=0.0) ** 2, np.ones(9) / 9, mode="same"))
    found, properties = find_peaks(value, prominence=0.02 * float(np.max(value)))
    width = peak_widths(value, found, rel_height=0.5)[0]
    step = wavenumber[1] - wavenumber[0]
    return [
        Peak(float(wavenumber[i]), float(value[i]), float(error[i]), float(w * step))
        for i, w, prominence in zip(found, width, properties["prominences"], strict=True)
        if prominence > sigmas * noise[i]
    ]


KNOWN_PLACE = 0.25
"""Part of a band's range that the error of its maximum may be."""


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
    """The maximum is one of :func:`peaks`: it stands out of its error bar."""
    maximum_error: float = np.nan
    """Standard error of the place of the maximum, cm⁻¹."""
    share_error: float = np.nan
    """Standard error of the share."""


def bands(
    result: Any, ranges: dict[str, tuple[float, float, str]] = WATER_BANDS, *, noise: bool = True
) -> list[Band]:
    """Maxima of n·α within named ranges, beside the measured ones.

    Where the highest point is at the edge of the range, because a stronger band beside it reaches
    in, the highest of the maxima inside is taken. A shoulder has none: ``maximum`` is NaN.

    Parameters
    ----------
    result : InfraredSpectrum
    noise
        False: bands whose share is less than three of its errors are left out, and a maximum that
        does not stand out of its error bar, or may be anywhere in the range, is none (NaN).
    """
    nu, value, deviations = result.wavenumber, result.n_alpha, result.deviations
    whole = float(np.trapezoid(value, nu))
    total = np.trapezoid(deviations, nu, axis=1)
    found = {peak.wavenumber for peak in peaks(nu, value, result.error)}
    table = []
    for name, (low, high, measured) in ranges.items():
        inside = np.flatnonzero((nu >= low) & (nu <= high))
        if len(inside) < 3:
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
        )
        if noise or not share < SIGMAS * band.share_error:
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


def band_table(
    result: Any, ranges: dict[str, tuple[float, float, str]] = WATER_BANDS, *, noise: bool = True
) -> str:
    """Named bands beside the measured maxima (of n·α) as text, with one standard error.

    ``edge of range``: no maximum inside, a stronger band beside the range leans in. With a question
    mark the maximum does not stand out of its error bar. Without ``noise`` these are a dash, and
    what is less than three errors is left out.
    """
    rows = [f"  {'band (n·α)':28s}{'here (cm⁻¹)':>14s}{'measured':>14s}{'share of area':>20s}"]
    for band in bands(result, ranges, noise=noise):
        here = f"{band.maximum:.0f}{'' if band.clear else '?'}"
        if not np.isnan(band.maximum_error):
            here += f" ± {max(band.maximum_error, 1.0):.0f}"
        if np.isnan(band.maximum):
            here = "edge of range" if noise else "-"
        share = f"{band.share:.3f} ± {band.share_error:.3f}"
        rows.append(f"  {band.name:28s}{here:>14s}{band.measured:>14s}{share:>20s}")
    if not noise and any(" - " in row for row in rows):
        rows.append("  -: no maximum that stands out of its error bar; run longer")
    if any("?" in row for row in rows):
        rows.append("  ?: a maximum that does not stand out of its error bar; run longer")
    return "\n".join(rows)
