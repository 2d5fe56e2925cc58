"""A wall below the distances that a model has seen, so that no atoms fall into one another.

What is learned says nothing of two atoms closer than in any training frame: there its energy may
fall, and in a long run, or a large one, some pair finds the way. The wall is a sum over pairs,

    E = Σ_pairs `STRENGTH` (start - r)³  for r < start,

with a ``start`` for each pair of elements that lies below all distances of the training frames:
their energies and forces do not have it. Two derivatives are continuous. Potentials that go over
into a tabulated repulsion at short distances (Wang et al., Appl. Phys. Lett. 114, 244101, 2019)
do the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from ase.data import covalent_radii
from ase.data.vdw_alvarez import vdw_radii
from torch import Tensor, nn

from lrcalc.neighbors import Pairs

STRENGTH = 100.0
"""eV/Å³: 0.1 eV at 0.1 Å below the start, 12.5 eV at 0.5 Å."""

BELOW_BONDED, BELOW_OTHERS = 0.85, 0.97
"""Start over the shortest distance of the data: bonds are stiff, and what is learned of them holds
somewhat further down; other pairs touch."""

BONDED = 1.3
"""Times the sum of covalent radii: pairs that come so close are bonded."""

TOUCHING = 0.8
"""Times the sum of van der Waals radii (Alvarez, Dalton Trans. 42, 8617, 2013): no start is higher.
Data of small displacements never show how close atoms may come."""


class Wall(nn.Module):
    """Energies of the wall, without parameters to learn.

    Parameters
    ----------
    start : nested sequence of float, shape (S, S)
        Where it begins, Å, symmetric; 0 for no wall.
    """

    start: Tensor

    def __init__(self, start: Sequence[Sequence[float]]) -> None:
        super().__init__()
        values = torch.tensor(start, dtype=torch.float64)
        self.furthest = float(values.max())
        self.n_species = len(values)
        self.register_buffer("start", values.flatten(), persistent=False)

    def forward(self, species: Tensor, pairs: Pairs, vectors: Tensor) -> Tensor:
        """Energy of each atom, half of that of its pairs, shape (N,), eV.

        Parameters
        ----------
        species : Tensor, shape (N,)
            Counted from 0.
        pairs : Pairs
        vectors : Tensor, shape (E, 3), Å
        """
        i, j = pairs.i, pairs.j
        if not vectors.is_cuda:  # few pairs are so close; a GPU would have to say how many
            near = (vectors.detach().square().sum(1) < self.furthest**2).nonzero()[:, 0]
            i, j, vectors = i[near], j[near], vectors.index_select(0, near)
        start = self.start.to(vectors.dtype)[species[i] * self.n_species + species[j]]
        inside = torch.relu(start - torch.linalg.vector_norm(vectors, dim=1))
        energy = 0.5 * STRENGTH * inside**3
        return energy.new_zeros(len(species)).index_add(0, i, energy)


def build_wall(start: Sequence[Sequence[float]] | None, species: tuple[int, ...]) -> Wall | None:
    """Make the wall of an option ``wall``; None for none.

    Raises
    ------
    ValueError
        If ``start`` is no symmetric table (S, S) of distances.
    """
    if start is None:
        return None
    table = np.asarray(start, dtype=float)
    n = len(species)
    if table.shape != (n, n) or not np.isfinite(table).all() or (table < 0).any():
        raise ValueError(f"`wall` is {start!r} but must be {n} × {n} distances in Å, or None")
    if not np.array_equal(table, table.T):
        raise ValueError(f"`wall` is {start!r}, which is not symmetric")
    return Wall(table.tolist())


def wall_starts(shortest: np.ndarray, species: Sequence[int], cutoff: float) -> list[list[float]]:
    """Return where walls begin, Å, rounded down to 0.001.

    Parameters
    ----------
    shortest : ndarray, shape (S, S)
        Shortest distance of two elements in the training frames, Å; infinite for pairs that are
        never within the cutoff, whose wall begins at the sum of their covalent radii, as that of
        hydrogen and what it is not bonded to.
    species : sequence of int
        Atomic numbers.
    cutoff : float
        Of the model, Å: beyond it no pairs are known, and no wall begins.
    """
    covalent = covalent_radii[list(species)]
    touching = np.asarray(vdw_radii)[list(species)]
    bond = covalent[:, None] + covalent
    apart = TOUCHING * (touching[:, None] + touching)
    factor = np.where(bonded(shortest, species), BELOW_BONDED, BELOW_OTHERS)
    seen = np.fmin(factor * shortest, apart)  # van der Waals radii of some elements are not known
    # hydrogen moves on: other molecules may have bonds of it that these frames have not
    hydrogen = np.asarray(species) == 1
    known = np.isfinite(shortest) & (bonded(shortest, species) | ~(hydrogen[:, None] ^ hydrogen))
    start = np.fmin(np.where(known, seen, np.fmin(seen, bond)), cutoff)
    return (np.floor(1000 * start) / 1000).tolist()


def bonded(shortest: np.ndarray, species: Sequence[int]) -> np.ndarray:
    """Which elements are bonded, (S, S), by their shortest distances."""
    covalent = covalent_radii[list(species)]
    return np.asarray(shortest < BONDED * (covalent[:, None] + covalent))


def shortest_distances(
    frames: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    species: Sequence[int],
) -> np.ndarray:
    """Shortest distance of each two elements, (S, S), Å, infinite where none is known.

    Parameters
    ----------
    frames : iterable of tuple
        Atomic numbers (N,), the two atoms of pairs (E,) each, and their distances (E,), Å.
    species : sequence of int
        Atomic numbers, ascending.
    """
    known = np.asarray(species)
    out = np.full((len(known), len(known)), np.inf)
    for numbers, i, j, distance in frames:
        kind = np.searchsorted(known, numbers)
        np.minimum.at(out, (kind[i], kind[j]), distance)
    return np.fmin(out, out.T)
