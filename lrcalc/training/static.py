"""The static permittivity of a crystal as a function of a model's weights (physics §7).

    ε_0 = ε_r + (1/(ε0 V)) Zᵀ K⁻¹ Z ,     K = ∂²E/∂r∂r, Z the Born charges

at clamped cell. ``x = K⁻¹ Z`` is found by conjugate gradients on products of K with vectors, each
a backward pass; of ``2 x·Z - x·K x``, which is stationary in x, the weights get their exact
derivative without a derivative of x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lrcalc.prediction import Prediction
from lrcalc.system import volumes
from lrcalc.units import EPSILON_0

TOLERANCE = 1e-3
"""Relative residual of K x = Z; the error of ε_0 is its square."""

MOST_STEPS = 60


def static_permittivity(made: Prediction, rows: Tensor) -> Tensor:
    """ε_0 (K, 3, 3) of the structures ``rows``; keeps the graph to the weights.

    Of a structure that is unstable along what the field moves, as early in a training, only the
    electrons' part is returned.
    """
    system, positions = made.system, made.leaves.positions
    gradient = -made.forces
    born = made.born.transpose(0, 1)  # (field, atom, displacement)
    electronic = made.dielectric_tensor[rows]
    mine = [(system.batch == row).double()[:, None] for row in rows.tolist()]

    def product(vector: Tensor, *, create_graph: bool = False) -> Tensor:
        along = (gradient * vector).sum()
        return torch.autograd.grad(along, positions, retain_graph=True, create_graph=create_graph)[
            0
        ]

    volume = volumes(system.cell).double()
    found = []
    for row, mask in zip(rows.tolist(), mine, strict=True):
        force = born * mask  # what a unit field does to the atoms
        moved = [_solve(product, force[a].detach()) for a in range(3)]
        if any(x is None for x in moved):
            found.append(torch.zeros_like(electronic[0]))
            continue
        x = torch.stack([m for m in moved if m is not None])
        stiff = torch.stack([product(m, create_graph=True) for m in x.unbind()])
        cross = torch.einsum("anb,cnb->ac", x, force)
        ionic = cross + cross.T - torch.einsum("anb,cnb->ac", x, stiff)
        found.append(ionic / (EPSILON_0 * volume[row]))
    return electronic + torch.stack(found)


def _solve(product: Callable[[Tensor], Tensor], right: Tensor) -> Tensor | None:
    """Solve ``K x = right`` by conjugate gradients; None where K is not positive along the way."""
    x = torch.zeros_like(right)
    rest = right.clone()
    direction = rest
    square = first = (rest * rest).sum()
    if not float(first) > 0.0:
        return x
    for _ in range(MOST_STEPS):
        image = product(direction).detach()
        curvature = (direction * image).sum()
        if not float(curvature) > 0.0:
            return None
        step = square / curvature
        x, rest = x + step * direction, rest - step * image
        before, square = square, (rest * rest).sum()
        if float(square) < TOLERANCE**2 * float(first):
            break
        direction = rest + (square / before) * direction
    return x
