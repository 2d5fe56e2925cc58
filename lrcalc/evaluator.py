"""Evaluator: properties of many structures in one model call. ASE and i-PI both stand on it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.checkpoint import load
from lrcalc.models.dipole import lattice_born
from lrcalc.models.enthalpy import (
    Enthalpy,
    constant_displacement,
    constant_field,
    screening_factor,
    without_field,
)
from lrcalc.models.potential import Potential, Terms
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.properties import Strained, forces_and_stress, strained
from lrcalc.system import System, from_ase

if TYPE_CHECKING:
    from ase import Atoms

PROPERTIES = (
    "energy", "forces", "stress", "dipole", "polarization", "born_effective_charges",
    "polarizability", "charges", "electric_field",
)  # fmt: skip
"""What can be asked for."""

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Evaluation(NamedTuple):
    """Tensors of one batched call, before they are cut into structures."""

    system: System
    pairs: Pairs
    leaves: Strained
    terms: Terms
    enthalpy: Enthalpy


class Evaluator:
    """Energies and electrical properties of batches of structures.

    Parameters
    ----------
    model : str, path-like or Potential
        Bundled name, model file, or a potential (which is used as it is, not copied).
    device : str, optional
        Torch device.
    dtype : {"float32", "float64"}, optional
        Of the model. Energies and dipoles are summed in float64 in any case.
    electric_field : array-like (3,), V/Å, optional
        Constant E: the energy becomes the electric enthalpy, forces and stress its derivatives.
    electric_displacement : array-like (3,), e/Å², optional
        Constant D (periodic structures only).
    epsilon_infinity : float, optional
        Electronic permittivity, instead of the model's.
    asr_projection : bool, optional
        Subtract the mean from Born charges so that they sum to the total charge. The residual
        that was projected out is kept in `sum_rule_residual`.

    Attributes
    ----------
    sum_rule_residual : float
        Largest component (e) of ``Σ_i born_i - Q 1`` per atom, of the last structure asked for.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from lrcalc import Evaluator
    >>> result, = Evaluator("water")([molecule("H2O")], ["energy", "dipole"])
    >>> sorted(result)
    ['dipole', 'energy']
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Potential,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        electric_field: Any = None,
        electric_displacement: Any = None,
        epsilon_infinity: float | None = None,
        asr_projection: bool = True,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"`dtype` is {dtype!r} but must be one of {sorted(DTYPES)}")
        self.device = check_device(device)
        potential = model if isinstance(model, Potential) else load(model, dtype=DTYPES[dtype])
        self.potential = potential.to(self.device)
        self.epsilon_infinity = float(
            potential.metadata.get("epsilon_infinity", 1.0)
            if epsilon_infinity is None
            else epsilon_infinity
        )
        self.screening = screening_factor(potential, epsilon_infinity)
        self.asr_projection = asr_projection
        self.sum_rule_residual = 0.0
        self._field: np.ndarray | None = None
        self._displacement: np.ndarray | None = None
        self.electric_field = electric_field
        self.electric_displacement = electric_displacement

    @property
    def electric_field(self) -> np.ndarray | None:
        """Constant field (3,), V/Å, or None; settable between calls."""
        return self._field

    @electric_field.setter
    def electric_field(self, value: Any) -> None:
        self._field = check_vector(value, "electric_field", "V/Å")
        self._check_one_of()

    @property
    def electric_displacement(self) -> np.ndarray | None:
        """Constant electric displacement (3,), e/Å², or None; settable between calls."""
        return self._displacement

    @electric_displacement.setter
    def electric_displacement(self, value: Any) -> None:
        self._displacement = check_vector(value, "electric_displacement", "e/Å²")
        self._check_one_of()

    def _check_one_of(self) -> None:
        if self._field is not None and self._displacement is not None:
            raise ValueError(
                "`electric_field` and `electric_displacement` are both set; constant E and "
                "constant D exclude each other, set one of them to None first"
            )

    def __call__(
        self, structures: Sequence[Atoms], properties: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Evaluate all structures in one batched call; compute only what is asked for.

        Parameters
        ----------
        structures : sequence of Atoms
            Of any size, species and boundary that the model knows.
        properties : iterable of str
            Among `PROPERTIES`.

        Returns
        -------
        list of dict
            For each structure: energy (eV; the enthalpy in a field), forces (N, 3) eV/Å, stress
            (3, 3) eV/Å³, dipole (3,) e Å, polarization (3,) e/Å², born_effective_charges
            (N, 3, 3) e as [atom, field, displacement], polarizability (3, 3) e Å²/V, charges (N,)
            e, electric_field (3,) V/Å.

        Raises
        ------
        ValueError
            For a property that is not known or that the structure or model cannot have, bad
            structures, or results that are not finite.
        """
        wanted = set(properties)
        self._check_request(structures, wanted)
        born = "born_effective_charges" in wanted
        gradient = bool(wanted & {"forces", "stress"})
        evaluation = self.evaluate(structures, stress="stress" in wanted, gradient=gradient or born)
        out: list[dict[str, Any]] = [{} for _ in structures]
        if gradient:
            forces, stress = forces_and_stress(
                evaluation.enthalpy.value, evaluation.leaves, retain_graph=born
            )
            _cut(out, "forces", forces, evaluation.system)
            if stress is not None:
                _split(out, "stress", stress)
        if born:
            self._born(out, structures, evaluation)
        self._plain(out, wanted, evaluation)
        for result in out:
            for name in set(result) - wanted:
                del result[name]
        _check_finite(out)
        return out

    def evaluate(
        self, structures: Sequence[Atoms], *, stress: bool = False, gradient: bool = True
    ) -> Evaluation:
        """Tensors of one batched call, for tools that need their own derivatives."""
        system = from_ase(list(structures), device=self.device)
        self.potential.backbone.species_index(system.numbers)
        pairs = build_pairs(system, self.potential.cutoff)
        with torch.set_grad_enabled(gradient):
            leaves = strained(system, stress=stress)
            terms = self.potential(leaves.system, pairs)
            enthalpy = self._enthalpy(leaves.system, pairs, terms)
        return Evaluation(leaves.system, pairs, leaves, terms, enthalpy)

    def _enthalpy(self, system: System, pairs: Pairs, terms: Terms) -> Enthalpy:
        if self._field is not None:
            field = torch.as_tensor(self._field, device=self.device)
            return constant_field(system, pairs, terms, field, self.screening)
        if self._displacement is not None:
            value = torch.as_tensor(self._displacement, device=self.device)
            return constant_displacement(
                system, pairs, terms, value, self.screening, self.epsilon_infinity
            )
        return without_field(system, pairs, terms, self.screening)

    def _born(
        self, out: list[dict[str, Any]], structures: Sequence[Atoms], evaluation: Evaluation
    ) -> None:
        if len(structures) > 1:
            for result, atoms in zip(out, structures, strict=True):
                (single,) = self([atoms], ["born_effective_charges"])
                result.update(single)
            return
        leaves = evaluation.leaves
        system = evaluation.system._replace(positions=leaves.positions)
        if leaves.strain is not None:  # Born charges are taken on the unstrained structure
            evaluation = self.evaluate(structures)
            system = evaluation.system
        born = self.screening * lattice_born(system, evaluation.pairs, evaluation.terms)
        born = born.detach().cpu().double().numpy()
        charge = float(structures[0].info.get("charge", 0.0))
        residual = born.mean(axis=0) - self.screening * charge / len(born) * np.eye(3)
        self.sum_rule_residual = float(np.abs(residual).max())
        if self.asr_projection:
            born = born - residual
        out[0]["born_effective_charges"] = born

    def _plain(self, out: list[dict[str, Any]], wanted: set[str], evaluation: Evaluation) -> None:
        enthalpy = evaluation.enthalpy
        _split(out, "energy", enthalpy.value)
        if enthalpy.dipole is not None and wanted & {"dipole", "polarization"}:
            _split(out, "dipole", enthalpy.dipole)
            volume = torch.linalg.det(evaluation.system.cell).abs().double()
            if "polarization" in wanted:
                _split(out, "polarization", enthalpy.dipole / volume[:, None])
        if enthalpy.polarizability is not None and "polarizability" in wanted:
            _split(out, "polarizability", enthalpy.polarizability)
        if "charges" in wanted:
            charges = evaluation.terms.readout.multipoles.charge
            _cut(out, "charges", self.screening * charges, evaluation.system)
        if enthalpy.field is not None and "electric_field" in wanted:
            _split(out, "electric_field", enthalpy.field)
        elif "electric_field" in wanted:
            for result in out:
                result["electric_field"] = np.zeros(3)

    def _check_request(self, structures: Sequence[Atoms], wanted: set[str]) -> None:
        unknown = wanted - set(PROPERTIES)
        if unknown:
            raise ValueError(f"unknown properties {sorted(unknown)}; known: {list(PROPERTIES)}")
        if not structures:
            raise ValueError("`structures` is empty; give at least one")
        level = self.potential.config["level"]
        electric = wanted & {"dipole", "polarization", "born_effective_charges", "charges"}
        in_field = self._field is not None or self._displacement is not None
        if level == "sr" and (electric or in_field):
            raise ValueError(
                "this model is short-ranged (level 'sr') and has no charges: "
                f"{sorted(electric) or 'a field'} cannot be had; use a model of level 'q' or above"
            )
        if "polarizability" in wanted and "iu" not in level:
            raise ValueError(
                f"this model (level {level!r}) has no dipole response, so no polarizability; use "
                "one of level 'uiu', 'uiqiu' or 'uQiqiu', or ε_∞ for a uniform estimate"
            )
        for index, atoms in enumerate(structures):
            full = bool(atoms.pbc.all())
            if ("stress" in wanted or "polarization" in wanted) and not full:
                raise ValueError(
                    f"structure {index} has pbc {atoms.pbc.tolist()}: stress and polarization "
                    "need three periodic directions"
                )
            if self._displacement is not None and not full:
                raise ValueError(
                    f"structure {index} has pbc {atoms.pbc.tolist()}: constant D needs three "
                    "periodic directions; use `electric_field` for an open system"
                )


def check_vector(value: Any, name: str, unit: str) -> np.ndarray | None:
    """Return ``value`` as float64 (3,), or None; refuse scalars, other shapes and NaN."""
    if value is None:
        return None
    vector = np.asarray(value, dtype=np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ValueError(
            f"`{name}` is {value!r} but must be three finite numbers in {unit}, for instance "
            "(0, 0, 0.1)"
        )
    return vector


def check_device(device: str) -> str:
    """Return ``device`` if torch can use it here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"`device` is {device!r} but torch cannot use it here ({error}); try 'cpu'"
        ) from error
    return device


def _split(out: list[dict[str, Any]], name: str, values: Tensor) -> None:
    """One row for each structure; a scalar becomes a float."""
    array = values.detach().cpu().double().numpy()
    for result, value in zip(out, array, strict=True):
        result[name] = float(value) if array.ndim == 1 else value.copy()


def _cut(out: list[dict[str, Any]], name: str, values: Tensor, system: System) -> None:
    """Rows of per-atom values for each structure."""
    array = values.detach().cpu().double().numpy()
    counts = torch.bincount(system.batch, minlength=system.n_structures).cpu().numpy()
    ends = np.cumsum(counts)
    for result, start, end in zip(out, ends - counts, ends, strict=True):
        result[name] = array[start:end].copy()


def _check_finite(out: list[dict[str, Any]]) -> None:
    for index, result in enumerate(out):
        bad = [name for name, value in result.items() if not np.isfinite(value).all()]
        if bad:
            raise ValueError(
                f"structure {index}: the model returned NaN for {bad}; the structure has left "
                "what the model was trained on"
            )
