"""What the compiled functions of the native backbone share: pairs, atoms and weights kept."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lrcalc.compiled import INTEGER, POINTER, at, threads
from lrcalc.models.native.products import SpeciesOrder
from lrcalc.neighbors import Pairs


class Remembered:
    """Weights as the library wants them, made again when they have changed.

    They are compared number by number, which takes a hundredth of a step: torch does not count what
    is written through ``tensor.data`` or a view of numpy's.
    """

    def __init__(self, make: Any) -> None:
        self._make = make
        self._known: WeakKeyDictionary[nn.Module, tuple[list[Tensor], Any]] = WeakKeyDictionary()

    def __call__(self, part: nn.Module, tensors: Sequence[Tensor]) -> Any:
        """Weights of ``part``, which are made of these ``tensors``."""
        known = self._known.get(part)
        if known is None or not _are_same(known[0], tensors):
            with torch.no_grad():
                copies = [x.detach().clone() for x in tensors]
                known = self._known[part] = copies, self._make(part)
        return known[1]


def _are_same(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    return len(one) == len(two) and all(
        a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, two, strict=True)
    )


class Where(NamedTuple):
    """Pairs and atoms, as the library wants them; see `fast.Fast.densities`."""

    centre: Tensor
    neighbour: Tensor
    species: Tensor
    who: Who
    cutoff: float
    channels: int


class Who(NamedTuple):
    """Atoms of each species, and of the sorted ones which they were."""

    counts: Tensor
    order: Tensor


def who_of(atoms: SpeciesOrder) -> Who:
    """Atoms as the library wants them."""
    return Who(torch.tensor(atoms.counts), atoms.order)


class _Pairs(ctypes.Structure):
    """``struct Pairs`` of ``lrcalc/cpp/neighbours.h``."""

    _fields_ = [
        ("vectors", POINTER), ("centre", POINTER), ("neighbour", POINTER),
        ("n_pairs", INTEGER), ("species", POINTER), ("order", POINTER), ("counts", POINTER),
        ("n", INTEGER), ("cutoff", ctypes.c_double), ("threads", INTEGER),
    ]  # fmt: skip


def where_of(
    atoms: SpeciesOrder, species: Tensor, pairs: Pairs, cutoff: float, channels: int
) -> Where:
    """Pairs as the library wants them, ``species`` (M,) those of all atoms."""
    i, j, known = (x.contiguous() for x in (pairs.i, pairs.j, species))
    return Where(i, j, known, who_of(atoms), cutoff, channels)


def pairs_of(where: Where, vectors: Tensor) -> Any:
    """Pointer to a ``struct Pairs``, good while its tensors are held."""
    counts, order = where.who
    return ctypes.byref(
        _Pairs(
            at(vectors), at(where.centre), at(where.neighbour), len(where.centre),
            at(where.species), at(order), at(counts), len(order), where.cutoff, threads(),
        )
    )  # fmt: skip


def pointing(kind: Any, tables: list[Tensor], group: list[Tensor]) -> Any:
    """Structure of tables of coefficients, how many these are, and weights; it holds them."""
    pointers = [x.data_ptr() for x in tables], [x.data_ptr() for x in group]
    made = kind(*pointers[0], len(tables[0]), *pointers[1])
    made.held = tables + group
    return made
