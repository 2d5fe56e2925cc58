"""The native backbone's densities and products in C++, with their first derivatives, on a CPU.

Sources in ``lrcalc/cpp`` do what `local.py` and `products.py` do (`messages.py`:
`cpu_messages.py`), compiled for the sizes of a model. They know gradients with respect to pair
vectors and densities, not by weights.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.backbone import Passed
from lrcalc.models.native.coupling import L_MAX, N_LM, coupling
from lrcalc.models.native.cpu_messages import hear, message_functions
from lrcalc.models.native.cpu_pairs import (
    Remembered,
    Where,
    Who,
    pairs_of,
    pointing,
    where_of,
    who_of,
)
from lrcalc.models.native.cpu_speech import speak
from lrcalc.models.native.products import Products, Round, SpeciesOrder
from lrcalc.neighbors import Pairs

FILES = ("densities.cpp", "products.cpp")
LARGEST = 512
"""Channels, or width of the perceptron, up to which a block of atoms fits into a cache."""


def compiled(part: Products, n_species: int, dtype: torch.dtype) -> Compiled | None:
    """Functions for the sizes of ``part``; None where they cannot be compiled."""
    hidden = int(part.layer2.shape[-1])
    if max(part.channels, hidden) > LARGEST:
        return None
    sizes = {"SPECIES": n_species, "CHANNELS": part.channels, "BASIS": part.n_basis}
    found = library("native", FILES, dtype, **sizes, HIDDEN=hidden)
    return None if found is None else _functions(found)


@cache
def _functions(found: ctypes.CDLL) -> Compiled:
    return Compiled(found)


class Compiled:
    """Functions of a library; see `lrcalc.models.native.fast.Fast`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.densities.restype = ctypes.c_int64
        self._density_weights = Remembered(_density_weights)
        self._product_weights = Remembered(_product_weights)

    def densities(
        self, part: Any, atoms: SpeciesOrder, species: Tensor, pairs: Pairs, vectors: Tensor
    ) -> Tensor:
        """Mixed neighbour densities of sorted atoms."""
        where = where_of(atoms, species, pairs, part.cutoff, part.channels)
        weights = self._density_weights(part, [part.density_mix, part.density_scale])
        density: Tensor = _Densities.apply(vectors, self._library, where, weights)
        return density

    def messages(
        self,
        part: Any,
        atoms: SpeciesOrder,
        pairs: Pairs,
        vectors: Tensor,
        cutoff: float,
        past: Round,
    ) -> Passed | None:
        """Say and hear what there is to a further round."""
        functions = message_functions(part, len(atoms.counts), vectors.dtype)
        if functions is None:
            return None
        said = speak(functions, part, who_of(atoms), past)
        where = where_of(atoms, atoms.place, pairs, cutoff, part.channels)
        return hear(functions, part, where, vectors, said)

    def describe(self, part: Products, atoms: SpeciesOrder, density: Tensor) -> Round:
        """Products and perceptron of a density."""
        tensors = [
            *part.product_mix, part.product_scale, part.layer1, part.invariant_scale, part.layer2
        ]  # fmt: skip
        weights = self._product_weights(part, tensors)
        found = _Described.apply(density, self._library, who_of(atoms), weights)
        product, hidden, vectors, tensors = found
        return Round(hidden, density, product, (vectors, tensors))


def _density_weights(part: Any) -> tuple[Tensor, Tensor]:
    """(species, ℓ, shells, channels), and transposed."""
    weight = (part.density_mix * part.density_scale.T[:, :, None, None]).transpose(0, 1)
    return weight.contiguous(), weight.transpose(2, 3).contiguous()


