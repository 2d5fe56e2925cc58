"""Whether energies and forces determine the charges of a model (physics §9).

In a crystal whose atoms hardly move the long-range part of the forces is nearly a constant matrix
of force constants, which the short-ranged readout imitates within its cutoff: forces are as good
as could be wished, whatever the charges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.derivatives import forces_and_stress, jacobian, strained
from lrcalc.models.potential import Potential
from lrcalc.neighbors import pair_vectors
from lrcalc.training.data import Frame, batch_to, collate


class LongRange(NamedTuple):
    """The long-range part of the forces on a sample of frames.

    Attributes
    ----------
    share : float
        Its root mean square over that of all forces.
    forces : float
        Its root mean square, eV/Å.
    beyond : float
        Root mean square of what the short-ranged readout cannot imitate of it, eV/Å.
    error : float
        Root mean square error of the model's forces, eV/Å.
    """

    share: float
    forces: float
    beyond: float
    error: float


def long_range_part(potential: Potential, frames: Sequence[Frame], device: str) -> LongRange:
    """Measure the long-range part of the forces, and what of it nothing else can imitate.

    The energy is linear in the features of the backbone, so forces that the readout can add are
    combinations of ``-d(Σ_i h_ik)/dr``, of each species alone; the rest of a least-squares fit is
    what changes if charges do, and only that.

    Parameters
    ----------
    potential : Potential
        With charges.
    frames : sequence of Frame
        A sample: as many force components as columns at least.
    device : str
    """
    total, apart, columns, errors = [], [], [], []
    for frame in frames:
        batch = batch_to(collate([frame]), device)
        leaves = strained(batch.system, stress=False)
        terms = potential(leaves.system, batch.pairs, surface=False)
        assert terms.electrostatics is not None
        long, _ = forces_and_stress(terms.electrostatics.energy.double(), leaves, retain_graph=True)
        whole, _ = forces_and_stress(terms.energy, leaves)
        vectors = pair_vectors(leaves.system, batch.pairs).to(potential.dtype)
        scalars = potential.backbone(leaves.system, batch.pairs, vectors).scalars
        species = potential.species_of_number[batch.system.numbers]
        own = [scalars[species == k].sum(0) for k in range(len(potential.species))]
        made = jacobian(torch.cat(own), leaves.positions)
        columns.append(made.flatten(1).T.double().cpu())
        total.append(whole.cpu().flatten())
        apart.append(long.double().cpu().flatten())
        errors.append((batch.forces - whole).cpu().flatten())
    forces, long_range, error = (torch.cat(x) for x in (total, apart, errors))
    left = long_range - _imitation(torch.cat(columns), long_range)
    return LongRange(
        float(_rms(long_range) / _rms(forces)),
        float(_rms(long_range)),
        float(_rms(left)),
        float(_rms(error)),
    )


def _imitation(columns: Tensor, target: Tensor) -> Tensor:
    """Least-squares fit of ``target`` (R,) by ``columns`` (R, K)."""
    scale = columns.norm(dim=0).clamp(min=1e-300)
    found = torch.linalg.lstsq(columns / scale, target[:, None], driver="gelsd").solution
    return (columns / scale @ found)[:, 0]


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()
