"""Raman spectra from the fluctuating polarizability.

With ā = tr A/3 and the traceless β, ``γ² = (3/2) tr ββ``: ``VV = iso + (4/45) aniso`` and
``VH = aniso/15`` (Long, *The Raman Effect*, 2002, ch. 5). From correlations of Ȧ,
``I(ω) ∝ (ω_in − ω)⁴/[ω (1 − e^{−x})] ∫_0^∞ ⟨Ȧ(0) Ȧ(t)⟩ cos ωt dt``, x = ħω/k_BT
(the harmonic quantum correction).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis import correlation as co
from lrcalc.analysis.conditions import equilibrium
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.peaks import Peak, peaks
from lrcalc.analysis.result import AnalysisResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMS = {
    "intensity": "Stokes intensity, harmonic quantum factor, (ν_in − ν)⁴",
    "susceptibility": "χ″: intensity without (ν_in − ν)⁴ and the Bose factor",
    "reduced": "Bose-reduced ν(1 − e^{−x}) I/(ν_in − ν)⁴, as low-frequency experiments are plotted",
}


class _Raman(NamedTuple):
    wavenumber: np.ndarray
    """(F,) cm⁻¹, without 0."""
    isotropic: np.ndarray
    anisotropic: np.ndarray
    """(F,) spectra of ā and of γ²."""
    vv: np.ndarray
    vh: np.ndarray
    """(F,) parallel and crossed polarisation."""
    vv_error: np.ndarray
    vh_error: np.ndarray
    """(F,) one standard error."""
    deviations: dict[str, np.ndarray]
    """(B, F) for ``isotropic``, ``anisotropic``, ``vv``, ``vh``."""
    settings: dict[str, Any]


class RamanSpectrum(_Raman, AnalysisResult):
    """Raman spectrum; one relative unit for all its parts."""

    __slots__ = ()
    kind = "raman"

    @property
    def depolarisation(self) -> np.ndarray:
        """(F,) VH/VV, at most ¾; NaN where VV is less than three errors."""
        ratio = np.full_like(self.vv, np.nan)
        good = self.vv > 3 * np.nan_to_num(self.vv_error)
        ratio[good] = self.vh[good] / self.vv[good]
        return ratio

    def integrated(self, part: str = "vv", low: float = 0, high: float = np.inf) -> tuple:
        """Integral over wavenumber and its standard error."""
        return co.integrate(self.wavenumber, getattr(self, part), self.deviations[part], low, high)

    @property
    def inside(self) -> np.ndarray:
        """(F,) True beyond the window's own width: what is drawn and searched."""
        return np.asarray(self.wavenumber > self.settings["resolution_cm1"])

    @property
    def peaks(self) -> list[Peak]:
        """Peaks of VV beyond the window's own width."""
        inside = self.inside
        return peaks(self.wavenumber[inside], self.vv[inside], self.vv_error[inside])

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All parts, in one relative unit."""
        return {
            "wavenumber_cm-1": self.wavenumber,
            "isotropic": self.isotropic,
            "anisotropic": self.anisotropic,
            "vv": self.vv,
            "vv_standard_error": self.vv_error,
            "vh": self.vh,
            "vh_standard_error": self.vh_error,
            "depolarisation": self.depolarisation,
        }

    def table(self, **_: Any) -> str:
        """Peaks of VV as text."""
        return "\n".join(
            f"  peak of VV ({self.settings['form']}): {peak.wavenumber:.0f} cm⁻¹, "
            f"width {peak.width:.0f}"
            for peak in self.peaks
        )

    def record(self, **_: Any) -> dict[str, Any]:
        """Peaks of VV and settings."""
        return {"quantity": "VV", "settings": self.settings, "peaks": self.peaks}

    def figure(self, *, title: str = "", measured: np.ndarray | None = None) -> Figure:
        """VV and VH with their error bands, the highest of VV one.

        Parameters
        ----------
        measured
            (n, 2) wavenumber in cm⁻¹ and intensity, scaled to the same maximum.
        """
        from lrcalc.analysis import plots

        inside, nu = self.inside, self.wavenumber[self.inside]
        top = float(self.vv[inside].max())
        if measured is not None:
            shown = measured[:, 0] > self.settings["resolution_cm1"]
            measured = measured / [1.0, float(measured[shown, 1].max())]
        return plots.spectrum_figure(
            nu,
            self.vv[inside] / top,
            self.vv_error[inside] / top,
            label="VV ± one standard error",
            y_label=f"Raman, {self.settings['form']} (VV maximum = 1)",
            title=title or "Raman spectrum",
            marks=[(p.wavenumber, p.height / top) for p in self.peaks],
            measured=measured,
            others=[("VH ± one standard error", nu, self.vh[inside] / top)],
            other_errors=[self.vh_error[inside] / top],
        )


def _invariants(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Turn A (n, 9) into ā and the six independent elements of β: xx, yy, zz, xy, xz, yz."""
    for chunk in chunks:
        tensor = chunk.reshape(-1, 3, 3)
        mean = np.trace(tensor, axis1=1, axis2=2) / 3.0
        diagonal = np.diagonal(tensor, axis1=1, axis2=2) - mean[:, None]
        off = [0.5 * (tensor[:, a, b] + tensor[:, b, a]) for a, b in ((0, 1), (0, 2), (1, 2))]
        yield np.column_stack([mean, diagonal, *off])


