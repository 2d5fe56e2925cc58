"""The native backbone: products of neighbour densities, built for speed on a CPU.

The density of each neighbour species around an atom is expanded in radial functions and spherical
harmonics; `Products` multiplies channels mixed from it. One round (``layers`` 1) means that a
feature depends on atoms within the cutoff only, and that Born charges are exact from pair vectors
(physics §3). More rounds pass messages (`lrcalc.models.native.messages`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Features, Passed, species_table
from lrcalc.models.native.coupling import L_MAX, N_LM
from lrcalc.models.native.e3nn_import import o3
from lrcalc.models.native.fast import fast_functions
from lrcalc.models.native.messages import MessageRound, Surroundings
from lrcalc.models.native.products import (
    WIDTHS,
    Edges,
    Products,
    Round,
    SpeciesOrder,
    sort_by_species,
    sum_outer,
)
from lrcalc.models.radial import radial_basis
from lrcalc.neighbors import Pairs
from lrcalc.system import System


class LocalBackbone(Products):
    """Neighbour densities, their products, and a species-wise perceptron on the invariants.

    Parameters
    ----------
    species : tuple of int
        Atomic numbers, ascending.
    cutoff : float
        Å.
    channels : int
        Density channels.
    n_basis : int
        Radial functions.
    hidden : int
        Width of the perceptron and number of scalar features of a round.
    layers : int
        Rounds: 1 hears what neighbours are, 2 also what they have heard themselves, and so on.
    """

    cutoff: float
    layers: int
    species: tuple[int, ...]
    n_scalars: int
    n_channels: int
    species_of_number: Tensor
    density_scale: Tensor

    def __init__(
        self,
        species: tuple[int, ...],
        *,
        cutoff: float = 5.0,
        channels: int = 32,
        n_basis: int = 8,
        hidden: int = 64,
        layers: int = 1,
    ) -> None:
        if not (layers == int(layers) and layers >= 1):
            raise ValueError(
                f"`layers` is {layers} but must be a whole number of rounds, 1 or more"
            )
        super().__init__(len(species), channels, hidden, n_basis)
        self.species = species
        self.cutoff = float(cutoff)
        self.layers = int(layers)
        self.n_scalars = hidden * self.layers
        self.n_channels = 2 * channels * self.layers
        self.register_buffer("species_of_number", species_table(self.species), persistent=False)
        self._species_on_host = species_table(self.species)
        self.messages = nn.ModuleList(
            MessageRound(len(species), channels, hidden, n_basis) for _ in range(self.layers - 1)
        )

    def make_densities(self, n_species: int, hidden: int) -> None:
        """Make the mix of the neighbour densities."""
        n_density = n_species * self.n_basis
        self.density_mix = nn.Parameter(
            torch.randn(L_MAX + 1, n_species, n_density, self.channels) / math.sqrt(n_density)
        )
        self.register_buffer("density_scale", torch.ones(n_species, L_MAX + 1))

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms; zero for an atom without neighbours."""
        return self._features(system, pairs, vectors, calibrate=False)

    @torch.no_grad()
    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Set the scales so that densities, products and invariants of this batch are near 1."""
        for name, scale in self.named_buffers():
            if name.endswith("_scale"):
                scale.fill_(1.0)
        self._features(system, pairs, vectors, calibrate=True)

    def _features(
        self, system: System, pairs: Pairs, vectors: Tensor, *, calibrate: bool
    ) -> Features:
        known = self.species_of_number[system.numbers]
        centres = known if system.centres is None else known[: system.centres]
        host = None if system.host is None else self._species_on_host[system.host.numbers]
        atoms = sort_by_species(centres, len(self.species), host)
        fast = None if calibrate else fast_functions(self, len(self.species), system, vectors)
        if fast is not None:
            density = fast.densities(self, atoms, known, pairs, vectors)
        edges = cache(lambda: self._edges(atoms, pairs, vectors))
        if fast is None:
            density = self._densities(atoms, known, pairs, edges())
        if calibrate:
            density = density * self.set_scale(self.density_scale, density, atoms)
        rounds = [self.describe(density, atoms, calibrate=calibrate, fast=fast)]
        surroundings = Surroundings(pairs, vectors, self.cutoff, edges)
        heard: list[Passed] = []
        for message in self.messages:
            found, passed = message(atoms, surroundings, rounds[-1], calibrate=calibrate, fast=fast)
            rounds.append(found)
            heard.append(passed)
        hidden = (
            torch.cat([r.hidden for r in rounds], dim=1) if len(rounds) > 1 else rounds[0].hidden
        )
        vectors, tensors = _features_of(rounds, atoms)
        return Features(hidden.index_select(0, atoms.place), vectors, tensors, tuple(heard))

    def _edges(self, atoms: SpeciesOrder, pairs: Pairs, vectors: Tensor) -> Edges:
        distance = torch.linalg.vector_norm(vectors, dim=1)
        # waves of order n weigh 1/n: a prior for smooth radial functions, few data need it
        order = torch.arange(1, self.n_basis + 1, dtype=distance.dtype, device=distance.device)
        radial = radial_basis(distance, self.cutoff, self.n_basis) / order
        angular = o3.spherical_harmonics(
            list(range(L_MAX + 1)),
            vectors / distance[:, None],
            normalize=False,
            normalization="component",
        )
        most = None if pairs.known is None else pairs.known.most * len(self.species)
        neighbour = atoms.place[pairs.j] if self.messages else None
        return Edges(atoms.place[pairs.i], neighbour, angular, radial, most)

    def _densities(
        self, atoms: SpeciesOrder, species: Tensor, pairs: Pairs, edges: Edges
    ) -> Tensor:
        """Mixed neighbour densities of sorted atoms, shape (lm, N, channels)."""
        n, n_species = len(atoms.species), len(self.species)
        group = edges.centre * n_species + species[pairs.j]
        most = None if pairs.known is None else pairs.known.most
        rows = sum_outer(edges.angular, edges.radial, group, n * n_species, most)
        rows = rows.view(n, n_species, N_LM, self.n_basis).permute(2, 0, 1, 3).flatten(2)
        parts = zip(rows.split(atoms.counts, dim=1), self.mixing().unbind(1), strict=True)
        return torch.cat([torch.bmm(part, own) for part, own in parts], dim=1)

    def mixing(self) -> Tensor:
        """Return what mixes densities, scaled, shape (lm, species, n_density, channels)."""
        return self.by_component(self.density_mix * self.density_scale.T[:, :, None, None])


def _features_of(rounds: list[Round], atoms: SpeciesOrder) -> tuple[Tensor, Tensor]:
    """Vectors (N, C, 3) and tensors (N, C, 5) of all rounds, of atoms in their own order."""
    made = [r.features for r in rounds if r.features is not None]
    if made:
        if len(made) == 1:
            return made[0]
        vectors, tensors = (torch.cat(x, dim=1) for x in zip(*made, strict=True))
        return vectors, tensors
    parts = [x.split(WIDTHS) for r in rounds for x in (r.density, r.product)]
    vector, tensor = (torch.cat([x[ell] for x in parts], dim=2) for ell in (1, 2))
    return (
        vector.index_select(1, atoms.place).permute(1, 2, 0),
        tensor.index_select(1, atoms.place).permute(1, 2, 0),
    )
