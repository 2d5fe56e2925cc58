"""Messages of further rounds in C++, with their first derivatives: what `messages.py` does."""

from __future__ import annotations

import ctypes
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.native.coupling import L_MAX, N_LM, coupling
from lrcalc.models.native.cpu_pairs import Remembered, Where, pairs_of, pointing

SENT_L = 2
"""Largest ℓ of what is said, as in ``lrcalc/cpp/messages.cpp``."""


def message_functions(part: Any, n_species: int, dtype: torch.dtype) -> ctypes.CDLL | None:
    """Functions for the sizes of a `MessageRound`; None where they cannot be compiled."""
    sizes = {
        "SPECIES": n_species, "CHANNELS": part.channels, "BASIS": part.n_basis,
        "SENT": part.sent, "HIDDEN": int(part.layer2.shape[-1]),
    }  # fmt: skip
    return library("messages", ("messages.cpp", "speech.cpp"), dtype, **sizes)


class HeardAtOnce(NamedTuple):
    """What is said and, with nothing kept of single pairs, what is heard of it.

    Attributes
    ----------
    said : Tensor, shape (N, 9, sent)
        Of atoms sorted by species.
    heard : Tensor, shape (lm, N, channels)
    call : _Call
    vectors : Tensor, shape (E, 3), Å
    """

    said: Tensor
    heard: Tensor
    call: _Call
    vectors: Tensor

    def handed_back(self, weight: Tensor, cotangent: Tensor) -> Tensor:
        """See `lrcalc.models.backbone.Passed`."""
        vectors, said = (x.detach().contiguous() for x in (self.vectors, self.said))
        return self.call.backward(vectors, said, cotangent, weight.contiguous())[1]


def hear(
    functions: ctypes.CDLL, part: Any, where: Where, vectors: Tensor, said: Tensor
) -> HeardAtOnce:
    """√½ of what neighbours say; in ``where`` the places of atoms stand for their species."""
    weights = _remembered(part, [*part.message_mix, part.message_scale, part.radial_mix])
    call = _Call(functions, where, *weights)
    return HeardAtOnce(said, _Messages.apply(vectors, said, call), call, vectors)


def _make_weights(part: Any) -> tuple[_Hearing, _Hearing]:
    """Weights, and with the mixes transposed; √½ is what messages weigh in the density."""
    first, second, matrix, paths = coupling(symmetric=False, second_max=SENT_L)
    row, column = matrix.nonzero(as_tuple=True)
    radial = part.radial_mix
    values = matrix[row, column].to(radial.dtype)
    tables = [x.contiguous() for x in (row, first[column], second[column], values)]
    mixes = [
        (math.sqrt(0.5) * part.message_mix[ell] * part.message_scale[:, ell, None, None]).view(
            len(part.message_scale), paths[ell], part.sent, part.channels
        )
        for ell in range(L_MAX + 1)
    ]
    # what `Neighbours` makes has the weights 1/n of waves already
    mix = torch.cat(mixes, dim=1)
    return (
        pointing(_Hearing, tables, [radial.contiguous(), mix]),
        pointing(_Hearing, tables, [radial.contiguous(), mix.transpose(-1, -2).contiguous()]),
    )


_remembered = Remembered(_make_weights)


class _Hearing(ctypes.Structure):
    """``struct Hearing`` of ``lrcalc/cpp/messages.cpp``."""

    _fields_ = [
        ("row", POINTER), ("first", POINTER), ("second", POINTER), ("coefficient", POINTER),
        ("n_coefficients", INTEGER), ("radial", POINTER), ("mix", POINTER),
    ]  # fmt: skip
    held: list[Tensor]  # which the pointers point into


class _Speech(ctypes.Structure):
    """``struct Speech`` of ``lrcalc/cpp/messages.cpp``."""

    _fields_ = [("place", POINTER), ("said", POINTER)]


class _Call(NamedTuple):
    """Functions, and what they are told beside vectors and what is said."""

    functions: ctypes.CDLL
    where: Where
    weights: _Hearing
    transposed: _Hearing

    def _told(self, weights: _Hearing, vectors: Tensor, said: Tensor) -> tuple[Any, ...]:
        speech = ctypes.byref(_Speech(at(self.where.species), at(said)))
        return pairs_of(self.where, vectors), ctypes.byref(weights), speech

    def forward(self, vectors: Tensor, said: Tensor) -> Tensor:
        """Messages (lm, N, channels)."""
        made = vectors.new_empty(N_LM, len(said), self.where.channels)
        self.functions.messages(*self._told(self.weights, vectors, said), at(made))
        return made

    def backward(
        self, vectors: Tensor, said: Tensor, given: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Gradients by vectors (not with a ``weight`` of the pairs) and by what is said."""
        given = given.contiguous()
        found = torch.empty_like(vectors), torch.empty_like(said)
        out = at(None if weight is not None else found[0]), at(found[1])
        told = self._told(self.transposed, vectors, said)
        self.functions.messages_backward(*told, at(given), at(weight), *out)
        return found


class _Messages(torch.autograd.Function):
    """Pair vectors (E, 3) and what is said (N, 9, sent) to messages (lm, N, channels)."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, said: Tensor, call: _Call) -> Tensor:
        vectors, said = vectors.contiguous(), said.contiguous()
        ctx.save_for_backward(vectors, said)
        ctx.call = call
        return call.forward(vectors, said)

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, None]:
        refuse_second_derivatives()
        return *ctx.call.backward(*ctx.saved_tensors, given), None
