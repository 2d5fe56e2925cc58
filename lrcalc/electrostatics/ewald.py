"""`Ewald`: the electrostatics of a model, configured once and called at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.domain import Domain
from lrcalc.electrostatics.alone import Choice
from lrcalc.electrostatics.choice import choose_sum
from lrcalc.electrostatics.direct import Direct
from lrcalc.electrostatics.ghosts import owned_rows, spread
from lrcalc.electrostatics.hosted import moved, stand_in
from lrcalc.electrostatics.kernels import Source, converged_cutoff, interaction_energy
from lrcalc.electrostatics.mesh import Mesh
from lrcalc.electrostatics.open import Open
from lrcalc.electrostatics.operator import Groups, apply, bind, plan_groups
from lrcalc.electrostatics.remembered import Remembered, remember
from lrcalc.electrostatics.response import induce, response_derivatives
from lrcalc.electrostatics.slab import Slab
from lrcalc.electrostatics.solver import Solution
from lrcalc.electrostatics.sums import Geometry, Sum
from lrcalc.electrostatics.validate import (
    as_boundaries,
    as_cells,
    check_arguments,
    check_geometry,
    check_multipoles,
    check_response,
    check_types,
    count_structures,
)
from lrcalc.multipoles import Multipoles


class ElectrostaticsResult(NamedTuple):
    """Energy and potential of a batch; an entry that was not needed is None.

    Attributes
    ----------
    energy : Tensor, shape (S,), eV
        Permanent and induced energy of each structure.
    permanent_energy : Tensor, shape (S,), eV
    potential : Tensor or None, shape (N,), V
        Potential of the permanent multipoles at each atom, own contribution removed.
    field : Tensor or None, shape (N, 3), V/Å
        Minus the gradient of that potential.
    induced_charge : Tensor or None, shape (N,), e
        On atoms, with what flowed within pairs.
    induced_dipole : Tensor or None, shape (N, 3), e Å
    transfer : Tensor or None, shape (P,), e
        Charge that ``pair.i`` gained from ``pair.j``.
    solution : Solution or None
        Residual, iterations and stop reason of a self-consistent response.
    atomic_energy : Tensor or None, shape (N,), eV
        Share of each atom in the energy (half of each interaction); with ``with_field``.
    """

    energy: Tensor
    permanent_energy: Tensor
    potential: Tensor | None = None
    field: Tensor | None = None
    induced_charge: Tensor | None = None
    induced_dipole: Tensor | None = None
    transfer: Tensor | None = None
    solution: Solution | None = None
    atomic_energy: Tensor | None = None


PER_ATOM = ("potential", "field", "induced_charge", "induced_dipole", "atomic_energy")
"""Entries of an `ElectrostaticsResult` with one row for each atom."""


class EwaldPlan(NamedTuple):
    """What `Ewald.plan` settled.

    Attributes
    ----------
    groups : Groups
    derivatives : int
        Of the potential of the permanent multipoles; -1: their energy alone.
    with_field : bool
        Atomic energies are wanted too.
    """

    groups: Groups
    derivatives: int
    with_field: bool


class Ewald(nn.Module):
    """Energy of smeared, polarizable multipoles (Kim et al., arXiv:2605.05746).

    Parameters
    ----------
    smearing : float
        Gaussian width σ, Å.
    k_cutoff : float or None
        Largest wave number of the sum, Å⁻¹. None: where the weight exp(-σ²k²/2) has fallen to
        ``accuracy``. A given cutoff is kept as it is even if that leaves more out, because the
        truncation is part of published models (k_c = π Å⁻¹ with σ = 1 Å).
    accuracy : float
        Relative error of forces that the mesh (root mean square, see `mesh_size.mesh_error`) and
        a cutoff chosen here may have. float32 itself reaches about 1e-6. From 1e-14 to 0.1.
    method : str or Sum
        How structures periodic in three directions are summed: "direct", "mesh" or "auto", the
        faster one that fits into memory. "open" and "slab" choose nothing: they refuse a batch
        with other boundaries than none, or two, periodic directions. A `Sum` of your own sums
        all structures, whatever their boundaries.
    iterations : int or None
        Response: 0 is the linear response of the paper, n iterates it n times, None makes it
        self-consistent (conjugate gradients; derivatives by the implicit-function theorem).
    tolerance : float or None
        Relative residual of the self-consistent response, between 0 and 1; None: 1e-10
        (float32: 1e-5).
    maximum_iterations : int
        Limit of the self-consistent response.
    remove_self_interaction : bool
        Take off the energy, potential and field of each site at itself. If False the self term
        is part of every boundary, open ones included.
    strength : float
        Factor on the interaction, and so on energy, potential and field: of published models that
        were trained with another value of ε0.

    Raises
    ------
    ValueError
        Naming the argument that is wrong.

    Notes
    -----
    A net charge in a cell periodic in three directions is neutralised by a uniform background
    (the k = 0 term is left out), with tin-foil boundary. The smeared interaction makes the
    energy of overlapping sites finite: nothing here refuses close atoms.

    A call is `plan`, on the host and remembered while cells, boundaries and sizes stay the same,
    and `evaluate`, which looks at no value with linear or once iterated response. More iterations
    are looked at once, at the end, for divergence; the self-consistent response at each step.
    """

    def __init__(
        self,
        smearing: float = 1.0,
        k_cutoff: float | None = None,
        accuracy: float = 1e-5,
        method: str | Sum = "auto",
        *,
        iterations: int | None = 0,
        tolerance: float | None = None,
        maximum_iterations: int = 200,
        remove_self_interaction: bool = True,
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        check_arguments(smearing, k_cutoff, method, accuracy, strength)
        check_response(iterations, tolerance, maximum_iterations)
        self.smearing = smearing
        self.k_cutoff = converged_cutoff(smearing, accuracy) if k_cutoff is None else k_cutoff
        self.accuracy = accuracy
        self.method = method
        self.iterations = iterations
        self.tolerance = tolerance
        self.maximum_iterations = maximum_iterations
        self.remove_self_interaction = remove_self_interaction
        self.strength = strength
        self._remembered: Remembered | None = None

    def extra_repr(self) -> str:
        """Return the settings, as they are given to the constructor."""
        names = ("smearing", "k_cutoff", "accuracy", "method", "iterations")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def forward(
        self,
        positions: Tensor,
        cell: Tensor | None,
        multipoles: Multipoles,
        *,
        batch: Tensor | None = None,
        pbc: Tensor | Sequence[Any] | bool | None = None,
        owned: Tensor | None = None,
        domain: Domain | None = None,
        with_field: bool = False,
        check: bool = True,
        host: Geometry | None = None,
        compiled: bool = False,
        alone: bool = False,
    ) -> ElectrostaticsResult:
        """Energy of a batch of structures.

        Parameters
        ----------
        positions : Tensor, shape (N, 3), Å
            float32 or float64; cell and multipoles must have the same type.
        cell : Tensor or None, shape (3, 3) or (S, 3, 3), Å
            Cell vectors as rows, of either handedness; None for open boundaries. Entries of open
            structures are not looked at. One cell of shape (3, 3) holds for all structures.
        multipoles : Multipoles
            What sits on the atoms and how it responds.
        batch : Tensor or None, shape (N,)
            Structure of each atom, 0 … S - 1 in any order and each with at least one atom; None
            is a single structure.
        pbc : Tensor, sequence of bool, bool or None, shape (3,) or (S, 3)
            Periodic directions of each structure: none, two (a slab) or three. None means three
            if there is a cell, whatever the ``method``. Different boundaries may be mixed in a
            batch.
        owned : Tensor or None, shape (N,), bool
            Atoms to sum over; None: all. The others are ghosts, copies of owned atoms, and have
            zeros in the result. Charge flow between pairs (``multipoles.pair``) is refused then,
            unless there is a ``domain``.
        domain : Domain or None
            Who has the rest of the structure, of which ``owned`` marks the part of this process.
        with_field : bool
            Return potential, field and atomic energies also where the response does not need
            them.
        check : bool
            Look for types, shapes, values and cells that make no sense (a few reductions).
        host : Geometry or None
            The same structures in the host's memory, to plan by without waiting for a GPU.
        compiled : bool
            Compiled functions may be used, on a CPU (`lrcalc.compiled`).
        alone : bool
            Sum each structure as it would be by itself: its numbers do not depend on the others of
            the batch, beyond rounding (`lrcalc.electrostatics.alone`).

        Returns
        -------
        ElectrostaticsResult
            Differentiable at least twice in positions, cell and multipoles, with any method.

        Raises
        ------
        ValueError
            Naming the argument that is wrong, a polarization catastrophe, an iterated response
            that diverges, or a cell too large for its sum over waves.
        """
        if owned is not None:
            rows, multipoles = owned_rows(owned, multipoles, len(positions), domain)
            batch = None if batch is None else batch[rows]
            result = self(
                positions[rows], cell, multipoles,
                batch=batch, pbc=pbc, domain=domain, with_field=with_field, check=check,
                compiled=compiled, alone=alone,
            )  # fmt: skip
            atomic: dict[str, Any] = {
                name: spread(getattr(result, name), rows, len(positions)) for name in PER_ATOM
            }
            return result._replace(**atomic)  # type: ignore[no-any-return]
        if check:
            check_types(positions, cell, multipoles, batch)
        # a part of a structure may be no atoms
        structures = 1 if domain else count_structures(positions, cell, batch, check)
        if batch is None:
            batch = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
        geometry = Geometry(
            positions,
            None if cell is None else as_cells(cell, structures),
            batch.long(),
            structures,
            None if pbc is None else as_boundaries(pbc, structures, positions.device),
            domain=domain,
            compiled=compiled,
            alone=alone,
        )
        if check:
            check_geometry(geometry)
            check_multipoles(multipoles, len(positions))
        known = geometry if host is None else stand_in(host, geometry)
        plan = self.plan(known, multipoles, with_field=with_field)
        return self.evaluate(plan, geometry.positions, geometry.cell, multipoles)

    @property
    def remembered(self) -> Remembered | None:
        """Plan of the last call, for who has to keep its tensors alive."""
        return self._remembered

    def plan(
        self, geometry: Geometry, multipoles: Multipoles, *, with_field: bool = False
    ) -> EwaldPlan:
        """Choose sums, mesh sizes and waves: all that needs the values of cells and indices.

        Remembered: while cells, boundaries and sizes are those of the last call, as in constant
        volume, so is the plan. That of a slab also follows its thickness.

        Parameters
        ----------
        geometry : Geometry
            Its orders (``multipole``, ``derivatives``) are filled in here.
        multipoles : Multipoles
            Only which of them there are.
        with_field : bool
            As in the call.
        """
        multipole, derivatives = self.orders(multipoles, with_field=with_field)
        geometry = geometry._replace(multipole=multipole, derivatives=max(derivatives, 0))
        known = self._remembered
        if known is not None and known.fits(geometry):
            return EwaldPlan(known.groups, derivatives, with_field)
        self._remembered = None
        made = plan_groups(
            geometry, self.method, self._choose, self.smearing, not self.remove_self_interaction,
            self.strength, self._choose_alone if geometry.alone else None,
        )  # fmt: skip
        here = geometry.place == geometry.positions.device
        groups = made if here else moved(made, geometry.place)
        self._remembered = remember(geometry, groups, made)
        return EwaldPlan(groups, derivatives, with_field)

    def orders(self, multipoles: Multipoles, *, with_field: bool = False) -> tuple[int, int]:
        """Highest order of the sources, and of derivatives of the potential; -1: energy alone."""
        derivatives = response_derivatives(multipoles)
        if with_field:
            derivatives = 1 if multipoles.quadrupole is None else 2
        induced_dipoles = multipoles.polarizability is not None and self.iterations != 0
        dipoles = multipoles.dipole is not None or induced_dipoles
        return 2 if multipoles.quadrupole is not None else int(dipoles), derivatives

    def evaluate(
        self, plan: EwaldPlan, positions: Tensor, cell: Tensor | None, multipoles: Multipoles
    ) -> ElectrostaticsResult:
        """Evaluate a plan: tensors to tensors.

        Parameters
        ----------
        plan : EwaldPlan
            For these cells, sizes and kinds of multipoles.
        positions : Tensor, shape (N, 3), Å
        cell : Tensor or None, shape (S, 3, 3), Å
            As the plan was made with; it is needed again for gradients.
        multipoles : Multipoles
        """
        operator = bind(plan.groups, positions, cell)
        source = Source(multipoles.charge, multipoles.dipole, multipoles.quadrupole)
        permanent, sites = apply(operator, source, plan.derivatives)
        if sites is None:
            return ElectrostaticsResult(permanent, permanent)
        atomic = 0.5 * interaction_energy(source, sites) if plan.with_field else None
        result = ElectrostaticsResult(
            permanent, permanent, sites.potential, sites.field, atomic_energy=atomic
        )
        if response_derivatives(multipoles) < 0:
            return result
        induced = induce(
            operator,
            multipoles,
            sites,
            iterations=self.iterations,
            tolerance=self.tolerance,
            maximum_iterations=self.maximum_iterations,
        )
        if atomic is not None:
            moments = Source(torch.zeros_like(multipoles.charge), induced.dipole)
            if induced.charge is not None:
                moments = moments._replace(charge=induced.charge)
            atomic = atomic + 0.5 * interaction_energy(moments, sites)
        return result._replace(
            energy=permanent + induced.energy,
            induced_charge=induced.charge,
            induced_dipole=induced.dipole,
            transfer=induced.transfer,
            solution=induced.solution,
            atomic_energy=atomic,
        )

    def _choose(self, kind: str, geometry: Geometry) -> Sum:
        """Sum for a kind of boundary, see `plan_groups`."""
        settings = (self.smearing, self.k_cutoff)
        if kind == "open":
            return Open(self.smearing)
        if kind == "slab":
            return Slab(*settings, self.accuracy)
        kind = choose_sum(kind, geometry, *settings, self.accuracy)
        return Mesh(*settings, self.accuracy) if kind == "mesh" else Direct(*settings)

    def _choose_alone(self, kind: str, geometry: Geometry) -> Choice:
        """Tell what a structure of three periodic directions chooses, see `alone.split`."""
        chosen = self._choose(kind, geometry)
        if not isinstance(chosen, Mesh):
            return Choice("direct")
        order, sizes = chosen.sizes(geometry.cells, geometry.atoms, geometry.multipole)
        return Choice("mesh", (geometry.atoms, order, sizes))
