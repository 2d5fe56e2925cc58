"""Dipole, polarizability and Born charges from the latent multipoles (physics §2–§4), unscreened.

Where charge is local (handed from atom to atom) or the structure is open, the dipole is a function
of the positions and everything else is its derivative. Atomic charges in periodic cells have no
dipole: for them the displacement between a moved atom and a charge that responds is the pair
vector (physics §3), which gives Born charges that do not know the box, but no energy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lrcalc.derivatives import jacobian
from lrcalc.domain import shared, total
from lrcalc.models.compiled_moment import compiled_moment
from lrcalc.models.explicit_images import image_lever
from lrcalc.models.fused_moment import Handed, fused_moment, usable
from lrcalc.models.levers import edge_levers
from lrcalc.models.potential import Potential
from lrcalc.models.terms import Terms
from lrcalc.neighbors import Pairs
from lrcalc.system import System, readable_pbc, structure_sums, sum_by_structure, sum_of_pairs


def is_exact(system: System, terms: Terms) -> Tensor:
    """Whether each structure has a dipole that its Born charges are the gradient of, (S,) bool."""
    if terms.readout.bare_charge is None:
        return torch.ones_like(system.pbc[:, 0])
    return ~system.pbc.any(1)


def lattice_dipole(system: System, pairs: Pairs, terms: Terms, *, coupled: bool = False) -> Tensor:
    """Latent dipole ``M_lat`` of each structure, shape (S, 3), e Å, float64.

    Local charges: ``Σ q⁰_i r_i + Σ t_ij d_ij + Σ u_i + Σ δu_i + Σ δt_ij d_ij``, single-valued up
    to the quantum of the constant charges q⁰ and exact in periodic cells. Atomic charges:
    ``Σ q_i r_i + …``, exact in open systems only.

    Parameters
    ----------
    system : System
    pairs : Pairs
    terms : Terms
        Of this system.
    coupled : bool
        Leave out the charges of structures for which they have no exact dipole: what is left is
        what an enthalpy may contain.
    """
    multipoles, transfers = terms.readout.multipoles, terms.readout.transfers
    positions = system.positions.double()
    known = (system.batch, system.n_structures)
    if transfers is not None:
        handed = Handed(transfers.pairs, pairs.i, *known, transfers.species_charge)
        made = (terms.vectors, transfers.amount, positions, multipoles.dipole, handed)
        found = _by_the_fastest(system, *made)
    else:
        charge = terms.readout.moving_charge.double()
        if coupled:
            exact = is_exact(system, terms)
            # zero either way; cut off from the model where all are, it costs no backward pass
            some = not bool(readable_pbc(system).any(1).all())
            charge = charge * exact[system.batch] if some else torch.zeros_like(charge)
        found = _sums(known, charge[:, None] * positions, multipoles.dipole)
    parts = _induced_parts(system, terms, positions)
    return total(system.domain, sum(parts, found))


def _by_the_fastest(system: System, vectors: Tensor, *rest: Any) -> Tensor:
    """`permanent_dipole`, by a kernel or compiled where there is one and it may be used."""
    made = None
    if system.once and usable(vectors):
        made = fused_moment(vectors, *rest)
    elif system.once and system.compiled:
        made = compiled_moment(vectors, *rest)
    return permanent_dipole(vectors, *rest) if made is None else made


def permanent_dipole(
    vectors: Tensor, amount: Tensor, positions: Tensor, dipole: Tensor | None, handed: Handed
) -> Tensor:
    """Return ``Σ kept_i r_i - Σ t_ij d_ij + Σ u_i`` (S, 3), e Å, float64.

    Parameters
    ----------
    vectors : Tensor, shape (E, 3), Å
        Of all pairs.
    amount : Tensor, shape (T,), e
        What the centre of each pair of ``handed.rows`` is given.
    positions : Tensor, shape (N, 3), Å, float64
    dipole : Tensor or None, shape (N, 3), e Å
    handed : Handed
    """
    # the centre gains `amount`, the neighbour loses it: the dipole points from j to i
    moved = amount[:, None] * vectors.index_select(0, handed.rows)
    known = (handed.batch, handed.n_structures)
    given = sum_of_pairs(moved, handed.i, handed.rows, *known)
    return _sums(known, handed.kept.double()[:, None] * positions, dipole) - given


def _sums(known: tuple[Tensor, int], *values: Tensor | None) -> Tensor:
    """Sum of arrays (N, ...) of atoms over each structure, (S, ...), float64."""
    made = [sum_by_structure(x, *known, dtype=torch.float64) for x in values if x is not None]
    return sum(made[1:], made[0])


def _induced_parts(system: System, terms: Terms, positions: Tensor) -> list[Tensor]:
    """Dipoles (S, 3) of what is induced: on atoms, of what flows over pairs, of charges."""
    multipoles, induced = terms.readout.multipoles, terms.electrostatics
    known = (system.batch, system.n_structures)
    parts: list[Tensor] = []
    if induced is None:
        return parts
    if induced.induced_dipole is not None:
        parts.append(_sums(known, induced.induced_dipole))
    if multipoles.pair is not None and induced.transfer is not None:
        flow = induced.transfer[:, None] * multipoles.pair.vector
        parts.append(-sum_of_pairs(flow, multipoles.pair.i, None, *known))
    if multipoles.capacitance is not None and induced.induced_charge is not None:
        lever = capacitance_lever(system, multipoles.capacitance.double(), positions)
        parts.append(_sums(known, induced.induced_charge.double()[:, None] * lever))
    return parts


def capacitance_lever(system: System, capacitance: Tensor, positions: Tensor) -> Tensor:
    """Positions relative to the centre of capacitance of each structure, shape (N, 3), Å.

    With potentials of an applied field counted from there, the field by itself induces no net
    charge, and neither dipole nor polarizability depends on the origin.
    """
    weighted = structure_sums(system, capacitance[:, None] * positions)
    whole = structure_sums(system, capacitance).clamp(min=1e-300)
    return positions - shared(system.domain, weighted / whole[:, None])[system.batch]


def lattice_polarizability(system: System, terms: Terms) -> Tensor:
    """Latent ``Σ α_i + Σ κ_ij d d`` of each structure, shape (S, 3, 3), e Å²/V, float64."""
    multipoles = terms.readout.multipoles
    positions = system.positions.double()
    found = positions.new_zeros((system.n_structures, 3, 3))
    if multipoles.polarizability is not None:
        alpha = multipoles.polarizability.double()
        if alpha.shape == system.batch.shape:  # scalar polarizabilities
            alpha = torch.diag_embed(alpha[:, None].expand(-1, 3))
        found = found + structure_sums(system, alpha)
    if multipoles.pair is not None:
        arm = multipoles.pair.vector.double()
        spread = multipoles.pair.capacitance.double()[:, None, None] * _square(arm)
        found = found + structure_sums(system, spread, system.batch[multipoles.pair.i])
    if multipoles.capacitance is not None:
        capacitance = multipoles.capacitance.double()
        arm = capacitance_lever(system, capacitance, positions)
        found = found + structure_sums(system, capacitance[:, None, None] * _square(arm))
    return found


def _square(vectors: Tensor) -> Tensor:
    return vectors[:, :, None] * vectors[:, None, :]


def gradient_born(dipole: Tensor, positions: Tensor, *, create_graph: bool = False) -> Tensor:
    """Born charges ``born[i, a, b] = ∂M_a/∂r_ib`` (N, 3, 3), e, of a dipole; keeps the graph.

    Three backward passes for the whole batch, through the dipole only.

    Parameters
    ----------
    dipole : Tensor, shape (S, 3)
    positions : Tensor, shape (N, 3)
        The leaf to differentiate with respect to.
    create_graph : bool
        The result can be differentiated, as in training.
    """
    if not dipole.requires_grad:  # charges without a dipole, and nothing else
        return dipole.new_zeros((*positions.shape, 3))
    rows = jacobian(dipole.sum(0), positions, retain_graph=True, create_graph=create_graph)
    return rows.transpose(0, 1)  # (field, atom, displacement) → (atom, field, displacement)


def lattice_born(
    potential: Potential, system: System, pairs: Pairs, terms: Terms, positions: Tensor
) -> Tensor:
    """Latent Born charges (N, 3, 3), e, with the levers of atomic charges; keeps the graph."""
    born = gradient_born(lattice_dipole(system, pairs, terms, coupled=True), positions)
    lever = lever_born(potential, system, pairs, terms)
    return born if lever is None else born + lever


def lever_born(
    potential: Potential,
    system: System,
    pairs: Pairs,
    terms: Terms,
    *,
    create_graph: bool = False,
) -> Tensor | None:
    """Born charges of atomic charges in periodic structures (N, 3, 3), e; None if there are none.

    ``q_i 1 + Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i``, along the edges that messages took (`edge_levers`); of
    backbones with several rounds that do not say which, with images made explicit (`image_lever`).
    Charges before they are made neutral: the counter-charge of a local change appears everywhere
    and has no lever. With ``create_graph`` the result can be differentiated with respect to the
    weights, as in training.
    """
    bare = terms.readout.bare_charge
    if bare is None or not bool(readable_pbc(system).any()):
        return None
    periodic = (~is_exact(system, terms)).double()[system.batch]
    charge = terms.readout.moving_charge.double()
    own = charge[:, None, None] * torch.eye(3, dtype=torch.float64, device=charge.device)
    if potential.backbone.layers > 1 and not terms.heard:
        lever = image_lever(potential, system, create_graph=create_graph)
    else:
        lever = edge_levers(bare, terms.vectors, pairs, terms.heard, create_graph=create_graph)
    born = (own + lever) * periodic[:, None, None]
    return born if create_graph else born.detach()


def sum_rule_residual(born: Tensor, system: System) -> Tensor:
    """Violation of the acoustic sum rule per atom, ``(Σ_i born_i - Q 1)/N``, (S, 3, 3), e."""
    ones = torch.ones_like(born[:, 0, 0])
    counted = ones if system.owned is None else ones * system.owned
    count = structure_sums(system, counted)
    unit = torch.eye(3, dtype=torch.float64, device=born.device)
    charge = system.total_charge.double()[:, None, None] * unit
    return (structure_sums(system, born) - charge) / count[:, None, None]


def subtract(born: Tensor, residual: Tensor, system: System) -> Tensor:
    """Take the residual (S, 3, 3) off each atom's Born charge, ghosts excepted."""
    each = shared(system.domain, residual)[system.batch]
    return born - (each if system.owned is None else each * system.owned[:, None, None])
