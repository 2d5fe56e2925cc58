"""Features of the atoms that pairs start from, in blocks where memory asks for it.

A process of many sees more ghosts than it owns atoms, and with one round of messages a feature
depends on the pairs of its own atom alone: ghosts are described by those who own them. Blocks of
atoms are described one after the other and once more in the backward pass, so that only one block's
densities and products are in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lrcalc.models.backbone import Backbone, Features
from lrcalc.neighbors import Pairs
from lrcalc.system import System


def features_of(backbone: Backbone, system: System, pairs: Pairs, vectors: Tensor) -> Features:
    """Features of the atoms that pairs start from (`System.centres`): the first rows, or all."""
    count = system.centres
    if count is None:
        return backbone(system, pairs, vectors)
    if count == 0:
        return _nobody(backbone, vectors)
    size = system.block or count
    if size >= count:
        found = list(_described(backbone, system, pairs, vectors, 0, count))
    else:
        parts = [
            checkpoint(
                _described, backbone, system, pairs, vectors, start, min(start + size, count),
                use_reentrant=False, preserve_rng_state=False,
            )
            for start in range(0, count, size)
        ]  # fmt: skip
        found = [torch.cat(part) for part in zip(*parts, strict=True)]
    return Features(found[0], found[1], found[2])


def _described(
    backbone: Backbone, system: System, pairs: Pairs, vectors: Tensor, start: int, stop: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the atoms start … stop, from their pairs."""
    if stop - start < (system.centres or 0):
        edges = torch.searchsorted(pairs.i, torch.tensor([start, stop], device=pairs.i.device))
        low, high = edges.tolist()
        # neighbours follow the block's own atoms, each of them once
        seen, place = torch.unique(pairs.j[low:high], return_inverse=True)
        atoms = torch.cat([torch.arange(start, stop, device=seen.device), seen])
        pairs = Pairs(pairs.i[low:high] - start, place + (stop - start), pairs.shift[low:high])
        vectors = vectors[low:high]
        system = system._replace(
            numbers=system.numbers[atoms], batch=system.batch[atoms], centres=stop - start,
            host=None,
        )  # fmt: skip
    found = backbone(system, pairs, vectors)
    return tuple(x[: stop - start] for x in found[:3])  # type: ignore[return-value]


def for_all(features: Features, count: int) -> Features:
    """Features of ``count`` atoms, zero for those that have none."""
    scalars, vectors, tensors = (padded(x, count) for x in features[:3])
    return features._replace(scalars=scalars, vectors=vectors, tensors=tensors)


def padded(rows: Tensor, count: int) -> Tensor:
    """``count`` rows, those that are missing zero."""
    missing = count - len(rows)
    return torch.cat([rows, rows.new_zeros((missing, *rows.shape[1:]))]) if missing else rows


def _nobody(backbone: Backbone, vectors: Tensor) -> Features:
    """Zeros with a gradient: without atoms too, a process is part of every exchange backwards."""
    zero = 0.0 * vectors.sum()
    channels = backbone.n_channels
    shapes = ((0, backbone.n_scalars), (0, channels, 3), (0, channels, 5))
    scalar, vector, tensor = (vectors.new_zeros(shape) + zero for shape in shapes)
    return Features(scalar, vector, tensor)
