"""Features of many atoms, a block at a time in each round, so that memory does not grow with them.

Without gradients only what a round passes on has to be kept of all atoms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrcalc.information.phase_backbone import AveragedDensities, Edges
from lrcalc.neighbors import Pairs
from lrcalc.system import System

BLOCK = 512
"""Atoms of a block."""


@torch.no_grad()
def scalars_in_blocks(
    backbone: AveragedDensities, system: System, pairs: Pairs, offset: Tensor, size: int = BLOCK
) -> Tensor:
    """Invariant features (N, F), those of ``backbone(…).scalars``.

    Parameters
    ----------
    pairs : Pairs
        Sorted by ``i``.
    offset : Tensor, shape (E, 3)
        ``shift @ cell`` of the pairs.
    """
    n = len(system.numbers)
    species = backbone.species_of_number[system.numbers]
    bounds = [*range(0, n, size), n]
    cuts = torch.searchsorted(pairs.i, torch.tensor(bounds)).tolist()
    parts = list(zip(bounds[:-1], bounds[1:], cuts[:-1], cuts[1:], strict=True))
    density: list[Tensor] = []
    hidden: list[list[Tensor]] = []
    spoken = system.positions.new_zeros(0)
    for t in range(backbone.layers):
        told, said = [], []
        for b, part in enumerate(parts):
            start, stop = part[:2]
            edges = _edges(backbone, system, pairs, offset, part, angular=t == 0)
            heard = None
            if t == 0:
                density.append(backbone.densities(edges, species, stop - start))
            else:
                near = spoken.index_select(0, edges.j)
                passed, heard = backbone.heard(t - 1, edges, near, stop - start)
                density[b] = math.sqrt(0.5) * (density[b] + passed)
            invariants = backbone.invariants(t, density[b])
            told.append(backbone.describe(t, invariants, species[start:stop], heard))
            if t < backbone.layers - 1:
                said.append(backbone.said(t, density[b], told[-1]))
        hidden.append(told)
        spoken = torch.cat(said) if said else spoken
    return torch.cat([torch.cat(told) for told in hidden], dim=1)


def _edges(
    backbone: AveragedDensities, system: System, pairs: Pairs, offset: Tensor,
    part: tuple[int, int, int, int], *, angular: bool,
) -> Edges:  # fmt: skip
    """Pairs of the atoms ``start … stop``, which are counted from zero."""
    start, stop, first, last = part
    own = Pairs(pairs.i[first:last] - start, pairs.j[first:last], pairs.shift[first:last])
    here = system.positions.index_select(0, pairs.i[first:last])
    vectors = system.positions.index_select(0, own.j) - here + offset[first:last]
    return backbone.edges(own, vectors, stop - start, angular=angular)
