"""Where the wall of a model begins, from its training frames (`lrcalc.models.wall`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from lrcalc.models.potential import Potential
from lrcalc.models.wall import shortest_distances, wall_starts
from lrcalc.neighbors import pair_vectors
from lrcalc.training.data import Frame


def distances_of(frames: Iterable[Frame], species: Sequence[int]) -> np.ndarray:
    """Shortest distances (S, S), Å, of each two elements in frames; see `shortest_distances`."""

    def parts(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        distance = torch.linalg.vector_norm(pair_vectors(frame.system, frame.pairs), dim=1)
        tensors = (frame.system.numbers, frame.pairs.i, frame.pairs.j, distance)
        numbers, i, j, lengths = (x.detach().cpu().numpy() for x in tensors)
        return numbers, i, j, lengths

    return shortest_distances(map(parts, frames), species)


def lower_wall(potential: Potential, frames: Iterable[Frame]) -> None:
    """Let the wall of a model begin below the distances of further ``frames`` too."""
    if potential.wall is not None:
        shortest = distances_of(frames, potential.species)
        new = wall_starts(shortest, potential.species, potential.cutoff)
        potential.set_wall(np.fmin(new, potential.config["wall"]).tolist())
