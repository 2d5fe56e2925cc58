"""Properties of a batch of structures, tensors in and tensors out: what every caller stands on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.derivatives import Strained, directional, forces_and_stress, jacobian, strained
from lrcalc.fields import DISPLACEMENT, Field
from lrcalc.models.boundary import coupling
from lrcalc.models.dipole import (
    gradient_born,
    is_exact,
    lattice_dipole,
    lever_born,
    subtract,
    sum_rule_residual,
)
from lrcalc.models.enthalpy import (
    Enthalpy,
    dipole,
    electric_enthalpy,
    enthalpy_permittivity,
    polarizability,
)
from lrcalc.models.native.fast import is_compiled
from lrcalc.models.own_field import OwnEnthalpy, in_field
from lrcalc.models.potential import Potential
from lrcalc.models.requests import check_arguments, check_ghosts, check_system
from lrcalc.models.screening import screening_factor
from lrcalc.models.terms import Terms
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.properties import PROPERTIES, as_names, check_value, needing
from lrcalc.system import System, structure_sums, volumes

LAST = ("stress", "forces")
"""Their backward pass frees the graph, so what else needs it comes before."""


def predict(
    model: Potential,
    system: System,
    pairs: Pairs | None = None,
    field: Field | None = None,
    properties: str | Iterable[str] = ("energy", "forces"),
    *,
    epsilon_infinity: float | None = None,
    asr_projection: bool = True,
    allow_net_charge: bool = False,
    velocities: Tensor | None = None,
    create_graph: bool = False,
    compile: bool = False,
    check: bool = True,
) -> dict[str, Tensor]:
    """Return properties of all structures of ``system``, from one call of the model.

    Parameters
    ----------
    model : Potential
    system : System
        On the device of the model; positions in float64, also for a model in float32. With
        ``create_graph``, those that require a gradient get one.
    pairs : Pairs or None
        Within ``model.cutoff`` at least: farther ones contribute nothing. None: they are found.
        To be given with ghosts (`System.owned`), whose halo is ``model.reach`` deep; forces and
        Born charges on them belong to the atoms that they are copies of (`lrcalc.models.ghosts`).
    field : Field or None
        What is held: constant, the same for all structures. Energy is then the electric enthalpy,
        and forces and stress are its derivatives (`lrcalc.models.enthalpy`).
    properties : iterable of str
        Among `lrcalc.properties.PROPERTIES`, where units and shapes are.
    epsilon_infinity : float, optional
        Electronic permittivity, instead of the model's.
    asr_projection : bool, optional
        Subtract the mean from Born charges so that they sum to the total charge, also in the force
        of a field on charges that have no dipole, and in their current.
    allow_net_charge : bool, optional
        Accept a field on a charged periodic cell, which then drifts as a whole: its energy falls
        without limit and depends on the origin.
    velocities : Tensor, shape (N, 3), Å/fs, optional
        For the current.
    create_graph : bool, optional
        Results can be differentiated further, as in training; otherwise they are detached.
        Polarizability derivatives always are.
    compile : bool, optional
        As for `lrcalc.Evaluator`; with ``create_graph`` of the mesh alone.
    check : bool, optional
        Refuse what model and structures cannot have. It reads boundaries and charges back from
        the device; callers who know them leave it out.

    Returns
    -------
    dict of str to Tensor
        Of each property (N, *shape) or (S, *shape), float64 but for what positions are. Not
        looked at: whoever shows it to somebody looks for NaN.

    Raises
    ------
    ValueError
        Naming the property, the structure and the way out.
    """
    names = as_names(properties)
    if check:
        check_arguments(model, system, pairs, field, velocities)
    if system.owned is not None:
        check_ghosts(names, pairs)
    if check:
        check_system(model, system, names, field=field, allow_net_charge=allow_net_charge)
        model.check_species(system.numbers)
    if pairs is None:
        pairs = build_pairs(system, model.cutoff)
    options = Options(
        screening_factor(model.metadata, epsilon_infinity), asr_projection, velocities,
        create_graph, compile=compile,
    )  # fmt: skip
    return call_model(model, system, pairs, field, names, options).results(names)


class Options(NamedTuple):
    """How properties are computed.

    Attributes
    ----------
    screening : float or Tensor
        s, `lrcalc.models.screening.screening_factor`; a tensor where weights are to learn of it.
    asr_projection : bool
    velocities : Tensor or None, shape (N, 3), Å/fs
    create_graph : bool
        As for `predict`.
    held : Tensor or None, shape (3,)
        Value of the field that is held, where it is on the device already.
    compile : bool
        Use compiled functions, where first derivatives are enough.
    """

    screening: float | Tensor
    asr_projection: bool = True
    velocities: Tensor | None = None
    create_graph: bool = False
    held: Tensor | None = None
    compile: bool = False


def call_model(
    model: Potential,
    system: System,
    pairs: Pairs,
    field: Field | None,
    names: set[str],
    options: Options,
) -> Prediction:
    """Call the model once, for what ``names`` need; nothing is checked."""
    with_field = field is not None and field.kind != DISPLACEMENT
    response = bool(needing("response", names))
    gradient = options.create_graph or bool(needing("gradient", names))
    if model.own_field:
        system = in_field(system, field, options.screening)
        gradient = gradient or bool(needing("moments", names))
    once = not options.create_graph and _is_once(model, names)
    system = system._replace(once=once, compiled=options.compile)
    with torch.set_grad_enabled(gradient):
        leaves = strained(system, stress=bool(needing("strain", names)))
        # at constant D the field that follows the atoms is screened as their forces are
        terms = model(leaves.system, pairs, surface=with_field or response)
        enthalpy: Enthalpy | OwnEnthalpy
        if model.own_field:
            enthalpy = OwnEnthalpy(terms.energy, leaves.system)
        else:
            enthalpy = electric_enthalpy(
                leaves.system, pairs, terms, field, options.screening, options.held
            )
    return Prediction(model, pairs, leaves, terms, enthalpy, options, gradient)


def _is_once(model: Potential, names: set[str]) -> bool:
    """Whether first derivatives are enough.

    Fields of the model's own want second ones, and so do derivatives along velocities.
    """
    return not (model.own_field or needing("velocities", names))


def is_lean(model: Potential, names: set[str], compile: bool) -> bool:
    """Whether nearly all work is done in C++, on a CPU (`lrcalc.compiled.one_torch_thread`)."""
    like = next(model.parameters(), None)
    return compile and like is not None and _is_once(model, names) and is_compiled(
        model.backbone, like
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Prediction:
    """One call of a model; what is made of it is computed once, when it is asked for.

    Attributes
    ----------
    model : Potential
    pairs : Pairs
    leaves : Strained
        What is differentiated with respect to.
    terms : Terms
    enthalpy : Enthalpy or OwnEnthalpy
        With what it was called for.
    options : Options
    gradient : bool
        Whether there is a graph.
    """

    model: Potential
    pairs: Pairs
    leaves: Strained
    terms: Terms
    enthalpy: Enthalpy | OwnEnthalpy
    options: Options
    gradient: bool

    def results(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Values of properties; only those that the model was called for can be had."""
        order = sorted(names, key=lambda name: (name in LAST, name))
        with torch.set_grad_enabled(self.gradient):
            values = {name: PROPERTIES[name].compute(self) for name in order}
        for name, value in values.items():
            check_value(name, value, self.system)
        if self.options.create_graph:
            return values
        return {name: value.detach() for name, value in values.items()}

    @property
    def system(self) -> System:
        """Structures, with the gradients of `leaves`."""
        return self.leaves.system

    @property
    def screening(self) -> float | Tensor:
        """Physical over latent multipoles, s."""
        return self.options.screening

    @cached_property
    def coupling(self) -> Tensor:
        """What turns latent dipoles into those that a field couples to, (S, 3, 3)."""
        return coupling(self.system, self.screening)

    @property
    def forces(self) -> Tensor:
        """``-d𝓕/dr``, and what a field does to charges that have no energy, (N, 3), eV/Å."""
        forces = self._gradients[0]
        return forces if self.charge_forces is None else forces + self.charge_forces

    @property
    def stress(self) -> Tensor:
        """``(1/V) d𝓕/dε``, (S, 3, 3), eV/Å³."""
        stress = self._gradients[1]
        assert stress is not None, "no strain was asked for"
        return stress

    @cached_property
    def _gradients(self) -> tuple[Tensor, Tensor | None]:
        _ = self.charge_forces  # while there is a graph
        return forces_and_stress(
            self.enthalpy.value, self.leaves, create_graph=self.options.create_graph
        )

    @cached_property
    def charge_forces(self) -> Tensor | None:
        """Forces of the field on atomic charges in periodic cells, ``E·born``, (N, 3), eV/Å.

        None where all forces have an energy.
        """
        field, levers = self.enthalpy.field, None
        if field is not None:
            levers = self.levers
        if field is None or levers is None:
            return None
        return torch.einsum("na,nab->nb", field[self.system.batch], levers).detach()

    @cached_property
    def levers(self) -> Tensor | None:
        """Born charges (N, 3, 3), e, of charges that have no dipole; None if there are none.

        With the sum rule, where it is asked for: a uniform field does not push a neutral cell.
        """
        system = self.system
        lever = self._bare_levers
        if lever is None or not self.options.asr_projection:
            return lever
        levers_only = (~is_exact(system, self.terms)).double()[:, None, None]
        return subtract(lever, levers_only * sum_rule_residual(lever, system), system)

    @cached_property
    def _bare_levers(self) -> Tensor | None:
        lever = lever_born(
            self.model, self.system, self.pairs, self.terms, create_graph=self.options.create_graph
        )
        return None if lever is None else self.coupling[self.system.batch] @ lever

    @cached_property
    def dipole(self) -> Tensor:
        """Minus the derivative of the enthalpy with respect to the field, (S, 3), e Å."""
        if self.enthalpy.dipole is not None:
            return self.enthalpy.dipole
        return dipole(self.system, self.pairs, self.terms, self.screening)

    @property
    def polarization(self) -> Tensor:
        """Dipole of a volume, (S, 3), e/Å²."""
        return self.dipole / volumes(self.system.cell).double()[:, None]

    def moment(self, *, constant_field: bool) -> Tensor:
        """Dipole (S, 3) that Born charges and currents are derivatives of, atomic charges apart.

        In a field the dipole contains ``α(R)·E``. Born charges are ``-∂²𝓕/∂E∂r``, at constant E;
        the current is that of the dipole of the run, where E may follow the atoms (constant D).
        """
        if self.enthalpy.moment is not None:
            return self.enthalpy.moment
        latent = lattice_dipole(self.system, self.pairs, self.terms, coupled=True)
        moment = torch.einsum("sab,sb->sa", self.coupling, latent)
        field, response = self.enthalpy.field, self.enthalpy.response
        if field is None or response is None:
            return moment
        field = field.detach() if constant_field else field
        return moment + torch.einsum("sab,sb->sa", response, field)

    @cached_property
    def raw_born(self) -> Tensor:
        """Born charges (N, 3, 3), e, before the sum rule is enforced."""
        create_graph = self.options.create_graph
        moment = self.moment(constant_field=True)
        born = gradient_born(moment, self.leaves.positions, create_graph=create_graph)
        born = born if self._bare_levers is None else born + self._bare_levers
        return born if create_graph else born.detach()

    @cached_property
    def born_residual(self) -> Tensor:
        """Violation of the sum rule per atom, (S, 3, 3), e."""
        return sum_rule_residual(self.raw_born, self.system)

    @property
    def born(self) -> Tensor:
        """Born charges ``[atom, field, displacement]``, (N, 3, 3), e."""
        if not self.options.asr_projection:
            return self.raw_born
        return subtract(self.raw_born, self.born_residual, self.system)

    @cached_property
    def polarizability(self) -> Tensor:
        """Response of the dipole to the applied field, (S, 3, 3), e Å²/V."""
        if self.enthalpy.polarizability is not None:
            return self.enthalpy.polarizability
        return polarizability(self.system, self.terms, self.screening)

    @property
    def polarizability_derivative(self) -> Tensor:
        """``dα/dr`` as [atom, displacement, a, b], (N, 3, 3, 3), e Å/V."""
        a, b = torch.triu_indices(3, 3, device=self.leaves.positions.device)
        rows = jacobian(self.polarizability.sum(0)[a, b], self.leaves.positions, retain_graph=True)
        full = rows.new_zeros((3, 3, *rows.shape[1:]))
        full[a, b] = rows
        full[b, a] = rows
        return full.permute(2, 3, 0, 1)

    @property
    def charges(self) -> Tensor:
        """Physical charges of the atoms, without what is induced on them, (N,), e."""
        return self.screening * self.terms.readout.multipoles.charge.double()

    @property
    def current(self) -> Tensor:
        """``dM/dt`` at the velocities that were given, (S, 3), e Å/fs."""
        velocities = self.options.velocities
        if velocities is None:
            raise ValueError("`velocities` is None, but the current needs them (N, 3) in Å/fs")
        moment = self.moment(constant_field=False)
        current = directional(moment, self.leaves.positions, velocities, self.system.domain)
        if self.levers is None:
            return current
        charges = torch.einsum("nab,nb->na", self.levers, velocities)
        return current + structure_sums(self.system, charges)

    @property
    def electric_field(self) -> Tensor:
        """Instantaneous field, zero without one, (S, 3), V/Å."""
        if self.enthalpy.field is not None:
            return self.enthalpy.field
        return self.enthalpy.value.new_zeros((self.system.n_structures, 3))

    @property
    def dielectric_tensor(self) -> Tensor:
        """Permittivity of the electrons that the forces hold, (S, 3, 3)."""
        return enthalpy_permittivity(self.system, self.terms, self.screening)
