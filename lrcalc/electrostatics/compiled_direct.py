"""The sum of `direct` in C++, on a CPU: structure factors, and gathering from them."""

from __future__ import annotations

import ctypes
from functools import partial
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from lrcalc.compiled import INTEGER, POINTER, at, library, threads
from lrcalc.domain import Domain, shared, total
from lrcalc.electrostatics import spreading
from lrcalc.electrostatics.kernels import Sites, Source
from lrcalc.electrostatics.sums import Interaction

LANES = {torch.float32: 16, torch.float64: 8}
"""Pairs are filled up to a multiple of this, which ``lrcalc/cpp/phases.cpp`` works on at a time."""


class WaveGrid(NamedTuple):
    """Waves n = (n₁, n₂, n₃): pairs (n₁, n₂), of which the last may count for nothing, and n₃ ≥ 0.

    Attributes
    ----------
    batch : Tensor, shape (N,), int64
        Structure of each atom.
    first, second : Tensor, shape (P,), int64
        n₁ and n₂.
    limits : tuple of int
        Largest |n₁|, |n₂| and n₃.
    structures : int
    dtype : torch.dtype
        Of phases and structure factors.
    """

    batch: Tensor
    first: Tensor
    second: Tensor
    limits: tuple[int, int, int]
    structures: int
    dtype: torch.dtype

    @property
    def functions(self) -> ctypes.CDLL:
        """Functions for them; no part of a plan, which is copied and pickled."""
        found = _functions(self.dtype)
        assert found is not None, "the plan was made where there are functions"
        return found

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of structure factors: structures, n₃, real and imaginary part, pairs."""
        return self.structures, self.limits[2] + 1, 2, len(self.first)

    def put(self, phases: Tensor, moments: Tensor, order: int) -> Tensor:
        """As `spreading.Places.put`: flat structure factors."""
        factors = moments.new_zeros(self.shape)
        kept = [phases.contiguous(), moments.contiguous()]
        told = ctypes.byref(self._told(kept[0]))
        self.functions.spread(told, at(kept[1]), INTEGER(order), at(factors))
        return factors.flatten()

    def take(
        self, phases: Tensor, flat: Tensor, order: int, moments: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `spreading.Places.take`."""
        kept = [phases.contiguous(), flat.contiguous()]
        moments = None if moments is None else moments.contiguous()
        values = phases.new_empty((len(phases), spreading.components(order)))
        slopes = None if moments is None else torch.empty_like(kept[0])
        told = ctypes.byref(self._told(kept[0]))
        tensors = (moments, values, slopes)
        self.functions.gather(told, at(kept[1]), INTEGER(order), *map(at, tensors))
        return values, slopes

    def _told(self, phases: Tensor) -> _Waves:
        one, two, three = self.limits
        numbers = (len(phases), self.structures, len(self.first), three + 1, one, two, threads())
        tensors = (phases, self.batch, self.first, self.second)
        return _Waves(*map(at, tensors), *numbers)


class _Waves(ctypes.Structure):
    """``struct Waves`` of ``lrcalc/cpp/phases.cpp``."""

    _fields_ = [
        ("at", POINTER), ("batch", POINTER), ("first", POINTER), ("second", POINTER),
        ("atoms", INTEGER), ("structures", INTEGER), ("pairs", INTEGER), ("third", INTEGER),
        ("limit1", INTEGER), ("limit2", INTEGER), ("threads", INTEGER),
    ]  # fmt: skip


def _functions(dtype: torch.dtype) -> ctypes.CDLL | None:
    return library("phases", ("phases.cpp",), dtype)


def wave_grid(
    batch: Tensor,
    first: Tensor,
    second: Tensor,
    limits: tuple[int, int, int],
    structures: int,
    dtype: torch.dtype,
) -> WaveGrid | None:
    """Return the waves of a plan, filled up; None where there are no functions for them."""
    if batch.device.type != "cpu" or _functions(dtype) is None:
        return None
    more = (0, -len(first) % LANES[dtype])
    filled = [pad(x, more).contiguous() for x in (first, second)]
    return WaveGrid(batch.contiguous(), filled[0], filled[1], limits, structures, dtype)


def filled_up(weight: Tensor, grid: WaveGrid) -> Tensor:
    """Weights (B, P, T) as they stand beside structure factors: (B, T, 1, pairs of the grid)."""
    more = (0, len(grid.first) - weight.shape[1])
    return pad(weight.transpose(1, 2), more)[:, :, None].contiguous()


def interaction(
    grid: WaveGrid,
    weight: Tensor,
    positions: Tensor,
    inverse: Tensor,
    domain: Domain | None,
) -> Interaction:
    """Return what `Direct.evaluate` does.

    Parameters
    ----------
    grid : WaveGrid
    weight : Tensor
        As of `filled_up`.
    positions : Tensor, shape (N, 3), Å
    inverse : Tensor, shape (B, 3, 3), Å⁻¹
        Of the cells; its columns times 2π are the reciprocal vectors.
    domain : Domain or None
        Processes whose structure factors are added.
    """
    own = shared(domain, inverse)
    fractional = spreading.times_own(positions, own, grid.batch)
    # the sum is periodic: wrapping keeps phases small, which single precision needs
    phases = 2.0 * pi * (fractional - fractional.detach().floor())
    return partial(_interact, grid, weight, phases, 2.0 * pi * own, domain)


def _interact(
    grid: WaveGrid,
    weight: Tensor,
    phases: Tensor,
    scaled: Tensor,
    domain: Domain | None,
    source: Source,
    derivatives: int,
) -> tuple[Tensor, Sites | None]:
    flat = spreading.put(source, phases, scaled, grid.batch, grid)
    factors = total(domain, flat).reshape(grid.shape)
    weighted = weight * factors
    energy = 0.5 * (weighted * factors).sum((1, 2, 3))
    if derivatives < 0:
        return energy, None
    field = shared(domain, weighted).flatten()
    return energy, spreading.take(field, phases, scaled, grid.batch, grid, derivatives)
