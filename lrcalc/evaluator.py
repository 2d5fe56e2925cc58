"""Evaluator: properties of many structures in one model call. ASE and i-PI both stand on it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.checkpoint import load
from lrcalc.derivatives import Strained, directional, forces_and_stress, jacobian, strained
from lrcalc.fields import KINDS, Field
from lrcalc.memory import keep_freed_memory
from lrcalc.models.boundary import coupling
from lrcalc.models.card import molecule_warning
from lrcalc.models.dipole import is_exact, lattice_born, lattice_dipole, lever_born
from lrcalc.models.enthalpy import (
    Conditions,
    Enthalpy,
    electric_enthalpy,
    enthalpy_permittivity,
    optical_permittivity,
)
from lrcalc.models.potential import Potential, Terms
from lrcalc.models.requests import (
    as_names,
    as_structures,
    check_device,
    check_finite,
    check_request,
)
from lrcalc.models.screening import screening_factor
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.system import System, from_ase, sum_by_structure, volumes

if TYPE_CHECKING:
    from ase import Atoms

DTYPES = {"float32": torch.float32, "float64": torch.float64}

DIFFERENTIATED = {"forces", "stress", "born_effective_charges", "current",
                  "polarizability_derivative"}  # fmt: skip
"""What needs a backward pass."""


NEED_SURFACE = {"polarizability", "polarizability_derivative"}
"""What a polarizability surface is evaluated for, where there is no field."""


class Evaluation(NamedTuple):
    """Tensors of one batched call, before they are cut into structures."""

    system: System
    pairs: Pairs
    leaves: Strained
    terms: Terms
    enthalpy: Enthalpy


ELECTRIC = {"dipole", "polarization", "born_effective_charges", "polarizability",
            "polarizability_derivative", "current", "electric_field"}  # fmt: skip
"""What needs the latent multipoles to be turned into moments."""


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
        self.epsilon_infinity = epsilon_infinity
        self.asr_projection = asr_projection
        self.allow_net_charge = allow_net_charge
        self.sum_rule_residual = float("nan")
        self._warned = False
        self.charge_forces: np.ndarray | None = None
        self._held: dict[str, np.ndarray | None] = dict.fromkeys(KINDS)
        self.electric_field = electric_field
        self.electric_displacement = electric_displacement
        self.reduced_field = reduced_field

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
    def electric_field(self) -> np.ndarray | None:
        """Constant field (3,), V/Å, or None; settable between calls."""
        return self._held["electric_field"]

    @electric_field.setter
    def electric_field(self, value: Any) -> None:
        self._hold("electric_field", value)

    @property
    def electric_displacement(self) -> np.ndarray | None:
        """Constant electric displacement (3,), e/Å², or None; settable between calls."""
        return self._held["electric_displacement"]

    @electric_displacement.setter
    def electric_displacement(self, value: Any) -> None:
        self._hold("electric_displacement", value)

    @property
    def reduced_field(self) -> np.ndarray | None:
        """Constant voltages (3,) along the lattice vectors, V, or None; settable between calls."""
        return self._held["reduced_field"]

    @reduced_field.setter
    def reduced_field(self, value: Any) -> None:
        self._hold("reduced_field", value)

    def _hold(self, name: str, value: Any) -> None:
        vector = None if value is None else Field(name, value).array
        others = [k for k, v in self._held.items() if k != name and v is not None]
        if vector is not None and others:
            raise ValueError(
                f"`{name}` and `{others[0]}` are both set; they exclude each other, set one of "
                "them to None first"
            )
        self._held[name] = vector

    @property
    def in_field(self) -> bool:
        """Whether a field, a reduced field or a displacement is held."""
        return any(v is not None for v in self._held.values())

    @property
    def conditions(self) -> tuple[Any, ...]:
        """All that results depend on beside the structures; hashable, equal for equal results."""
        held = (None if v is None else tuple(v.tolist()) for v in self._held.values())
        return (self.potential, self.screening, self.asr_projection, self.allow_net_charge, *held)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a copy or a pickle: its own fields, which cannot be changed in place either."""
        self.__dict__.update(state)
        self._held = {k: None if v is None else Field(k, v).array for k, v in self._held.items()}

    def __call__(
        self, structures: Sequence[Atoms], properties: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Evaluate all structures in one batched call; compute only what is asked for.

        Parameters
        ----------
        structures : sequence of Atoms
            Of any size, species and boundary that the model knows.
        properties : iterable of str
            Among `lrcalc.models.requests.PROPERTIES`.

        Returns
        -------
        list of dict
            For each structure: energy (eV; the enthalpy in a field), forces (N, 3) eV/Å, stress
            (3, 3) eV/Å³, dipole (3,) e Å, polarization (3,) e/Å², born_effective_charges
            (N, 3, 3) e as [atom, field, displacement], polarizability (3, 3) e Å²/V,
            polarizability_derivative (N, 3, 3, 3) e Å/V as [atom, displacement, a, b], charges
            (N,) e, current (3,) e Å/fs (``Σ born·v`` of the structures' own velocities, without
            Born tensors; at constant D also what the change of E adds), electric_field (3,) V/Å,
            dielectric_tensor (3, 3): see `enthalpy_permittivity`.
            Born charges, polarizability and current are those in the field that is held.

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
            held={k for k, v in self._held.items() if v is not None},
            allow_net_charge=self.allow_net_charge,
        )
        self._warn_of_molecules(structures, wanted)
        gradient = bool(wanted & DIFFERENTIATED)
        evaluation = self.evaluate(
            structures,
            stress="stress" in wanted,
            gradient=gradient,
            electric=bool(wanted & ELECTRIC),
            surface=bool(wanted & NEED_SURFACE),
        )
        out: list[dict[str, Any]] = [{} for _ in structures]
        # what keeps the graph goes first
        if "born_effective_charges" in wanted:
            self._born(out, evaluation)
        if "current" in wanted:
            self._current(out, structures, evaluation)
        if "polarizability_derivative" in wanted:
            self._polarizability_derivative(out, evaluation)
        if wanted & {"forces", "stress"}:
            self._forces(out, evaluation)
        self._plain(out, wanted, evaluation)
        for result in out:
            for name in set(result) - wanted:
                del result[name]
        check_finite(out)
        return out

    def evaluate(
        self,
        structures: Sequence[Atoms],
        *,
        stress: bool = False,
        gradient: bool = True,
        electric: bool = True,
        surface: bool = True,
    ) -> Evaluation:
        """Tensors of one batched call, for tools that need their own derivatives.

        ``surface``: evaluate the polarizability surface, which a dipole without a field does not
        need, nor does constant D; at constant E it always is.
        """
        system = from_ase(list(structures), device=self.device)
        self.potential.check_species(system.numbers)
        pairs = build_pairs(system, self.potential.cutoff)
        held = {
            k: None if v is None else torch.tensor(v, device=self.device)
            for k, v in self._held.items()
        }
        conditions = Conditions(
            held["electric_field"], held["reduced_field"], held["electric_displacement"]
        )
        with torch.set_grad_enabled(gradient):
            leaves = strained(system, stress=stress)
            answers = held["electric_field"] is not None or held["reduced_field"] is not None
            needed = answers or (electric and surface)
            terms = self.potential(leaves.system, pairs, surface=needed)
            has_charges = self.potential.config["level"] != "sr"
            enthalpy = electric_enthalpy(
                leaves.system, pairs, terms, conditions, self.screening,
                electric=electric and has_charges,
            )  # fmt: skip
        return Evaluation(leaves.system, pairs, leaves, terms, enthalpy)

    def _warn_of_molecules(self, structures: Sequence[Atoms], wanted: set[str]) -> None:
        """Warn once if a surface of condensed matter is asked for the response of a molecule."""
        if self._warned or not wanted & NEED_SURFACE or self.potential.surface is None:
            return
        told = molecule_warning(self.potential.metadata)
        if told and any(not atoms.pbc.any() for atoms in structures):
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
        evaluation = self.evaluate([atoms], gradient=False)
        found = optical_permittivity(evaluation.system, evaluation.terms, self.screening)
        return np.asarray(found[0].cpu().numpy())

    def constant_charges(self, atoms: Atoms) -> dict[str, float]:
        """Return the charge (e) of each species that moves with it by a lattice vector.

        Local charges only: those of atomic charges depend on the surroundings.
        """
        evaluation = self.evaluate([atoms], gradient=False, electric=False)
        transfers = evaluation.terms.readout.transfers
        if transfers is None:
            raise ValueError(
                "this model has atomic charges, which have no constant part and no quantum of "
                "the dipole; use a model with charges='local'"
            )
        charge = self.screening * transfers.species_charge.double().cpu().numpy()
        symbols = atoms.get_chemical_symbols()
        return {symbol: float(charge[symbols.index(symbol)]) for symbol in sorted(set(symbols))}

    def _forces(self, out: list[dict[str, Any]], evaluation: Evaluation) -> None:
        system, leaves, enthalpy = evaluation.system, evaluation.leaves, evaluation.enthalpy
        levers = None if enthalpy.field is None else self._levers(evaluation)
        forces, stress = forces_and_stress(enthalpy.value, leaves)
        if levers is not None and enthalpy.field is not None:
            extra = torch.einsum("na,nab->nb", enthalpy.field[system.batch], levers)
            forces = forces + extra
            self.charge_forces = extra.detach().cpu().numpy()
        _cut(out, "forces", forces, system)
        if stress is not None:
            _split(out, "stress", stress)

    def _levers(self, evaluation: Evaluation) -> Tensor | None:
        """Born charges (N, 3, 3), e, of charges that have no dipole; None if there are none.

        With the sum rule, where it is asked for: a uniform field does not push a neutral cell.
        """
        system, pairs, _, terms, _ = evaluation
        lever = lever_born(self.potential, system, pairs, terms)
        if lever is None:
            return None
        levers = torch.einsum("nac,ncb->nab", coupling(system, self.screening)[system.batch], lever)
        if self.asr_projection:
            levers_only = (~is_exact(system, terms)).double()[:, None, None]
            levers = levers - (levers_only * _residual(levers, system))[system.batch]
        return levers

    def _moment(self, evaluation: Evaluation, *, constant_field: bool) -> Tensor:
        """Dipole (S, 3) that Born charges and currents are derivatives of, atomic charges apart.

        In a field the dipole contains ``α(R)·E``. Born charges are ``-∂²𝓕/∂E∂r``, at constant E;
        the current is that of the dipole of the run, where E may follow the atoms (constant D).
        """
        system, pairs, _, terms, enthalpy = evaluation
        latent = lattice_dipole(system, pairs, terms, coupled=True)
        moment = torch.einsum("sab,sb->sa", coupling(system, self.screening), latent)
        if enthalpy.field is None or enthalpy.response is None:
            return moment
        field = enthalpy.field.detach() if constant_field else enthalpy.field
        return moment + torch.einsum("sab,sb->sa", enthalpy.response, field)

    def _born(self, out: list[dict[str, Any]], evaluation: Evaluation) -> None:
        system, pairs, leaves, terms, _ = evaluation
        born = lattice_born(
            self.potential,
            system,
            pairs,
            terms,
            self._moment(evaluation, constant_field=True),
            leaves.positions,
            coupling(system, self.screening),
        ).detach()
        residual = _residual(born, system)
        self.sum_rule_residual = float(residual.abs().max())
        if self.asr_projection:
            born = born - residual[system.batch]
        _cut(out, "born_effective_charges", born, system)

    def _current(
        self, out: list[dict[str, Any]], structures: Sequence[Atoms], evaluation: Evaluation
    ) -> None:
        from ase.units import fs

        system, leaves = evaluation.system, evaluation.leaves
        velocities = torch.as_tensor(
            np.concatenate([a.get_velocities() for a in structures]) * fs, device=self.device
        )
        dipole = self._moment(evaluation, constant_field=False)
        current = directional(dipole, leaves.positions, velocities)
        levers = self._levers(evaluation)
        if levers is not None:
            charges = torch.einsum("nab,nb->na", levers, velocities)
            current = current + sum_by_structure(charges, system.batch, system.n_structures)
        _split(out, "current", current)

    def _polarizability_derivative(self, out: list[dict[str, Any]], evaluation: Evaluation) -> None:
        alpha = evaluation.enthalpy.polarizability
        assert alpha is not None
        a, b = torch.triu_indices(3, 3)
        rows = jacobian(alpha.sum(0)[a, b], evaluation.leaves.positions, retain_graph=True)
        full = rows.new_zeros((3, 3, *rows.shape[1:]))
        full[a, b] = rows
        full[b, a] = rows
        _cut(out, "polarizability_derivative", full.permute(2, 3, 0, 1), evaluation.system)

    def _plain(self, out: list[dict[str, Any]], wanted: set[str], evaluation: Evaluation) -> None:
        enthalpy = evaluation.enthalpy
        _split(out, "energy", enthalpy.value)
        if enthalpy.dipole is not None and wanted & {"dipole", "polarization"}:
            _split(out, "dipole", enthalpy.dipole)
            if "polarization" in wanted:
                volume = volumes(evaluation.system.cell).double()
                _split(out, "polarization", enthalpy.dipole / volume[:, None])
        if enthalpy.polarizability is not None and "polarizability" in wanted:
            _split(out, "polarizability", enthalpy.polarizability)
        if "dielectric_tensor" in wanted:
            found = enthalpy_permittivity(evaluation.system, evaluation.terms, self.screening)
            _split(out, "dielectric_tensor", found)
        if "charges" in wanted:
            charges = evaluation.terms.readout.multipoles.charge
            _cut(out, "charges", self.screening * charges, evaluation.system)
        if "electric_field" in wanted:
            zero = torch.zeros((len(out), 3))
            _split(out, "electric_field", zero if enthalpy.field is None else enthalpy.field)


def _residual(born: Tensor, system: System) -> Tensor:
    """Violation of the acoustic sum rule per atom, ``(Σ_i born_i - Q 1)/N``, (S, 3, 3), e."""
    n = system.n_structures
    count = torch.bincount(system.batch, minlength=n).double()
    unit = torch.eye(3, dtype=torch.float64, device=born.device)
    charge = system.total_charge.double()[:, None, None] * unit
    return (sum_by_structure(born, system.batch, n) - charge) / count[:, None, None]


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
