"""What atoms say to their neighbours, in C++, with its first derivatives: `MessageRound._sent`."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.native.cpu_pairs import Remembered, Who
from lrcalc.models.native.products import Round

SPOKEN = 9
"""Components of what is said."""


def speak(functions: ctypes.CDLL, part: Any, who: Who, past: Round) -> Tensor:
    """Mix what sorted atoms say of the round before, shape (N, 9, sent)."""
    weights = _remembered(part, [part.scalar_mix, part.sender_mix])
    said: Tensor = _Said.apply(past.hidden, past.density, past.product, functions, who, weights)
    return said


def _make_weights(part: Any) -> list[list[Tensor]]:
    """Mixes of scalars and of components, and with their last axes exchanged."""
    scalar, sender = part.scalar_mix, part.sender_mix
    sender = sender.view(*sender.shape[:2], 2, part.channels, part.sent)
    both = [scalar, sender], [scalar.transpose(-1, -2), sender.transpose(-1, -2)]
    return [[x.contiguous() for x in group] for group in both]


_remembered = Remembered(_make_weights)


class _Speakers(ctypes.Structure):
    """``struct Speakers`` of ``lrcalc/cpp/speech.cpp``."""

    _fields_ = [
        ("counts", POINTER), ("n", INTEGER), ("threads", INTEGER), ("scalar", POINTER),
        ("sender", POINTER),
    ]  # fmt: skip


def _speakers(who: Who, weights: list[Tensor]) -> Any:
    return ctypes.byref(_Speakers(at(who.counts), len(who.order), threads(), *map(at, weights)))


class _Said(torch.autograd.Function):
    """Hidden (N, width), density and product (lm, N, channels) to what is said (N, 9, sent)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, density: Tensor, product: Tensor, functions: ctypes.CDLL,
        who: Who, weights: list[list[Tensor]],
    ) -> Tensor:  # fmt: skip
        given = [x.contiguous() for x in (hidden, density, product)]
        ctx.rest = functions, who, weights[1], [x.shape for x in given]
        said = hidden.new_empty(len(hidden), SPOKEN, weights[0][0].shape[-1])
        functions.speak(_speakers(who, weights[0]), *map(at, given), at(said))
        return said

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        refuse_second_derivatives()
        functions, who, weights, shapes = ctx.rest
        given = given.contiguous()
        found = [given.new_empty(shape) for shape in shapes]
        functions.speak_backward(_speakers(who, weights), at(given), *map(at, found))
        return *found, None, None, None
