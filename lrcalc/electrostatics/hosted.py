"""Plans made on the host for a sum on a device, so that the host never waits for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lrcalc.electrostatics.sums import Geometry


def stand_in(host: Geometry, geometry: Geometry) -> Geometry:
    """``host``, of the same structures, as `Ewald.plan` is to see it in place of ``geometry``.

    In the precision of ``geometry``, and with cells that want a gradient where its cells do.
    """
    dtype, cell = geometry.positions.dtype, None
    if geometry.cell is not None and host.cell is not None:
        cell = host.cell.detach().to(dtype, copy=True)
        cell.requires_grad_(geometry.cell.requires_grad)
    positions = host.positions.detach().to(dtype)
    device = geometry.positions.device
    return host._replace(positions=positions, cell=cell, device=device, alone=geometry.alone)


def moved(plan: Any, device: torch.device) -> Any:
    """Copy the tensors in tuples, lists and dictionaries to ``device``; the rest stays as it is."""
    done: dict[int, Tensor] = {}  # one copy of what stands in several places

    def move(part: Any) -> Any:
        if isinstance(part, Tensor):
            if id(part) not in done:
                done[id(part)] = part.to(device, non_blocking=True)
            return done[id(part)]
        if isinstance(part, tuple):
            if not hasattr(part, "_fields"):
                return tuple(move(x) for x in part)
            # what copies are made from, which may be more than a tuple's entries
            named: Any = part
            return type(part)(*(move(x) for x in named.__getnewargs__()))
        if isinstance(part, list):
            return [move(x) for x in part]
        if isinstance(part, dict):
            return {key: move(value) for key, value in part.items()}
        return part

    return move(plan)
