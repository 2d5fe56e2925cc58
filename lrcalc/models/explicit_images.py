"""Periodic images made explicit, so that derivatives see through several rounds of messages.

For backbones that do not say where atoms heard one another (`lrcalc.models.levers` needs no image),
and to test those that do.

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
from lrcalc.neighbors import Pairs, build_pairs, pair_vectors
from lrcalc.system import System


class ExplicitImages(NamedTuple):
    """An open system of the atoms of the cell and the images they can see.

    Attributes
    ----------
    system : System
        Open.
    origin : Tensor, shape (U,), int64
        Atom of the periodic system that each atom is an image of.
    primary : Tensor, shape (N,), int64
        Where the atoms of the cell themselves are, in their order.
    shift : Tensor, shape (U, 3), int64
        Lattice vectors between an image and its origin; rows of both are in ascending order.
    """

    system: System
    origin: Tensor
    primary: Tensor
    shift: Tensor


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
    positions = system.positions.detach()[origin] + moved
    open_system = System(
        positions,
        torch.zeros_like(cell),
        system.numbers[origin],
        torch.zeros_like(system.pbc),
        batch,
        system.total_charge,
    )
    return ExplicitImages(open_system, origin, place[:n], shift)


def image_lever(potential: Potential, system: System, *, create_graph: bool = False) -> Tensor:
    """``Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i`` summed over the images of i, shape (N, 3, 3), e, float64.

    For the charges q_j of the cell before they are made neutral: four backward passes, whatever
    the number of rounds of messages. With ``create_graph`` the result can be differentiated with
    respect to the weights.

    Images whose messages are heard count, ``layers - 1`` cutoffs away. Of their own neighbours
    beyond only the kind is heard, which any image of them has.
    """
    images = explicit_images(system, max(1, potential.backbone.layers - 1) * potential.cutoff)
    pairs, vectors = _pairs_of_images(system, images, potential.cutoff)
    with torch.enable_grad():
        vectors = vectors.to(potential.dtype).requires_grad_()
        bare = potential.read(images.system, pairs, vectors)[1].bare_charge
        assert bare is not None
        charge = bare.index_select(0, images.primary).double()
        arms = system.positions.detach().double()
        seeds = torch.cat([torch.ones_like(arms[:, :1]), arms], dim=1)
        gradients = [
            torch.autograd.grad(
                charge, vectors, seed, retain_graph=True, create_graph=create_graph
            )[0]
            for seed in seeds.unbind(1)
        ]
    response, *weighted = (g.double() for g in gradients)
    centre = images.system.positions[pairs.i].detach().double()
    way = torch.stack(weighted, dim=1) - centre[:, :, None] * response[:, None, :]
    direct = vectors.detach().double()[:, :, None] * response[:, None, :]
    total = way.new_zeros((len(system.numbers), 3, 3))
    total = total.index_add(0, images.origin[pairs.j], way - direct)
    return total.index_add(0, images.origin[pairs.i], -way)


def _pairs_of_images(system: System, images: ExplicitImages, cutoff: float) -> tuple[Pairs, Tensor]:
    """Pairs of each image as those of its origin, and their vectors (E, 3), Å.

    A neighbour that is not among the images is stood for by the atom of the cell.
    """
    home = build_pairs(system, cutoff)
    counts = torch.bincount(home.i, minlength=len(system.numbers))
    starts = torch.cumsum(counts, 0) - counts
    each = counts[images.origin]
    here = torch.arange(len(each), device=each.device)
    centre = torch.repeat_interleave(here, each)
    number = torch.arange(len(centre), device=each.device) - (torch.cumsum(each, 0) - each)[centre]
    row = starts[images.origin[centre]] + number
    j, shift = home.j[row], home.shift[row].to(torch.int64) + images.shift[centre]
    side = 1 + int(torch.cat([shift, images.shift]).abs().max()) if len(shift) else 1

    def code(atom: Tensor, by: Tensor) -> Tensor:
        value = atom
        for axis in range(3):
            value = value * (2 * side + 1) + by[:, axis] + side
        return value

    known, wanted = code(images.origin, images.shift), code(j, shift)
    place = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    neighbour = torch.where(known[place] == wanted, place, images.primary[j])
    return Pairs(centre, neighbour, torch.zeros_like(shift)), pair_vectors(system, home).detach()[
        row
    ]