def _product_weights(part: Products) -> tuple[_Weights, _Weights]:
    """(species, paths of all ℓ, channels, channels), layers (species, in, out); and transposed."""
    first, second, matrix, _ = coupling(symmetric=True)
    row, column = matrix.nonzero(as_tuple=True)
    values = matrix[row, column].to(part.layer1.dtype)
    tables = [x.contiguous() for x in (row, first[column], second[column], values)]
    shape = (len(part.layer1), -1, part.channels, part.channels)
    mixes = [
        (part.product_mix[ell] * part.product_scale[:, ell, None, None]).view(shape)
        for ell in range(L_MAX + 1)
    ]
    group = [torch.cat(mixes, dim=1), part.layer1 * part.invariant_scale[:, :, None], part.layer2]
    return (
        pointing(_Weights, tables, [x.contiguous() for x in group]),
        pointing(_Weights, tables, [x.transpose(-1, -2).contiguous() for x in group]),
    )


class _Weights(ctypes.Structure):
    """``struct Weights`` of ``lrcalc/cpp/products.cpp``."""

    _fields_ = [
        ("row", POINTER), ("first", POINTER), ("second", POINTER), ("coefficient", POINTER),
        ("n_coefficients", INTEGER), ("mix", POINTER), ("layer1", POINTER), ("layer2", POINTER),
    ]  # fmt: skip
    held: list[Tensor]  # which the pointers point into


class _Atoms(ctypes.Structure):
    """``struct Atoms`` of ``lrcalc/cpp/products.cpp``."""

    _fields_ = [("counts", POINTER), ("order", POINTER), ("n", INTEGER), ("threads", INTEGER)]


def _atoms(who: Who) -> Any:
    return ctypes.byref(_Atoms(at(who.counts), at(who.order), len(who.order), threads()))


class _Densities(torch.autograd.Function):
    """Pair vectors (E, 3) to mixed densities (lm, N, channels)."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, library: Any, where: Where, weights: tuple[Tensor, Tensor]
    ) -> Tensor:
        vectors = vectors.contiguous()
        ctx.save_for_backward(vectors)
        ctx.rest = library, where, weights[1]
        density = vectors.new_empty(N_LM, len(where.who.order), where.channels)
        found = library.densities(pairs_of(where, vectors), at(weights[0]), at(density))
        if found != len(vectors):
            raise ValueError("`pairs` are not sorted by their first atom, see lrcalc.neighbors")
        return density

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        refuse_second_derivatives()
        library, where, weight = ctx.rest
        (vectors,) = ctx.saved_tensors
        gradient, given = torch.empty_like(vectors), given.contiguous()
        library.densities_backward(pairs_of(where, vectors), at(weight), at(given), at(gradient))
        return gradient, None, None, None


class _Described(torch.autograd.Function):
    """Densities (lm, N, channels) to products, hidden (N, width), vectors and tensors."""

    @staticmethod
    def forward(
        ctx: Any, density: Tensor, functions: Any, who: Who, weights: tuple[_Weights, _Weights]
    ) -> tuple[Tensor, ...]:
        density = density.contiguous()
        _, n, channels = density.shape
        width = weights[0].held[-1].shape[-1]
        sizes = (density.shape, (n, width), (n, 2 * width), (n, 3, 2 * channels))
        made = [density.new_empty(size) for size in (*sizes, (n, 5, 2 * channels))]
        functions.describe(ctypes.byref(weights[0]), _atoms(who), at(density), *map(at, made))
        product, hidden, arguments, *features = made
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(density, product, arguments)
        ctx.rest = functions, who, weights[1]
        return product, hidden, *(x.transpose(1, 2) for x in features)

    @staticmethod
    def backward(ctx: Any, *by: Tensor | None) -> Any:
        refuse_second_derivatives()
        functions, who, weights = ctx.rest
        given = [None if x is None else x.contiguous() for x in by]
        kept = ctx.saved_tensors  # once: a checkpoint computes them again
        gradient = torch.empty_like(kept[0])
        tensors = map(at, (*kept, *given, gradient))
        functions.describe_backward(ctypes.byref(weights), _atoms(who), *tensors)
        return gradient, None, None, None
