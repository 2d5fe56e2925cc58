"""Logits of many atoms, a block at a time in each round, so that memory grows with them little.

What a round passes on is kept of all atoms, what it is made of only of one block; where there is a
gradient, blocks are computed once more on the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lrcalc.information.phase_backbone import AveragedDensities, Edges
from lrcalc.information.phases import Logits, PhaseModel
from lrcalc.neighbors import Pairs
from lrcalc.system import System

BLOCK = 256
"""Atoms of a block: what they need fits into caches."""


class Block(NamedTuple):
    """Atoms ``start … stop``, and their pairs ``first … last``."""

    start: int
    stop: int
    first: int
    last: int


def blocks_of(pairs: Pairs, n_atoms: int, size: int) -> list[Block]:
    """Cut atoms, and pairs sorted by ``i``, into blocks."""
    bounds = [*range(0, n_atoms, size), n_atoms]
    cuts = torch.searchsorted(pairs.i, torch.tensor(bounds)).tolist()
    return [Block(*ends) for ends in zip(bounds, bounds[1:], cuts, cuts[1:], strict=False)]


def logits_in_blocks(
    model: PhaseModel, system: System, pairs: Pairs, offset: Tensor, size: int = BLOCK
) -> Logits:
    """Logits of all atoms, those of ``model(…)``.

    Parameters
    ----------
    pairs : Pairs
        Sorted by ``i``.
    offset : Tensor, shape (E, 3)
        ``shift @ cell`` of the pairs.
    """
    backbone = model.backbone
    species = backbone.species_of_number[system.numbers]
    blocks = blocks_of(pairs, len(system.numbers), size)
    run = _again if torch.is_grad_enabled() and len(blocks) > 1 else _once
    given = (backbone, system.positions, species, pairs, offset)
    found = [run(_first_round, *given, block) for block in blocks]
    densities = [density for density, _ in found]
    parts = [[invariants] for _, invariants in found]
    for _ in range(backbone.rounds):
        spoken = torch.cat([density.transpose(0, 1).flatten(1) for density in densities])
        for b, block in enumerate(blocks):
            densities[b], invariants = run(_next_round, *given, block, spoken, densities[b])
            parts[b].append(invariants)
    features = torch.cat([
        backbone.finished(part, species[block.start : block.stop])
        for part, block in zip(parts, blocks, strict=True)
    ])  # fmt: skip
    with torch.no_grad():
        z = model.classes(features)
        for _ in range(model.smooth):
            z = torch.cat([_smoothed(model, *given, block, z) for block in blocks])
    return Logits(model.energies(features), torch.log_softmax(z, dim=1))


def _once(work: Callable[..., Any], *given: Any) -> Any:
    return work(*given)


def _again(work: Callable[..., Any], *given: Any) -> Any:
    return checkpoint(work, *given, use_reentrant=False, preserve_rng_state=False)


def _edges(
    backbone: AveragedDensities, positions: Tensor, pairs: Pairs, offset: Tensor, block: Block,
    *, angular: bool = False,
) -> Edges:  # fmt: skip
    """Pairs of a block, whose atoms are counted from zero."""
    rows = slice(block.first, block.last)
    here, there = pairs.i[rows], pairs.j[rows]
    vectors = positions.index_select(0, there) - positions.index_select(0, here) + offset[rows]
    own = Pairs(here - block.start, there, pairs.shift[rows])
    return backbone.edges(own, vectors, block.stop - block.start, angular=angular)


def _first_round(
    backbone: AveragedDensities, positions: Tensor, species: Tensor, pairs: Pairs, offset: Tensor,
    block: Block,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    edges = _edges(backbone, positions, pairs, offset, block, angular=True)
    density = backbone.densities(edges, species, block.stop - block.start)
    return density, backbone.invariants(density)


def _next_round(
    backbone: AveragedDensities, positions: Tensor, species: Tensor, pairs: Pairs, offset: Tensor,
    block: Block, spoken: Tensor, density: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    edges = _edges(backbone, positions, pairs, offset, block)
    density = backbone.averaged(edges, spoken, density)
    return density, backbone.invariants(density)


def _smoothed(
    model: PhaseModel, backbone: AveragedDensities, positions: Tensor, species: Tensor,
    pairs: Pairs, offset: Tensor, block: Block, z: Tensor,
) -> Tensor:  # fmt: skip
    edges = _edges(backbone, positions, pairs, offset, block)
    n = block.stop - block.start
    heard = edges.average(z, n)
    return (z[block.start : block.stop] + heard) / model.around(edges, n)
