"""Which frames go together, and their batches on a device, of pairs prepared once.

A step of training must not wait for its device. All sizes are known here, on the host; pairs are
joined on the device, where those of all frames are kept; values that a model looks at (species,
cells) travel beside the batch in the host's memory (`System.host`, `Pairs.known`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.electrostatics.hosted import moved
from lrcalc.memory import available_bytes
from lrcalc.models.potential import Potential
from lrcalc.neighbors import FamiliarPairs, Known, Pairs, pair_vectors, rows_within
from lrcalc.training.data import Batch, Frame, batch_to, collate
from lrcalc.training.settings import TrainingSettings

LARGEST_SHARE = 0.4
"""Of the free memory of a device that pairs may take for good."""

EVALUATED_ATOMS = 4096
"""Atoms that fill a GPU where only forces are wanted; on a CPU larger batches gain nothing."""


def shuffled(sizes: Sequence[int], settings: TrainingSettings, epoch: int) -> list[list[int]]:
    """Frames (of ``sizes`` atoms) of each step of an epoch, counted from 0.

    Those of a step stay together for ``keep_batches`` epochs, while the order of the steps changes.
    """
    first = epoch - epoch % settings.keep_batches
    order = _drawn(len(sizes), settings.seed * 100_003 + first)
    groups = grouped(order, sizes, settings.batch_size, settings.batch_atoms)
    if settings.keep_batches == 1:
        return groups
    return [groups[k] for k in _drawn(len(groups), settings.seed * 100_003 + 70_000 + epoch)]


def _drawn(count: int, seed: int) -> list[int]:
    """Give the numbers up to ``count`` in a random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def grouped(
    order: Sequence[int], sizes: Sequence[int], most_frames: int, most_atoms: int
) -> list[list[int]]:
    """Cut ``order`` into batches.

    Of ``most_frames`` frames or, if ``most_atoms`` is not 0, of as many as have no more atoms than
    that together (one where it alone has more).
    """
    if not most_atoms:
        return [list(order[k : k + most_frames]) for k in range(0, len(order), most_frames)]
    batches: list[list[int]] = []
    atoms = 0
    for k in order:
        atoms += sizes[k]
        if not batches or atoms > most_atoms:
            batches.append([])
            atoms = sizes[k]
        batches[-1].append(k)
    return batches


def in_order(sizes: Sequence[int], settings: TrainingSettings) -> list[list[int]]:
    """Batches to evaluate frames in: their order has no meaning, their size is the device's."""
    most = settings.batch_atoms
    if torch.device(settings.device).type != "cpu":
        most = max(most, EVALUATED_ATOMS)
    return grouped(range(len(sizes)), sizes, settings.batch_size, most)


class Shelf(NamedTuple):
    """Pairs of all frames one after the other, as small as they are exact.

    Attributes
    ----------
    i, j : Tensor, shape (E,), int32
        Atoms, counted within their frame.
    shift : Tensor, shape (E, 3), int16
    near : Tensor, shape (T,), int32
        Rows of pairs within ``cutoff``, counted within their frame.
    cutoff : float
        Å.
    ends, near_ends : list of int
        Where the pairs, and the near ones, of each frame begin; and the end.
    most : list of int
        Largest number of neighbours of one species that an atom of the frame has.
    """

    i: Tensor
    j: Tensor
    shift: Tensor
    near: Tensor
    cutoff: float
    ends: list[int]
    near_ends: list[int]
    most: list[int]


