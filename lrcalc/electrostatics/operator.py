"""One linear operator for all multipole orders and boundaries: multipoles → potential at sites.

`make_operator` sorts the structures of a batch by boundary and prepares one kernel for each
kind; `apply` evaluates energy, potential, field and hessian; both the permanent energy and the
response are sums over it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.choice import choose_sum
from lrcalc.electrostatics.direct import evaluate_direct, prepare_direct
from lrcalc.electrostatics.kernels import Sites, Source, converged_cutoff, self_coefficients
from lrcalc.electrostatics.layout import make_layout, sum_structures
from lrcalc.electrostatics.mesh import evaluate_mesh, prepare_mesh
from lrcalc.electrostatics.open import evaluate_open, prepare_open
from lrcalc.electrostatics.slab import slab_cell

Evaluate = Callable[[Source, int], tuple[Tensor, Sites | None]]


class Group(NamedTuple):
    """Structures of one boundary and the kernel that sums them.

    Attributes
    ----------
    atoms, structures : Tensor or None
        Members within the whole batch; None means all of them.
    batch : Tensor
        Structure of each member atom, counted within the group.
    evaluate : callable
        ``(source, order) -> (energy, sites)``.
    own : float
        How often the analytic self term is added to what ``evaluate`` gives: -1, 0 or 1.
    """

    atoms: Tensor | None
    structures: Tensor | None
    batch: Tensor
    evaluate: Evaluate
    own: float


class Operator(NamedTuple):
    """The interaction of all multipoles of a batch."""

    groups: tuple[Group, ...]
    batch: Tensor
    structures: int
    smearing: float


def make_operator(
    positions: Tensor,
    cell: Tensor | None,
    batch: Tensor,
    structures: int,
    pbc: Tensor | None,
    *,
    smearing: float,
    k_cutoff: float | None,
    method: str,
    accuracy: float,
    remove_self_interaction: bool,
    multipole: int,
    derivatives: int,
) -> Operator:
    """Prepare the interaction; see `electrostatic_energy` for the arguments.

    ``cell`` has shape (S, 3, 3) here and ``pbc`` (S, 3). ``multipole`` is the highest order of
    the sources (0, 1, 2), ``derivatives`` the highest derivative of the potential wanted.
    """
    cutoff = converged_cutoff(smearing, accuracy) if k_cutoff is None else k_cutoff
    kinds = _boundaries(cell, pbc, structures, method)
    groups = []
    for kind, members in kinds:
        atoms, local = None, batch
        group_positions, count = positions, structures
        if members is not None:
            number = torch.full((structures,), -1, device=batch.device)
            number[members] = torch.arange(len(members), device=batch.device)
            atoms = torch.nonzero(number[batch] >= 0).squeeze(1)
            local, count = number[batch][atoms], len(members)
            group_positions = positions[atoms]
        own = -1.0 if remove_self_interaction else 0.0
        if kind == "open" or cell is None:
            plan = prepare_open(group_positions, make_layout(local, count), smearing)
            evaluate: Evaluate = partial(evaluate_open, plan)
            own = 0.0 if remove_self_interaction else 1.0
            groups.append(Group(atoms, members, local, evaluate, own))
            continue
        cells, height = cell if members is None else cell[members], None
        if kind == "slab":
            assert pbc is not None
            flags = pbc if members is None else pbc[members]
            cells, height = slab_cell(group_positions, cells, flags, local, smearing, accuracy)
        asked = "direct" if kind == "slab" else kind
        atoms_here = len(group_positions)
        kind = choose_sum(
            asked, atoms_here, cells, smearing, cutoff, accuracy, multipole, derivatives
        )
        top = max(multipole, derivatives)
        if kind == "mesh":
            mesh = prepare_mesh(
                group_positions, cells, local, smearing, cutoff, accuracy, multipole, top
            )
            evaluate = partial(evaluate_mesh, mesh)
        else:
            layout = make_layout(local, count)
            direct = prepare_direct(group_positions, cells, layout, smearing, cutoff, height, top)
            evaluate = partial(evaluate_direct, direct)
        groups.append(Group(atoms, members, local, evaluate, own))
    return Operator(tuple(groups), batch, structures, smearing)


def apply(operator: Operator, source: Source, order: int) -> tuple[Tensor, Sites | None]:
    """Energy of the multipoles and the potential they make at the sites.

    Parameters
    ----------
    operator : Operator
    source : Source
    order : int
        -1: energy only; 0, 1, 2: also potential, field, hessian.

    Returns
    -------
    energy : Tensor, shape (S,), eV
    sites : Sites or None
    """
    if len(operator.groups) == 1:
        return _apply_group(operator.groups[0], source, order, operator.smearing)
    energy = source.charge.new_zeros(operator.structures)
    collected: list[list[Tensor]] = []
    for group in operator.groups:
        assert group.atoms is not None
        assert group.structures is not None
        member = Source(*(None if x is None else x[group.atoms] for x in source))  # type: ignore[arg-type]
        part, sites = _apply_group(group, member, order, operator.smearing)
        energy = energy.index_copy(0, group.structures, part)
        if sites is not None:
            collected.append([x for x in sites if x is not None])
    if order < 0:
        return energy, None
    atoms = torch.cat([g.atoms for g in operator.groups if g.atoms is not None])
    back = torch.argsort(atoms)
    return energy, Sites(*(torch.cat(x)[back] for x in zip(*collected, strict=True)))


def _apply_group(
    group: Group, source: Source, order: int, smearing: float
) -> tuple[Tensor, Sites | None]:
    """One kernel, with the analytic self term added or taken off."""
    energy, sites = group.evaluate(source, order)
    if group.own == 0.0:
        return energy, sites
    a, b, c = (group.own * x for x in self_coefficients(smearing))
    atomic = 0.5 * a * source.charge.square()
    if source.dipole is not None:
        atomic = atomic + 0.5 * b * source.dipole.square().sum(-1)
    if source.quadrupole is not None:
        atomic = atomic + 0.25 * c * source.quadrupole.square().sum((-1, -2))
    energy = energy + sum_structures(atomic, group.batch, len(energy))
    if sites is None:
        return energy, None
    potential, field, hessian = sites
    potential = potential + a * source.charge
    if field is not None and source.dipole is not None:
        field = field - b * source.dipole
    if hessian is not None:
        eye = torch.eye(3, dtype=hessian.dtype, device=hessian.device)
        hessian = hessian - b * source.charge[:, None, None] * eye
        if source.quadrupole is not None:
            hessian = hessian + c * source.quadrupole
    return energy, Sites(potential, field, hessian)


def _boundaries(
    cell: Tensor | None, pbc: Tensor | None, structures: int, method: str
) -> list[tuple[str, Tensor | None]]:
    """Sort structures by boundary: (kind, members), members None if all are of one kind."""
    if cell is None:
        if method not in ("auto", "open"):
            raise ValueError(f"`method` is {method!r}, which needs a `cell`, but `cell` is None")
        if pbc is not None and bool(pbc.any()):
            raise ValueError("`pbc` has periodic directions but `cell` is None")
        return [("open", None)]
    if pbc is None:
        if method in ("open", "slab"):
            raise ValueError(
                f"`method` is {method!r} but `pbc` is None, which is three periodic directions "
                "where there is a `cell`: give `pbc`"
                + (", or cell=None" if method == "open" else " with two periodic directions")
            )
        return [(method, None)]
    count = pbc.sum(1)
    if bool((count == 1).any()):
        raise ValueError(
            "`pbc` has one periodic direction in a structure, which is not supported: use none, "
            "two (a slab) or three"
        )
    if method == "open" and bool((count > 0).any()):
        raise ValueError("`method` is 'open' but `pbc` has periodic directions")
    if method == "slab" and bool((count != 2).any()):
        raise ValueError("`method` is 'slab' but `pbc` does not have two periodic directions")
    kinds = []
    full = method if method in ("direct", "mesh") else "auto"
    for kind, chosen in (("open", count == 0), ("slab", count == 2), (full, count == 3)):
        members = torch.nonzero(chosen).squeeze(1)
        if len(members) == structures:
            return [(kind, None)]
        if len(members):
            kinds.append((kind, members))
    return list(kinds)
