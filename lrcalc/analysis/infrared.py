"""Infrared absorption from the fluctuating dipole, in absolute units.

``n(ω)α(ω) = 1/(3 c V ε0 k_B T) ∫_0^∞ ⟨J(0)·J(t)⟩ cos ωt dt``, J = dM/dt, Napierian
(McQuarrie, *Statistical Mechanics*, 1976, ch. 21; Ramírez et al., J. Chem. Phys. 121, 3973 (2004)).
This classical form already is the harmonic quantum correction, so no factor is applied by default.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import LOSS, equilibrium, longitudinal
from lrcalc.analysis.correlation import (
    correlate,
    differences,
    integrate,
    lags_for,
    memory_notes,
    spectrum,
)
from lrcalc.analysis.jumps import Record, continuous, unconnected
from lrcalc.analysis.jumps import notes as jump_notes

QUANTITY = "n·α (cm⁻¹, Napierian)"

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

CORRECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "harmonic": np.ones_like,
    "standard": lambda x: np.divide(2 * np.tanh(x / 2), x, out=np.ones_like(x), where=x > 0),
    "schofield": lambda x: np.divide(2 * np.sinh(x / 2), x, out=np.ones_like(x), where=x > 0),
}
"""Quantum correction factors relative to the harmonic one, of ``x = ħω/k_BT``."""


class InfraredSpectrum(NamedTuple):
    """Infrared spectrum with errors."""

    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    n_alpha: np.ndarray
    """(F,) refractive index times Napierian absorption coefficient, cm⁻¹."""
    error: np.ndarray
    """(F,) one standard error, cm⁻¹."""
    deviations: np.ndarray
    """(B, F) block deviations, for errors of integrals."""
    settings: dict[str, Any]
    """What was done: time step, resolution, window, frames, blocks, notes."""

    @property
    def epsilon_imaginary(self) -> np.ndarray:
        """(F,) ε″ = n α c / ω; zero at ω = 0."""
        omega = self.wavenumber * units.WAVENUMBER_TO_ANGULAR
        speed = units.SPEED_OF_LIGHT * 1e-8  # n·α in cm⁻¹ is 1e-8 Å⁻¹
        return np.divide(self.n_alpha * speed, omega, out=np.zeros_like(omega), where=omega > 0)

    def integrated(self, low: float = 0.0, high: float = np.inf) -> tuple[float, float]:
        """Integral of n·α over wavenumber (cm⁻²) and its standard error."""
        return integrate(self.wavenumber, self.n_alpha, self.deviations, low, high)


def prefactor(temperature: float, volume: float) -> float:
    """n·α in cm⁻¹ for an integral of 1 e² Å² fs⁻¹: 2.334785e10/(T V)."""
    thermal = units.EPSILON_0 * units.BOLTZMANN * temperature
    return 1e8 / (3.0 * units.SPEED_OF_LIGHT * volume * thermal)


def check_conditions(timestep: float, volume: float, temperature: float) -> None:
    """Refuse what cannot be a time step (fs), a volume (Å³) or a temperature (K)."""
    for name, value, unit in (
        ("timestep", timestep, "fs"),
        ("volume", volume, "Å³"),
        ("temperature", temperature, "K"),
    ):
        if not isinstance(value, Real) or not np.isfinite(value) or value <= 0:
            raise ValueError(f"`{name}` is {value!r} {unit} but must be a positive number")


@equilibrium("infrared")
def infrared(
    dipole: Any = None,
    *,
    current: Any = None,
    timestep: float,
    volume: float,
    temperature: float,
    resolution: float = 20.0,
    window: str = "hann",
    maximum: float = 4500.0,
    quantum_correction: str = "harmonic",
    axes: str = "xyz",
    cell: np.ndarray | None = None,
    jumps: str = "unfold",
) -> InfraredSpectrum:
    """Infrared spectrum from a dipole or a current.

    Parameters
    ----------
    dipole
        (T, 3) cell dipole in e Å, or a list of runs, or Series. The current is its forward
        difference; the known factor of that is divided out.
    current
        (T, 3) ``Σ_i born_i v_i`` in e Å/fs, instead of ``dipole``.
    timestep
        fs between frames.
    volume, temperature
        Å³ and K.
    resolution
        Full width of the instrument function in cm⁻¹; fixes the longest lag.
    window
        Name in :data:`lrcalc.analysis.correlation.WINDOWS`.
    maximum
        Highest wavenumber returned.
    quantum_correction
        ``harmonic`` (none on top of the classical form), ``standard`` or ``schofield``.
    axes
        Directions averaged, for example ``z`` for light polarised along z.
    cell
        (3, 3), rows in Å: jumps of the dipole by e times a lattice vector are undone and noted.
    jumps
        ``unfold``, or ``keep`` to take the dipole as it is. Without ``cell`` a jump is an error.

    Returns
    -------
    InfraredSpectrum
        n·α, standard errors over blocks, settings.
    """
    check_conditions(timestep, volume, temperature)
    if (dipole is None) == (current is None):
        raise ValueError("give exactly one of `dipole` and `current`")
    if quantum_correction not in CORRECTIONS:
        raise ValueError(
            f"`quantum_correction` is {quantum_correction!r} but must be one of "
            f"{', '.join(CORRECTIONS)}"
        )
    if not axes or set(axes) - set("xyz"):
        raise ValueError(f"`axes` is {axes!r} but must name some of x, y, z")
    lags = lags_for(resolution, timestep, window, maximum)
    undone: Record = {}
    blocks = correlate(
        current if dipole is None else continuous(dipole, cell, jumps, undone),
        lags,
        columns=3,
        transform=differences(timestep) if current is None else None,
        name="dipole" if current is None else "current",
    )
    weights = [3.0 / len(set(axes)) if axis in axes else 0.0 for axis in "xyz"]
    result = spectrum(
        blocks,
        weights,
        timestep,
        window_name=window,
        maximum=maximum,
        differenced=current is None,
    )
    x = result.wavenumber * units.WAVENUMBER_TO_ANGULAR * units.HBAR
    factor = prefactor(temperature, volume) * CORRECTIONS[quantum_correction](
        x / (units.BOLTZMANN * temperature)
    )
    notes = jump_notes(undone)
    nyquist = 0.5 / (timestep * units.SPEED_OF_LIGHT * 1e-8)
    if nyquist < maximum:
        notes.append(f"frames every {timestep} fs reach {nyquist:.0f} cm⁻¹ only")
    if current is None:
        notes += unconnected(blocks.correlation.sum(0)[:2] * timestep**2)
    notes += memory_notes(result.wavenumber, result.value, result.stretches, len(blocks.raw))
    settings = {
        "quantity": LOSS if longitudinal([dipole, current]) else QUANTITY,
        "source": "dipole" if current is None else "current",
        "timestep_fs": timestep,
        "volume_A3": volume,
        "temperature_K": temperature,
        "resolution_cm1": resolution,
        "window": window,
        "lags": lags,
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
        "quantum_correction": quantum_correction,
        "axes": axes,
        "notes": notes,
    }
    return InfraredSpectrum(
        result.wavenumber,
        result.value * factor,
        result.error * factor,
        result.deviations * factor,
        settings,
    )


class Peak(NamedTuple):
    """A maximum: cm⁻¹, height and its error, full width at half prominence in cm⁻¹."""

    wavenumber: float
    height: float
    error: float
    width: float


def peaks(
    wavenumber: np.ndarray, value: np.ndarray, error: np.ndarray, *, sigmas: float = 3.0
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


def bands(
    result: InfraredSpectrum, ranges: dict[str, tuple[float, float, str]] = WATER_BANDS
) -> list[Band]:
    """Maxima of n·α within named ranges, beside the measured ones.

    Where the highest point is at the edge of the range, because a stronger band beside it reaches
    in, the highest of the maxima inside is taken. A shoulder has none: ``maximum`` is NaN.
    """
    whole = float(np.trapezoid(result.n_alpha, result.wavenumber))
    found = {peak.wavenumber for peak in peaks(result.wavenumber, result.n_alpha, result.error)}
    table = []
    for name, (low, high, measured) in ranges.items():
        inside = np.flatnonzero((result.wavenumber >= low) & (result.wavenumber <= high))
        if len(inside) < 3:
            continue
        value = result.n_alpha
        tops = [i for i in inside[1:-1] if value[i - 1] < value[i] >= value[i + 1]]
        top = max(tops, key=lambda i: value[i]) if tops else inside[np.argmax(value[inside])]
        area = float(np.trapezoid(result.n_alpha[inside], result.wavenumber[inside]))
        table.append(
            Band(
                name,
                low,
                high,
                float(result.wavenumber[top]) if tops else float("nan"),
                float(result.n_alpha[top]),
                area / whole,
                measured,
                float(result.error[top]),
                float(result.wavenumber[top]) in found,
            )
        )
    return table