def _factor(form: str, nu: np.ndarray, incoming: float, temperature: float) -> np.ndarray:
    """Return what makes of the spectrum of dα/dt the intensity at ``nu``, cm⁻¹."""
    omega = nu * units.WAVENUMBER_TO_ANGULAR
    if form == "reduced":
        return np.ones_like(omega)
    if form == "susceptibility":
        return np.asarray(1.0 / omega)
    x = units.HBAR * omega / (units.BOLTZMANN * temperature)
    return np.asarray((1 - nu / incoming) ** 4 * x / (-np.expm1(-x)) / omega**2)


@equilibrium("raman")
def raman(
    polarizability: Any,
    *,
    timestep: float,
    temperature: float,
    resolution: float = 20.0,
    window: str = "hann",
    maximum: float = 4500.0,
    laser: float = 532.0,
    form: str = "intensity",
) -> RamanSpectrum:
    """Raman spectrum from a polarizability trajectory.

    Parameters
    ----------
    polarizability
        (T, 9) in e Å²/V, corrected for the local field if need be; a list of runs or Series.
    timestep, temperature
        fs between frames, K.
    laser
        Wavelength in nm.
    form
        One of ``FORMS``.
    """
    check_conditions(timestep, 1.0, temperature)
    if form not in FORMS:
        raise ValueError(f"`form` is {form!r} but must be one of {', '.join(FORMS)}")
    if not laser > 0:
        raise ValueError(f"`laser` is {laser} nm but must be positive")
    incoming = 1e7 / laser
    if maximum >= incoming:
        raise ValueError(f"`maximum` is {maximum} cm⁻¹ but the laser has only {incoming:.0f} cm⁻¹")
    lags = co.lags_for(resolution, timestep, window, maximum)
    derivative = co.differences(timestep)
    blocks = co.correlate(
        polarizability,
        lags,
        columns=9,
        transform=lambda chunks: derivative(_invariants(chunks)),
        name="polarizability",
    )
    parts = {
        "isotropic": np.array([1.0, 0, 0, 0, 0, 0, 0]),
        "anisotropic": 1.5 * np.array([0, 1.0, 1, 1, 2, 2, 2]),
    }
    parts["vv"] = parts["isotropic"] + 4.0 / 45.0 * parts["anisotropic"]
    parts["vh"] = parts["anisotropic"] / 15.0
    found = {
        name: co.spectrum(
            blocks, list(weights), timestep, window_name=window, maximum=maximum, differenced=True
        )
        for name, weights in parts.items()
    }
    nu = found["vv"].wavenumber[1:]
    factor = _factor(form, nu, incoming, temperature)
    settings = {
        "quantity": FORMS[form],
        **co.spectral_settings(blocks, timestep, resolution, window, temperature_K=temperature),
        "laser_nm": laser,
        "form": form,
        "notes": [
            f"below {resolution:g} cm⁻¹ the window shapes the spectrum",
            *co.memory_notes(
                nu, found["vv"].value[1:] * factor, found["vv"].stretches[1:], len(blocks.raw)
            ),
        ],
    }
    return RamanSpectrum(
        nu,
        found["isotropic"].value[1:] * factor,
        found["anisotropic"].value[1:] * factor,
        found["vv"].value[1:] * factor,
        found["vh"].value[1:] * factor,
        found["vv"].error[1:] * factor,
        found["vh"].error[1:] * factor,
        {name: one.deviations[:, 1:] * factor for name, one in found.items()},
        settings,
    )
