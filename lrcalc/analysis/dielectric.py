"""Dielectric function and optical constants, from the fluctuating dipole or from ε″ alone.

``ε(ω) = ε_∞ + 1/(3 ε0 V k_B T) [⟨δM²⟩ + iω ∫_0^∞ e^{iωt} ⟨δM(0)·δM(t)⟩ dt]``, convention e^{−iωt},
tin-foil boundaries (Neumann & Steinhauser, Chem. Phys. Lett. 102, 508 (1983)). ε″ comes from the
cosine transform, ε′ from it by the Kramers–Kronig relation, so the two always belong together.
"""

from typing import Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import equilibrium, longitudinal
from lrcalc.analysis.correlation import NEIGHBOURS, correlate, lags_for, memory_notes, spectrum
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.jumps import Record, continuous
from lrcalc.analysis.jumps import notes as jump_notes
from lrcalc.analysis.uncertainty import standard_error

LARGEST_STATIC = 2000.0
"""A larger static dielectric constant is taken for a mistake in the units."""


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


class DielectricFunction(NamedTuple):
    """ε(ω) with errors."""

    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    epsilon: np.ndarray
    """(F,) complex."""
    error: np.ndarray
    """(F,) complex: standard errors of the real and of the imaginary part."""
    static: float
    """ε(0) from ⟨δM²⟩."""
    static_error: float
    settings: dict[str, Any]


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


@equilibrium("dielectric")
def dielectric(
    dipole: Any,
    *,
    timestep: float,
    volume: float,
    temperature: float,
    epsilon_infinity: float,
    resolution: float = 5.0,
    window: str = "hann",
    maximum: float = 4500.0,
    mean: str = "trajectory",
    cell: np.ndarray | None = None,
    jumps: str = "unfold",
) -> DielectricFunction:
    """Compute the static and frequency-dependent dielectric constant from the cell dipole.

    Parameters
    ----------
    dipole
        (T, 3) in e Å; a list of runs or Series as well.
    timestep, volume, temperature
        fs between frames, Å³, K.
    epsilon_infinity
        The electrons' part, e.g. 1.78 for water.
    resolution
        cm⁻¹; it fixes the longest lag, which must exceed the relaxation time.
    mean
        ``trajectory``, ``all`` or ``none`` (an isotropic liquid has ⟨M⟩ = 0, and knowing it makes
        short runs less biased).
    cell, jumps
        See :func:`lrcalc.analysis.infrared.infrared`.
    """
    check_conditions(timestep, volume, temperature)
    check_electronic_part(epsilon_infinity)
    lags = lags_for(resolution, timestep, window, maximum)
    undone: Record = {}
    held = longitudinal(dipole)
    dipole = continuous(dipole, cell, jumps, undone)
    blocks = correlate(dipole, lags, columns=3, mean=mean, name="dipole")
    factor = 1.0 / (3.0 * units.EPSILON_0 * volume * units.BOLTZMANN * temperature)
    correlation = blocks.correlation.sum(0)
    total = blocks.products.sum(0)[0]
    offsets = (blocks.raw[:, :, 0].sum(1) - correlation[0] * blocks.products[:, 0]) / total
    static = epsilon_infinity + factor * float(correlation[0])
    if held:
        static = _inverse(1.0 / epsilon_infinity - factor * float(correlation[0]))
    if static > LARGEST_STATIC:
        raise ValueError(
            f"the static dielectric constant would be {static:.3g}: check the unit of the dipole "
            "(e Å expected) and the volume (Å³)"
        )
    whole = spectrum(blocks, [1.0, 1.0, 1.0], timestep, window_name=window)
    omega = whole.wavenumber * units.WAVENUMBER_TO_ANGULAR
    imaginary = factor * omega * whole.value
    scatter = factor * omega * whole.deviations
    real = kramers_kronig(whole.wavenumber, imaginary, epsilon_infinity)
    real_scatter = kramers_kronig(whole.wavenumber, scatter, 0.0)
    epsilon = real + 1j * imaginary
    deviations = real_scatter + 1j * scatter
    slope = 1.0
    if held:
        # what fluctuates at constant D is 1/ε: the same transform, with the other sign
        epsilon = 1.0 / (1.0 / epsilon_infinity + epsilon_infinity - epsilon)
        deviations, slope = deviations * epsilon**2, static**2
    errors = standard_error(deviations.real, NEIGHBOURS) + 1j * standard_error(
        deviations.imag, NEIGHBOURS
    )
    keep = whole.wavenumber <= maximum
    notes = jump_notes(undone)
    notes += memory_notes(
        whole.wavenumber[keep], imaginary[keep], whole.stretches[keep], len(blocks.raw)
    )
    if correlation[-1] > 0.1 * correlation[0]:
        notes.append(
            f"the dipole still correlates {correlation[-1] / correlation[0]:.2f} after "
            f"{lags * timestep / 1000:.1f} ps: ε(ω) at low ω needs a finer resolution"
        )
    relaxation = timestep * float(correlation.sum() / correlation[0])
    if blocks.frames * timestep < 100 * relaxation:
        notes.append(
            f"{blocks.frames * timestep / 1000:.0f} ps are fewer than 100 correlation times "
            f"({relaxation / 1000:.1f} ps): ε(0) and its error are rough"
        )
    settings = {
        "timestep_fs": timestep,
        "volume_A3": volume,
        "temperature_K": temperature,
        "epsilon_infinity": epsilon_infinity,
        "resolution_cm1": resolution,
        "window": window,
        "lags": lags,
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
        "mean_removed": mean,
        "notes": notes,
    }
    return DielectricFunction(
        whole.wavenumber[keep],
        epsilon[keep],
        errors[keep],
        static,
        slope * factor * float(standard_error(offsets[:, None])[0]),
        settings,
    )


def _inverse(reciprocal: float) -> float:
    """ε from 1/ε, which fluctuations at constant D must leave positive."""
    if reciprocal <= 1.0 / LARGEST_STATIC:
        raise ValueError(
            f"1/ε(0) would be {reciprocal:.3g} from fluctuations at constant D: check the unit of "
            "the dipole (e Å expected, all of it, the electrons' part included), the volume (Å³) "
            "and `epsilon_infinity`"
        )
    return 1.0 / reciprocal


def static_from_field(
    forward: np.ndarray,
    backward: np.ndarray,
    field: float,
    volume: float,
    epsilon_infinity: float = 1.0,
) -> float:
    """ε along a field from mean dipoles at ±field: ``ε_∞ + (M₊ − M₋)/(2 ε0 V E)``.

    Parameters
    ----------
    forward, backward
        Dipole along the field (frames,) or its mean, e Å, at +field and −field.
    field
        V/Å, macroscopic (constant E).
    epsilon_infinity
        1 if the dipole contains the electrons' response.
    """
    if field == 0:
        raise ValueError("`field` is 0 V/Å but must not be")
    change = float(np.mean(forward) - np.mean(backward))
    return epsilon_infinity + change / (2.0 * units.EPSILON_0 * volume * field)
