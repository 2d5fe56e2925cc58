"""Vibrational density of states and ionic conductivity."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.cepstral import Cepstral, cepstral_zero
from lrcalc.analysis.correlation import Spectrum, correlate, lags_for, spectrum, standard_error
from lrcalc.analysis.infrared import check_conditions


class DensityOfStates(NamedTuple):
    """Vibrational density of states; the total integrates to 3N."""

    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    total: np.ndarray
    """(F,) states per cm⁻¹."""
    error: np.ndarray
    parts: dict[str, np.ndarray]
    """(F,) per species (``H``), per direction (``x``), and both (``H x``)."""
    temperature: float
    """K, from the mean kinetic energy of all 3N velocities."""
    settings: dict[str, Any]


def vdos(
    velocities: Any,
    *,
    masses: Sequence[float],
    species: Sequence[str],
    timestep: float,
    resolution: float = 20.0,
    window: str = "hann",
    maximum: float = 4500.0,
) -> DensityOfStates:
    """Mass-weighted velocity spectrum ``(2/π) Σ m ∫⟨v v⟩ cos ωt dt / k_BT``, scaled to 3N.

    Parameters
    ----------
    velocities
        (T, 3N) in Å/fs, atom by atom x, y, z; a list of runs or Series.
    masses, species
        (N,) amu and symbols.
    """
    check_conditions(timestep, 1.0, 1.0)
    weights = np.asarray(masses, dtype=float)
    if len(weights) != len(species) or (weights <= 0).any():
        raise ValueError(f"{len(weights)} `masses` for {len(species)} `species`, all positive")
    names = sorted(set(species))
    group = [3 * names.index(symbol) + axis for symbol in species for axis in range(3)]
    root = np.sqrt(np.repeat(weights, 3))
    lags = lags_for(resolution, timestep, window)

    def weigh(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for chunk in chunks:
            # Short pieces: thousands of columns times thousands of frames would fill the memory.
            size = max(1, 2_000_000 // chunk.shape[1])
            for start in range(0, len(chunk), size):
                yield chunk[start : start + size] * root

    blocks = correlate(
        velocities,
        lags,
        columns=3 * len(weights),
        mean="none",
        groups=group,
        transform=weigh,
        name="velocities",
    )
    count = 3 * len(names)
    start = float(blocks.correlation[:, 0].sum())
    if start <= 0:
        raise ValueError("all velocities are zero")
    # ∫ (2/π) F dω = C(0); per cm⁻¹ and scaled so that the whole is 3N.
    scale = 2.0 / np.pi * units.WAVENUMBER_TO_ANGULAR * 3 * len(weights) / start

    def part(which: Sequence[int]) -> Spectrum:
        row = np.zeros(count)
        row[list(which)] = 1.0
        return spectrum(blocks, list(row), timestep, window_name=window, maximum=maximum)

    whole = part(range(count))
    parts = {}
    for index, symbol in enumerate(names):
        parts[symbol] = part(range(3 * index, 3 * index + 3)).value * scale
    for axis, letter in enumerate("xyz"):
        parts[letter] = part(range(axis, count, 3)).value * scale
        for index, symbol in enumerate(names):
            parts[f"{symbol} {letter}"] = part([3 * index + axis]).value * scale
    settings = {
        "quantity": "vibrational density of states, integral 3N",
        "timestep_fs": timestep,
        "resolution_cm1": resolution,
        "window": window,
        "lags": lags,
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
        "atoms": len(weights),
        "notes": [],
    }
    kinetic = start * units.EV_PER_AMU_A2_FS2 / (3 * len(weights) * units.BOLTZMANN)
    return DensityOfStates(
        whole.wavenumber, whole.value * scale, whole.error * scale, parts, kinetic, settings
    )


class Conductivity(NamedTuple):
    """Ionic conductivity in S/m."""

    value: float
    error: float
    """Cepstral estimate and its standard error."""
    green_kubo: float
    green_kubo_error: float
    """Windowed time integral up to the longest lag and its block error."""
    cepstral: Cepstral
    time: np.ndarray
    """(K,) fs."""
    running: np.ndarray
    """(K,) running time integral in S/m, no window."""
    settings: dict[str, Any]


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


def conductivity(
    current: Any,
    *,
    timestep: float,
    volume: float,
    temperature: float,
    resolution: float = 20.0,
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
        cm⁻¹; fixes the longest lag of the time integral.
    cutoff, segment
        See :func:`lrcalc.analysis.cepstral.cepstral_zero`.
    """
    check_conditions(timestep, volume, temperature)
    lags = lags_for(resolution, timestep, "hann")
    # The current of a run at rest has no mean; removing it would bias the zero-frequency limit.
    blocks = correlate(current, lags, columns=3, mean="none", name="current")
    # e² Å² fs⁻¹ /(Å³ eV) in S/m: 1 e²/(eV Å fs) = 1.602176634e-19 · 1e10 · 1e15 S/m
    scale = 1.602176634e6 / (3.0 * volume * units.BOLTZMANN * temperature)
    result = spectrum(blocks, [1.0, 1.0, 1.0], timestep)
    correlation = blocks.correlation.sum(0)
    running = timestep * (np.cumsum(correlation) - 0.5 * (correlation[0] + correlation))
    found = cepstral_zero(current, timestep, segment=segment, cutoff=cutoff)
    error = float(standard_error(result.deviations)[0])
    notes = low_frequency_note(found)
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
        "lags": lags,
        "frames": blocks.frames,
        "blocks": len(blocks.raw),
        "cepstral_coefficients": found.coefficients,
        "cutoff_cm1": cutoff,
        "notes": notes,
    }
    return Conductivity(
        found.value * scale,
        found.error * scale,
        float(result.value[0]) * scale,
        error * scale,
        found,
        timestep * np.arange(lags),
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
