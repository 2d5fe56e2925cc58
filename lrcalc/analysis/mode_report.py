"""Modes at Γ as a result: tables, spectra, pictures and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.analysis.crystal import Phonons
from lrcalc.analysis.index_order import FIELD_FIRST, order_changes, order_note
from lrcalc.analysis.mode_tables import order_summary, order_table, shifted, summarise, table
from lrcalc.analysis.modes import (
    DEBYE2_PER_A2_AMU,
    KM_PER_MOL,
    Modes,
    infrared_lines,
    longitudinal,
    permittivity,
    reflectivity,
    static_dielectric,
)
from lrcalc.analysis.output import write_csv
from lrcalc.analysis.raman_modes import depolarisation, invariants, raman_curve
from lrcalc.analysis.result import AnalysisResult, Quantity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Z_AND_X = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))


class _Report(NamedTuple):
    phonons: Phonons
    modes: Modes
    damping: float = 10.0
    """Full width of the lines, cm⁻¹."""
    directions: Any = Z_AND_X
    """Directions of q → 0 for LO–TO."""
    born_order: str = FIELD_FIRST
    """As which the Born tensors were read."""
    bands: dict[str, Any] | None = None
    """From :func:`lrcalc.analysis.phonons.band_structure`, to be drawn."""


class ModeReport(_Report, AnalysisResult):
    """Modes, their lines broadened, ε(ω) of a crystal, or the density of states.

    Without Born charges there are wavenumbers and the density of states, without periods lines in
    km/mol and no ε.
    """

    __slots__ = ()
    kind = "modes"

    @property
    def charged(self) -> bool:
        """There are intensities."""
        return self.modes.charged and len(self.modes.wavenumber) > 0

    @property
    def settings(self) -> dict[str, Any]:
        """Width of the lines, volume, labels of the modes, notes."""
        irreps = {"irreps": " ".join(label or "-" for label in self.modes.irreps)}
        return self._settings | irreps

    @property
    def _settings(self) -> dict[str, Any]:
        """Settings without the labels: those of tables that are no table of modes."""
        from lrcalc.analysis.phonons import supercell_words

        told: dict[str, Any] = {}
        if self.charged:
            told["damping_cm1"] = self.damping
        else:
            told["supercell"] = supercell_words(self.phonons.phonopy)
        if self.modes.periodic or not self.charged:
            told["volume_A3"] = self.modes.volume
        return told | {"notes": list(self.modes.notes)}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """One row a mode."""
        modes = self.modes
        found = {"wavenumber_cm-1": modes.wavenumber}
        if not self.charged:
            return found
        found |= {
            "intensity_e2/amu": modes.intensity,
            "intensity_D2/A2/amu": modes.intensity * DEBYE2_PER_A2_AMU,
            "intensity_km/mol": modes.intensity * KM_PER_MOL,
            **{f"mode_charge_{a}": modes.charge[:, i] for i, a in enumerate("xyz")},
        }
        if modes.raman is not None:
            isotropic, anisotropic = invariants(modes.raman)
            found["raman_activity_A4/amu"] = 45 * isotropic + 7 * anisotropic
            found["depolarisation"] = depolarisation(modes)
        return found

    @property
    def summary(self) -> dict[str, Quantity]:
        """Static dielectric constant of a crystal with charges, as diagonal."""
        if not (self.charged and self.modes.periodic):
            return {}
        diagonal = np.diag(static_dielectric(self.modes))
        return {
            f"epsilon_0_{axis}{axis}": Quantity(float(value), symbol=f"ε_0,{axis}{axis}")
            for axis, value in zip("xyz", diagonal, strict=True)
        }

    def table(self, **_: Any) -> str:
        """Lines, both index orders where nothing tells them apart, ε_0, LO–TO, notes."""
        modes, born = self.modes, self.phonons.born
        rows = [table(modes)]
        changes = [] if self.phonons.order_known else order_changes(modes, born)
        rows += [order_table(changes, self.born_order)] if changes else []
        if modes.charged and modes.periodic:
            static, fast = np.diag(static_dielectric(modes)), np.diag(modes.epsilon_infinity)
            rows.append(f"  ε_0 diagonal {np.round(static, 4)}  ε_∞ {fast}")
            rows += [f"  LO along {d}: {shifted(modes, longitudinal(modes, d))}"
                     for d in self.directions]  # fmt: skip
        notes = [*modes.notes, *(self.bands["notes"] if self.bands else ())]
        told = order_note(modes, born)  # by the table
        return "\n".join([*rows, *(f"  note: {note}" for note in notes if note != told)])

    def record(self, **_: Any) -> dict[str, Any]:
        """Modes, lines, ε, longitudinal wavenumbers, both index orders."""
        found = summarise(self.modes, self.directions)
        if self.modes.charged:
            found |= order_summary(self.modes, self.phonons.born, self.born_order)
        return found

    def curves(self) -> tuple[str, dict[str, np.ndarray]]:
        """Name of the second table, and its columns: ε(ω), lines in km/mol, or states."""
        if not self.charged:
            from lrcalc.analysis.phonons import density_of_states

            if self.phonons.only_gamma or not self.modes.periodic:
                return "", {}
            nu, states = density_of_states(self.phonons)
            return "dos", {"wavenumber_cm-1": nu, "states_per_cm-1": states}
        modes = self.modes
        found = {"wavenumber_cm-1": self._grid()}
        grid = found["wavenumber_cm-1"]
        if modes.periodic:
            found["n_alpha_cm-1"] = infrared_lines(modes, grid, self.damping)
        else:
            keep, half = modes.stable, 0.5 * self.damping
            shape = half / np.pi / ((grid[:, None] - modes.wavenumber[keep]) ** 2 + half**2)
            found["infrared_km/mol_per_cm-1"] = shape @ modes.intensity[keep] * KM_PER_MOL
        if modes.raman is not None:
            found["raman_A4/amu_per_cm-1"] = raman_curve(modes, grid, self.damping)
        if not modes.periodic:
            return "spectrum", found
        diagonal = np.diagonal(permittivity(modes, grid, self.damping), axis1=1, axis2=2)
        for axis, values in zip("xyz", diagonal.T, strict=True):
            found |= {
                f"epsilon_real_{axis}{axis}": values.real,
                f"epsilon_imag_{axis}{axis}": values.imag,
                f"reflectivity_{axis}": reflectivity(values),
            }
        return "epsilon", found

    def _grid(self) -> np.ndarray:
        """Wavenumbers up to beyond the longitudinal modes: high reflectivity ends there."""
        top = float(self.modes.wavenumber.max())
        if self.modes.periodic and self.modes.volume:
            top = max(longitudinal(self.modes, axis).max() for axis in np.eye(3).tolist())
            top = max(float(top), float(self.modes.wavenumber.max()))
        return np.linspace(1.0, 1.15 * top, 2000)

    def figure(self, **_: Any) -> Figure:
        """Draw lines and ε(ω), lines alone, or the density of states, whatever there is."""
        from lrcalc.analysis import plots

        name, found = self.curves()
        if name == "epsilon":
            return plots.modes_figure(self.modes, found, damping=self.damping)
        if name == "spectrum":
            return plots.lines_figure(
                [("infrared", found["wavenumber_cm-1"], found["infrared_km/mol_per_cm-1"])],
                "wavenumber (cm⁻¹)",
                "infrared (km/mol per cm⁻¹)",
                f"lines broadened by {self.damping:g} cm⁻¹ (full width)",
            )
        return plots.lines_figure(
            [("density of states", found["wavenumber_cm-1"], found["states_per_cm-1"])],
            "wavenumber (cm⁻¹), imaginary below 0",
            "density of states (per cm⁻¹)",
            self.settings["supercell"],
        )

    @staticmethod
    def endings(picture: str) -> list[str]:
        """Names, after the prefix, of all files that :meth:`save` may write."""
        tables = ["-modes.csv", "-epsilon.csv", "-spectrum.csv", "-dos.csv", "-BORN"]
        return tables + [f"-{name}.{picture}" for name in ("modes", "bands", "dos")]

    def save(self, prefix: str | Path, *, picture: str = "png", **_: Any) -> list[Path]:
        """CSV of modes and of what :meth:`curves` are, BORN of a crystal, pictures."""
        from lrcalc.analysis import plots

        name, curves = self.curves()
        written = [write_csv(f"{prefix}-modes.csv", list(self.columns.items()), self.settings)]
        if curves:
            written.append(write_csv(f"{prefix}-{name}.csv", list(curves.items()), self._settings))
        if name == "epsilon":
            from lrcalc.analysis.converters import write_phonopy_born

            phonons = self.phonons
            born = (phonons.born, phonons.epsilon_infinity, phonons.phonopy)
            written.append(write_phonopy_born(f"{prefix}-BORN", *born))
        if curves:
            stem = "dos" if name == "dos" else "modes"
            written.append(plots.save(self.figure(), f"{prefix}-{stem}.{picture}"))
        if self.bands is not None:
            figure = plots.bands_figure(self.bands)
            written.append(plots.save(figure, f"{prefix}-bands.{picture}"))
        return written
