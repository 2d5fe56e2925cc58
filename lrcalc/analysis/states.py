"""Vibrational density of states from velocities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import equilibrium
from lrcalc.analysis.correlation import (
    NEIGHBOURS,
    Spectrum,
    correlate,
    lags_for,
    memory_notes,
    spectral_settings,
    spectrum,
    standard_error,
)
from lrcalc.analysis.infrared import check_conditions
from lrcalc.analysis.peaks import Peak, peaks
from lrcalc.analysis.result import AnalysisResult, Quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _States(NamedTuple):
    wavenumber: np.ndarray
    """(F,) cm⁻¹."""
    total: np.ndarray
    """(F,) states per cm⁻¹."""
    error: np.ndarray
    parts: dict[str, np.ndarray]
    """(F,) per species (``H``), per direction (``x``), and both (``H x``)."""
    temperature: float
    """K, from the mean kinetic energy; of 3N − 3 velocities where the centre of mass is at rest."""
    settings: dict[str, Any]


class DensityOfStates(_States, AnalysisResult):
    """Vibrational density of states; the total integrates to 3N."""

    __slots__ = ()
    kind = "vdos"

    @property
    def peaks(self) -> list[Peak]:
        """Maxima of the total that stand out of their error bars."""
        return peaks(self.wavenumber, self.total, self.error)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Total, its error, and all parts, per cm⁻¹."""
        return {
            "wavenumber_cm-1": self.wavenumber,
            "total_per_cm-1": self.total,
            "standard_error": self.error,
            **self.parts,
        }

    @property
    def summary(self) -> dict[str, Quantity]:
        """Temperature of the velocities."""
        return {"temperature_K": Quantity(self.temperature, unit="K", symbol="T of the velocities")}

    def table(self, **_: Any) -> str:
        """Return the temperature as text."""
        return f"  mean temperature of the velocities {self.temperature:.1f} K"

    def record(self, **_: Any) -> dict[str, Any]:
        """Temperature, settings and peaks."""
        return {
            "temperature_K": self.temperature,
            "settings": self.settings,
            "peaks": self.peaks,
        }

    def figure(self, *, title: str = "") -> Figure:
        """Total with its error band, and the species."""
        from lrcalc.analysis import plots

        species = [name for name in self.parts if " " not in name and name not in "xyz"]
        return plots.spectrum_figure(
            self.wavenumber,
            self.total,
            self.error,
            label="total ± one standard error",
            y_label="density of states (per cm⁻¹)",
            title=title or "vibrational density of states",
            marks=[(peak.wavenumber, peak.height) for peak in self.peaks],
            others=[(name, self.wavenumber, self.parts[name]) for name in species],
        )


class _Seen:
    """What is learned of the atoms while their velocities are read, in chunks.

    Parameters
    ----------
    masses : ndarray, shape (N,)

    Attributes
    ----------
    moving : ndarray of bool, shape (N,)
        Whether an atom moves at all.
    energies : ndarray, shape (2,)
        Twice the kinetic energy, summed over frames: of the centre of mass, of all atoms.
    """

    def __init__(self, masses: np.ndarray) -> None:
        self.masses = masses
        self.moving = np.zeros(len(masses), dtype=bool)
        self.energies = np.zeros(2)

    def weigh(self, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Velocities (T, 3N) times the roots of the masses."""
        masses, root = self.masses, np.sqrt(np.repeat(self.masses, 3))
        for chunk in chunks:
            each = chunk.reshape(-1, len(masses), 3)
            self.moving |= (each != 0).any((0, 2))
            momentum = np.einsum("i,tia->ta", masses, each)
            self.energies += (momentum**2).sum() / masses.sum(), masses @ (each**2).sum((0, 2))
            # Short pieces: thousands of columns times thousands of frames would fill the memory.
            size = max(1, 2_000_000 // chunk.shape[1])
            for start in range(0, len(chunk), size):
                yield chunk[start : start + size] * root


@equilibrium("vdos")
def vdos(
    velocities: Any,
    *,
    masses: Sequence[float] | np.ndarray,
    species: Sequence[str],
    timestep: float,
    resolution: float = 20.0,
    window: str = "hann",
    maximum: float = 4500.0,
) -> DensityOfStates:
    """Mass-weighted velocity spectrum ``(2/π) Σ m ∫⟨v v⟩ cos ωt dt / k_BT``, scaled to 3N.

    Atoms that are fixed throughout do not count.

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
    lags = lags_for(resolution, timestep, window, maximum)

    seen = _Seen(weights)
    blocks = correlate(
        velocities,
        lags,
        columns=3 * len(weights),
        mean="none",
        groups=group,
        transform=seen.weigh,
        name="velocities",
    )
    count = 3 * len(names)
    start = float(blocks.correlation[:, 0].sum())
    if start <= 0:
        raise ValueError("all velocities are zero")
    free = int(seen.moving.sum())
    # ∫ (2/π) F dω = C(0); per cm⁻¹ and scaled so that the whole is 3N of the atoms that move.
    scale = 2.0 / np.pi * units.WAVENUMBER_TO_ANGULAR * 3 * free / start

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
    settings: dict[str, Any] = {
        "quantity": "vibrational density of states, integral 3N",
        **spectral_settings(blocks, timestep, resolution, window),
        "atoms": len(weights),
        "notes": memory_notes(whole.wavenumber, whole.value, whole.stretches, len(blocks.raw)),
    }
    if free < len(weights):
        settings["notes"].append(
            f"{len(weights) - free} atoms never move: N is {free} in integral and temperature"
        )
    centre, all_atoms = seen.energies
    at_rest = centre * free < 1e-4 * all_atoms  # else its share is 1/N
    freedom = 3 * free - 3 * at_rest
    kinetic = start * units.EV_PER_AMU_A2_FS2 / (freedom * units.BOLTZMANN)
    # the scale is that of the series' own kinetic energy: the error is that of a ratio
    own = (blocks.raw[:, :, 0].sum(1) - start * blocks.products[:, 0]) / blocks.products[:, 0].sum()
    deviations = whole.deviations - np.outer(own, whole.value / start)
    return DensityOfStates(
        whole.wavenumber,
        whole.value * scale,
        standard_error(deviations, NEIGHBOURS) * scale,
        parts,
        kinetic,
        settings,
    )
