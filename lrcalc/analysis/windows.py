"""Windows of correlation functions, and the resolution that they and a run's length allow."""

from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np

from lrcalc.units import SPEED_OF_LIGHT

WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hann": lambda u: np.cos(0.5 * np.pi * u) ** 2,
    "gaussian": lambda u: np.exp(-0.5 * (3.0 * u) ** 2),
    "blackman": lambda u: 0.42 + 0.5 * np.cos(np.pi * u) + 0.08 * np.cos(2 * np.pi * u),
    "triangle": lambda u: 1.0 - u,
    "parzen": lambda u: np.where(u < 0.5, 1 - 6 * u**2 * (1 - u), 2 * (1 - u) ** 3),
    "none": np.ones_like,
}
"""One-sided windows of ``u = lag / longest lag`` in [0, 1]."""
COARSEST = 200.0
"""A spectrum coarser than this, cm⁻¹, tells nothing."""


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
