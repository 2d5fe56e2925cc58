"""The electrostatic energy of a batch of structures, the door for other people's models."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.kernels import Source
from lrcalc.electrostatics.layout import sum_structures
from lrcalc.electrostatics.operator import apply, make_operator
from lrcalc.electrostatics.response import polarization_energy, respond
from lrcalc.multipoles import Multipoles


class Electrostatics(NamedTuple):
    """What `electrostatic_energy` returns; an entry that was not needed is None.

    Attributes
    ----------
    energy : Tensor, shape (S,), eV
        Permanent and induced energy of each structure.
    permanent_energy : Tensor, shape (S,), eV
    potential : Tensor or None, shape (N,), V
        Potential of the permanent multipoles at each atom, own contribution removed.
    field : Tensor or None, shape (N, 3), V/Å
        Minus the gradient of that potential.
    induced_charge : Tensor or None, shape (N,), e
    induced_dipole : Tensor or None, shape (N, 3), e Å
    """

    energy: Tensor
    permanent_energy: Tensor
    potential: Tensor | None = None
    field: Tensor | None = None
    induced_charge: Tensor | None = None
    induced_dipole: Tensor | None = None


def electrostatic_energy(
    positions: Tensor,
    cell: Tensor | None,
    multipoles: Multipoles,
    *,
    batch: Tensor | None = None,
    pbc: Tensor | None = None,
    smearing: float = 1.0,
    k_cutoff: float | None = None,
    method: str = "auto",
    accuracy: float = 1e-5,
    remove_self_interaction: bool = True,
    iterations: int = 0,
    with_field: bool = False,
) -> Electrostatics:
    """Energy of smeared, polarizable multipoles (Kim et al., arXiv:2605.05746).

    Parameters
    ----------
    positions : Tensor, shape (N, 3), Å
    cell : Tensor or None, shape (3, 3) or (S, 3, 3), Å
        Cell vectors as rows; None for open boundaries.
    multipoles : Multipoles
    batch : Tensor or None, shape (N,)
        Structure of each atom; None is a single structure.
    pbc : Tensor or None, shape (3,) or (S, 3)
        Periodic directions; None means all of them if there is a cell.
    smearing : float
        Gaussian width σ, Å.
    k_cutoff : float or None
        Largest wave number of the sum, Å⁻¹; None chooses it from ``accuracy``. A given cutoff
        is kept as it is, because truncation is part of published models.
    method : str
        "auto", "direct", "mesh", "open" or "slab".
    accuracy : float
        Relative weight of what the sum leaves out.
    remove_self_interaction : bool
        Take off the energy of each site with itself.
    iterations : int
        0 is the linear response of the paper.
    with_field : bool
        Return potential and field also where the response does not need them.
    """
    structures = 1 if cell is None or cell.dim() == 2 else len(cell)
    if batch is None:
        batch = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
    elif structures == 1:
        structures = int(batch.max()) + 1
    if cell is not None:
        cell = cell.expand(structures, 3, 3)
    if pbc is not None:
        pbc = pbc.expand(structures, 3)
    operator = make_operator(
        positions,
        cell,
        batch,
        structures,
        pbc,
        smearing=smearing,
        k_cutoff=k_cutoff,
        method=method,
        accuracy=accuracy,
        remove_self_interaction=remove_self_interaction,
    )
    source = Source(multipoles.charge, multipoles.dipole, multipoles.quadrupole)
    polar = multipoles.polarizability is not None
    order = 1 if polar or with_field else 0 if multipoles.capacitance is not None else -1
    permanent, sites = apply(operator, source, order)
    if sites is None:
        return Electrostatics(permanent, permanent)
    charge, dipole = respond(multipoles, sites.potential, sites.field)
    atomic = polarization_energy(charge, dipole, sites.potential, sites.field)
    energy = permanent
    if atomic is not None:
        energy = energy + sum_structures(atomic, batch, structures)
    return Electrostatics(energy, permanent, sites.potential, sites.field, charge, dipole)
