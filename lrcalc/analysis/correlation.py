"""Linear correlation functions and spectra of long series, with block errors and named windows.

From the blocks of :mod:`lrcalc.analysis.correlator` the estimate is
``C[k] = sum_b raw_b[k] / sum_b n_b[k]`` and a spectrum is a linear functional of C.
Its standard error comes from the blocks' deviations of the ratio,
``d_b = L[(raw_b - C n_b)/n]`` (delete-one-group to first order), which need not be independent:
:mod:`lrcalc.analysis.uncertainty`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.fft import next_fast_len, rfft

from lrcalc.analysis.correlator import (
    MAXIMUM_BLOCKS,
    Blocks,
    Chunks,
    Correlator,
    Series,
    as_trajectories,
    check_finite,
)
from lrcalc.analysis.uncertainty import ENOUGH, standard_error, stretches
from lrcalc.units import SPEED_OF_LIGHT

__all__ = [
    "COARSEST",
    "MAXIMUM_BLOCKS",
    "WINDOWS",
    "Blocks",
    "Chunks",
    "Correlator",
    "Series",
    "Spectrum",
    "affordable_resolution",
    "as_trajectories",
    "correlate",
    "differences",
    "integrate",
    "lags_for",
    "memory_notes",
    "spectral_settings",
    "spectrum",
    "standard_error",
    "window",
    "window_width",
]

WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hann": lambda u: np.cos(0.5 * np.pi * u) ** 2,
    "gaussian": lambda u: np.exp(-0.5 * (3.0 * u) ** 2),
    "blackman": lambda u: 0.42 + 0.5 * np.cos(np.pi * u) + 0.08 * np.cos(2 * np.pi * u),
    "triangle": lambda u: 1.0 - u,
    "parzen": lambda u: np.where(u < 0.5, 1 - 6 * u**2 * (1 - u), 2 * (1 - u) ** 3),
    "none": np.ones_like,
}
"""One-sided windows of ``u = lag / longest lag`` in [0, 1]."""


def spectral_settings(
    blocks: Blocks, timestep: float, resolution: float, window: str, **conditions: float
) -> dict[str, Any]:
    """Return what all spectra say of themselves, volume, temperature and so on included."""
    return {
        "timestep_fs": timestep,
        **conditions,
        "resolution_cm1": resolution,
        "window": window,
        "lags": blocks.raw.shape[2],
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
    }


class Spectrum(NamedTuple):
    """A spectrum on an even grid with the deviations of its blocks."""

    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    value: np.ndarray
    """(F,)."""
    error: np.ndarray
    """(F,) one standard error."""
    deviations: np.ndarray
    """(B, F) each block's share of the deviation; see the module's first lines."""
    stretches: np.ndarray
    """(F,) independent stretches that the series has, at most B."""


def window(name: str, lags: int) -> np.ndarray:
    """One-sided window at lags 0 … ``lags - 1``; its end would be at ``lags``."""
    if name not in WINDOWS:
        raise ValueError(f"`window` is {name!r} but must be one of {', '.join(WINDOWS)}")
    return WINDOWS[name](np.arange(lags) / lags)


def window_width(name: str) -> float:
    """Full width at half maximum of the window's cosine transform, in units of 1/(longest lag)."""
    u = (np.arange(2000) + 0.5) / 2000
    if name not in WINDOWS:
        raise ValueError(f"`window` is {name!r} but must be one of {', '.join(WINDOWS)}")
    w = WINDOWS[name](u)
    # Bisection by hand: scipy.optimize would double the import time of this package.
    low, high = 0.0, 1.0

    def height(f: float) -> float:
        return float(np.mean(w * np.cos(2 * np.pi * f * u)) / np.mean(w)) - 0.5

    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if height(middle) > 0 else (low, middle)
    return low + high


