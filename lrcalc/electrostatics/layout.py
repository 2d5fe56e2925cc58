"""Ragged batches of structures as padded blocks, so that no kernel loops over structures."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Layout(NamedTuple):
    """Where each atom of a ragged batch sits in a padded block of shape (structures, width).

    Attributes
    ----------
    slot : Tensor or None, shape (N,)
        Flat position of each atom in the block; None if the block is full and sorted.
    batch : Tensor, shape (N,)
        Structure of each atom.
    structures, width : int
        Size of the block.
    """

    slot: Tensor | None
    batch: Tensor
    structures: int
    width: int


def make_layout(batch: Tensor, structures: int) -> Layout:
    """Find the padded block of a batch (atoms of a structure need not be contiguous)."""
    if structures == 1:
        return Layout(None, batch, 1, len(batch))
    counts = torch.bincount(batch, minlength=structures)
    width = int(counts.max()) if len(batch) else 0
    ascending = bool((batch[1:] >= batch[:-1]).all())
    if ascending and width * structures == len(batch):
        return Layout(None, batch, structures, width)
    sorting = torch.argsort(batch, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(batch), device=batch.device) - starts[batch[sorting]]
    slot = torch.empty_like(batch)
    slot[sorting] = batch[sorting] * width + rank
    return Layout(slot, batch, structures, width)


def pack(layout: Layout, values: Tensor) -> Tensor:
    """(N, ...) to (structures, width, ...), padded with zeros."""
    shape = (layout.structures, layout.width, *values.shape[1:])
    if layout.slot is None:
        return values.reshape(shape)
    block = values.new_zeros((layout.structures * layout.width, *values.shape[1:]))
    return block.index_copy(0, layout.slot, values).reshape(shape)


def unpack(layout: Layout, block: Tensor) -> Tensor:
    """(structures, width, ...) back to (N, ...)."""
    flat = block.flatten(0, 1)
    return flat if layout.slot is None else flat[layout.slot]


def sum_structures(values: Tensor, batch: Tensor, structures: int) -> Tensor:
    """Sum (N, ...) over the atoms of each structure: (structures, ...)."""
    if structures == 1:
        return values.sum(0, keepdim=True)
    return values.new_zeros((structures, *values.shape[1:])).index_add(0, batch, values)
