"""What the published MACE-LES calculator returns where it is not a derivative of its energy.

Kept so that published numbers can be reproduced and differences be seen; nothing here stands on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lrcalc.derivatives import jacobian
from lrcalc.models.dipole import gradient_born
from lrcalc.system import sum_by_structure, volumes

if TYPE_CHECKING:
    from lrcalc.prediction import Prediction


def bec_as_published(prediction: Prediction) -> Tensor:
    """Born charges by the phases of the cell, [atom, field, displacement], (N, 3, 3), e.

    Zhong et al., arXiv:2504.05169: ``Re[e^{-ik_a r_i} ∂/∂r_i Σ_j q_j e^{ik_a r_j}/(i k_a)]`` with
    k_a the shortest waves of the cell. A displacement d between an atom that moves and a charge
    that answers becomes sin(k d)/k: the result depends on the box (physics §3), for charges that
    answer over 4.5 Å by a fifth. It is times the screening, as Born charges are. Open structures
    have their exact ones, and so have all as the cell grows. Charges are those with what is
    induced, less their mean; dipoles of the atoms, permanent and induced, have no lever.
    """
    system, positions = prediction.system, prediction.leaves.positions
    charge, dipole = _moments(prediction)
    n, batch = system.n_structures, system.batch
    at = system.positions.double()
    periodic = system.pbc.all(1)
    born = at.new_zeros((len(at), 3, 3))
    if dipole is not None:
        born = born + gradient_born(sum_by_structure(dipole, batch, n), positions)
    if not bool(periodic.all()):
        moments = charge[:, None] * at * (~periodic)[batch, None]
        born = born + gradient_born(sum_by_structure(moments, batch, n), positions)
    if bool(periodic.any()):
        unit = torch.eye(3, dtype=at.dtype, device=at.device)
        cell = torch.where(periodic[:, None, None], system.cell.double(), unit)
        angle = 2.0 * math.pi * torch.einsum("na,nac->nc", at, torch.linalg.inv(cell)[batch])
        waves = torch.cat([angle.cos(), angle.sin()], 1) * charge[:, None] * periodic[batch, None]
        rows = jacobian(waves.sum(0), positions, retain_graph=True).double()
        real, imaginary = rows.transpose(0, 1).split(3, 1)  # (N, wave, displacement)
        turn = angle.detach()[:, :, None]
        dephased = (turn.cos() * imaginary - turn.sin() * real) / (2.0 * math.pi)
        born = born + torch.einsum("nca,ncb->nab", cell.detach()[batch], dephased)
    return prediction.screening * born


def _moments(prediction: Prediction) -> tuple[Tensor, Tensor | None]:
    """Charges (N,), less their mean, and dipoles (N, 3) of atoms, permanent and induced."""
    terms, batch = prediction.terms, prediction.system.batch
    charge, induced = terms.readout.moving_charge.double(), terms.electrostatics
    dipoles = [terms.readout.multipoles.dipole]
    if induced is not None:
        dipoles.append(induced.induced_dipole)
        if induced.induced_charge is not None:
            extra = induced.induced_charge.double()
            both = torch.stack([extra, torch.ones_like(extra)], 1)
            total, count = sum_by_structure(both, batch, prediction.system.n_structures).unbind(1)
            charge = charge + extra - (total / count)[batch]
    given = [x.double() for x in dipoles if x is not None]
    return charge, torch.stack(given).sum(0) if given else None


def stress_as_published(prediction: Prediction) -> Tensor:
    """Stress (S, 3, 3), eV/Å³, without what the sum over charges itself does as a cell changes.

    In mace-torch 0.3.16 that sum gets positions and cell from before the strain: its energy
    changes by its charges alone. `Prediction.stress` is the derivative of the energy.
    """
    model, system, strain = prediction.model, prediction.system, prediction.leaves.strain
    assert strain is not None, "no strain was asked for"
    assert model.ewald is not None, "the model has no charges"
    multipoles, dtype = prediction.terms.readout.multipoles, model.dtype
    arguments = {
        "batch": None if system.n_structures == 1 else system.batch, "pbc": system.pbc,
        "check": False,
    }  # fmt: skip
    moved, still = (
        model.ewald(at.to(dtype), cell.to(dtype), multipoles, **arguments).energy.double()
        for at, cell in (
            (system.positions, system.cell), (system.positions.detach(), system.cell.detach()),
        )
    )  # fmt: skip
    energy = prediction.terms.energy - moved + still
    (gradient,) = torch.autograd.grad(energy.sum(), strain, retain_graph=True)
    return gradient / volumes(system.cell.detach())[:, None, None]
