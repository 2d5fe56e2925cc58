"""Dipole of local charges in one kernel: `dipole.permanent_dipole`, once differentiable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import available, refuse_second_derivatives
from lrcalc.kernels.trial import tried, weighed

BLOCK = 256
"""Pairs, and atoms, of a program."""


class Handed(NamedTuple):
    """Who hands charge to whom.

    Attributes
    ----------
    rows : Tensor, shape (T,), int64
        Pairs over which charge goes; only such may come twice over which none goes.
    i : Tensor, shape (E,), int64
        Centre of all pairs.
    batch : Tensor, shape (N,), int64
        Structure of each atom, ascending.
    n_structures : int
        S.
    kept : Tensor, shape (N,), e
        Charge that stays on its atom.
    """

    rows: Tensor
    i: Tensor
    batch: Tensor
    n_structures: int
    kept: Tensor


def usable(vectors: Tensor) -> bool:
    """Whether there is a kernel where ``vectors`` are, and it gives what torch gives."""
    return available(vectors) and tried("dipoles", vectors, None, lambda: cases(vectors))


def fused_moment(
    vectors: Tensor, amount: Tensor, positions: Tensor, dipole: Tensor | None, handed: Handed
) -> Tensor:
    """Return what `lrcalc.models.dipole.permanent_dipole` returns.

    Differentiable once, by all but the charges that are kept.
    """
    return _Moment.apply(vectors, amount, positions, dipole, handed)  # type: ignore[no-any-return]


class _Moment(torch.autograd.Function):
    """Forward and backward of `fused_moment`."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, amount: Tensor, positions: Tensor, dipole: Tensor | None,
        handed: Handed,
    ) -> Tensor:  # fmt: skip
        vectors, amount, positions = (x.detach().contiguous() for x in (vectors, amount, positions))
        ctx.save_for_backward(vectors, amount)
        ctx.handed, ctx.like = handed, (positions.dtype, None if dipole is None else dipole.dtype)
        has_dipole = dipole is not None
        added = dipole.detach().contiguous() if dipole is not None else positions  # or not read
        out = positions.new_zeros((handed.n_structures, 3), dtype=torch.float64)
        rows, i, batch, count, kept = handed
        tensors = (vectors, amount, positions, kept, added, rows, i, batch, out)
        _launch("moments", len(rows), len(kept), *tensors, HAS_DIPOLE=has_dipole, ONE=count == 1)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        vectors, amount = ctx.saved_tensors
        rows, i, batch, _, kept = ctx.handed
        position_type, dipole_type = ctx.like
        by_vectors, by_amount = torch.zeros_like(vectors), torch.empty_like(amount)
        by_positions = vectors.new_empty((len(kept), 3), dtype=position_type)
        by_dipole = None
        if dipole_type is not None:
            by_dipole = vectors.new_empty((len(kept), 3), dtype=dipole_type)
        written = by_positions if by_dipole is None else by_dipole  # or not written
        tensors = (vectors, amount, kept, rows, i, batch, gradients[0].contiguous())
        out = (by_vectors, by_amount, by_positions, written)
        has_dipole = by_dipole is not None
        _launch("moments_gradient", len(rows), len(kept), *tensors, *out, HAS_DIPOLE=has_dipole)
        return by_vectors, by_amount, by_positions, by_dipole, None


def cases(like: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Dipoles of a few atoms by the kernel and by torch, see `lrcalc.kernels.trial`."""
    from lrcalc.models.dipole import permanent_dipole

    make = torch.Generator().manual_seed(0)
    for structures in (1, 3):
        vectors, dipole, positions = torch.randn(3, 400, 3, dtype=torch.float64, generator=make)
        amount, kept = torch.randn(2, 400, dtype=torch.float64, generator=make)
        rows = torch.randperm(400, generator=make)[:300].sort().values
        i = torch.arange(400)
        batch = (torch.arange(400) * structures) // 400
        rows, i, batch = (x.to(like.device) for x in (rows, i, batch))
        near, given, own = (x.to(like).requires_grad_() for x in (vectors, amount[:300], dipole))
        at = positions.to(like.device).requires_grad_()
        handed = Handed(rows, i, batch, structures, kept.to(like))
        one = fused_moment(near, given, at, own, handed)
        two = permanent_dipole(near, given, at, own, handed)
        yield "a dipole", one, two
        slopes = (torch.autograd.grad(weighed(x), (near, given, at, own)) for x in (one, two))
        for found, expected in zip(*slopes, strict=True):
            yield "the gradient of a dipole", found, expected


def _launch(name: str, pairs: int, atoms: int, *tensors: Tensor, **constants: Any) -> None:
    from lrcalc.models.programs import moment as programs

    programs_wanted = (max(pairs, atoms) + BLOCK - 1) // BLOCK
    if programs_wanted == 0:
        return
    getattr(programs, name)[(programs_wanted,)](
        *tensors, pairs, atoms, **constants, BLOCK=BLOCK, num_warps=4
    )
