"""Ionic conductivity from a current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.cepstral import BROAD, Cepstral, cepstral_zero
from lrcalc.analysis.conditions import equilibrium
from lrcalc.analysis.correlation import (
    Blocks,
    Spectrum,
    affordable_resolution,
    as_trajectories,
    correlate,
    lags_for,
    spectrum,
    standard_error,
)
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.result import AnalysisResult, Quantity
from lrcalc.analysis.states import DensityOfStates, vdos

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Conductivity", "DensityOfStates", "conductivity", "ionic_current", "vdos"]


class _Conductivity(NamedTuple):
    value: float
    error: float
    """Cepstral estimate and its standard error."""
    green_kubo: float
    green_kubo_error: float
    """Windowed time integral up to the longest lag; its error counts blocks and the window, by the
    difference from the integral without one."""
    cepstral: Cepstral
    time: np.ndarray
    """(K,) fs."""
    running: np.ndarray
    """(K,) running time integral in S/m, no window."""
    settings: dict[str, Any]


class Conductivity(_Conductivity, AnalysisResult):
    """Ionic conductivity in S/m."""

    __slots__ = ()
    kind = "conductivity"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Running time integral."""
        return {"time_fs": self.time, "running_integral_S/m": self.running}

    @property
    def summary(self) -> dict[str, Quantity]:
        """Both estimates."""
        integral = Quantity(self.green_kubo, self.green_kubo_error, "S/m", "σ", "time integral")
        return {
            "conductivity": Quantity(self.value, self.error, "S/m", "σ", "cepstral"),
            "green_kubo": integral,
        }

    def record(self, **_: Any) -> dict[str, Any]:
        """Both estimates with their errors, settings."""
        return {
            "conductivity_S_per_m": self.value,
            "standard_error": self.error,
            "green_kubo": self.green_kubo,
            "green_kubo_error": self.green_kubo_error,
            "settings": self.settings,
        }

    def figure(self, *, title: str = "") -> Figure:
        """Draw the running time integral, and the cepstral value as a band."""
        from lrcalc.analysis import plots

        return plots.lines_figure(
            [("running time integral", self.time, self.running)],
            "time (fs)",
            "conductivity (S/m)",
            title or str(self.summary["conductivity"]),
            level=(self.value, self.error, "cepstral ± one standard error"),
        )


SHORTEST = 1000.0
"""No conductivity is read from less than this, fs: ions rattle as slowly."""
SHORT = 10_000.0
"""Below this many fs it is said that the run is short."""
CROWDED = 10
"""Fewer frequencies than this for each cepstral coefficient leave neither value nor error."""
FEW_STRETCHES = 30
"""With fewer independent stretches than this, a conductivity and its error are rough."""
MANY = 30
"""More cepstral coefficients than this describe lines, not a smooth spectrum."""


def low_frequency_note(found: Cepstral, bins: int = 4) -> list[str]:
    """Say if the lowest frequencies lie off the cepstral value by more than three errors."""
    low = float(found.periodogram[1 : bins + 1].mean())
    error = np.hypot(found.error, low / np.sqrt(found.degrees * bins))
    if abs(low - found.value) < 3 * error:
        return []
    return [
        f"the lowest {bins} frequencies have {low / found.value:.2g} of the cepstral value: bound "
        "charges (molecules) do not conduct, and this run is too short, or its cutoff too high, "
        "to show it"
    ]


