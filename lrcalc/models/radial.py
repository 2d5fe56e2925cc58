"""Functions of a distance that end smoothly at a cutoff."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """``1 - 28x⁶ + 48x⁷ - 21x⁸``: one at the centre, zero at the cutoff with two derivatives."""
    x = (distance / cutoff).clamp(max=1.0)
    x2 = x * x
    x6 = x2 * x2 * x2
    return 1.0 + x6 * (-28.0 + x * (48.0 - 21.0 * x))


def radial_basis(distance: Tensor, cutoff: float, n_basis: int) -> Tensor:
    """Spherical Bessel functions under a smooth cutoff, shape (E, n_basis).

    ``sin(nπ r/r_c)/r`` (Gasteiger, Groß, Günnemann, ICLR 2020) times `envelope`.
    """
    order = torch.arange(1, n_basis + 1, dtype=distance.dtype, device=distance.device)
    phase = distance[:, None] * (order * (math.pi / cutoff))
    prefactor = math.sqrt(2.0 / cutoff) * envelope(distance, cutoff) / distance
    return torch.sin(phase) * prefactor[:, None]
