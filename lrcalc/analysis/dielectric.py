"""Dielectric function and optical constants, from the fluctuating dipole or from ε″ alone.

``ε(ω) = ε_∞ + 1/(3 ε0 V k_B T) [⟨δM²⟩ + iω ∫_0^∞ e^{iωt} ⟨δM(0)·δM(t)⟩ dt]``, convention e^{−iωt},
tin-foil boundaries (Neumann & Steinhauser, Chem. Phys. Lett. 102, 508 (1983)). ε″ comes from the
cosine transform, ε′ from it by the Kramers–Kronig relation, so the two always belong together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import equilibrium, longitudinal
from lrcalc.analysis.correlation import (
    NEIGHBOURS,
    correlate,
    lags_for,
    memory_notes,
    spectral_settings,
    spectrum,
)
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.jumps import Record, continuous
from lrcalc.analysis.jumps import notes as jump_notes
from lrcalc.analysis.optics import (
    OpticalConstants,
    check_electronic_part,
    kramers_kronig,
    optical_constants,
    optical_errors,
    permittivity_from_infrared,
)
from lrcalc.analysis.result import AnalysisResult, Quantity
from lrcalc.analysis.uncertainty import standard_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DielectricFunction",
    "OpticalConstants",
    "check_electronic_part",
    "dielectric",
    "kramers_kronig",
    "optical_constants",
    "optical_errors",
    "permittivity_from_infrared",
    "static_from_field",
]

LARGEST_STATIC = 2000.0
"""A larger static dielectric constant is taken for a mistake in the units."""


class _Dielectric(NamedTuple):
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


class DielectricFunction(_Dielectric, AnalysisResult):
    """ε(ω) with errors."""

    __slots__ = ()
    kind = "dielectric"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """ε, n, κ, α and reflectivity with their errors."""
        light = optical_constants(self.wavenumber, self.epsilon)
        n, kappa, reflectivity = optical_errors(self.epsilon, self.error)
        return {
            "wavenumber_cm-1": self.wavenumber,
            "epsilon_real": self.epsilon.real,
            "epsilon_imaginary": self.epsilon.imag,
            "error_real": self.error.real,
            "error_imaginary": self.error.imag,
            "n": light.refractive.real,
            "kappa": light.refractive.imag,
            "alpha_cm-1": light.absorption,
            "reflectivity": light.reflectivity,
            "error_n": n,
            "error_kappa": kappa,
            "error_reflectivity": reflectivity,
        }

    @property
    def summary(self) -> dict[str, Quantity]:
        """ε(0)."""
        return {"static_dielectric": Quantity(self.static, self.static_error, symbol="ε(0)")}

    def record(self, **_: Any) -> dict[str, Any]:
        """ε(0), its error, settings."""
        return {
            "static_dielectric": self.static,
            "standard_error": self.static_error,
            "settings": self.settings,
        }

    def figure(self, *, title: str = "") -> Figure:
        """Draw ε above, n, κ and reflectivity below, on a logarithmic axis.

        Relaxation and vibrations lie decades apart; zero has no place there.
        """
        from lrcalc.analysis import plots

        found = self.columns
        upper = [
            ("ε′", found["epsilon_real"], found["error_real"]),
            ("ε″", found["epsilon_imaginary"], found["error_imaginary"]),
        ]
        names = {"n": "n", "kappa": "κ", "reflectivity": "reflectivity"}
        lower = [(label, found[name], found[f"error_{name}"]) for name, label in names.items()]
        (static,) = self.summary.values()
        return plots.panels_figure(
            self.wavenumber,
            {"ε ± one standard error": upper, "± one standard error": lower},
            title or str(static),
        )


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
    notes += _relaxation_notes(correlation, timestep, lags, blocks.frames)
    told = {"volume_A3": volume, "temperature_K": temperature, "epsilon_infinity": epsilon_infinity}
    settings = {
        **spectral_settings(blocks, timestep, resolution, window, **told),
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


def _relaxation_notes(
    correlation: np.ndarray, timestep: float, lags: int, frames: int
) -> list[str]:
    """Say where lags or runs are short for how long the dipole remembers."""
    notes = []
    if correlation[-1] > 0.1 * correlation[0]:
        notes.append(
            f"the dipole still correlates {correlation[-1] / correlation[0]:.2f} after "
            f"{lags * timestep / 1000:.1f} ps: ε(ω) at low ω needs a finer resolution"
        )
    relaxation = timestep * float(correlation.sum() / correlation[0])
    if frames * timestep < 100 * relaxation:
        notes.append(
            f"{frames * timestep / 1000:.3g} ps are fewer than 100 correlation times "
            f"({relaxation / 1000:.2g} ps): ε(0) and its error are rough"
        )
    return notes


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
