"""Loss and error measures of energies, forces and stresses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.models.potential import Potential
from lrcalc.prediction import predict
from lrcalc.training.data import Batch


class Weights(NamedTuple):
    """Weights of the squared errors.

    Attributes
    ----------
    energy : float
        Of (eV/atom)².
    forces : float
        Of (eV/Å)².
    stress : float
        Of (eV/Å³)².
    """

    energy: float
    forces: float
    stress: float


class Errors(NamedTuple):
    """Residuals of one batch.

    Attributes
    ----------
    energy : Tensor, shape (S,), eV/atom
        Data minus model.
    forces : Tensor, shape (N, 3), eV/Å
    stress : Tensor, shape (S', 3, 3), eV/Å³
        For the structures that have one.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor


def residuals(
    potential: Potential, batch: Batch, shifts: Tensor, *, training: bool, stress: bool
) -> Errors:
    """Return data minus model for a batch.

    Parameters
    ----------
    potential : Potential
    batch : Batch
    shifts : Tensor, shape (n_sources,), eV/atom
        Energy offset of each data file, taken off its energies.
    training : bool
        Keep the graph for the second backward pass.
    stress : bool
        Whether stresses are compared.
    """
    names = ["energy", "forces"]
    names += ["stress"] if stress and bool(batch.has_stress.any()) else []
    found = predict(
        potential, batch.system, batch.pairs, None, names, create_graph=training, check=False
    )
    energy = (batch.energy - found["energy"]) / batch.n_atoms - shifts[batch.source]
    stress_error = batch.stress[:0]
    if "stress" in found:
        stress_error = (batch.stress - found["stress"])[batch.has_stress]
    return Errors(energy, batch.forces - found["forces"], stress_error)


def loss(errors: Errors, weights: Weights) -> Tensor:
    """Weighted sum of mean squared errors; the stress term counts all nine components."""
    total = weights.energy * errors.energy.square().mean()
    total = total + weights.forces * errors.forces.square().mean()
    if len(errors.stress):
        total = total + weights.stress * errors.stress.square().mean()
    return total


class Accumulator:
    """Mean squares of residuals over many batches."""

    def __init__(self) -> None:
        self.sums = {"energy": 0.0, "forces": 0.0, "stress": 0.0}
        self.counts = {"energy": 0, "forces": 0, "stress": 0}

    def add(self, errors: Errors) -> None:
        """Add one batch."""
        for key, value in errors._asdict().items():
            detached = value.detach()
            self.sums[key] += float(detached.square().sum())
            self.counts[key] += detached.numel()

    def rmse(self) -> dict[str, float]:
        """Root mean square error of each quantity (NaN where there is none)."""
        return {
            key: (self.sums[key] / n) ** 0.5 if n else float("nan")
            for key, n in self.counts.items()
        }


def gradient_is_finite(potential: torch.nn.Module) -> bool:
    """Whether no gradient holds NaN or infinity."""
    return all(
        bool(torch.isfinite(p.grad).all()) for p in potential.parameters() if p.grad is not None
    )
