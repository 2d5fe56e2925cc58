"""Structures as MACE-POLAR reads them, and those that it does not know."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrcalc.neighbors import Pairs
from lrcalc.system import System, sum_by_structure, volumes


def graph_of(system: System, pairs: Pairs, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the dictionary that MACE reads, with the gradients of the system.

    Elements and heads apart, which are the model's.
    """
    n, counts = system.n_structures, torch.bincount(system.batch)
    cell, unit = system.cell.to(dtype), torch.eye(3, dtype=dtype, device=system.cell.device)
    # of an open structure no use is made of a cell, but wave vectors are listed all the same
    cell = torch.where(system.pbc.any(1)[:, None, None], cell, unit)
    shift = pairs.shift.to(dtype)
    zero = cell.new_zeros(n)
    field = cell.new_zeros(n, 3) if system.field is None else system.field.to(dtype)
    return {
        "positions": system.positions.to(dtype),
        "cell": cell.reshape(-1, 3),
        "pbc": system.pbc,
        "batch": system.batch,
        "ptr": torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        "edge_index": torch.stack([pairs.j, pairs.i]),  # from sender to receiver
        "unit_shifts": -shift,
        "shifts": -torch.einsum("ea,eab->eb", shift, cell[system.batch[pairs.i]]),
        "volume": volumes(cell),
        "rcell": 2.0 * math.pi * torch.linalg.inv(cell).transpose(1, 2),
        "total_charge": system.total_charge.to(dtype),
        "total_spin": zero + 1.0,
        "external_field": -field,
        "fermi_level": zero,
    }


def check_polar(system: System) -> None:
    """Refuse structures that MACE-POLAR does not know as lrcalc tells of them."""
    if system.owned is not None:
        raise ValueError("MACE-POLAR sums over whole structures, so it cannot have ghosts")
    periodic, partly = system.pbc.all(1), system.pbc.any(1)
    if bool((partly & ~periodic).any()):
        raise ValueError(
            "a structure is periodic in one or two directions: mace-torch gives it a cell that "
            "hangs on where its atoms are, so its energies are not smooth; set pbc to all or none"
        )
    if bool(partly.any()) and not bool(partly.all()):
        raise ValueError(
            "structures with and without periodic directions in one call: MACE-POLAR sums charges "
            "of all of them in one way; call it for each kind"
        )
    numbers = sum_by_structure(system.numbers.double(), system.batch, system.n_structures)
    pairs = 0.5 * (numbers - system.total_charge.double())
    if bool(((pairs - pairs.round()).abs() > 1e-6).any()):
        raise ValueError(
            "a structure has an odd number of electrons (or a broken charge); lrcalc knows no "
            "spins, and tells MACE-POLAR that all are paired: state its charge in info['charge']"
        )
