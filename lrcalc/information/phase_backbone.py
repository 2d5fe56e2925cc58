"""The backbone of models of phases: densities averaged over the neighbourhood before they multiply.

Around an atom the neighbours' density is expanded in radial functions and spherical harmonics, and
then averaged over atom and neighbours, order by order and without turning it, once or more:

    c_i,nlm = Σ_j R_n(r_ij) Y_lm(r̂_ij) ,      c_i ← (c_i + Σ_j w(r_ij) c_j) / (1 + n̄) ,

``w = (1 - r²/r_c²)³`` and ``n̄`` the mean of its sum. After each round invariants are made, the
``l = 0`` parts and ``Σ_m u_lm v_lm`` of mixed radial functions. So noise of single atoms is
averaged out before it is squared, which is what tells crystals apart at high temperature (Lechner
and Dellago, J. Chem. Phys. 129, 114707 (2008)). At the sites of fcc, bcc and sc there is nothing
between ℓ = 0 and 4, so ℓ goes beyond the 3 of `lrcalc.models.native`.

Nothing in it is learned: mixes are drawn once and kept in the file, so that features of many noisy
crystals can be made once and labels learned from them in minutes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import species_table
from lrcalc.models.native.e3nn_import import o3
from lrcalc.models.native.products import sum_outer
from lrcalc.models.radial import radial_basis
from lrcalc.neighbors import Pairs
from lrcalc.system import System


class Square(NamedTuple):
    """Where pairs of a batch of small crystals are in dense matrices, one for each crystal.

    Attributes
    ----------
    slot : Tensor, shape (E,), int64
        Of each pair in the matrices (B M M), flattened.
    place : Tensor, shape (N,), int64
        Of each atom in the dense batch (B M); B M: nobody.
    rows, most : int
        B and M.
    """

    slot: Tensor
    place: Tensor
    rows: int
    most: int


class Edges(NamedTuple):
    """Pairs of atoms.

    Attributes
    ----------
    i, j : Tensor, shape (E,), int64
    radial : Tensor, shape (E, n_basis)
    angular : Tensor, shape (E, lm)
        Of the first round.
    weight : Tensor, shape (E,)
        ``w``.
    most : int or None
        At least as many as an atom has neighbours, where that is known.
    full : bool
        Each atom has so many, and pairs are in the order of their centres.
    square : Square or None
    """

    i: Tensor
    j: Tensor
    radial: Tensor
    angular: Tensor
    weight: Tensor
    most: int | None = None
    full: bool = False
    square: Square | None = None

    def sum(self, one: Tensor, two: Tensor, n_atoms: int) -> Tensor:
        """Sum of ``one ⊗ two`` over the pairs of each atom: (E, a), (E, b) → (N, a, b)."""
        if not self.full or self.most is None:
            return sum_outer(one, two, self.i, n_atoms, self.most)
        one, two = (x.view(n_atoms, self.most, x.shape[1]) for x in (one, two))
        return torch.bmm(one.transpose(1, 2), two)

    def average(self, values: Tensor, n_atoms: int) -> Tensor:
        """Sum over neighbours of ``w`` times their ``values`` (…, P): (N, P)."""
        if self.square is None:
            near = values.index_select(0, self.j)
            return self.sum(self.weight[:, None], near, n_atoms)[:, 0]
        slot, place, rows, most = self.square
        matrix = values.new_zeros(rows * most * most).index_add(0, slot, self.weight)
        dense = values.new_zeros(rows * most + 1, values.shape[1]).index_copy(0, place, values)
        heard = torch.bmm(matrix.view(rows, most, most), dense[:-1].view(rows, most, -1))
        return heard.flatten(0, 1).index_select(0, place.clamp(max=rows * most - 1))


class AveragedDensities(nn.Module):
    """Invariants of densities that are averaged over atoms and their neighbours.

    Parameters
    ----------
    species : tuple of int
        Atomic numbers, ascending; the density of each is one of its own.
    cutoff : float
    lmax : int
        Largest ℓ.
    n_basis : int
        Radial functions.
    products : int
        Pairs of mixed radial functions that are multiplied.
    rounds : int
        Averages.
    """

    left: Tensor
    right: Tensor
    mean: Tensor
    scale: Tensor
    density_scale: Tensor
    neighbours: Tensor
    species_of_number: Tensor
    ell: Tensor

    def __init__(
        self, species: tuple[int, ...], *, cutoff: float, lmax: int, n_basis: int, products: int,
        rounds: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.species, self.cutoff, self.lmax, self.rounds = species, float(cutoff), lmax, rounds
        self.n_basis = n_basis
        n_ell, n_density = lmax + 1, len(species) * n_basis
        extra = len(species) if len(species) > 1 else 0
        self.n_each, self.extra = n_density + n_ell * products, extra
        self.n_scalars = self.size(rounds)
        self.register_buffer("species_of_number", species_table(species), persistent=False)
        ell = torch.repeat_interleave(torch.arange(n_ell), 2 * torch.arange(n_ell) + 1)
        self.register_buffer("ell", ell, persistent=False)
        for name in ("left", "right"):
            mix = torch.randn(n_ell, n_density, products) / math.sqrt(n_density)
            self.register_buffer(name, mix)
        self.register_buffer("density_scale", torch.ones(n_ell, n_density))
        self.register_buffer("neighbours", torch.ones(()))
        self.register_buffer("mean", torch.zeros((rounds + 1) * self.n_each))
        self.register_buffer("scale", torch.ones((rounds + 1) * self.n_each))

    def size(self, rounds: int) -> int:
        """Features of an atom after so many averages."""
        return (rounds + 1) * self.n_each + self.extra

    def first(self, features: Tensor, rounds: int) -> Tensor:
        """Of features (N, F) those of the first averages, (N, `size`)."""
        if features.shape[1] == self.size(rounds):
            return features
        known = features[:, : (rounds + 1) * self.n_each]
        return torch.cat([known, features[:, -self.extra :]], dim=1) if self.extra else known

    @torch.no_grad()
    def calibrate(self, system: System, edges: Edges, real: Tensor, known: int = 0) -> None:
        """Bring densities and invariants of the ``real`` (N,) atoms of a batch near 1.

        The first ``known`` invariants stay as they are, and so do densities if there are any.
        """
        if not known:
            self._calibrate_densities(system, edges, real)
        self.mean[known:] = 0.0
        self.scale[known:] = 1.0
        found = self(system, edges)[real, known : len(self.mean)]
        self.mean[known:] = found.mean(0)
        self.scale[known:] = 1 / found.std(0).clamp(min=1e-3)

    def _calibrate_densities(self, system: System, edges: Edges, real: Tensor) -> None:
        n = len(system.numbers)
        self.density_scale.fill_(1.0)
        weight = edges.weight.new_zeros(n).index_add(0, edges.i, edges.weight)
        self.neighbours.copy_(weight[real].mean())
        density = self.densities(edges, self.species_of_number[system.numbers], n)
        square = density[:, real].square().mean(1)  # (lm, K)
        by_ell = square.new_zeros(self.density_scale.shape).index_add(0, self.ell, square)
        by_ell = by_ell / (2 * torch.arange(self.lmax + 1) + 1).to(by_ell)[:, None]
        self.density_scale.copy_(by_ell.maximum(1e-3 * by_ell.mean()).rsqrt())

    def edges(
        self, pairs: Pairs, vectors: Tensor, n_atoms: int, *, angular: bool = True,
        square: Square | None = None,
    ) -> Edges:  # fmt: skip
        """Functions of pairs from their vectors (E, 3); harmonics for the first round alone."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        x = (distance / self.cutoff).clamp(max=1.0)
        radial, harmonics = vectors[:, :0], vectors[:, :0]
        if angular:
            radial = radial_basis(distance, self.cutoff, self.n_basis)
            harmonics = o3.spherical_harmonics(
                list(range(self.lmax + 1)), vectors / distance[:, None], normalize=False,
                normalization="component",
            )  # fmt: skip
        most = None if pairs.known is None else pairs.known.most
        full = most is not None and len(distance) == most * n_atoms
        return Edges(
            pairs.i, pairs.j, radial, harmonics, (1 - x * x) ** 3, most, full, square
        )  # fmt: skip

    def densities(self, edges: Edges, species: Tensor, n_atoms: int) -> Tensor:
        """Neighbour densities (lm, N, species n_basis)."""
        radial = edges.radial
        if len(self.species) > 1:
            kind = self.kinds(species[edges.j], radial.dtype)
            radial = (kind[:, :, None] * radial[:, None]).flatten(1)
        rows = edges.sum(edges.angular, radial, n_atoms).transpose(0, 1)
        return rows * self.density_scale[self.ell][:, None]

    def kinds(self, species: Tensor, dtype: torch.dtype) -> Tensor:
        """One for the species that an atom is of, else zero: (N, species)."""
        known = torch.arange(len(self.species), device=species.device)
        return (species[:, None] == known).to(dtype)

    def averaged(self, edges: Edges, spoken: Tensor, own: Tensor) -> Tensor:
        """Densities ``own`` (lm, N, K) and those that neighbours speak of (…, lm K), averaged."""
        n = own.shape[1]
        heard = edges.average(spoken, n).view(n, own.shape[0], -1).transpose(0, 1)
        return (own + heard) / (1 + self.neighbours)

    def invariants(self, density: Tensor) -> Tensor:
        """Scalars and products (N, n_each)."""
        left = torch.bmm(density, self.left[self.ell])
        right = torch.bmm(density, self.right[self.ell])
        sizes = [2 * ell + 1 for ell in range(self.lmax + 1)]
        parts = [density[0]]
        for ell, product in enumerate((left * right).split(sizes)):
            parts.append(product.sum(0) / (2 * ell + 1))
        return torch.cat(parts, dim=1)

    def finished(self, parts: list[Tensor], species: Tensor) -> Tensor:
        """Features (N, F) from the invariants of all rounds."""
        found = torch.cat(parts, dim=1)
        found = (found - self.mean[: found.shape[1]]) * self.scale[: found.shape[1]]
        if len(self.species) > 1:
            found = torch.cat([found, self.kinds(species, found.dtype)], dim=1)
        return found

    def forward(self, system: System, edges: Edges, rounds: int | None = None) -> Tensor:
        """Features of all atoms, (N, F), of all rounds or of the first."""
        n = len(system.numbers)
        species = self.species_of_number[system.numbers]
        density = self.densities(edges, species, n)
        parts = [self.invariants(density)]
        for _ in range(self.rounds if rounds is None else rounds):
            spoken = density.transpose(0, 1).flatten(1)
            density = self.averaged(edges, spoken, density)
            parts.append(self.invariants(density))
        return self.finished(parts, species)
