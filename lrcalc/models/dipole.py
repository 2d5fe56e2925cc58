"""Dipole of the cell and Born charges from the latent multipoles (physics §2–§4), unscreened."""

from __future__ import annotations

import torch
from torch import Tensor

from lrcalc.models.potential import Terms
from lrcalc.neighbors import Pairs
from lrcalc.properties import jacobian
from lrcalc.system import System, sum_by_structure


def lattice_dipole(system: System, pairs: Pairs, terms: Terms) -> Tensor:
    """Latent dipole ``M_lat`` of each structure, shape (S, 3), e Å, float64.

    Local charges: ``Σ q⁰_i r_i + Σ t_ij d_ij + Σ u_i (+ δu_i)``, single-valued up to the quantum
    of the constant charges q⁰ and exact in periodic cells. Atomic charges: ``Σ q_i r_i + Σ u_i``,
    exact in open systems only.
    """
    return sum_by_structure(_atomic_parts(system, pairs, terms), system.batch, system.n_structures)


def _atomic_parts(system: System, pairs: Pairs, terms: Terms) -> Tensor:
    positions = system.positions.double()
    transfers = terms.readout.transfers
    if transfers is None:
        parts = terms.readout.multipoles.charge.double()[:, None] * positions
    else:
        parts = transfers.species_charge.double()[:, None] * positions
        # the centre gains `amount`, the neighbour loses it: the dipole points from j to i
        moved = -transfers.amount[:, None] * terms.vectors[transfers.pairs]
        parts = parts.index_add(0, pairs.i[transfers.pairs], moved.double())
    return parts + _moments(terms, positions)


def _moments(terms: Terms, positions: Tensor) -> Tensor:
    """Permanent and induced dipoles of the atoms, and the dipole of induced charges (N, 3)."""
    moments = torch.zeros_like(positions)
    if terms.readout.multipoles.dipole is not None:
        moments = moments + terms.readout.multipoles.dipole.double()
    if terms.electrostatics is None:
        return moments
    if terms.electrostatics.induced_dipole is not None:
        moments = moments + terms.electrostatics.induced_dipole.double()
    if terms.electrostatics.induced_charge is not None:
        moments = moments + terms.electrostatics.induced_charge.double()[:, None] * positions
    return moments


def lattice_born(
    system: System, pairs: Pairs, terms: Terms, *, retain_graph: bool = False
) -> Tensor:
    """Latent Born charges ``born[i, a, b] = ∂M_lat,a/∂r_ib`` (N, 3, 3), e, of one structure.

    Local charges and open systems: the derivative of `lattice_dipole`. Atomic charges in periodic
    cells: the pair vector as lever of every charge that responds (physics §3), which does not
    know the box.

    Parameters
    ----------
    system : System
        Whose ``positions`` require gradients.
    pairs : Pairs
    terms : Terms
        Of this system.
    retain_graph : bool
        Keep the graph for further derivatives.
    """
    bare = terms.readout.bare_charge
    total = lattice_dipole(system, pairs, terms)
    if bare is None or not bool(system.pbc.any()):
        return _rows_to_born(jacobian(total.sum(0), system.positions, retain_graph=retain_graph))
    positions = system.positions
    moments = _moments(terms, positions.double()).sum(0)
    (response,) = torch.autograd.grad(bare.sum(), terms.vectors, retain_graph=True)
    lever = -terms.vectors.detach()[:, :, None] * response[:, None, :]
    charge = terms.readout.multipoles.charge.detach().to(positions.dtype)
    born = charge[:, None, None] * torch.eye(3, dtype=positions.dtype, device=positions.device)
    born = born.index_add(0, pairs.j, lever.to(positions.dtype))
    if not moments.requires_grad:
        return born
    return born + _rows_to_born(jacobian(moments, positions, retain_graph=retain_graph))


def _rows_to_born(rows: Tensor) -> Tensor:
    """(field, atom, displacement) → (atom, field, displacement)."""
    return rows.transpose(0, 1)
