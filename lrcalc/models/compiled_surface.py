"""Atoms' parts of a polarizability surface in C++, once differentiable."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.backbone import Features
from lrcalc.models.native.cpu_pairs import Remembered

if TYPE_CHECKING:
    from lrcalc.models.surface import PolarizabilitySurface


def compiled_parts(
    surface: PolarizabilitySurface, features: Features, species: Tensor
) -> Tensor | None:
    """Six numbers of each atom (N, 6), e Å²/V, float64: see `PolarizabilitySurface.parts`.

    None where they cannot be compiled. Differentiable once, by the features.
    """
    first, second = surface.layer1.shape, surface.layer2.shape
    sizes = {
        "SPECIES": first[0], "SCALARS": first[1], "HIDDEN": first[2], "CHANNELS": second[2] - 1,
    }  # fmt: skip
    like = features.scalars
    if like.device.type != "cpu" or min(sizes.values()) == 0:
        return None
    functions = library("surface", ("surface.cpp",), like.dtype, **sizes)
    if functions is None:
        return None
    weights = [surface.layer1, surface.layer2, surface.constant, surface.unit]
    known = _remembered(surface, weights)
    call = _Call(functions, known[0], known[1], species.contiguous())
    made: Tensor = _Parts.apply(like, features.tensors, call)
    return made


def _make_weights(surface: PolarizabilitySurface) -> tuple[list[Tensor], float]:
    """Weights as ``struct Surface`` has them, and the unit."""
    first, second = surface.layer1, surface.layer2
    scalar, gates = second[..., 0], second[..., 1:]
    made = [first, gates, scalar, first.mT, gates.mT, surface.constant]
    return [x.detach().contiguous() for x in made], float(surface.unit)


_remembered = Remembered(_make_weights)


class _Surface(ctypes.Structure):
    """``struct Surface`` of ``cpp/surface.cpp``."""

    _fields_ = [
        *((name, POINTER) for name in (
            "first", "second", "scalar", "first_turned", "second_turned", "constant",
        )),
        ("unit", ctypes.c_double), ("scalars", POINTER), ("tensors", POINTER),
        ("species", POINTER), ("n", INTEGER), ("threads", INTEGER),
    ]  # fmt: skip


class _Call:
    """Functions, and what they are told beside features."""

    def __init__(
        self, functions: ctypes.CDLL, weights: list[Tensor], unit: float, species: Tensor
    ) -> None:
        self.functions, self.weights, self.unit, self.species = functions, weights, unit, species

    def told(self, scalars: Tensor, tensors: Tensor) -> Any:
        """Pointer to a ``struct Surface``, good while its tensors are held."""
        given = (at(scalars), at(tensors), at(self.species), len(self.species), threads())
        return ctypes.byref(_Surface(*map(at, self.weights), self.unit, *given))


class _Parts(torch.autograd.Function):
    """Scalars (N, F) and tensors (N, C, 5) to six numbers of each atom."""

    @staticmethod
    def forward(ctx: Any, scalars: Tensor, tensors: Tensor, call: _Call) -> Tensor:
        scalars, tensors = scalars.detach().contiguous(), tensors.detach().contiguous()
        n, hidden, channels = len(scalars), call.weights[0].shape[2], tensors.shape[1]
        inner, share = scalars.new_empty((n, hidden)), scalars.new_empty((n, hidden))
        gates, out = (
            scalars.new_empty((n, channels)),
            scalars.new_empty((n, 6), dtype=torch.float64),
        )
        kept = (inner, share, gates)
        call.functions.parts(call.told(scalars, tensors), *map(at, kept), at(out))
        ctx.save_for_backward(scalars, tensors, *kept)
        ctx.call = call
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        refuse_second_derivatives()
        scalars, tensors, *kept = ctx.saved_tensors
        call, given = ctx.call, gradients[0]
        if given.stride(1) != 1:  # rows may be one row, again and again
            given = given.contiguous()
        found = torch.empty_like(scalars), torch.empty_like(tensors)
        step = INTEGER(given.stride(0))
        told = call.told(scalars, tensors)
        call.functions.parts_backward(told, *map(at, kept), at(given), step, *map(at, found))
        return *found, None