def lags_for(resolution: float, timestep: float, name: str, maximum: float | None = None) -> int:
    """Return how many lags make lines ``resolution`` cm⁻¹ wide (timestep in fs).

    Raises
    ------
    ValueError
        If the resolution is not positive, or coarser than the highest wavenumber wanted
        (``maximum``, cm⁻¹) or than the highest that frames so far apart can show.
    """
    for label, value, unit in (("resolution", resolution, "cm⁻¹"), ("timestep", timestep, "fs")):
        if not (isinstance(value, Real) and np.isfinite(value) and value > 0):
            raise ValueError(f"`{label}` is {value} {unit} but must be a positive number")
    nyquist = 0.5 / (SPEED_OF_LIGHT * 1e-8 * timestep)
    if resolution >= nyquist:
        raise ValueError(
            f"`resolution` is {resolution:g} cm⁻¹ but frames every {timestep:g} fs show no more "
            f"than {nyquist:.0f} cm⁻¹: ask for a finer one"
        )
    if maximum is not None and not (
        isinstance(maximum, Real) and np.isfinite(maximum) and maximum > resolution
    ):
        raise ValueError(
            f"`maximum` is {maximum} cm⁻¹ but must be a number above the resolution, "
            f"{resolution:g} cm⁻¹"
        )
    longest = window_width(name) / (SPEED_OF_LIGHT * 1e-8 * resolution)
    return max(8, int(np.ceil(longest / timestep)))


NEIGHBOURS = 24
"""Points on either side that share the memory of a line: six times 1/(longest lag)."""
UNTOLD = 20
"""With fewer blocks the memory of a line cannot be told from chance."""
COARSEST = 200.0
"""A spectrum coarser than this, cm⁻¹, tells nothing."""


def affordable_resolution(
    frames: Sequence[int], timestep: float, name: str, preferred: float = 20.0
) -> float:
    """Return the finest resolution in cm⁻¹, no finer than ``preferred``, that runs can afford.

    At least four times the longest lag altogether and twice in each run, since an error bar needs
    blocks; rounded up to 5 cm⁻¹. Runs too short for that get ``COARSEST`` if twice is possible.

    Parameters
    ----------
    frames
        Frames of each run.
    timestep
        fs between frames.
    name
        Of the window.
    """
    lags = min(min(frames) // 2, sum(frames) // 4) - 1
    if lags >= lags_for(preferred, timestep, name):
        return preferred
    longest = lags_for(COARSEST, timestep, name)
    if lags < longest:
        if min(frames) > 2 * longest:
            return COARSEST
        raise ValueError(
            f"{min(frames)} frames every {timestep:g} fs are too short for a spectrum: lines "
            f"{COARSEST:g} cm⁻¹ wide need {2 * longest + 1} frames; run longer"
        )
    finest = window_width(name) / (SPEED_OF_LIGHT * 1e-8 * lags * timestep)
    return float(5.0 * np.ceil(finest / 5.0))


def correlate(
    data: Any,
    lags: int,
    *,
    columns: int | None = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    mean: str = "trajectory",
    groups: Sequence[int] | None = None,
    transform: Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]] | None = None,
    name: str = "data",
) -> Blocks:
    """Linear correlation of one or several trajectories.

    Parameters
    ----------
    data
        (frames, columns), a list of such arrays, or Series from :mod:`lrcalc.analysis.series`.
    lags
        Number of lags.
    transform
        Applied to each trajectory's stream of chunks, for example :func:`differences`.

    Returns
    -------
    Blocks
        ``.correlation`` is (pairs, lags).
    """
    correlator: Correlator | None = None
    for stream in as_trajectories(data, columns, name):
        chunks: Iterable[np.ndarray] = stream()
        for chunk in transform(chunks) if transform else chunks:
            if correlator is None:
                correlator = Correlator(chunk.shape[1], lags, pairs, mean, groups)
            correlator.update(chunk)
        if correlator is None:
            raise ValueError(f"`{name}` has no frames")
        correlator.finish()
    if correlator is None:
        raise ValueError(f"`{name}` is empty")
    blocks = correlator.result()
    # what rounding leaves of a large constant is no fluctuation
    floor = (1e-12 * float(np.abs(blocks.mean).max())) ** 2
    if not (np.abs(blocks.raw).max() > floor * blocks.products.max()):
        raise ValueError(f"`{name}` never changes: all its frames are alike")
    return blocks


