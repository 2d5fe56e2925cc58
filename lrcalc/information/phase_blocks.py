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
from lrcalc.neighbors import FamiliarPairs, Known, Pairs
from lrcalc.system import System

BLOCK = 128
"""Atoms of a block: what they need fits into caches."""


class Block(NamedTuple):
    """Atoms ``start … stop``, each with as many seats for neighbours as any of them needs.

    Attributes
    ----------
    start, stop : int
    pairs : FamiliarPairs
        ``i`` counted from ``start``; in an empty seat is the atom itself.
    here : Tensor, shape (E,), int64
        ``i`` as others count.
    offset : Tensor, shape (E, 3)
        ``shift @ cell``; in an empty seat beyond the cutoff.
    """

    start: int
    stop: int
    pairs: FamiliarPairs
    here: Tensor
    offset: Tensor


def blocks_of(pairs: Pairs, offset: Tensor, n_atoms: int, size: int, cutoff: float) -> list[Block]:
    """Cut atoms, and pairs sorted by ``i``, into blocks of ``size`` atoms."""
    counts = torch.bincount(pairs.i, minlength=n_atoms)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(pairs.i)) - starts.index_select(0, pairs.i)
    blocks = []
    for start in range(0, n_atoms, size):
        stop = min(start + size, n_atoms)
        own = counts[start:stop]
        most, first = max(1, int(own.max())), int(starts[start])
        rows = slice(first, first + int(own.sum()))
        slot = (pairs.i[rows] - start) * most + rank[rows]
        i = torch.arange(stop - start).repeat_interleave(most)
        there = (i + start).index_copy(0, slot, pairs.j[rows])
        far = offset.new_full((len(i), 3), 2.0 * cutoff).index_copy(0, slot, offset[rows])
        known = Known(most, cutoff, i[:0])
        made = FamiliarPairs(i, there, pairs.shift[:0], known)
        blocks.append(Block(start, stop, made, i + start, far))
    return blocks


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
    blocks = blocks_of(pairs, offset, len(system.numbers), size, model.backbone.cutoff)
    features = features_in_blocks(model, system, blocks, model.backbone.rounds)
    with torch.no_grad():
        n = len(model.phases)
        z = model.classes(features)
        if model.familiar is not None:
            heard = model.backbone.first(features, model.score_rounds)
            z = torch.cat([z, model.familiar(heard)], dim=1)
        for _ in range(model.smooth):
            z = smoothed_in_blocks(model, system, blocks, z)
        familiar = None if model.familiar is None else torch.sigmoid(z[:, n])
        chances = torch.log_softmax(z[:, :n], dim=1)
    return Logits(model.energies(features), chances, familiar)


def energies_in_blocks(
    model: PhaseModel, system: System, pairs: Pairs, offset: Tensor, size: int = BLOCK
) -> Tensor:
    """``e_a`` of all atoms (N,) without their labels, which is what the score needs."""
    blocks = blocks_of(pairs, offset, len(system.numbers), size, model.backbone.cutoff)
    return model.energies(features_in_blocks(model, system, blocks, model.score_rounds))


def features_in_blocks(
    model: PhaseModel, system: System, blocks: list[Block], rounds: int
) -> Tensor:
    """Features after so many averages; what the score does not hear has no gradient."""
    backbone = model.backbone
    species = backbone.species_of_number[system.numbers]
    graph = torch.is_grad_enabled()
    run = _again if graph and len(blocks) > 1 else _once
    given = (backbone, system.positions, species)
    found = [run(_first_round, *given, block) for block in blocks]
    densities = [density for density, _ in found]
    parts = [[invariants] for _, invariants in found]
    for number in range(1, rounds + 1):
        with torch.set_grad_enabled(graph and number <= model.score_rounds):
            spoken = torch.cat([density.transpose(0, 1).flatten(1) for density in densities])
            for b, block in enumerate(blocks):
                densities[b], invariants = run(_next_round, *given, block, spoken, densities[b])
                parts[b].append(invariants)
    return torch.cat([
        backbone.finished(part, species[block.start : block.stop])
        for part, block in zip(parts, blocks, strict=True)
    ])  # fmt: skip


def smoothed_in_blocks(
    model: PhaseModel, system: System, blocks: list[Block], values: Tensor
) -> Tensor:
    """Values (N, P) averaged over atom and neighbours, as `PhaseModel.chances` does."""
    given = (model, model.backbone, system.positions)
    return torch.cat([_smoothed(*given, block, values) for block in blocks])


def _once(work: Callable[..., Any], *given: Any) -> Any:
    return work(*given)


def _again(work: Callable[..., Any], *given: Any) -> Any:
    # without arguments: a checkpoint takes named tuples apart and does not know how to join them
    return checkpoint(lambda: work(*given), use_reentrant=False, preserve_rng_state=False)


def _edges(
    backbone: AveragedDensities, positions: Tensor, block: Block, *, angular: bool = False
) -> Edges:
    """Pairs of a block, whose atoms are counted from zero."""
    here = positions.index_select(0, block.here)
    vectors = positions.index_select(0, block.pairs.j) - here + block.offset
    return backbone.edges(block.pairs, vectors, block.stop - block.start, angular=angular)


def _first_round(
    backbone: AveragedDensities, positions: Tensor, species: Tensor, block: Block
) -> tuple[Tensor, Tensor]:
    edges = _edges(backbone, positions, block, angular=True)
    density = backbone.densities(edges, species, block.stop - block.start)
    return density, backbone.invariants(density)


def _next_round(
    backbone: AveragedDensities, positions: Tensor, species: Tensor, block: Block,
    spoken: Tensor, density: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    edges = _edges(backbone, positions, block)
    density = backbone.averaged(edges, spoken, density)
    return density, backbone.invariants(density)


def _smoothed(
    model: PhaseModel, backbone: AveragedDensities, positions: Tensor, block: Block, z: Tensor
) -> Tensor:
    edges = _edges(backbone, positions, block)
    n = block.stop - block.start
    heard = edges.average(z, n)
    return (z[block.start : block.stop] + heard) / model.around(edges, n)
