"""The repulsion that is not learned, prior and wall together; fused where there is a way to."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.kernels.choice import refuse_second_derivatives
from lrcalc.models.fused_repulsion import fused_repulsion, usable
from lrcalc.models.prior import NuclearRepulsion
from lrcalc.models.repulsion_tables import Tables, repulsion_tables
from lrcalc.models.wall import STRENGTH, Wall
from lrcalc.neighbors import Pairs
from lrcalc.system import System


def repulsion(
    prior: NuclearRepulsion | None,
    wall: Wall | None,
    species: Tensor,
    system: System,
    pairs: Pairs,
    vectors: Tensor,
) -> Tensor | None:
    """Energy of each atom, half of that of its pairs, shape (N,), eV, float64; None for none.

    Parameters
    ----------
    prior, wall
        What there is of the two.
    species : Tensor, shape (N,)
        Counted from 0.
    system : System
        Says what may be used (``once``, ``compiled``).
    pairs : Pairs
    vectors : Tensor, shape (E, 3), Å
    """
    if prior is None and wall is None:
        return None
    if system.once and usable((prior, wall), vectors):
        return fused_repulsion((prior, wall), species, pairs, vectors)
    if system.once and system.compiled and vectors.device.type == "cpu":
        functions = library("repulsion", ("repulsion.cpp",), vectors.dtype)
        if functions is not None:
            told = repulsion_tables(prior, wall, vectors)
            each = _Repulsion.apply(vectors, functions, species, pairs, told).double()
            return each.new_zeros(len(species)).index_add(0, pairs.i, each)
    return by_torch(prior, wall, species, pairs, vectors)


def by_torch(
    prior: NuclearRepulsion | None,
    wall: Wall | None,
    species: Tensor,
    pairs: Pairs,
    vectors: Tensor,
) -> Tensor:
    """`repulsion` of one of them at least, by the code that can be differentiated twice."""
    parts = [part(species, pairs, vectors).double() for part in (prior, wall) if part is not None]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


class _Repulsion(torch.autograd.Function):
    """Half of the energies of pairs (E,), eV, by ``cpp/repulsion.cpp``; differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        functions: ctypes.CDLL,
        species: Tensor,
        pairs: Pairs,
        told: Tables,
    ) -> Tensor:
        vectors = vectors.detach().contiguous()
        strength, rate, start, cutoff = told
        kept = (vectors, pairs.i.contiguous(), pairs.j.contiguous(), species.contiguous())
        arguments = _Arguments(
            *map(at, (*kept, strength, rate, start)), len(vectors), round(len(start) ** 0.5),
            cutoff, STRENGTH, threads(),
        )  # fmt: skip
        energy, pull = vectors.new_empty(2, len(vectors)).unbind(0)
        functions.repulsion(ctypes.byref(arguments), at(energy), at(pull))
        ctx.save_for_backward(vectors, pull)
        return energy

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        refuse_second_derivatives()
        vectors, pull = ctx.saved_tensors
        return (gradients[0] * pull)[:, None] * vectors, None, None, None, None


class _Arguments(ctypes.Structure):
    """``struct Repulsion`` of ``cpp/repulsion.cpp``."""

    _fields_ = [
        ("vectors", POINTER), ("centre", POINTER), ("neighbour", POINTER), ("species", POINTER),
        ("strength", POINTER), ("rate", POINTER), ("start", POINTER), ("n_pairs", INTEGER),
        ("n_species", INTEGER), ("cutoff", ctypes.c_double), ("wall", ctypes.c_double),
        ("threads", INTEGER),
    ]  # fmt: skip
