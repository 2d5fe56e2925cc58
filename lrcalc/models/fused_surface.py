"""Atoms' parts of a polarizability surface in one kernel, once differentiable, on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.kernels.choice import available, refuse_second_derivatives
from lrcalc.kernels.trial import tried, weighed
from lrcalc.models.backbone import Features

if TYPE_CHECKING:
    from lrcalc.models.surface import PolarizabilitySurface

LARGEST = 2**14
"""Weights of a layer beyond which a program has no room for them."""


class Layers(NamedTuple):
    """Weights of a surface, by species.

    Attributes
    ----------
    first : Tensor, shape (species, scalars, hidden)
    second : Tensor, shape (species, hidden, 1 + channels)
    constant : Tensor, shape (species,)
    unit : Tensor, shape ()
    """

    first: Tensor
    second: Tensor
    constant: Tensor
    unit: Tensor


def usable(surface: PolarizabilitySurface, like: Tensor) -> bool:
    """Whether there is a kernel for these sizes where ``like`` is, which gives what torch gives."""
    shapes = (tuple(surface.layer1.shape), tuple(surface.layer2.shape))
    if max(_room(x[1]) * _room(x[2] - n) for n, x in enumerate(shapes)) > LARGEST:
        return False
    return available(like) and tried("polarizabilities", like, shapes, lambda: cases(surface, like))


def fused_parts(surface: PolarizabilitySurface, features: Features, species: Tensor) -> Tensor:
    """Six numbers of each atom (N, 6), e Å²/V, float64: see `PolarizabilitySurface.parts`.

    Differentiable once, by the features.
    """
    weights = (surface.layer1, surface.layer2, surface.constant, surface.unit)
    layers = Layers(*(x.detach().contiguous() for x in weights))
    return _Parts.apply(features.scalars, features.tensors, species.contiguous(), layers)  # type: ignore[no-any-return]


class _Parts(torch.autograd.Function):
    """Forward and backward of `fused_parts`."""

    @staticmethod
    def forward(
        ctx: Any, scalars: Tensor, tensors: Tensor, species: Tensor, layers: Layers
    ) -> Tensor:
        scalars, tensors = scalars.detach().contiguous(), tensors.detach().contiguous()
        n, (_, hidden, width) = len(species), layers.second.shape
        inner, gates = scalars.new_empty((n, hidden)), scalars.new_empty((n, width - 1))
        out = scalars.new_empty((n, 6), dtype=torch.float64)
        _launch("parts", layers, n, scalars, tensors, species, *layers, inner, gates, out)
        ctx.save_for_backward(tensors, inner, gates)
        ctx.known = (species, layers)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        refuse_second_derivatives()
        tensors, inner, gates = ctx.saved_tensors
        species, layers = ctx.known
        slope = gradients[0]
        if slope.stride(1) != 1:  # rows may be one row, again and again
            slope = slope.contiguous()
        scalars = tensors.new_empty((len(species), layers.first.shape[1]))
        out = (scalars, torch.empty_like(tensors))
        first, second, _, unit = layers
        known = (tensors, species, first, second, unit, inner, gates, slope, slope.stride(0))
        _launch("parts_gradient", layers, len(species), *known, *out)
        return *out, None, None


def cases(surface: PolarizabilitySurface, like: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Parts of a few atoms by the kernel and by torch, see `lrcalc.kernels.trial`."""
    make = torch.Generator().manual_seed(0)
    species, scalars, _ = surface.layer1.shape
    kinds = torch.arange(9, device=like.device) % species
    one = torch.randn(9, scalars, dtype=torch.float64, generator=make)
    two = torch.randn(9, surface.n_channels, 5, dtype=torch.float64, generator=make)
    wanted = [x.to(like).requires_grad_() for x in (one, two)]
    features = Features(wanted[0], wanted[1].new_empty((9, 0, 3)), wanted[1])
    values = fused_parts(surface, features, kinds), surface.parts(features, kinds).double()
    yield "a polarizability", *values
    found, expected = (torch.autograd.grad(weighed(x), wanted) for x in values)
    for one, two in zip(found, expected, strict=True):
        yield "the gradient of a polarizability", one, two


def _room(count: int) -> int:
    """Lanes for so many numbers: a power of two."""
    return 1 << (count - 1).bit_length()


def _launch(name: str, layers: Layers, atoms: int, *tensors: Any) -> None:
    from lrcalc.models.programs import surface as programs

    if atoms == 0:
        return
    _, scalars, hidden = layers.first.shape
    channels = layers.second.shape[2] - 1
    widths = {"KW": _room(scalars), "HW": _room(hidden), "CW": _room(channels)}
    warps = 8 if widths["HW"] * max(widths["KW"], widths["CW"]) >= 64 * 64 else 4
    getattr(programs, name)[(atoms,)](
        *tensors, K=scalars, H=hidden, C=channels, **widths, num_warps=warps
    )
