"""Raman spectra from the fluctuating polarizability.

With ā = tr A/3 and the traceless β, ``γ² = (3/2) tr ββ``: ``VV = iso + (4/45) aniso`` and
``VH = aniso/15`` (Long, *The Raman Effect*, 2002, ch. 5). From correlations of Ȧ,
``I(ω) ∝ (ω_in − ω)⁴/[ω (1 − e^{−x})] ∫_0^∞ ⟨Ȧ(0) Ȧ(t)⟩ cos ωt dt``, x = ħω/k_BT
(the harmonic quantum correction).
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import equilibrium
from lrcalc.analysis.correlation import (
    correlate,
    differences,
    integrate,
    lags_for,
    memory_notes,
    spectrum,
)
from lrcalc.analysis.infrared import check_conditions

FORMS = {
    "intensity": "Stokes intensity, harmonic quantum factor, (ν_in − ν)⁴",
    "susceptibility": "χ″: intensity without (ν_in − ν)⁴ and the Bose factor",
    "reduced": "Bose-reduced ν(1 − e^{−x}) I/(ν_in − ν)⁴, as low-frequency experiments are plotted",
}


class RamanSpectrum(NamedTuple):
    """Raman spectrum; one relative unit for all its parts."""

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

    @property
    def depolarisation(self) -> np.ndarray:
        """(F,) VH/VV, at most ¾; NaN where VV is less than three errors."""
        ratio = np.full_like(self.vv, np.nan)
        good = self.vv > 3 * np.nan_to_num(self.vv_error)
        ratio[good] = self.vh[good] / self.vv[good]
        return ratio

    def integrated(self, part: str = "vv", low: float = 0, high: float = np.inf) -> tuple:
        """Integral over wavenumber and its standard error."""
        return integrate(self.wavenumber, getattr(self, part), self.deviations[part], low, high)


def _invariants(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Turn A (n, 9) into ā and the six independent elements of β: xx, yy, zz, xy, xz, yz."""
    for chunk in chunks:
        tensor = chunk.reshape(-1, 3, 3)
        mean = np.trace(tensor, axis1=1, axis2=2) / 3.0
        diagonal = np.diagonal(tensor, axis1=1, axis2=2) - mean[:, None]
        off = [0.5 * (tensor[:, a, b] + tensor[:, b, a]) for a, b in ((0, 1), (0, 2), (1, 2))]
        yield np.column_stack([mean, diagonal, *off])


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
        One of :data:`FORMS`.
    """
    check_conditions(timestep, 1.0, temperature)
    if form not in FORMS:
        raise ValueError(f"`form` is {form!r} but must be one of {', '.join(FORMS)}")
    if not laser > 0:
        raise ValueError(f"`laser` is {laser} nm but must be positive")
    incoming = 1e7 / laser
    if maximum >= incoming:
        raise ValueError(f"`maximum` is {maximum} cm⁻¹ but the laser has only {incoming:.0f} cm⁻¹")
    lags = lags_for(resolution, timestep, window, maximum)
    derivative = differences(timestep)
    blocks = correlate(
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
        name: spectrum(
            blocks, list(weights), timestep, window_name=window, maximum=maximum, differenced=True
        )
        for name, weights in parts.items()
    }
    nu = found["vv"].wavenumber[1:]
    omega = nu * units.WAVENUMBER_TO_ANGULAR
    thermal = units.BOLTZMANN * temperature
    x = units.HBAR * omega / thermal
    factor = {
        "intensity": (1 - nu / incoming) ** 4 * x / (-np.expm1(-x)) / omega**2,
        "susceptibility": 1.0 / omega,
        "reduced": np.ones_like(omega),
    }[form]
    settings = {
        "quantity": FORMS[form],
        "timestep_fs": timestep,
        "temperature_K": temperature,
        "resolution_cm1": resolution,
        "window": window,
        "lags": lags,
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
        "laser_nm": laser,
        "form": form,
        "notes": [
            f"below {resolution} cm⁻¹ the window shapes the spectrum",
            *memory_notes(
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