def fill_shelf(frames: Sequence[Frame], cutoff: float) -> Shelf:
    """Put the pairs of frames on a shelf, on the host; ``cutoff`` (Å) says which are near."""
    near, most = [], []
    for frame in frames:
        system, pairs = frame.system, frame.pairs
        near.append(rows_within(pairs, pair_vectors(system, pairs), cutoff).int())
        n = int(system.numbers.max()) + 1
        seen = torch.bincount(pairs.i * n + system.numbers[pairs.j])
        most.append(int(seen.max()) if len(seen) else 0)
    return Shelf(
        torch.cat([f.pairs.i.int() for f in frames]),
        torch.cat([f.pairs.j.int() for f in frames]),
        torch.cat([f.pairs.shift.short() for f in frames]),
        torch.cat(near),
        cutoff,
        [0, *np.cumsum([len(f.pairs.i) for f in frames]).tolist()],
        [0, *np.cumsum([len(x) for x in near]).tolist()],
        most,
    )


def take(shelf: Shelf, chosen: Sequence[int], sizes: Sequence[int]) -> Pairs:
    """Join the pairs of ``chosen`` frames, of ``sizes`` atoms; looks at no value on the shelf."""
    atoms = [0, *np.cumsum([sizes[k] for k in chosen[:-1]]).tolist()]
    rows, (offset,) = _rows(shelf.ends, chosen, [atoms], shelf.i.device)
    begins = [0, *np.cumsum([shelf.ends[k + 1] - shelf.ends[k] for k in chosen[:-1]]).tolist()]
    near_rows, (begin,) = _rows(shelf.near_ends, chosen, [begins], shelf.i.device)
    near = shelf.near.index_select(0, near_rows).long() + begin
    known = Known(max(shelf.most[k] for k in chosen), shelf.cutoff, near)
    i, j = (x.index_select(0, rows).long() + offset for x in (shelf.i, shelf.j))
    return FamiliarPairs(i, j, shelf.shift.index_select(0, rows).long(), known)


def _rows(
    ends: Sequence[int], chosen: Sequence[int], values: list[list[int]], device: torch.device
) -> tuple[Tensor, list[Tensor]]:
    """Rows of the chosen frames one after the other, and for each what belongs to its frame."""
    counts = [ends[k + 1] - ends[k] for k in chosen]
    before = np.cumsum([0, *counts[:-1]])
    shift = [ends[k] - int(b) for k, b in zip(chosen, before, strict=True)]
    total = sum(counts)
    table = torch.tensor([counts, shift, *values]).to(device, non_blocking=True)
    each = torch.repeat_interleave(table[1:], table[0], dim=1, output_size=total)
    rows = each[0] + torch.arange(total, device=device)
    return rows, list(each[1:].unbind())


class Batches:
    """Frames, made into batches on a device.

    Parameters
    ----------
    frames : sequence of Frame
    potential : Potential
        Whose device it is.
    apart : bool, optional
        Keep what a model looks at in the host's memory: by default on any device but a CPU.

    Attributes
    ----------
    sizes : list of int
        Atoms of each frame.
    """

    def __init__(
        self, frames: Sequence[Frame], potential: Potential, *, apart: bool | None = None
    ) -> None:
        self.frames = frames
        self.sizes = [len(f.system.numbers) for f in frames]
        self.device = potential.reference_energy.device
        self._shelf: Shelf | None = None
        if self.device.type != "cpu" if apart is None else apart:
            # which pairs a readout of another kind wants, it says itself
            self._shelf = fill_shelf(frames, getattr(potential.readout, "transfer_cutoff", 0.0))
            size = sum(x.nbytes for x in self._shelf if isinstance(x, Tensor))
            if size <= LARGEST_SHARE * available_bytes(self.device):
                self._shelf = moved(self._shelf, self.device)

    def __call__(self, chosen: Sequence[int]) -> Batch:
        """Join frames, counted from 0."""
        frames = [self.frames[k] for k in chosen]
        if self._shelf is None:
            return batch_to(collate(frames), self.device)
        batch = collate(frames, take(self._shelf, chosen, self.sizes))
        host = batch.system
        batch = batch_to(batch, self.device)
        return batch._replace(system=batch.system._replace(host=host))

    def each(self, groups: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """Make one batch after another."""
        return (self(chosen) for chosen in groups)
