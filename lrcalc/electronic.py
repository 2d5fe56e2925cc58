"""Constants of the electrons in a structure: permittivities, and charges that species carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lrcalc.arrays import as_numpy
from lrcalc.models.enthalpy import optical_permittivity
from lrcalc.models.requests import has_moments
from lrcalc.models.screening import screening_factor

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.models.potential import Potential
    from lrcalc.prediction import Prediction


class Evaluates(Protocol):
    """What the constants are computed with."""

    potential: Potential
    screening: float

    def __call__(
        self, structures: Sequence[Atoms], properties: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Properties of each structure."""

    def evaluate(self, structures: Sequence[Atoms], properties: Iterable[str] = ...) -> Prediction:
        """Tensors."""

    def enthalpy_permittivity(self, atoms: Atoms) -> np.ndarray:
        """Of the forces."""


class ElectronicConstants:
    """Methods of `lrcalc.Evaluator`."""

    potential: Potential
    screening: float

    @property
    def epsilon_infinity(self) -> float:
        """Electronic permittivity; settable between calls, None is the model's."""
        return self._epsilon_infinity

    @epsilon_infinity.setter
    def epsilon_infinity(self, value: float | None) -> None:
        self.screening = screening_factor(self.potential.metadata, value)
        card = self.potential.metadata.get("epsilon_infinity", 1.0)
        self._epsilon_infinity = float(card if value is None else value)

    def enthalpy_permittivity(self: Evaluates, atoms: Atoms) -> np.ndarray:
        """Electronic permittivity ε_r (3, 3) that the forces themselves hold (`models.enthalpy`).

        What splits LO from TO in this model, what constant D divides by, and the ε_∞ under the
        dielectric spectra of its runs. It is the property ``dielectric_tensor``.

        Raises
        ------
        ValueError
            If the structure is not periodic in three directions, or the model has no charges.
        """
        (result,) = self([atoms], ["dielectric_tensor"])
        return np.asarray(result["dielectric_tensor"])

    def mean_permittivity(self: Evaluates, atoms: Atoms) -> float | None:
        """Mean over directions of `enthalpy_permittivity`; None where there is none.

        What the spectra of a run are computed with (`RunConditions.epsilon_infinity`).
        """
        if not atoms.pbc.all() or not has_moments(self.potential, atoms.pbc.tolist()):
            return None
        if "i" not in self.potential.config["level"]:
            return self.screening**2
        return float(np.trace(self.enthalpy_permittivity(atoms)) / 3)

    def optical_permittivity(self: Evaluates, atoms: Atoms) -> np.ndarray:
        """Electronic permittivity (3, 3) for light: ``1 + α/(ε0 V)`` of a polarizability surface.

        Without a surface it is `enthalpy_permittivity`. The same errors.
        """
        self.enthalpy_permittivity(atoms)  # for what it refuses
        prediction = self.evaluate([atoms])
        found = optical_permittivity(prediction.system, prediction.terms, self.screening)
        return as_numpy(found[0])

    def constant_charges(self: Evaluates, atoms: Atoms) -> dict[str, float]:
        """Return the charge (e) of each species that moves with it by a lattice vector.

        Local charges only: those of atomic charges depend on the surroundings.
        """
        transfers = self.evaluate([atoms], ["charges"]).terms.readout.transfers
        if transfers is None:
            raise ValueError(
                "this model has atomic charges, which have no constant part and no quantum of "
                "the dipole; use a model with charges='local'"
            )
        charge = self.screening * as_numpy(transfers.species_charge)
        symbols = atoms.get_chemical_symbols()
        return {symbol: float(charge[symbols.index(symbol)]) for symbol in sorted(set(symbols))}
