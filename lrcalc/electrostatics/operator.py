"""One linear operator for all multipole orders and boundaries: multipoles → potential at sites.

`plan_groups` sorts the structures of a batch by boundary and lets a sum plan for each kind;
`bind` gives the plans positions and cells, and `apply` takes multipoles to energy, potential,
field and hessian; both the permanent energy and the response are sums over it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain, total
from lrcalc.electrostatics.alone import Choice, split
from lrcalc.electrostatics.kernels import Sites, Source, interaction_energy, self_coefficients
from lrcalc.electrostatics.layout import sum_structures
from lrcalc.electrostatics.sums import Geometry, Interaction, Sum


class Group(NamedTuple):
    """Structures of one boundary and how they are summed.

    Attributes
    ----------
    sum : Sum
    plan : object
        Of that sum.
    atoms, structures : Tensor or None
        Members within the whole batch; None means all of them.
    batch : Tensor
        Structure of each member atom, counted within the group.
    """

    sum: Sum
    plan: Any
    atoms: Tensor | None
    structures: Tensor | None
    batch: Tensor


class Groups(NamedTuple):
    """All structures of a batch.

    Attributes
    ----------
    groups : tuple of Group
    batch : Tensor, shape (N,)
    structures : int
    back : Tensor or None, shape (N,)
        Where each atom stands among those of the groups one after the other; None for one group.
    smearing : float, Å
    with_self : bool
        The interaction of each site with itself is wanted.
    strength : float
        Factor on the interaction.
    domain : Domain or None
        Who has the rest of a single structure.
    """

    groups: tuple[Group, ...]
    batch: Tensor
    structures: int
    back: Tensor | None
    smearing: float
    with_self: bool
    strength: float = 1.0
    domain: Domain | None = None


class Operator(NamedTuple):
    """The interaction of all multipoles of a batch: the groups, and what each sum made of them."""

    plan: Groups
    interactions: tuple[Interaction, ...]


def plan_groups(
    geometry: Geometry,
    method: str | Sum,
    choose: Callable[[str, Geometry], Sum],
    smearing: float,
    with_self: bool,
    strength: float = 1.0,
    choose_alone: Callable[[str, Geometry], Choice] | None = None,
) -> Groups:
    """Sort structures by boundary and let a sum plan for each kind.

    Parameters
    ----------
    geometry : Geometry
        The whole batch.
    method : str or Sum
        As in `Ewald`.
    choose : callable
        Kind of boundary ("open", "slab", or how three periodic directions are summed) and
        geometry of a group to a sum.
    smearing : float, Å
    with_self : bool
    strength : float
    choose_alone : callable or None
        What a structure chooses by itself, where structures are to be summed so (`alone.split`).
    """
    groups = []
    kinds = _boundaries(geometry, method)
    if choose_alone is not None and geometry.structures > 1:
        kinds = split(kinds, geometry, choose_alone)
    for kind, members in kinds:
        atoms, part = None, geometry
        if members is not None:
            number = geometry.batch.new_full((geometry.structures,), -1)
            number[members] = torch.arange(len(members), device=members.device)
            atoms = torch.nonzero(number[geometry.batch] >= 0).squeeze(1)
            part = geometry._replace(
                positions=geometry.positions[atoms],
                cell=None if geometry.cell is None else geometry.cell[members],
                batch=number[geometry.batch][atoms],
                structures=len(members),
                pbc=None if geometry.pbc is None else geometry.pbc[members],
            )
        chosen = choose(kind, part) if isinstance(kind, str) else kind
        groups.append(Group(chosen, chosen.plan(part), atoms, members, part.batch))
    back = None
    if len(groups) > 1:
        back = torch.argsort(torch.cat([x.atoms for x in groups if x.atoms is not None]))
    return Groups(
        tuple(groups), geometry.batch, geometry.structures, back, smearing, with_self, strength,
        geometry.domain,
    )  # fmt: skip


def still_hold(plan: Groups, positions: Tensor) -> bool:
    """Whether the plans, for the same cells and sizes, are also those of these positions (N, 3)."""
    return all(
        group.sum.still_holds(
            group.plan, positions if group.atoms is None else positions[group.atoms]
        )
        for group in plan.groups
    )


def bind(plan: Groups, positions: Tensor, cell: Tensor | None) -> Operator:
    """Prepare the interaction at positions (N, 3) and in cells (S, 3, 3), in Å."""
    interactions = []
    for group in plan.groups:
        here = positions if group.atoms is None else positions[group.atoms]
        box = cell if cell is None or group.structures is None else cell[group.structures]
        interactions.append(group.sum.evaluate(group.plan, here, box))
    return Operator(plan, tuple(interactions))


def apply(operator: Operator, source: Source, derivatives: int) -> tuple[Tensor, Sites | None]:
    """Energy of the multipoles and the potential they make at the sites.

    Parameters
    ----------
    operator : Operator
    source : Source
    derivatives : int
        -1: energy only; 0, 1, 2: also potential, field, hessian.

    Returns
    -------
    energy : Tensor, shape (S,), eV
    sites : Sites or None
    """
    plan = operator.plan
    if len(plan.groups) == 1:
        return _apply_one(plan, plan.groups[0], operator.interactions[0], source, derivatives)
    energy = source.charge.new_zeros(plan.structures)
    collected: list[list[Tensor]] = []
    for group, interaction in zip(plan.groups, operator.interactions, strict=True):
        assert group.atoms is not None
        assert group.structures is not None
        member = Source(*(None if x is None else x[group.atoms] for x in source))  # type: ignore[arg-type]
        part, sites = _apply_one(plan, group, interaction, member, derivatives)
        energy = energy.index_copy(0, group.structures, part)
        if sites is not None:
            collected.append([x for x in sites if x is not None])
    if derivatives < 0 or plan.back is None:
        return energy, None
    return energy, Sites(*(torch.cat(x)[plan.back] for x in zip(*collected, strict=True)))


def _apply_one(
    plan: Groups, group: Group, interaction: Interaction, source: Source, derivatives: int
) -> tuple[Tensor, Sites | None]:
    """One sum, times the strength."""
    energy, sites = _with_or_without_self(plan, group, interaction, source, derivatives)
    if plan.strength == 1.0:
        return energy, sites
    if sites is not None:
        sites = Sites(*(None if x is None else plan.strength * x for x in sites))  # type: ignore[arg-type]
    return plan.strength * energy, sites


def _with_or_without_self(
    plan: Groups, group: Group, interaction: Interaction, source: Source, derivatives: int
) -> tuple[Tensor, Sites | None]:
    """One sum, with the analytic self term added or taken off."""
    energy, sites = interaction(source, derivatives)
    if group.sum.contains_self == plan.with_self:
        return energy, sites
    sign = 1.0 if plan.with_self else -1.0
    a, b, c = (sign * x for x in self_coefficients(plan.smearing))
    dipole, quadrupole = source.dipole, source.quadrupole
    own = Sites(
        a * source.charge,
        None if dipole is None else -b * dipole,
        None if quadrupole is None else c * quadrupole,
    )
    atomic = 0.5 * interaction_energy(source, own)
    energy = energy + total(plan.domain, sum_structures(atomic, group.batch, len(energy)))
    if sites is None:
        return energy, None
    potential, field, hessian = sites
    potential = potential + own.potential
    if field is not None and own.field is not None:
        field = field + own.field
    if hessian is not None:
        eye = torch.eye(3, dtype=hessian.dtype, device=hessian.device)
        hessian = hessian - b * source.charge[:, None, None] * eye
        if own.hessian is not None:
            hessian = hessian + own.hessian
    return energy, Sites(potential, field, hessian)


def _boundaries(geometry: Geometry, method: str | Sum) -> list[tuple[str | Sum, Tensor | None]]:
    """Sort structures by boundary: (kind, members), members None if all are of one kind."""
    cell, pbc, structures = geometry.cell, geometry.pbc, geometry.structures
    if not isinstance(method, str):
        return [(method, None)]
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
    kinds: list[tuple[str | Sum, Tensor | None]] = []
    full = method if method in ("direct", "mesh") else "auto"
    for kind, chosen in (("open", count == 0), ("slab", count == 2), (full, count == 3)):
        members = torch.nonzero(chosen).squeeze(1)
        if len(members) == structures:
            return [(kind, None)]
        if len(members):
            kinds.append((kind, members))
    return kinds
