"""Optical constants of ε(ω), and ε′ from ε″ alone (Kramers–Kronig)."""

from typing import Any, NamedTuple

import numpy as np


def check_electronic_part(epsilon_infinity: Any) -> None:
    """Refuse a number below 1, or a tensor (3, 3) with an eigenvalue below 1, as ε_∞."""
    try:
        value = np.asarray(epsilon_infinity, dtype=float)
    except (TypeError, ValueError):
        value = np.array(np.nan)
    shaped = value.shape in ((), (3, 3)) and bool(np.isfinite(value).all())
    tensor = 0.5 * (value + value.T) if value.ndim else value[None, None]
    if not shaped or np.linalg.eigvalsh(tensor).min() < 1 - 1e-6:
        raise ValueError(
            f"`epsilon_infinity` is {epsilon_infinity} but must be at least 1 in every direction"
        )


class OpticalConstants(NamedTuple):
    """What ε(ω) means for light."""

    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    refractive: np.ndarray
    """(F,) n + iκ = √ε."""
    absorption: np.ndarray
    """(F,) α = 2ωκ/c in cm⁻¹, Napierian."""
    reflectivity: np.ndarray
    """(F,) at normal incidence."""


def kramers_kronig(wavenumber: np.ndarray, imaginary: np.ndarray, infinity: float) -> np.ndarray:
    """ε′ from ε″ on an even grid that starts at 0: ``ε_∞ + (1/π) P∫ ε″(ω′)/(ω′ − ω) dω′``.

    ε″ is odd, taken as piecewise linear and as zero beyond the grid: exact for such a curve.

    Parameters
    ----------
    wavenumber
        (F,), 0, h, 2h, …
    imaginary
        (…, F).
    infinity
        ε_∞, what lies above the grid.
    """
    from scipy.signal import fftconvolve

    steps = np.diff(wavenumber)
    if wavenumber[0] != 0 or not np.allclose(steps, steps[0], rtol=1e-6):
        raise ValueError("`wavenumber` must be evenly spaced and start at 0; interpolate first")
    values = np.array(imaginary, dtype=float)
    values[..., 0] = 0.0  # odd functions vanish here
    odd = np.concatenate([-values[..., :0:-1], values], axis=-1)
    count = len(wavenumber)
    x = np.arange(-2 * count, 2 * count + 1, dtype=float)

    def term(y: np.ndarray) -> np.ndarray:
        return y * np.log(np.abs(y), out=np.zeros_like(y), where=y != 0)

    # P∫ hat(u)/(x − u) du of the unit hat function
    kernel = term(x + 1) - 2 * term(x) + term(x - 1)
    kernel = kernel.reshape((1,) * (odd.ndim - 1) + (-1,))
    full = fftconvolve(odd, kernel, mode="full", axes=-1)
    start = 2 * count + count - 1
    return infinity - full[..., start : start + count] / np.pi


def optical_constants(wavenumber: np.ndarray, epsilon: np.ndarray) -> OpticalConstants:
    """Refractive index, absorption and reflectivity from complex ε."""
    index = np.sqrt(np.asarray(epsilon, dtype=complex))
    return OpticalConstants(
        wavenumber,
        index,
        4.0 * np.pi * wavenumber * index.imag,
        np.abs((index - 1) / (index + 1)) ** 2,
    )


def optical_errors(
    epsilon: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return standard errors (F,) of n, κ and reflectivity to first order in those of ε.

    The errors of the real and of the imaginary part (``error``, complex) are added as if they were
    independent. From ``N = √ε``: dN = dε/(2N), and R = |r|² with dr/dN = 2/(N + 1)².
    """
    index = np.sqrt(np.asarray(epsilon, dtype=complex))
    slope = 0.5 / index
    reflected = (index - 1) / (index + 1)
    light = 2.0 * reflected.conj() * slope * 2.0 / (index + 1) ** 2
    # of an analytic f(ε): ∂Re f/∂ε′ = Re f′, ∂Re f/∂ε″ = −Im f′, and so on
    n = np.hypot(slope.real * error.real, slope.imag * error.imag)
    kappa = np.hypot(slope.imag * error.real, slope.real * error.imag)
    reflectivity = np.hypot(light.real * error.real, light.imag * error.imag)
    return n, kappa, reflectivity


def permittivity_from_infrared(
    wavenumber: np.ndarray, n_alpha: np.ndarray, epsilon_infinity: float, resolution: float
) -> np.ndarray:
    """Complex ε from n·α by ``ε″ = n α/(2π ν̃)`` and Kramers–Kronig.

    Below ``resolution`` n·α carries no information and ε″ is continued linearly to zero.
    """
    check_electronic_part(epsilon_infinity)
    imaginary = np.divide(
        n_alpha, 2 * np.pi * wavenumber, out=np.zeros_like(n_alpha), where=wavenumber > 0
    )
    low = wavenumber < min(resolution, wavenumber.max())
    edge = imaginary[~low][0]
    imaginary[low] = edge * wavenumber[low] / resolution
    return kramers_kronig(wavenumber, imaginary, epsilon_infinity) + 1j * imaginary
