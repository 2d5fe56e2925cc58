"""Infrared absorption from the fluctuating dipole, in absolute units.

``n(ω)α(ω) = 1/(3 c V ε0 k_B T) ∫_0^∞ ⟨J(0)·J(t)⟩ cos ωt dt``, J = dM/dt, Napierian
(McQuarrie, *Statistical Mechanics*, 1976, ch. 21; Ramírez et al., J. Chem. Phys. 121, 3973 (2004)).
This classical form already is the harmonic quantum correction, so no factor is applied by default.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis import correlation as co
from lrcalc.analysis.bands import WATER_BANDS, Band, Ranges, band_table, bands
from lrcalc.analysis.conditions import LOSS, equilibrium, longitudinal
from lrcalc.analysis.jumps import Record, continuous, unconnected
from lrcalc.analysis.jumps import notes as jump_notes
from lrcalc.analysis.optics import (
    check_electronic_part,
    optical_constants,
    permittivity_from_infrared,
)
from lrcalc.analysis.output import plus_minus
from lrcalc.analysis.peaks import Peak, peaks
from lrcalc.analysis.result import AnalysisResult, Quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "CORRECTIONS",
    "QUANTITY",
    "WATER_BANDS",
    "Band",
    "InfraredSpectrum",
    "Peak",
    "band_table",
    "bands",
    "check_conditions",
    "infrared",
    "peaks",
    "prefactor",
]

QUANTITY = "n·α (cm⁻¹, Napierian)"

CORRECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "harmonic": np.ones_like,
    "standard": lambda x: np.divide(2 * np.tanh(x / 2), x, out=np.ones_like(x), where=x > 0),
    "schofield": lambda x: np.divide(2 * np.sinh(x / 2), x, out=np.ones_like(x), where=x > 0),
}
"""Quantum correction factors relative to the harmonic one, of ``x = ħω/k_BT``."""


class _Infrared(NamedTuple):
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


class InfraredSpectrum(_Infrared, AnalysisResult):
    """Infrared spectrum with errors."""

    __slots__ = ()
    kind = "ir"

    @property
    def epsilon_imaginary(self) -> np.ndarray:
        """(F,) ε″ = n α c / ω; zero at ω = 0."""
        omega = self.wavenumber * units.WAVENUMBER_TO_ANGULAR
        speed = units.SPEED_OF_LIGHT * 1e-8  # n·α in cm⁻¹ is 1e-8 Å⁻¹
        return np.divide(self.n_alpha * speed, omega, out=np.zeros_like(omega), where=omega > 0)

    def integrated(self, low: float = 0.0, high: float = np.inf) -> tuple[float, float]:
        """Integral of n·α over wavenumber (cm⁻²) and its standard error."""
        return co.integrate(self.wavenumber, self.n_alpha, self.deviations, low, high)

    def within(self, low: float, high: float) -> np.ndarray:
        """(F,) True between two wavenumbers."""
        return np.asarray((self.wavenumber >= low) & (self.wavenumber <= high))

    @property
    def peaks(self) -> list[Peak]:
        """Maxima of n·α that stand out of their error bars."""
        return peaks(self.wavenumber, self.n_alpha, self.error)

    @property
    def longitudinal(self) -> bool:
        """Of a run at constant electric displacement: what is called n·α is ω/c·Im(−1/ε)."""
        return self.settings.get("quantity") == LOSS

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """n·α, its error and ε″; ε′, n, α and reflectivity too where ε_∞ is known."""
        loss, infinity = self.longitudinal, self.settings.get("epsilon_infinity")
        found = {
            "wavenumber_cm-1": self.wavenumber,
            "longitudinal_cm-1" if loss else "n_alpha_cm-1": self.n_alpha,
            "standard_error_cm-1": self.error,
            "loss_function" if loss else "epsilon_imaginary": self.epsilon_imaginary,
        }
        if infinity is None or loss:
            return found
        epsilon = permittivity_from_infrared(
            self.wavenumber, self.n_alpha, infinity, self.settings["resolution_cm1"]
        )
        light = optical_constants(self.wavenumber, epsilon)
        return found | {
            "epsilon_real": epsilon.real,
            "n": light.refractive.real,
            "alpha_cm-1": light.absorption,
            "reflectivity": light.reflectivity,
        }

    @property
    def summary(self) -> dict[str, Quantity]:
        """Integral over all wavenumbers."""
        return {"integrated_cm2": Quantity(*self.integrated(), "cm⁻²", "∫n·α dν̃")}

    def table(self, *, ranges: Ranges | None = None, **_: Any) -> str:
        """Peaks of n·α as text, and the named bands if ``ranges`` are given."""
        name = "ω/c·Im(−1/ε)" if self.longitudinal else "n·α"
        rows = [f"  peak of {name} (cm⁻¹)   height (10³ cm⁻¹)   width (cm⁻¹)"]
        rows += [
            f"  {p.wavenumber:18.0f}   {plus_minus(p.height / 1e3, p.error / 1e3):>20}"
            f"   {p.width:12.0f}"
            for p in self.peaks
        ]
        if not self.peaks:
            rows = [f"  no peak of {name} stands out of its error"]
        return "\n".join([*rows, *([] if ranges is None else [band_table(self, ranges)])])

    def record(self, *, ranges: Ranges | None = None, **_: Any) -> dict[str, Any]:
        """Return settings, peaks and integral; the named bands if ``ranges`` are given."""
        return {
            "quantity": self.settings.get("quantity", QUANTITY),
            "settings": self.settings,
            "peaks": self.peaks,
            "integrated_cm2": dict(zip(("value", "error"), self.integrated(), strict=True)),
            **({} if ranges is None else {"bands": bands(self, ranges)}),
        }

    def figure(
        self,
        *,
        title: str = "",
        measured: np.ndarray | None = None,
        ranges: Ranges | None = None,
    ) -> Figure:
        """Spectrum with its error band and marked maxima, or the means of named bands.

        Parameters
        ----------
        measured
            (n, 2) wavenumber in cm⁻¹ and n·α in 10³ cm⁻¹, drawn with the calculation.
        ranges
            Named bands, e.g. ``WATER_BANDS``: the means that their table gives are marked, nothing
            else.
        """
        from lrcalc.analysis import plots

        label = "lrcalc ± one standard error"
        marks = [(peak.wavenumber, peak.height / 1e3) for peak in self.peaks]
        if ranges is not None:
            marks = [
                (band.mean, float(self.n_alpha[self.within(band.low, band.high)].max()) / 1e3)
                for band in bands(self, ranges)
                if not np.isnan(band.mean)
            ]
            label += "; means of bands"
        loss = self.longitudinal
        return plots.spectrum_figure(
            self.wavenumber,
            self.n_alpha / 1e3,
            self.error / 1e3,
            label=label,
            y_label="ω/c·Im(−1/ε) (10³ cm⁻¹)" if loss else "n·α (10³ cm⁻¹)",
            title=title or ("longitudinal" if loss else "infrared absorption, n·α (Napierian)"),
            marks=marks,
            stems=ranges is not None,
            measured=measured,
        )


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
    epsilon_infinity: float | None = None,
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
        Name in :data:`lrcalc.analysis.windows.WINDOWS`.
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
    epsilon_infinity
        The electrons' part: with it the table has ε′ (Kramers–Kronig), n, α and reflectivity too.

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
    if epsilon_infinity is not None:
        check_electronic_part(epsilon_infinity)
    lags = co.lags_for(resolution, timestep, window, maximum)
    undone: Record = {}
    blocks = co.correlate(
        current if dipole is None else continuous(dipole, cell, jumps, undone),
        lags,
        columns=3,
        transform=co.differences(timestep) if current is None else None,
        name="dipole" if current is None else "current",
    )
    weights = [3.0 / len(set(axes)) if axis in axes else 0.0 for axis in "xyz"]
    result = co.spectrum(
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
    notes += co.memory_notes(result.wavenumber, result.value, result.stretches, len(blocks.raw))
    loss = longitudinal([dipole, current])
    told = {"volume_A3": volume, "temperature_K": temperature}
    settings = {
        "quantity": LOSS if loss else QUANTITY,
        "source": "dipole" if current is None else "current",
        **co.spectral_settings(blocks, timestep, resolution, window, **told),
        **({} if loss or epsilon_infinity is None else {"epsilon_infinity": epsilon_infinity}),
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
