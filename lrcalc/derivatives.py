"""Forces, stress, and the other derivatives of an energy function."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain, shared, total
from lrcalc.system import System, volumes


class Strained(NamedTuple):
    """A system that depends on a strain.

    Attributes
    ----------
    system : System
        Deformed by ``1 + symmetric(strain)``; with gradients to positions and strain.
    positions : Tensor, shape (N, 3)
        Undeformed; a leaf, unless the caller's own have a gradient.
    strain : Tensor or None, shape (S, 3, 3)
        Leaf, zero; None if no stress is wanted.
    """

    system: System
    positions: Tensor
    strain: Tensor | None


def strained(system: System, *, stress: bool) -> Strained:
    """Prepare a system whose energy can be differentiated for forces and, if asked, stress.

    Positions that have a gradient already are taken as they are: their owner may want it too.
    """
    positions = system.positions
    if not positions.requires_grad:
        positions = positions.detach().clone().requires_grad_()
    if not stress:
        return Strained(system._replace(positions=positions), positions, None)
    strain = torch.zeros_like(system.cell).requires_grad_()
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    own = shared(system.domain, symmetric).index_select(0, system.batch)
    moved = positions + torch.einsum("na,nab->nb", positions, own)
    cell = system.cell + system.cell @ symmetric
    return Strained(system._replace(positions=moved, cell=cell), positions, strain)


def forces_and_stress(
    energy: Tensor, leaves: Strained, *, create_graph: bool = False, retain_graph: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Return forces ``-dE/dr`` (N, 3) in eV/Å and stress ``(1/V) dE/dε`` (S, 3, 3) in eV/Å³.

    One backward pass for both. The stress of a structure without volume is zero.
    """
    wanted = [leaves.positions] + ([] if leaves.strain is None else [leaves.strain])
    gradients = torch.autograd.grad(
        energy.sum(), wanted, create_graph=create_graph, retain_graph=retain_graph or create_graph
    )
    if leaves.strain is None:
        return -gradients[0], None
    volume = volumes(leaves.system.cell.detach())[:, None, None]
    stress = torch.where(volume > 0, gradients[1] / volume.clamp(min=1e-30), 0.0)
    return -gradients[0], stress


def jacobian(
    values: Tensor, inputs: Tensor, *, retain_graph: bool = False, create_graph: bool = False
) -> Tensor:
    """Rows ``d values[k] / d inputs``, shape ``(K, *inputs.shape)``, by K backward passes.

    One pass after another: batching them (vmap) took a third longer on a CPU, where the passes
    are limited by memory traffic and not by the number of calls.
    """
    last, kept = len(values) - 1, retain_graph or create_graph
    rows = [
        torch.autograd.grad(
            value, inputs, retain_graph=kept or k < last, create_graph=create_graph
        )[0]
        for k, value in enumerate(values)
    ]
    return torch.stack(rows)


def directional(
    values: Tensor, inputs: Tensor, direction: Tensor, domain: Domain | None = None
) -> Tensor:
    """Differentiate ``values`` (any shape) along ``direction``: ``d values/d inputs · direction``.

    Two backward passes whatever the number of values, and no Jacobian: the gradient of
    ``λ·values`` is linear in λ, and its product with ``direction`` is differentiated back.
    """
    weights = torch.zeros_like(values, requires_grad=True)
    (gradient,) = torch.autograd.grad((weights * values).sum(), inputs, create_graph=True)
    along = total(domain, (gradient * direction).sum())
    (result,) = torch.autograd.grad(along, weights, retain_graph=True)
    return result
