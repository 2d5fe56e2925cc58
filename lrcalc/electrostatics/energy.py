"""The electrostatic energy of a batch of structures, the door for other people's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Sites, Source
from lrcalc.electrostatics.operator import apply, make_operator
from lrcalc.electrostatics.response import induce, response_order
from lrcalc.electrostatics.solver import Solution
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


class Electrostatics(NamedTuple):
    """What `electrostatic_energy` returns; an entry that was not needed is None.

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
        Charge that ``pair.first`` gained from ``pair.second``.
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


def electrostatic_energy(
    positions: Tensor,
    cell: Tensor | None,
    multipoles: Multipoles,
    *,
    batch: Tensor | None = None,
    pbc: Tensor | Sequence[Any] | bool | None = None,
    smearing: float = 1.0,
    k_cutoff: float | None = None,
    method: str = "auto",
    accuracy: float = 1e-5,
    remove_self_interaction: bool = True,
    iterations: int | None = 0,
    tolerance: float | None = None,
    maximum_iterations: int = 200,
    with_field: bool = False,
    check: bool = True,
) -> Electrostatics:
    """Energy of smeared, polarizable multipoles (Kim et al., arXiv:2605.05746).

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
        Structure of each atom, 0 … S - 1 in any order and each with at least one atom; None is
        a single structure.
    pbc : Tensor, sequence of bool, bool or None, shape (3,) or (S, 3)
        Periodic directions of each structure: none, two (a slab) or three. None means three if
        there is a cell, whatever the ``method``. Different boundaries may be mixed in a batch.
    smearing : float
        Gaussian width σ, Å.
    k_cutoff : float or None
        Largest wave number of the sum, Å⁻¹. None: where the weight exp(-σ²k²/2) has fallen to
        ``accuracy``. A given cutoff is kept as it is even if that leaves more out, because the
        truncation is part of published models (k_c = π Å⁻¹ with σ = 1 Å).
    method : str
        How structures periodic in three directions are summed: "direct", "mesh" or "auto", the
        faster one that fits into memory. "open" and "slab" choose nothing: they refuse a batch
        with other boundaries than none, or two, periodic directions.
    accuracy : float
        Relative error of forces that the mesh (root mean square, see `mesh.mesh_error`) and a
        cutoff chosen here may have. float32 itself reaches about 1e-6.
    remove_self_interaction : bool
        Take off the energy, potential and field of each site at itself. If False the self term
        is part of every boundary, open ones included.
    iterations : int or None
        Response: 0 is the linear response of the paper, n iterates it n times, None makes it
        self-consistent (conjugate gradients; derivatives by the implicit-function theorem).
    tolerance : float or None
        Relative residual of the self-consistent response, between 0 and 1; None: 1e-10
        (float32: 1e-5).
    maximum_iterations : int
        Limit of the self-consistent response.
    with_field : bool
        Return potential, field and atomic energies also where the response does not need them.
    check : bool
        Look for shapes, values and cells that make no sense (a few reductions).

    Returns
    -------
    Electrostatics
        Differentiable at least twice in positions, cell and multipoles, with any method.

    Raises
    ------
    ValueError
        Naming the argument that is wrong, a polarization catastrophe, an iterated response that
        diverges, or a cell too large for its sum over waves.

    Notes
    -----
    A net charge in a cell periodic in three directions is neutralised by a uniform background
    (the k = 0 term is left out), with tin-foil boundary. The smeared interaction makes the
    energy of overlapping sites finite: nothing here refuses close atoms.

    Not for tracing by ``torch.compile``: index sets, mesh sizes and the choice of method depend
    on values. In a compiled model call ``torch.compiler.disable(electrostatic_energy)``.
    """
    check_arguments(smearing, k_cutoff, method, accuracy)
    check_response(iterations, tolerance, maximum_iterations)
    check_types(positions, cell, multipoles, batch)
    structures = count_structures(positions, cell, batch, check)
    if batch is None:
        batch = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
    batch = batch.long()
    cell = None if cell is None else as_cells(cell, structures)
    pbc = None if pbc is None else as_boundaries(pbc, structures, positions.device)
    if check:
        check_geometry(positions, cell, batch, structures, pbc)
        check_multipoles(multipoles, len(positions))
    order = response_order(multipoles)
    if with_field:
        order = 1 if multipoles.quadrupole is None else 2
    polar = multipoles.polarizability is not None
    operator = make_operator(
        positions,
        cell,
        batch,
        structures,
        pbc,
        smearing=smearing,
        k_cutoff=k_cutoff,
        method=method,
        accuracy=accuracy,
        remove_self_interaction=remove_self_interaction,
        multipole=2
        if multipoles.quadrupole is not None
        else 1
        if multipoles.dipole is not None or (polar and iterations != 0)
        else 0,
        derivatives=max(order, 0),
    )
    source = Source(multipoles.charge, multipoles.dipole, multipoles.quadrupole)
    permanent, sites = apply(operator, source, order)
    if sites is None:
        return Electrostatics(permanent, permanent)
    atomic = _atomic_energy(source, sites) if with_field else None
    result = Electrostatics(
        permanent, permanent, sites.potential, sites.field, atomic_energy=atomic
    )
    if response_order(multipoles) < 0:
        return result
    induced = induce(
        operator,
        multipoles,
        sites,
        iterations=iterations,
        tolerance=tolerance,
        maximum_iterations=maximum_iterations,
    )
    if atomic is not None:
        moments = Source(torch.zeros_like(multipoles.charge), induced.dipole)
        if induced.charge is not None:
            moments = moments._replace(charge=induced.charge)
        atomic = atomic + _atomic_energy(moments, sites)
    return result._replace(
        energy=permanent + induced.energy,
        induced_charge=induced.charge,
        induced_dipole=induced.dipole,
        transfer=induced.transfer,
        solution=induced.solution,
        atomic_energy=atomic,
    )


def _atomic_energy(moments: Source, sites: Sites) -> Tensor:
    """Half the energy (N,) of moments in the potential of the permanent multipoles."""
    energy = moments.charge * sites.potential
    if moments.dipole is not None and sites.field is not None:
        energy = energy - (moments.dipole * sites.field).sum(-1)
    if moments.quadrupole is not None and sites.hessian is not None:
        energy = energy + 0.5 * (moments.quadrupole * sites.hessian).sum((-1, -2))
    return 0.5 * energy
