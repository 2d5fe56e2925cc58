"""Vibrational sum-frequency generation of a surface.

``χ⁽²⁾_abc(ω) = i/(k_B T ω) ∫_0^∞ e^{iωt} ⟨Ȧ_ab(t) Ṁ_c(0)⟩ dt`` (Morita & Hynes, Chem. Phys. 258,
371 (2000); Ohto et al., J. Chem. Phys. 143, 124702 (2015)) divided by ε0 and the area. A slab has
two surfaces whose signals cancel: A and M must belong to one of them (weighted by side).
"""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import equilibrium
from lrcalc.analysis.correlation import (
    Series,
    as_trajectories,
    correlate,
    differences,
    lags_for,
    memory_notes,
    spectral_settings,
    spectrum,
)
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.optics import kramers_kronig
from lrcalc.analysis.result import AnalysisResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _SumFrequency(NamedTuple):
    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    susceptibility: np.ndarray
    """(F,) complex, resonant part."""
    error: np.ndarray
    """(F,) standard error of the imaginary part."""
    settings: dict[str, Any]


class SumFrequency(_SumFrequency, AnalysisResult):
    """χ⁽²⁾ of one surface in Å²/V."""

    __slots__ = ()
    kind = "sfg"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Real and imaginary part and the error of the latter, Å²/V."""
        return {
            "wavenumber_cm-1": self.wavenumber,
            "chi2_real": self.susceptibility.real,
            "chi2_imaginary": self.susceptibility.imag,
            "standard_error": self.error,
        }

    def figure(self, *, title: str = "") -> Figure:
        """Imaginary part with its error band, and the real part."""
        from lrcalc.analysis import plots

        return plots.spectrum_figure(
            self.wavenumber,
            self.susceptibility.imag,
            self.error,
            label="Im χ⁽²⁾ ± one standard error",
            y_label="χ⁽²⁾ (Å²/V)",
            title=title or str(self.settings["quantity"]),
            signed=True,
            others=[("Re χ⁽²⁾", self.wavenumber, self.susceptibility.real)],
        )


def _joined(polarizability: Any, dipole: Any, rows: tuple[int, int]) -> list[Series]:
    first = as_trajectories(polarizability, 9, "polarizability")
    second = as_trajectories(dipole, 3, "dipole")
    if len(first) != len(second):
        raise ValueError(f"{len(first)} runs of `polarizability` but {len(second)} of `dipole`")

    def join(a: Any, m: Any) -> Any:
        def chunks() -> Iterator[np.ndarray]:
            from lrcalc.analysis.series import rechunk

            left, right = rechunk(a()), rechunk(m())
            for one, two in zip(left, right, strict=True):
                if len(one) != len(two):
                    raise ValueError("`polarizability` and `dipole` differ in their frames")
                yield np.column_stack([one[:, rows[0]], two[:, rows[1]]])

        return chunks

    return [Series(join(a, m), 2) for a, m in zip(first, second, strict=True)]


@equilibrium("sfg")
def sum_frequency(
    polarizability: Any,
    dipole: Any,
    *,
    timestep: float,
    area: float,
    temperature: float,
    component: str = "xxz",
    resolution: float = 20.0,
    window: str = "hann",
    maximum: float = 4500.0,
) -> SumFrequency:
    """χ⁽²⁾ of a surface from polarizability (T, 9) and dipole (T, 3) of one side.

    Parameters
    ----------
    polarizability, dipole
        e Å²/V and e Å, of the molecules at one surface.
    area
        Å².
    component
        Letters abc; z is the surface normal, so ``xxz`` is the usual SSP element.
    """
    if not (isinstance(area, Real) and np.isfinite(area) and area > 0):
        raise ValueError(f"`area` is {area!r} Å² but must be a positive number")
    check_conditions(timestep, 1.0, temperature)
    if len(component) != 3 or set(component) - set("xyz"):
        raise ValueError(f"`component` is {component!r} but must be three of x, y, z")
    a, b, c = ("xyz".index(letter) for letter in component)
    lags = lags_for(resolution, timestep, window, maximum)
    blocks = correlate(
        _joined(polarizability, dipole, (3 * a + b, c)),
        lags,
        # both orders: the mean of the two is the even part, which is what the cosine sees
        pairs=[(0, 1), (1, 0)],
        transform=differences(timestep),
        name="polarizability and dipole",
    )
    whole = spectrum(blocks, [0.5, 0.5], timestep, window_name=window, differenced=True)
    omega = whole.wavenumber * units.WAVENUMBER_TO_ANGULAR
    scale = 1.0 / (units.BOLTZMANN * temperature * units.EPSILON_0 * area)
    factor = scale * np.divide(1.0, omega, out=np.zeros_like(omega), where=omega > 0)
    imaginary = whole.value * factor
    real = kramers_kronig(whole.wavenumber, imaginary, 0.0)
    keep = whole.wavenumber <= maximum
    settings = {
        "quantity": f"χ⁽²⁾_{component} (Å²/V), resonant part",
        **spectral_settings(
            blocks, timestep, resolution, window, area_A2=area, temperature_K=temperature
        ),
        "notes": [
            "A and M must belong to one surface; those of a whole slab cancel",
            *memory_notes(
                whole.wavenumber[keep], imaginary[keep], whole.stretches[keep], len(blocks.raw)
            ),
        ],
    }
    return SumFrequency(
        whole.wavenumber[keep],
        (real + 1j * imaginary)[keep],
        (whole.error * factor)[keep],
        settings,
    )
