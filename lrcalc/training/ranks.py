"""Processes that train one model together, each with its share of every batch.

Started by ``torchrun --nproc-per-node N -m lrcalc train …``. Every rank holds all weights, reads
all frames and takes the same steps: gradients, counts and errors are summed over the ranks, so
that the weights are those of one process, to rounding. `DistributedDataParallel` is not used: it
refuses the second derivatives that the loss of forces needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, distributed

PATIENCE = timedelta(minutes=10)
"""How long ranks wait for one another."""

T = TypeVar("T")


class Ranks(NamedTuple):
    """Who takes part.

    Attributes
    ----------
    rank : int
        Of this process, counted from 0; 0 writes files.
    size : int
        Number of processes.
    """

    rank: int = 0
    size: int = 1

    def share(self, items: Sequence[T], sizes: Sequence[int] | None = None) -> Sequence[T]:
        """Give this rank's share of ``items``, which may be empty.

        Items that count ``sizes`` are dealt out by size, so that all ranks have as much to do.
        """
        if self.size == 1:
            return items
        if sizes is not None:
            items = sorted(items, key=lambda k: -sizes[k])  # type: ignore[call-overload]
        return items[self.rank :: self.size]

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values


ALONE = Ranks()


@torch.no_grad()
def sum_gradients(parameters: Sequence[Tensor], ranks: Ranks) -> None:
    """Sum the gradients of all ranks; a rank without a share has none."""
    if ranks.size == 1:
        return
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    joined = ranks.total(torch.cat([g.flatten() for g in own]))
    parts = joined.split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)


@contextmanager
def ranks_of_this_run() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, if it did; part when they are done.

    An error of one rank is that of all: it is told where it happened, the others end without a
    word of their own (`SystemExit`) instead of waiting for it.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
    cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    try:
        yield Ranks(rank, size)
    except Exception as error:
        first = store.compare_set("lrcalc/failed", "", str(rank)).decode()
        if first == str(rank):
            raise
        raise SystemExit(2) from error
    finally:
        distributed.destroy_process_group()


def device_of(device: str, ranks: Ranks) -> str:
    """Give each rank a GPU of its own where ``device`` is "cuda"."""
    if ranks.size == 1 or device != "cuda":
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', str(ranks.rank))}"