def differences(timestep: float) -> Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]:
    """Frames of x as frames of ``(x[t+1] - x[t]) / timestep``; :func:`spectrum` undoes the sinc."""

    def stream(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        last: np.ndarray | None = None
        start = 0
        for chunk in chunks:
            # here, since a difference would be counted one frame early
            check_finite(chunk, start)
            start += len(chunk)
            joined = chunk if last is None else np.concatenate([last, chunk])
            last = joined[-1:]
            if len(joined) > 1:
                yield np.diff(joined, axis=0) / timestep

    return stream


def spectrum(
    blocks: Blocks,
    weights: Sequence[float],
    timestep: float,
    *,
    window_name: str = "hann",
    maximum: float | None = None,
    differenced: bool = False,
) -> Spectrum:
    """``∫_0^∞ C(t) cos ωt dt`` of a weighted sum of pair correlations.

    Parameters
    ----------
    blocks
        From :func:`correlate`.
    weights
        (P,) weight of each pair.
    timestep
        fs between frames.
    maximum
        Highest wavenumber kept, cm⁻¹; never above the Nyquist wavenumber.
    differenced
        The series was a forward difference: divide its known factor sinc² out.

    Returns
    -------
    Spectrum
        In units of the product times fs. Trapezoid rule, whose only error is aliasing.
    """
    lags = blocks.raw.shape[2]
    raw = np.tensordot(blocks.raw, np.asarray(weights, dtype=float), axes=(1, 0))
    total = blocks.products.sum(0)
    mean = raw.sum(0) / total
    factor = window(window_name, lags) * timestep
    factor[0] *= 0.5
    size = next_fast_len(4 * lags, real=True)
    wavenumber = np.fft.rfftfreq(size, timestep) / (SPEED_OF_LIGHT * 1e-8)
    keep = slice(None)
    if maximum is not None:
        keep = slice(0, int(np.searchsorted(wavenumber, maximum, side="right")))

    def transform(values: np.ndarray) -> np.ndarray:
        return rfft(values * factor, size, axis=-1).real[..., keep]

    wavenumber = wavenumber[keep]
    undo = np.ones_like(wavenumber)
    if differenced:
        undo = np.sinc(SPEED_OF_LIGHT * 1e-8 * wavenumber * timestep) ** -2
    deviations = transform((raw - mean * blocks.products) / total) * undo
    return Spectrum(
        wavenumber,
        transform(mean) * undo,
        standard_error(deviations, NEIGHBOURS),
        deviations,
        stretches(deviations, NEIGHBOURS),
    )


def memory_notes(
    wavenumber: np.ndarray, value: np.ndarray, independent: np.ndarray, blocks: int
) -> list[str]:
    """Say where a spectrum (F,) rests on few independent stretches (F,), if anywhere.

    Only what is at least a tenth of the highest point counts, and only a memory that ``blocks`` of
    them can tell from chance.
    """
    few_blocks = f"{blocks} blocks only: error bars are rough, run longer"
    if blocks < 8:
        return [few_blocks]
    chance = min(0.95, 3.0 / np.sqrt(blocks))
    few = min(float(ENOUGH), blocks * (1.0 - chance) / (1.0 + chance))
    seen = np.abs(value) >= 0.1 * float(np.abs(value).max())
    rough = np.flatnonzero(seen & (independent < few))
    if not len(rough):
        # so few blocks do not tell a line narrower than 1/(length of the series) from a broad one
        return [few_blocks + "; too small on narrow lines"] if blocks < UNTOLD else []
    least = rough[np.argmin(independent[rough])]
    return [
        f"the series holds about {max(1.0, float(independent[least])):.0f} independent stretches "
        f"only of what is seen at {wavenumber[least]:.0f} cm⁻¹ (a narrow line or a slow motion "
        "remembers itself for long): its error bar is rough there, and may be too small; run "
        f"longer, for {ENOUGH} or more"
    ]


def integrate(
    wavenumber: np.ndarray,
    value: np.ndarray,
    deviations: np.ndarray,
    low: float = 0.0,
    high: float = np.inf,
) -> tuple[float, float]:
    """Integral of a spectrum between two wavenumbers and its standard error.

    The error counts the correlation between neighbouring points, since it is taken over blocks.
    """
    inside = (wavenumber >= low) & (wavenumber <= high)
    if inside.sum() < 2:
        raise ValueError(f"no points of the spectrum lie between {low} and {high} cm⁻¹")
    grid = wavenumber[inside]
    parts = np.trapezoid(deviations[:, inside], grid, axis=1)
    return float(np.trapezoid(value[inside], grid)), float(standard_error(parts))
