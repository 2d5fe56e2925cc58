"""Evaluator: `predict` for lists of ASE structures, numpy arrays out. ASE and i-PI stand on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lrcalc.checkpoint import load
from lrcalc.field_views import FieldViews
from lrcalc.fields import Field, check_field
from lrcalc.frames import Frames
from lrcalc.memory import keep_freed_memory
from lrcalc.models.card import molecule_warning
from lrcalc.models.enthalpy import optical_permittivity
from lrcalc.models.potential import Potential
from lrcalc.models.requests import (
    as_structures,
    check_device,
    check_model,
    check_request,
    check_results_finite,
    check_structure,
)
from lrcalc.models.screening import screening_factor
from lrcalc.neighbors import SKIN, NeighborList
from lrcalc.prediction import Options, Prediction, call_model
from lrcalc.properties import PROPERTIES, as_names, needing
from lrcalc.system import System, from_ase, from_frames

if TYPE_CHECKING:
    from ase import Atoms

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Evaluator(FieldViews):
    """Energies and electrical properties of batches of structures.

    Parameters
    ----------
    model : str, path-like or Potential
        Bundled name, model file, or a potential (which is used as it is, not copied).
    device : str, optional
        Torch device.
    dtype : {"float32", "float64"}, optional
        Of the model. Energies and dipoles are summed in float64 in any case.
    field : Field, optional
        What is held, constant; or one of the next three instead.
    electric_field : array-like (3,), V/Å, optional
        Constant E: the energy becomes the electric enthalpy, forces and stress its derivatives
        (stress at constant E). In a crystal or liquid the macroscopic field; of a molecule, and
        along the normal of a slab, the one applied from outside (`lrcalc.models.boundary`).
    electric_displacement : array-like (3,), e/Å², optional
        Constant D (periodic structures only).
    reduced_field : array-like (3,), V, optional
        Constant voltage along each lattice vector: the field follows the cell, and stress is
        taken at that condition, which does not depend on the branch of the dipole.
    epsilon_infinity : float, optional
        Electronic permittivity, instead of the model's.
    asr_projection : bool, optional
        Subtract the mean from Born charges so that they sum to the total charge, also in the force
        of a field on charges that have no dipole, and in their current. The residual
        that was projected out is kept in `sum_rule_residual`.
    allow_net_charge : bool, optional
        Accept a field on a charged periodic cell, which then drifts as a whole: its energy falls
        without limit and depends on the origin.

    Attributes
    ----------
    field : Field or None
        Settable between calls, as are its views electric_field, electric_displacement and
        reduced_field, read-only arrays (3,) or None.
    sum_rule_residual : float
        Of the last call that asked for Born charges: largest component (e) of
        ``Σ_i born_i - Q 1`` per atom; NaN before.
    charge_forces : ndarray (N, 3) or None
        Of the last call: forces of the field on atomic charges in periodic cells, ``E·born``,
        which are in the forces but have no energy (physics §4). None where the energy is whole,
        or no forces were asked for.

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
        field: Field | None = None,
        electric_field: Any = None,
        electric_displacement: Any = None,
        reduced_field: Any = None,
        epsilon_infinity: float | None = None,
        asr_projection: bool = True,
        allow_net_charge: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"`dtype` is {dtype!r} but must be one of {sorted(DTYPES)}")
        keep_freed_memory()
        self.device = check_device(device)
        if not isinstance(model, str | os.PathLike | Potential):
            raise ValueError(
                f"`model` is {model!r} but must be a bundled name, a file, or a Potential"
            )
        potential = model if isinstance(model, Potential) else load(model, dtype=DTYPES[dtype])
        self.potential = potential.to(self.device)
        self._pairs = NeighborList(self.potential.cutoff, SKIN)
        self.epsilon_infinity = epsilon_infinity
        self.asr_projection = asr_projection
        self.allow_net_charge = allow_net_charge
        self.sum_rule_residual = float("nan")
        self.charge_forces: np.ndarray | None = None
        self._warned = False
        self.field = Field.from_arguments(
            electric_field, electric_displacement, reduced_field, field=field
        )

    @property
    def epsilon_infinity(self) -> float:
        """Electronic permittivity; settable between calls, None is the model's."""
        return self._epsilon_infinity

    @epsilon_infinity.setter
    def epsilon_infinity(self, value: float | None) -> None:
        self.screening = screening_factor(self.potential.metadata, value)
        card = self.potential.metadata.get("epsilon_infinity", 1.0)
        self._epsilon_infinity = float(card if value is None else value)

    @property
    def field(self) -> Field | None:
        """What is held, or None."""
        return self._field

    @field.setter
    def field(self, value: Field | None) -> None:
        if value is not None and check_field(value).varies:
            raise ValueError(
                f"`field` is {value}, but an evaluator knows no time; give it `field.at(time)`, "
                "or take LRCalculator"
            )
        self._field = value

    @property
    def field_now(self) -> Field | None:
        """The same: it is constant."""
        return self._field

    @property
    def in_field(self) -> bool:
        """Whether a field, a reduced field or a displacement is held."""
        return self._field is not None

    @property
    def conditions(self) -> tuple[Any, ...]:
        """All that results depend on beside the structures; hashable, equal for equal results."""
        return (
            self.potential, self.screening, self.asr_projection, self.allow_net_charge, self._field
        )  # fmt: skip

    def __call__(
        self, structures: Sequence[Atoms], properties: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Evaluate all structures in one batched call; compute only what is asked for.

        Parameters
        ----------
        structures : sequence of Atoms
            Of any size, species and boundary that the model knows.
        properties : iterable of str
            Among `lrcalc.properties.PROPERTIES`.

        Returns
        -------
        list of dict
            For each structure: energy (eV; the enthalpy in a field), forces (N, 3) eV/Å, stress
            (3, 3) eV/Å³, dipole (3,) e Å, polarization (3,) e/Å², born_effective_charges
            (N, 3, 3) e as [atom, field, displacement], polarizability (3, 3) e Å²/V,
            polarizability_derivative (N, 3, 3, 3) e Å/V as [atom, displacement, a, b], charges
            (N,) e, current (3,) e Å/fs (``Σ born·v`` of the structures' own velocities, without
            Born tensors; at constant D also what the change of E adds), electric_field (3,) V/Å,
            dielectric_tensor (3, 3): see `enthalpy_permittivity`; quadrupole (3, 3) e Å²: see
            `lrcalc.models.quadrupole`. Born charges, polarizability and current are those in the
            field that is held.

        Raises
        ------
        ValueError
            For a property that is not known or that the structure or model cannot have, bad
            structures, or results that are not finite.
        """
        self.charge_forces = None
        structures, wanted = as_structures(structures), as_names(properties)
        check_request(
            self.potential,
            structures,
            wanted,
            held=self._held,
            allow_net_charge=self.allow_net_charge,
        )
        self._warn_of_molecules(wanted, any(not atoms.pbc.any() for atoms in structures))
        velocities = velocities_of(structures) if needing("velocities", wanted) else None
        out = self._evaluate(from_ase(structures, device=self.device), wanted, velocities)
        check_results_finite(out)
        return out

    def of_frames(self, frames: Frames, properties: Iterable[str]) -> list[dict[str, Any]]:
        """As a call, for structures of the same atoms, in arrays; nothing that needs velocities.

        Whether results are finite is for the caller to see.
        """
        self.charge_forces = None
        wanted, pbc = as_names(properties), frames.pbc.tolist()
        check_model(self.potential, wanted, self._held)
        check_structure(
            self.potential, pbc, frames.charge, 0, wanted, self._held,
            allow_net_charge=self.allow_net_charge,
        )  # fmt: skip
        self._warn_of_molecules(wanted, not any(pbc))
        return self._evaluate(from_frames(frames, device=self.device), wanted, None)

    @property
    def _held(self) -> set[str]:
        return set() if self._field is None else {self._field.kind}

    def _evaluate(
        self, system: System, properties: set[str], velocities: np.ndarray | None
    ) -> list[dict[str, Any]]:
        self.potential.check_species(system.numbers)
        prediction = self._call_model(system, properties, velocities)
        values = prediction.results(properties)
        if "born_effective_charges" in properties:
            self.sum_rule_residual = float(prediction.born_residual.abs().max())
        forces = prediction.charge_forces if properties & {"forces", "stress"} else None
        self.charge_forces = None if forces is None else as_numpy(forces)
        return split(values, system)

    def evaluate(
        self, structures: Sequence[Atoms], properties: Iterable[str] = ("polarizability",)
    ) -> Prediction:
        """Tensors of one batched call with what ``properties`` need; nothing is checked."""
        system = from_ase(list(structures), device=self.device)
        self.potential.check_species(system.numbers)
        return self._call_model(system, as_names(properties), None)

    def _call_model(
        self, system: System, names: set[str], velocities: np.ndarray | None
    ) -> Prediction:
        given = None if velocities is None else torch.as_tensor(velocities, device=self.device)
        options = Options(self.screening, self.asr_projection, given)
        if self._pairs.cutoff != self.potential.cutoff:  # another potential was put in its place
            self._pairs = NeighborList(self.potential.cutoff, SKIN)
        pairs = self._pairs(system)
        return call_model(self.potential, system, pairs, self.field, names, options)

    def _warn_of_molecules(self, wanted: set[str], molecules: bool) -> None:
        """Warn once if a surface of condensed matter is asked for the response of a molecule."""
        if self._warned or self.potential.surface is None or not molecules:
            return
        told = molecule_warning(self.potential.metadata) if needing("response", wanted) else None
        if told:
            self._warned = True
            warnings.warn(told, stacklevel=3)

    def enthalpy_permittivity(self, atoms: Atoms) -> np.ndarray:
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

    def mean_permittivity(self, atoms: Atoms) -> float | None:
        """Mean over directions of `enthalpy_permittivity`; None where there is none.

        What the spectra of a run are computed with (`RunConditions.epsilon_infinity`).
        """
        if not atoms.pbc.all() or self.potential.config["level"] == "sr":
            return None
        if "i" not in self.potential.config["level"]:
            return self.screening**2
        return float(np.trace(self.enthalpy_permittivity(atoms)) / 3)

    def optical_permittivity(self, atoms: Atoms) -> np.ndarray:
        """Electronic permittivity (3, 3) for light: ``1 + α/(ε0 V)`` of a polarizability surface.

        Without a surface it is `enthalpy_permittivity`. The same errors.
        """
        self.enthalpy_permittivity(atoms)  # for what it refuses
        prediction = self.evaluate([atoms])
        found = optical_permittivity(prediction.system, prediction.terms, self.screening)
        return as_numpy(found[0])

    def constant_charges(self, atoms: Atoms) -> dict[str, float]:
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


def velocities_of(structures: Sequence[Atoms]) -> np.ndarray:
    """Velocities (N, 3) of all atoms, Å/fs."""
    from ase.units import fs

    return np.concatenate([atoms.get_velocities() for atoms in structures]) * fs


def as_numpy(values: Tensor) -> np.ndarray:
    """Float64 array on the host."""
    return np.asarray(values.detach().cpu().double().numpy())


def split(values: dict[str, Tensor], system: System) -> list[dict[str, Any]]:
    """Cut a batch into structures: a scalar becomes a float, and arrays belong to the caller."""
    sizes = torch.bincount(system.batch, minlength=system.n_structures).cpu().numpy()
    ends = np.cumsum(sizes)
    out: list[dict[str, Any]] = [{} for _ in sizes]
    for name, value in values.items():
        array = as_numpy(value)
        for index, (start, end) in enumerate(zip(ends - sizes, ends, strict=True)):
            part = array[start:end] if PROPERTIES[name].per_atom else array[index]
            out[index][name] = float(part) if part.ndim == 0 else part.copy()
    return out
