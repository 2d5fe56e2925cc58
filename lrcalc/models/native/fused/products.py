"""Products of densities in a few kernels: `lrcalc.models.native.products` once differentiable.

Between density and product stands a matrix product for each ℓ and species; what it multiplies is
made by one kernel, lives only until then, and is not kept for the backward pass, which needs the
density alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import refuse_second_derivatives

BLOCK = 128
"""Lanes of a program."""


class Described(NamedTuple):
    """What is made of a density.

    Attributes
    ----------
    product : Tensor, shape (16, N, C)
    invariants : Tensor, shape (N, 13 C)
        Of atoms sorted by species, as the product is.
    vectors, tensors : Tensor, shape (N, 2 C, 3) and (N, 2 C, 5)
        Components of density and product, of atoms in their own order.
    """

    product: Tensor
    invariants: Tensor
    vectors: Tensor
    tensors: Tensor


def mixed_rows(rows: Tensor, weight: Tensor, counts: Sequence[int]) -> Tensor:
    """Density (16, N, C) of ``rows`` (16, N, a) and ``weight`` (16, species, a, C).

    Differentiable once, by the rows alone.
    """
    return _Mixed.apply(rows, weight.detach(), tuple(counts))  # type: ignore[no-any-return]


def mixed(values: Tensor, weight: Tensor, counts: Sequence[int]) -> Tensor:
    """`products.mix` of ``values`` (N, a), without joining parts; once, by the values alone."""
    return mixed_rows(values[None], weight[None], counts)[0]


def described(
    density: Tensor, weights: Sequence[Tensor], place: Tensor, counts: Sequence[int]
) -> Described:
    """Product, invariants and features of a density.

    Parameters
    ----------
    density : Tensor, shape (16, N, C)
        Of atoms sorted by species. Differentiable once, by this alone.
    weights : sequence of Tensor, each (species, (paths + 1) C, C)
        For each ℓ, what mixes products and density.
    place : Tensor, shape (N,), int64
        Row of each atom.
    counts : sequence of int
        Atoms of each species.
    """
    found = _Described.apply(density, place, tuple(counts), *(w.detach() for w in weights))
    return Described(*found)


class _Mixed(torch.autograd.Function):
    """Forward and backward of `mixed_rows`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.counts = counts
        out = rows.new_empty((*rows.shape[:2], weight.shape[-1]))
        _multiply(rows, weight, counts, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        refuse_second_derivatives()
        (weight,) = ctx.saved_tensors
        slope = gradients[0]
        out = slope.new_empty((*slope.shape[:2], weight.shape[-2]))
        _multiply(slope, weight.transpose(-1, -2), ctx.counts, out)
        return out, None, None


def _multiply(values: Tensor, weight: Tensor, counts: Sequence[int], out: Tensor) -> None:
    """``out`` (m, N, b): ``values`` (m, N, a) times each species' ``weight`` (m, species, a, b)."""
    start = 0
    for species, count in enumerate(counts):
        part = slice(start, start + count)
        if count:
            torch.bmm(values[:, part], weight[:, species], out=out[:, part])
        start += count


class _Described(torch.autograd.Function):
    """Forward and backward of `described`."""

    @staticmethod
    def forward(
        ctx: Any, density: Tensor, place: Tensor, counts: tuple[int, ...], *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from lrcalc.models.native.fused.programs import products as programs

        ctx.set_materialize_grads(False)
        density = density.detach().contiguous()
        _, atoms, channels = density.shape
        factors = density.new_empty(programs.BLOCKS * atoms * channels)
        _launch("couple", channels, density, factors)
        product = torch.empty_like(density)
        _mix(factors, weights, counts, product)
        found = (
            density.new_empty((atoms, programs.INVARIANTS * channels)),
            density.new_empty((atoms, 2 * channels, 3)),
            density.new_empty((atoms, 2 * channels, 5)),
        )
        _launch("invariants", channels, density, product, factors, place, *found)
        ctx.save_for_backward(density, product, place, *weights)
        ctx.counts = counts
        return (product, *found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        from lrcalc.models.native.fused.programs import products as programs

        refuse_second_derivatives()
        density, product, place, *weights = ctx.saved_tensors
        _, atoms, channels = density.shape
        passed, slope, vector, tensor = (None if x is None else x.contiguous() for x in gradients)
        if slope is None:
            slope = density.new_zeros((atoms, programs.INVARIANTS * channels))
        by_density, by_product = torch.empty_like(density), torch.empty_like(density)
        given = {"VECTOR": vector, "TENSOR": tensor, "PASSED": passed}
        _launch(
            "invariants_gradient", channels, density, product, place, slope,
            *(density if x is None else x for x in given.values()), by_density, by_product,
            **{name: x is not None for name, x in given.items()},
        )  # fmt: skip
        factors = density.new_empty(programs.BLOCKS * atoms * channels)
        _mix(factors, weights, ctx.counts, by_product, backward=True)
        _launch("couple_gradient", channels, density, factors, slope, by_density)
        return (by_density, None, None, *(None for _ in weights))


def _mix(
    factors: Tensor, weights: Sequence[Tensor], counts: Sequence[int], product: Tensor,
    *, backward: bool = False,
) -> None:  # fmt: skip
    """Mix the factors to the product, for each ℓ; or the product's gradient to the factors'."""
    atoms, start = product.shape[1], 0
    for ell, weight in enumerate(weights):
        width = 2 * ell + 1
        size = width * atoms * weight.shape[1]
        part = factors[start : start + size].view(width, atoms, weight.shape[1])
        own = product[ell * ell : (ell + 1) ** 2]
        each = weight.expand(width, *weight.shape)
        if backward:
            _multiply(own, each.transpose(-1, -2), counts, part)
        else:
            _multiply(part, each, counts, own)
        start += size


def _launch(name: str, channels: int, *tensors: Tensor, **flags: int) -> None:
    from lrcalc.models.native.fused.programs import products as programs

    atoms = tensors[0].shape[1]
    if atoms == 0:
        return
    if name != "couple":
        flags["KINDS"] = programs.INVARIANTS
    grid = ((atoms * channels + BLOCK - 1) // BLOCK,)
    getattr(programs, name)[grid](*tensors, atoms, C=channels, BLOCK=BLOCK, num_warps=4, **flags)
