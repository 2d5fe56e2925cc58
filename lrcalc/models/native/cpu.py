"""The native backbone's densities and products in C++, with their first derivatives, on a CPU.

Sources in ``lrcalc/cpp`` do what `local.py` and `products.py` do, compiled for the sizes of
a model. They know gradients with respect to pair vectors and densities, not by weights.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.native.coupling import L_MAX, N_LM, coupling
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
        self._density_weights = _Remembered(_density_weights)
        self._product_weights = _Remembered(_product_weights)

    def densities(
        self, part: Any, atoms: SpeciesOrder, species: Tensor, pairs: Pairs, vectors: Tensor
    ) -> Tensor:
        """Mixed neighbour densities of sorted atoms."""
        i, j, known = (x.contiguous() for x in (pairs.i, pairs.j, species))
        where = _Where(i, j, known, _who(atoms), part.cutoff, part.channels)
        weights = self._density_weights(part, [part.density_mix, part.density_scale])
        density: Tensor = _Densities.apply(vectors, self._library, where, weights)
        return density

    def describe(self, part: Products, atoms: SpeciesOrder, density: Tensor) -> Round:
        """Products and perceptron of a density."""
        tensors = [
            *part.product_mix, part.product_scale, part.layer1, part.invariant_scale, part.layer2
        ]  # fmt: skip
        weights = self._product_weights(part, tensors)
        found = _Described.apply(density, self._library, _who(atoms), weights)
        product, hidden, vectors, tensors = found
        return Round(hidden, density, product, (vectors, tensors))


class _Remembered:
    """Weights as the library wants them, made again when they have changed."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._known: WeakKeyDictionary[Products, tuple[Any, Any]] = WeakKeyDictionary()

    def __call__(self, part: Products, tensors: Sequence[Tensor]) -> Any:
        key = [(x.data_ptr(), 0 if x.is_inference() else x._version) for x in tensors]
        known = self._known.get(part)
        if known is None or known[0] != key or any(x.is_inference() for x in tensors):
            with torch.no_grad():
                known = self._known[part] = key, self._make(part)
        return known[1]


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
        _weights(tables, [x.contiguous() for x in group]),
        _weights(tables, [x.transpose(-1, -2).contiguous() for x in group]),
    )


class _Where(NamedTuple):
    """Pairs and atoms, as the library wants them; see `fast.Fast.densities`."""

    centre: Tensor
    neighbour: Tensor
    species: Tensor
    who: _Who
    cutoff: float
    channels: int


class _Who(NamedTuple):
    """Atoms of each species, and of the sorted ones which they were."""

    counts: Tensor
    order: Tensor


def _who(atoms: SpeciesOrder) -> _Who:
    order = torch.empty_like(atoms.place)
    order[atoms.place] = torch.arange(len(order))
    return _Who(torch.tensor(atoms.counts), order)


class _Pairs(ctypes.Structure):
    """``struct Pairs`` of ``lrcalc/cpp/densities.cpp``."""

    _fields_ = [
        ("vectors", POINTER), ("centre", POINTER), ("neighbour", POINTER),
        ("n_pairs", INTEGER), ("species", POINTER), ("order", POINTER), ("counts", POINTER),
        ("n", INTEGER), ("cutoff", ctypes.c_double), ("threads", INTEGER),
    ]  # fmt: skip


class _Weights(ctypes.Structure):
    """``struct Weights`` of ``lrcalc/cpp/products.cpp``."""

    _fields_ = [
        ("row", POINTER), ("first", POINTER), ("second", POINTER), ("coefficient", POINTER),
        ("n_coefficients", INTEGER), ("mix", POINTER), ("layer1", POINTER), ("layer2", POINTER),
    ]  # fmt: skip
    held: list[Tensor]  # which the pointers point into


def _weights(tables: list[Tensor], group: list[Tensor]) -> _Weights:
    pointers = [x.data_ptr() for x in tables], [x.data_ptr() for x in group]
    made = _Weights(*pointers[0], len(tables[0]), *pointers[1])
    made.held = tables + group
    return made


def _pairs(where: _Where, vectors: Tensor) -> Any:
    counts, order = where.who
    return ctypes.byref(
        _Pairs(
            at(vectors), at(where.centre), at(where.neighbour), len(where.centre),
            at(where.species), at(order), at(counts), len(order), where.cutoff, threads(),
        )
    )  # fmt: skip


class _Atoms(ctypes.Structure):
    """``struct Atoms`` of ``lrcalc/cpp/products.cpp``."""

    _fields_ = [("counts", POINTER), ("order", POINTER), ("n", INTEGER), ("threads", INTEGER)]


def _atoms(who: _Who) -> Any:
    return ctypes.byref(_Atoms(at(who.counts), at(who.order), len(who.order), threads()))


class _Densities(torch.autograd.Function):
    """Pair vectors (E, 3) to mixed densities (lm, N, channels)."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, library: Any, where: _Where, weights: tuple[Tensor, Tensor]
    ) -> Tensor:
        vectors = vectors.contiguous()
        ctx.save_for_backward(vectors)
        ctx.rest = library, where, weights[1]
        density = vectors.new_empty(N_LM, len(where.who.order), where.channels)
        found = library.densities(_pairs(where, vectors), at(weights[0]), at(density))
        if found != len(vectors):
            raise ValueError("`pairs` are not sorted by their first atom, see lrcalc.neighbors")
        return density

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> Any:
        refuse_second_derivatives()
        library, where, weight = ctx.rest
        (vectors,) = ctx.saved_tensors
        gradient, given = torch.empty_like(vectors), given.contiguous()
        library.densities_backward(_pairs(where, vectors), at(weight), at(given), at(gradient))
        return gradient, None, None, None


class _Described(torch.autograd.Function):
    """Densities (lm, N, channels) to products, hidden (N, width), vectors and tensors."""

    @staticmethod
    def forward(
        ctx: Any, density: Tensor, functions: Any, who: _Who, weights: tuple[_Weights, _Weights]
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
