"""A plan kept between calls, and what tells whether it still is the right one."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.operator import Groups, still_hold
from lrcalc.electrostatics.sums import Geometry


class Remembered(NamedTuple):
    """A plan, as it is used and as it was made, on the host perhaps, and copies of what for."""

    groups: Groups
    made: Groups
    key: tuple[Any, ...]
    tensors: tuple[Tensor | None, ...]

    def fits(self, geometry: Geometry) -> bool:
        """Whether the plan is also that of this geometry."""
        same = self.key == _key(geometry) and all(
            a is b or (a is not None and b is not None and torch.equal(a, b))
            for a, b in zip(self.tensors, _tensors(geometry), strict=True)
        )
        if geometry.domain is not None:  # a process whose atoms changed lets the others plan too
            same = float(geometry.domain.largest(torch.tensor([float(not same)]))) == 0.0
        return same and still_hold(self.made, geometry.positions)


def remember(geometry: Geometry, groups: Groups, made: Groups) -> Remembered:
    """Keep ``groups``, as ``made`` where ``geometry`` is, with what they were made for."""
    # copies: a caller may write into his tensors
    tensors = tuple(None if x is None else x.clone() for x in _tensors(geometry))
    return Remembered(groups, made, _key(geometry), tensors)


def _key(geometry: Geometry) -> tuple[Any, ...]:
    cell, positions = geometry.cell, geometry.positions
    return (
        len(positions),
        positions.dtype,
        # a plan made on the host for a device is not compared with tensors that are there
        positions.device,
        geometry.place,
        geometry.structures,
        geometry.domain,
        geometry.atoms,
        geometry.multipole,
        geometry.derivatives,
        geometry.compiled,
        geometry.alone,
        # weights are part of the plan only of cells that want no gradient
        cell is not None and cell.requires_grad,
        # tensors made in inference mode are of no use outside
        torch.is_inference_mode_enabled(),
    )


def _tensors(geometry: Geometry) -> tuple[Tensor | None, ...]:
    cell = geometry.cell
    return (None if cell is None else cell.detach(), geometry.batch, geometry.pbc)
