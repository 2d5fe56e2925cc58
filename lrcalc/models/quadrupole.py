"""Quadrupole moment of a structure without periodic directions, from its latent multipoles.

With charges q, dipoles u and quadrupoles Θ of the atoms, permanent and induced, at x from the
centre of the nuclear charges,

    Q = Σ_i [ q_i (x x - ⅓ x² 1) + x u_i + u_i x - ⅔ x·u_i 1 + Θ_i ]

is symmetric and traceless; ``½ Q:∇∇φ`` is its energy in a potential, as of the atoms'
(`lrcalc.multipoles.Multipoles`). Buckingham's moment is 3/2 of it (Adv. Chem. Phys. 12, 107
(1967)). With a dipole M and no net charge it depends on the origin: from an origin shifted by d it
is ``Q - (d M + M d - ⅔ d·M 1)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrcalc.models.dipole import capacitance_lever
from lrcalc.models.terms import Terms
from lrcalc.system import System, sum_by_structure


def nuclear_centre(system: System) -> Tensor:
    """Centre of the nuclear charges of each structure, ``Σ Z r / Σ Z``, (S, 3), Å, float64."""
    weight = system.numbers.double()[:, None]
    n = system.n_structures
    total = sum_by_structure(weight, system.batch, n)
    return sum_by_structure(weight * system.positions.double(), system.batch, n) / total


def lattice_quadrupole(system: System, terms: Terms) -> Tensor:
    """Latent quadrupole moment of each structure, (S, 3, 3), e Å², float64.

    Charges induced on atoms that have no counterpart count from the centre of capacitance, as in
    `lrcalc.models.dipole.lattice_dipole`.
    """
    arms = system.positions.double() - nuclear_centre(system)[system.batch]
    multipoles, induced = terms.readout.multipoles, terms.electrostatics
    charge = terms.readout.moving_charge.double()
    moments = [multipoles.dipole]
    tensor = arms.new_zeros((len(arms), 3, 3))
    if induced is not None:
        moments.append(induced.induced_dipole)
        if induced.induced_charge is not None:
            extra = induced.induced_charge.double()
            charge = charge + extra
            if multipoles.capacitance is not None:
                levers = capacitance_lever(system, multipoles.capacitance.double(), arms)
                centre = arms - levers  # one for a structure: its counter-charge sits there
                tensor = tensor - extra[:, None, None] * _outer(centre, centre)
    tensor = tensor + charge[:, None, None] * _outer(arms, arms)
    for moment in moments:
        if moment is not None:
            product = _outer(arms, moment.double())
            tensor = tensor + product + product.transpose(1, 2)
    if multipoles.quadrupole is not None:
        tensor = tensor + multipoles.quadrupole.double()
    total = sum_by_structure(tensor, system.batch, system.n_structures)
    trace = total.diagonal(dim1=1, dim2=2).sum(1)
    unit = torch.eye(3, dtype=total.dtype, device=total.device)
    return total - (trace / 3)[:, None, None] * unit


def _outer(one: Tensor, other: Tensor) -> Tensor:
    return one[:, :, None] * other[:, None, :]
