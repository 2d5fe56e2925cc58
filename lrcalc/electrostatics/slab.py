"""Slabs: two periodic directions, by a reciprocal sum with the interaction cut off in between.

Along the normal the interaction is cut at half of a repeat length L that exceeds twice the
thickness, so that periodic images do not see each other while pairs inside the slab feel the
full interaction (Rozzi et al., Phys. Rev. B 73, 205119 (2006); Sohier, Calandra, Mauri,
Phys. Rev. B 96, 075448 (2017)): with L/2 as cut and ``k_z = 2πn/L``,
``v̂(k) → v̂(k) [1 - (-1)^n exp(-G L/2)]`` and ``v̂(0) = -L²/(8 ε0)``. This is the exact
two-dimensional Ewald sum up to the tail of the Gaussians; a charged slab has the potential
``-|z|/(2 ε0 A)`` of its mean plane.
"""

from __future__ import annotations

from math import ceil, log, sqrt

import torch
from torch import Tensor

from lrcalc.units import EPSILON_0


def slab_cell(
    positions: Tensor, cell: Tensor, pbc: Tensor, batch: Tensor, smearing: float, accuracy: float
) -> tuple[Tensor, float]:
    """Replace the vector that is not periodic by one normal to the slab, long enough.

    Parameters
    ----------
    positions : Tensor, shape (N, 3), Å
        Not wrapped along the normal: a slab must be in one piece.
    cell : Tensor, shape (B, 3, 3), Å
    pbc : Tensor, shape (B, 3)
        Two directions of each structure are periodic.
    batch : Tensor, shape (N,)
    smearing, accuracy : float
        Gaussian tails below ``accuracy`` may reach over the cut.

    Returns
    -------
    cell : Tensor, shape (B, 3, 3), Å
        The two periodic vectors, then the new third.
    height : float, Å
        Its length, common to the batch.
    """
    order = torch.argsort(pbc.logical_not().to(torch.uint8), dim=1, stable=True)
    rows = cell.gather(1, order[:, :2, None].expand(-1, -1, 3))
    normal = torch.linalg.cross(rows[:, 0], rows[:, 1])
    normal = normal / normal.norm(dim=-1, keepdim=True)
    z = (positions * normal[batch]).sum(-1).detach()
    bounds = z.new_full((2, len(cell)), float("inf"))
    low = bounds[0].scatter_reduce(0, batch, z, "amin")
    high = (-bounds[1]).scatter_reduce(0, batch, z, "amax")
    thickness = float((high - low).max())
    height = 2.0 * (thickness + smearing * sqrt(-2.0 * log(accuracy)))
    # in steps of a twentieth, so that the repeat length hardly ever changes along a trajectory
    height = 1.05 ** ceil(log(height) / log(1.05))
    return torch.cat([rows, height * normal[:, None]], 1), height


def truncate_weight(weight: Tensor, in_plane: Tensor, third: Tensor, height: float) -> Tensor:
    """Weights v̂(k) of the interaction cut at half the height.

    Parameters
    ----------
    weight : Tensor, shape (B, P, T)
    in_plane : Tensor, shape (B, P), Å⁻²
        Squared wave number G² within the slab.
    third : Tensor, shape (T,)
        Index n along the normal.
    """
    flat = in_plane == 0
    g = torch.where(flat, torch.ones_like(in_plane), in_plane).sqrt()
    decay = torch.where(flat, torch.ones_like(g), torch.exp(-0.5 * height * g))
    sign = 1.0 - 2.0 * third.remainder(2).to(weight.dtype)
    origin = flat[:, :, None] & (third == 0)
    constant = weight.new_tensor(-(height**2) / (8.0 * EPSILON_0))
    return torch.where(origin, constant, weight * (1.0 - decay[:, :, None] * sign))
