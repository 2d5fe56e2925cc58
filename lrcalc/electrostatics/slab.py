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

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain
from lrcalc.electrostatics.choice import choose_sum
from lrcalc.electrostatics.direct import Direct, DirectPlan
from lrcalc.electrostatics.sums import Geometry, Interaction


class SlabPlan(NamedTuple):
    """What of a slab's sum does not move with the atoms, or in steps.

    Attributes
    ----------
    batch : Tensor, shape (N,)
    axes : Tensor, shape (B, 2)
        The periodic cell vectors.
    normal : Tensor, shape (B, 3)
    height : float, Å
        Length of the third cell vector, common to the batch.
    direct : DirectPlan
    domain : Domain or None
    """

    batch: Tensor
    axes: Tensor
    normal: Tensor
    height: float
    direct: DirectPlan
    domain: Domain | None = None


@dataclass(frozen=True)
class Slab:
    """Sum of structures periodic in two directions.

    Positions are not wrapped along the normal: a slab must be in one piece. Gaussian tails below
    ``accuracy`` may reach over the cut.
    """

    smearing: float
    k_cutoff: float
    accuracy: float
    contains_self: ClassVar[bool] = True

    def plan(self, geometry: Geometry) -> SlabPlan:
        """Choose the repeat length by the thickness, then the waves as `Direct` does."""
        assert geometry.pbc is not None
        closed = geometry.pbc.logical_not().to(torch.uint8)
        axes = torch.argsort(closed, dim=1, stable=True)[:, :2]
        _, normal = _plane(geometry.cells.detach(), axes)
        height = self._height(geometry.positions, normal, geometry.batch, geometry.domain)
        inside = geometry._replace(cell=_closed_cell(geometry.cells, axes, height))
        choose_sum("direct", inside, self.smearing, self.k_cutoff, self.accuracy)
        direct = Direct(self.smearing, self.k_cutoff).plan(inside, height)
        return SlabPlan(geometry.batch, axes, normal, height, direct, geometry.domain)

    def still_holds(self, plan: SlabPlan, positions: Tensor) -> bool:
        """Whether the repeat length is still the same."""
        return self._height(positions, plan.normal, plan.batch, plan.domain) == plan.height

    def _height(
        self, positions: Tensor, normal: Tensor, batch: Tensor, domain: Domain | None
    ) -> float:
        z = (positions.detach() * normal[batch]).sum(-1)
        bounds = z.new_full((2, len(normal)), float("inf"))
        low = bounds[0].scatter_reduce(0, batch, z, "amin")
        high = (-bounds[1]).scatter_reduce(0, batch, z, "amax")
        if domain is not None:
            low, high = -domain.largest(-low), domain.largest(high)
        thickness = float((high - low).max())
        height = 2.0 * (thickness + self.smearing * sqrt(-2.0 * log(self.accuracy)))
        # in steps of a twentieth, so that the repeat length hardly ever changes along a trajectory
        return float(1.05 ** ceil(log(height) / log(1.05)))

    def evaluate(self, plan: SlabPlan, positions: Tensor, cell: Tensor | None) -> Interaction:
        """`Direct` in the cell closed by a third vector along the normal."""
        assert cell is not None
        closed = _closed_cell(cell, plan.axes, plan.height)
        return Direct(self.smearing, self.k_cutoff).evaluate(plan.direct, positions, closed)


def _plane(cell: Tensor, axes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the periodic vectors (B, 2, 3) and the unit normal (B, 3)."""
    rows = cell.gather(1, axes[:, :, None].expand(-1, -1, 3))
    normal = torch.linalg.cross(rows[:, 0], rows[:, 1])
    return rows, normal / normal.norm(dim=-1, keepdim=True)


def _closed_cell(cell: Tensor, axes: Tensor, height: float) -> Tensor:
    """Return the two periodic vectors, then one of length ``height`` normal to them."""
    rows, normal = _plane(cell, axes)
    return torch.cat([rows, height * normal[:, None]], 1)
