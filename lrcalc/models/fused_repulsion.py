"""Prior and wall in one kernel: `repulsion.repulsion` once differentiable, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import available, refuse_second_derivatives
from lrcalc.kernels.trial import tried, weighed
from lrcalc.models.prior import NuclearRepulsion
from lrcalc.models.repulsion_tables import Tables, repulsion_tables
from lrcalc.models.wall import STRENGTH, Wall
from lrcalc.neighbors import Pairs

BLOCK = 64
"""Pairs of an atom at a time."""

COUNTS = (5, 0, 40, 70, 1, 33, 2, 8, 16)
"""Pairs of the atoms of a trial."""

Parts = tuple[NuclearRepulsion | None, Wall | None]


class Around(NamedTuple):
    """Who repels whom.

    Attributes
    ----------
    first : Tensor, shape (N + 1,), int64
        First pair of each atom, and the end.
    j : Tensor, shape (E,), int64
        Neighbour of each pair.
    species : Tensor, shape (N,), int64
    """

    first: Tensor
    j: Tensor
    species: Tensor


def usable(parts: Parts, vectors: Tensor) -> bool:
    """Whether there is a kernel where ``vectors`` are, and it gives what torch gives."""
    if not available(vectors):
        return False
    tables = repulsion_tables(*parts, vectors)
    key = (len(tables.start), tables.cutoff, *(x is None for x in parts))
    return tried("repulsion", vectors, key, lambda: cases(parts, vectors))


def fused_repulsion(parts: Parts, species: Tensor, pairs: Pairs, vectors: Tensor) -> Tensor:
    """Energy of each atom (N,), eV, float64; differentiable once, by the ``vectors``.

    Parameters
    ----------
    parts : tuple
        Prior and wall; one of them may be None.
    species : Tensor, shape (N,), int64
        Counted from 0.
    pairs : Pairs
        Sorted by centre.
    vectors : Tensor, shape (E, 3), Å
    """
    ends = torch.arange(len(species) + 1, device=vectors.device)
    around = Around(torch.searchsorted(pairs.i, ends), pairs.j, species.contiguous())
    return _Fused.apply(vectors, around, repulsion_tables(*parts, vectors))  # type: ignore[no-any-return]


class _Fused(torch.autograd.Function):
    """Forward and backward of `fused_repulsion`."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, around: Around, tables: Tables) -> Tensor:
        vectors = vectors.detach().contiguous()
        ctx.save_for_backward(vectors)
        ctx.known = (around, tables)
        out = vectors.new_empty(len(around.species), dtype=torch.float64)
        _launch("energies", vectors, around, tables, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivatives()
        (vectors,) = ctx.saved_tensors
        out = torch.empty_like(vectors)
        _launch("gradient", vectors, *ctx.known, gradients[0].contiguous(), out)
        return out, None, None


def cases(parts: Parts, like: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Repel a few atoms by the kernel and by torch, see `lrcalc.kernels.trial`."""
    from lrcalc.models.repulsion import by_torch

    make = torch.Generator().manual_seed(0)
    tables = repulsion_tables(*parts, like)
    n, rows = len(COUNTS), sum(COUNTS)
    species = torch.arange(n) % round(len(tables.start) ** 0.5)
    i = torch.arange(n).repeat_interleave(torch.tensor(COUNTS))
    j = torch.randint(0, n, (rows,), generator=make)
    vectors = torch.randn(rows, 3, dtype=torch.float64, generator=make)
    distance = torch.linspace(0.6, 1.2 * max(3.0, tables.cutoff), rows, dtype=torch.float64)
    distance = distance[torch.randperm(rows, generator=make), None]
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * distance
    species, i, j = (x.to(like.device) for x in (species, i, j))
    leaf = vectors.to(like).requires_grad_()
    pairs = Pairs(i, j, torch.zeros(rows, 3, dtype=torch.int64, device=like.device))
    found = fused_repulsion(parts, species, pairs, leaf)
    expected = by_torch(*parts, species, pairs, leaf)
    yield "repulsion", found, expected
    slopes = [torch.autograd.grad(weighed(x), leaf)[0] for x in (found, expected)]
    yield "the gradient of repulsion", slopes[0], slopes[1]


def _launch(name: str, vectors: Tensor, around: Around, tables: Tables, *tensors: Tensor) -> None:
    from lrcalc.models.programs import repulsion as programs

    atoms = len(around.species)
    if atoms == 0:
        return
    getattr(programs, name)[(atoms,)](
        vectors, *around, *tables[:-1], *tensors,
        CUTOFF=tables.cutoff, WALL=STRENGTH, SPECIES=round(len(tables.start) ** 0.5),
        BLOCK=BLOCK, num_warps=2,
    )  # fmt: skip
