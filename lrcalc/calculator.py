"""LRCalculator: the potential as an ASE calculator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from lrcalc.evaluator import Evaluator
from lrcalc.models.potential import Potential

if TYPE_CHECKING:
    from ase import Atoms


class LRCalculator(Calculator):
    """ASE calculator with electrostatics and electrical response.

    Parameters
    ----------
    model : str, path-like or Potential
        Bundled name (``lrcalc.bundled()``), model file, or potential.
    device, dtype, electric_field, electric_displacement, epsilon_infinity, asr_projection
        As in `lrcalc.Evaluator`. The fields can be changed between steps:
        ``calc.electric_field = (0, 0, 0.1)``.

    Notes
    -----
    Results: energy and free_energy (eV), forces (N, 3), stress (6,) in ASE's Voigt order (eV/Å³),
    dipole (3,) e Å, polarization (3,) e/Å², born_effective_charges (N, 3, 3) e as
    [atom, field, displacement], polarizability (3, 3) e Å²/V, charges (N,) e. In a field the
    energy is the electric enthalpy, and forces and stress are its derivatives. Energy and
    forces come together; everything else is computed when it is asked for.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from lrcalc import LRCalculator
    >>> water = molecule("H2O")
    >>> water.calc = LRCalculator("water", dtype="float64")
    >>> water.get_forces().shape
    (3, 3)
    >>> water.calc.get_property("born_effective_charges", water).shape
    (3, 3, 3)
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy", "free_energy", "forces", "stress", "dipole", "polarization",
        "born_effective_charges", "polarizability", "charges",
    ]  # fmt: skip

    def __init__(
        self,
        model: str | os.PathLike[str] | Potential = "water",
        *,
        device: str = "cpu",
        dtype: str = "float32",
        electric_field: Any = None,
        electric_displacement: Any = None,
        epsilon_infinity: float | None = None,
        asr_projection: bool = True,
    ) -> None:
        super().__init__()
        self.evaluator = Evaluator(
            model, device=device, dtype=dtype, electric_field=electric_field,
            electric_displacement=electric_displacement, epsilon_infinity=epsilon_infinity,
            asr_projection=asr_projection,
        )  # fmt: skip

    @property
    def electric_field(self) -> np.ndarray | None:
        """Constant field (3,), V/Å, or None."""
        return self.evaluator.electric_field

    @electric_field.setter
    def electric_field(self, value: Any) -> None:
        self.evaluator.electric_field = value
        self.reset()

    @property
    def electric_displacement(self) -> np.ndarray | None:
        """Constant electric displacement (3,), e/Å², or None."""
        return self.evaluator.electric_displacement

    @electric_displacement.setter
    def electric_displacement(self, value: Any) -> None:
        self.evaluator.electric_displacement = value
        self.reset()

    @property
    def sum_rule_residual(self) -> float:
        """Largest violation (e per atom) of the acoustic sum rule that was projected out."""
        return self.evaluator.sum_rule_residual

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute ``properties`` of ``atoms`` into ``results``; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        wanted = set(properties or ["energy"])
        if wanted & {"energy", "free_energy", "forces", "stress"}:
            wanted |= {"energy", "forces"}
        wanted.discard("free_energy")
        (result,) = self.evaluator([self.atoms], wanted)
        if "energy" in result:
            result["free_energy"] = result["energy"]
        if "stress" in result:
            result["stress"] = voigt(result["stress"])
        self.results.update(result)


def voigt(stress: np.ndarray) -> np.ndarray:
    """(3, 3) → (6,) in ASE's order xx, yy, zz, yz, xz, xy."""
    return stress.reshape(9)[[0, 4, 8, 5, 2, 1]]
