"""Linear correlation functions and spectra of long series, with block errors and named windows.

From the blocks of :mod:`lrcalc.analysis.correlator` the estimate is
``C[k] = sum_b raw_b[k] / sum_b n_b[k]`` and a spectrum is a linear functional of C.
Its standard error comes from the blocks' deviations of the ratio,
``d_b = L[(raw_b - C n_b)/n]`` (delete-one-group to first order), which need not be independent:
:mod:`lrcalc.analysis.uncertainty`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    check_frames_finite,
)
from lrcalc.analysis.uncertainty import ENOUGH, standard_error, stretches
from lrcalc.analysis.windows import (
    COARSEST,
    WINDOWS,
    affordable_resolution,
    lags_for,
    window,
    window_width,
)
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


NEIGHBOURS = 24
"""Points on either side that share the memory of a line: six times 1/(longest lag)."""
UNTOLD = 20
"""With fewer blocks the memory of a line cannot be told from chance."""


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
            check_frames_finite(chunk, start)
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
