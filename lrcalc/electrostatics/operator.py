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

from lrcalc.electrostatics.direct import evaluate_direct, prepare_direct
from lrcalc.electrostatics.kernels import Sites, Source, converged_cutoff, self_coefficients
from lrcalc.electrostatics.layout import make_layout, sum_structures
from lrcalc.electrostatics.open import evaluate_open, prepare_open

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
) -> Operator:
    """Prepare the interaction; see `electrostatic_energy` for the arguments.

    ``cell`` has shape (S, 3, 3) here and ``pbc`` (S, 3).
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
        layout = make_layout(local, count)
        if kind == "open":
            plan = prepare_open(group_positions, layout, smearing)
            evaluate: Evaluate = partial(evaluate_open, plan)
            own = 0.0 if remove_self_interaction else 1.0
        else:
            assert cell is not None
            cells = cell if members is None else cell[members]
            evaluate = partial(
                evaluate_direct, prepare_direct(group_positions, cells, layout, smearing, cutoff)
            )
            own = -1.0 if remove_self_interaction else 0.0
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
    if cell is None or method == "open":
        return [("open", None)]
    if pbc is None:
        return [("direct", None)]
    count = pbc.sum(1)
    kinds = []
    for kind, chosen in (("open", count == 0), ("direct", count == 3)):
        members = torch.nonzero(chosen).squeeze(1)
        if len(members):
            kinds.append((kind, members))
    if sum(len(m) for _, m in kinds) != structures:
        raise ValueError("`pbc` has structures that are neither open nor periodic")
    if len(kinds) == 1:
        return [(kinds[0][0], None)]
    return list(kinds)