def quality_notes(
    found: Cepstral, blocks: Blocks, result: Spectrum, cut: float, timestep: float, unit: float
) -> list[str]:
    """Say where a conductivity cannot be trusted: short, crowded, cut, or at odds with itself.

    Parameters
    ----------
    found, result
        Cepstral value, and spectrum whose first point is the windowed time integral.
    cut
        What the time integral has more without the window.
    unit
        Factor of both to S/m.
    """
    notes = []
    length = blocks.frames * timestep
    if length < SHORT:
        notes.append(
            f"WARNING: {length / 1000:.3g} ps are short for a conductivity: at least "
            f"{SHORT / 1000:g} ps, better ten times that"
        )
    per = len(found.periodogram) / found.coefficients
    if per < CROWDED:
        notes.append(
            f"WARNING: {per:.1f} frequencies for each of {found.coefficients} cepstral "
            "coefficients: neither the value nor its error means anything; run longer, or choose a "
            "`cutoff` below the sharp features"
        )
    if found.stretches < FEW_STRETCHES:
        notes.append(
            f"WARNING: the current remembers itself for long: this run holds about "
            f"{found.stretches:.0f} independent stretches only (at least {FEW_STRETCHES} wanted), "
            "so values and errors are rough; run longer"
        )
    if found.error > 0.3 * found.value:
        notes.append(f"WARNING: the error is {100 * found.error / found.value:.0f} % of the value")
    correlation = blocks.correlation.sum(0)
    last = slice(-max(1, len(correlation) // 10), None)
    deviations = (blocks.raw - blocks.correlation * blocks.products[:, None]).sum(1)
    deviations = (deviations / blocks.products.sum(0))[:, last].mean(1)
    tail = float(correlation[last].mean()) / float(correlation[0])
    statistical = float(result.error[0])
    still = abs(tail) > max(3 * float(standard_error(deviations)) / float(correlation[0]), 1e-3)
    if still or abs(cut) > 2 * statistical:
        notes.append(
            f"the time integral is cut after {len(correlation) * timestep:.0f} fs, where the "
            f"current correlates {tail:.2g} of its start: without a window it is "
            f"{unit * (float(result.value[0]) + cut):.4g} S/m. The cepstral value is not cut; a "
            "finer `resolution` has longer lags"
        )
    apart = abs(float(result.value[0]) - found.value)
    if apart > 3 * np.hypot(statistical, found.error):
        notes.append(
            f"cepstral value and time integral lie {apart * unit:.3g} S/m apart, "
            f"{apart / np.hypot(statistical, found.error):.1f} combined standard errors: one of "
            "them is biased"
        )
    return notes


def _time_integral(
    current: Any, timestep: float, resolution: float | None
) -> tuple[float, Blocks, Spectrum]:
    """Resolution, correlation and spectrum of a current, lags long enough where not given."""

    def found(one: float) -> tuple[Blocks, Spectrum]:
        # The current of a run at rest has no mean; removing it would bias the zero-frequency limit.
        lags = lags_for(one, timestep, "hann")
        blocks = correlate(current, lags, columns=3, mean="none", name="current")
        return blocks, spectrum(blocks, [1.0, 1.0, 1.0], timestep)

    streams = as_trajectories(current, 3, "current")
    frames = [sum(len(chunk) for chunk in stream()) for stream in streams]
    if sum(frames) * timestep < SHORTEST:
        raise ValueError(
            f"{sum(frames)} frames every {timestep:g} fs are {sum(frames) * timestep:.0f} fs, too "
            f"short for a conductivity: at least {SHORTEST / 1000:g} ps, better 100 ps"
        )
    if resolution is not None:
        return resolution, *found(resolution)
    resolution = affordable_resolution(frames, timestep, "hann")
    while True:
        blocks, result = found(resolution)
        correlation = blocks.correlation.sum(0)
        whole = timestep * (correlation.sum() - 0.5 * (correlation[0] + correlation[-1]))
        lost = abs(float(whole - result.value[0]))
        lags = 2 * len(correlation)
        if lost < 0.5 * float(result.error[0]) or min(frames) < 4 * lags:
            return resolution, blocks, result
        resolution /= 2.0


@equilibrium("conductivity")
def conductivity(
    current: Any,
    *,
    timestep: float,
    volume: float,
    temperature: float,
    resolution: float | None = None,
    cutoff: float | None = None,
    segment: int | None = None,
) -> Conductivity:
    """Ionic conductivity ``1/(3 V k_BT) ∫_0^∞ ⟨J·J⟩ dt``.

    Parameters
    ----------
    current
        (T, 3) in e Å/fs: ``Σ Z* v`` or ``Σ q v`` with integer charges (the two agree in the limit
        of zero frequency: Grasselli & Baroni, Nat. Phys. 15, 967 (2019)); list of runs or Series.
    timestep, volume, temperature
        fs between frames, Å³, K.
    resolution
        cm⁻¹; fixes the longest lag of the time integral. By default 20, or coarser where the runs
        are short, or as much finer as a current that decays slowly asks for and the runs afford.
    cutoff, segment
        See :func:`lrcalc.analysis.cepstral.cepstral_zero`.
    """
    check_conditions(timestep, volume, temperature)
    if segment is not None and segment < 64:
        raise ValueError(f"`segment` is {segment} frames but must be at least 64")
    resolution, blocks, result = _time_integral(current, timestep, resolution)
    correlation = blocks.correlation.sum(0)
    running = timestep * (np.cumsum(correlation) - 0.5 * (correlation[0] + correlation))
    # e² Å² fs⁻¹ /(Å³ eV) in S/m: 1 e²/(eV Å fs) = 1.602176634e-19 · 1e10 · 1e15 S/m
    scale = 1.602176634e6 / (3.0 * volume * units.BOLTZMANN * temperature)
    found = cepstral_zero(current, timestep, segment=segment, cutoff=cutoff)
    # The window takes off a part of what has not decayed at its end.
    cut = float(running[-1] - result.value[0])
    error = float(np.hypot(result.error[0], cut))
    notes = quality_notes(found, blocks, result, cut, timestep, scale) + low_frequency_note(found)
    top = float(found.wavenumber[-1])
    if top > 4 * BROAD * found.width:
        notes.append(
            f"WARNING: the spectrum of the current changes by half within {found.width:.2g} cm⁻¹, "
            f"but the cepstral fit runs to {top:.4g}: it may smooth over that. Choose a `cutoff` "
            f"near {BROAD * found.width:.2g}, or leave it and `segment` out"
        )
    if cutoff is None and found.coefficients > MANY:
        notes.append(
            f"{found.coefficients} cepstral coefficients: the current has sharp features; choose a "
            "`cutoff` below them"
        )
    settings: dict[str, Any] = {
        "timestep_fs": timestep,
        "volume_A3": volume,
        "temperature_K": temperature,
        "resolution_cm1": resolution,
        "lags": len(running),
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
        "cepstral_coefficients": found.coefficients,
        "cutoff_cm1": float(found.wavenumber[-1]),
        "notes": notes,
    }
    return Conductivity(
        found.value * scale,
        found.error * scale,
        float(result.value[0]) * scale,
        error * scale,
        found,
        timestep * np.arange(len(running)),
        running * scale,
        settings,
    )


def ionic_current(velocities: np.ndarray, charges: np.ndarray) -> np.ndarray:
    """(T, 3) current in e Å/fs of (T, 3N) velocities and charges (N,) or (N, 3, 3)."""
    v = np.asarray(velocities, dtype=float)
    v = v.reshape(len(v), -1, 3)
    z = np.asarray(charges, dtype=float)
    if len(z) != v.shape[1] or z.ndim not in (1, 3):
        raise ValueError(f"`charges` has shape {z.shape} for {v.shape[1]} atoms")
    return np.einsum("i,tia->ta", z, v) if z.ndim == 1 else np.einsum("iab,tib->ta", z, v)
