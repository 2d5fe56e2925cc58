"""Periodic images made explicit, so that derivatives see through several rounds of messages.

Physics §3: in a message-passing model an atom answers to others beyond its own pairs, and the
displacement between an atom that moves and a charge that answers is no pair vector. With all images
within the reach of the model as atoms of their own, it is a difference of positions (as Langer,
Frank, Knoop, J. Chem. Phys. 159, 174105 (2023), do for the heat flux).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.models.potential import Potential
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import System


class ExplicitImages(NamedTuple):
    """An open system of the atoms of the cell and the images they can see.

    Attributes
    ----------
    system : System
        Open; positions are a leaf that requires a gradient.
    origin : Tensor, shape (U,), int64
        Atom of the periodic system that each atom is an image of.
    primary : Tensor, shape (N,), int64
        Where the atoms of the cell themselves are, in their order.
    """

    system: System
    origin: Tensor
    primary: Tensor


def explicit_images(system: System, reach: float) -> ExplicitImages:
    """Make all images within ``reach`` (Å) of an atom of the cell explicit."""
    n = len(system.numbers)
    pairs = build_pairs(system, reach)
    here = torch.arange(n, device=system.numbers.device)
    home = torch.cat([here[:, None], here.new_zeros((n, 3))], dim=1)
    seen = torch.cat([pairs.j[:, None], pairs.shift.to(here.dtype)], dim=1)
    # sorted by atom, so structures stay together
    rows, place = torch.unique(torch.cat([home, seen]), dim=0, return_inverse=True)
    origin, shift = rows[:, 0], rows[:, 1:]
    batch = system.batch[origin]
    cell = system.cell.detach()
    moved = torch.einsum("ua,uab->ub", shift.to(cell.dtype), cell[batch])
    positions = (system.positions.detach()[origin] + moved).requires_grad_(True)
    open_system = System(
        positions,
        torch.zeros_like(cell),
        system.numbers[origin],
        torch.zeros_like(system.pbc),
        batch,
        system.total_charge,
    )
    return ExplicitImages(open_system, origin, place[:n])


def image_lever(potential: Potential, system: System, *, create_graph: bool = False) -> Tensor:
    """``Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i`` summed over the images of i, shape (N, 3, 3), e, float64.

    For the charges q_j of the cell before they are made neutral: four backward passes, whatever
    the number of rounds of messages. With ``create_graph`` the result can be differentiated with
    respect to the weights.
    """
    reach = potential.backbone.layers * potential.cutoff
    images = explicit_images(system, reach)
    with torch.enable_grad():
        pairs = build_pairs(images.system, potential.cutoff)
        vectors = pair_vectors(images.system, pairs).to(potential.dtype)
        bare = potential.read(images.system, pairs, vectors)[1].bare_charge
        assert bare is not None
        charge = bare.index_select(0, images.primary).double()
        arms = system.positions.detach().double()
        seeds = torch.cat([torch.ones_like(arms[:, :1]), arms], dim=1)
        positions = images.system.positions
        gradients = [
            torch.autograd.grad(
                charge, positions, seed, retain_graph=True, create_graph=create_graph
            )[0]
            for seed in seeds.unbind(1)
        ]
    response, *weighted = (g.double() for g in gradients)
    at = positions.detach().double()
    lever = torch.stack(weighted, dim=1) - at[:, :, None] * response[:, None, :]
    total = lever.new_zeros((len(system.numbers), 3, 3))
    return total.index_add(0, images.origin, lever)
