"""The backbone of models of phases: densities averaged over the neighbourhood before they multiply.

Around an atom the neighbours' density is expanded in radial functions and spherical harmonics,

    c_i,nlm = Σ_j R_n(r_ij) Y_lm(r̂_ij) ,

and in each round atoms hear the densities of their neighbours and add them to their own, order by
order and without turning them, ``c_i ← c_i + Σ_j w(r_ij) c_j``. Only then are invariants made,
``Σ_m u_lm v_lm`` of mixed channels. Noise of the single atoms is averaged out before it is squared,
which is what tells crystals apart at high temperature (Lechner and Dellago, J. Chem. Phys. 129,
114707 (2008)). fcc, bcc and sc have nothing between ℓ = 0 and 4 at their sites, so ℓ goes beyond
the 3 of `lrcalc.models.native`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Features, species_table
from lrcalc.models.native.e3nn_import import o3
from lrcalc.models.native.products import sum_outer
from lrcalc.models.radial import radial_basis
from lrcalc.neighbors import Pairs
from lrcalc.system import System

WEIGHTS = 3
"""Functions of the distance with which a round averages."""

SMALLEST = 1e-4
"""Mean square of a feature, of that of all, below which it is not made larger by its scale."""


class Edges(NamedTuple):
    """Pairs of atoms.

    Attributes
    ----------
    i, j : Tensor, shape (E,), int64
    radial : Tensor, shape (E, n_basis)
    angular : Tensor, shape (E, lm)
    most : int or None
        At least as many as an atom has neighbours, where that is known.
    full : bool
        Each atom has so many, and pairs are in the order of their centres.
    """

    i: Tensor
    j: Tensor
    radial: Tensor
    angular: Tensor
    most: int | None
    full: bool

    def sum(self, one: Tensor, two: Tensor, n_atoms: int) -> Tensor:
        """Sum of ``one ⊗ two`` over the pairs of each atom: (E, a), (E, b) → (N, a, b)."""
        if not self.full or self.most is None:
            return sum_outer(one, two, self.i, n_atoms, self.most)
        one, two = (x.view(n_atoms, self.most, x.shape[1]) for x in (one, two))
        return torch.bmm(one.transpose(1, 2), two)


class AveragedDensities(nn.Module):
    """Densities, their averages over neighbours, and a perceptron on the invariants of each round.

    Parameters
    ----------
    species : tuple of int
        Atomic numbers, ascending.
    cutoff : float
    lmax : int
        Largest ℓ.
    channels, n_basis, hidden, layers : int
        Channels of densities, radial functions, width of the perceptron, rounds.
    """

    density_scale: Tensor
    invariant_scale: Tensor
    message_scale: Tensor
    hidden_scale: Tensor
    species_of_number: Tensor
    ell: Tensor

    def __init__(
        self, species: tuple[int, ...], *, cutoff: float, lmax: int, channels: int, n_basis: int,
        hidden: int, layers: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.species, self.cutoff, self.lmax, self.layers = species, float(cutoff), lmax, layers
        self.channels, self.n_basis, self.hidden = channels, n_basis, hidden
        self.sent = max(1, channels // 2)
        self.n_scalars, self.n_channels = hidden * layers, 0
        self.register_buffer("species_of_number", species_table(species), persistent=False)
        widths = torch.arange(lmax + 1) * 2 + 1
        ell = torch.repeat_interleave(torch.arange(lmax + 1), widths)
        self.register_buffer("ell", ell, persistent=False)
        n_ell, n_density, n_inv = lmax + 1, len(species) * n_basis, (lmax + 2) * channels
        extra = len(species) if len(species) > 1 else 0

        def normal(*shape: int, fan: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape) / math.sqrt(fan))

        self.density_mix = normal(n_ell, n_density, channels, fan=n_density)
        self.left = normal(layers, n_ell, channels, channels, fan=channels)
        self.right = normal(layers, n_ell, channels, channels, fan=channels)
        self.inner = nn.ModuleList(
            nn.Linear(n_inv + extra + (WEIGHTS * self.sent if t else 0), hidden)
            for t in range(layers)
        )
        self.outer = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        rounds = layers - 1
        self.send = normal(rounds, n_ell, channels, self.sent, fan=channels)
        self.gate = nn.ModuleList(nn.Linear(hidden, n_ell * self.sent) for _ in range(rounds))
        self.send_hidden = normal(rounds, hidden, self.sent, fan=hidden)
        weights = torch.randn(rounds, n_basis, WEIGHTS) / math.sqrt(n_basis)
        weights[:, 0] += 1.0  # the wave without nodes: an average at first
        self.weights = nn.Parameter(weights)
        self.hear = normal(rounds, n_ell, WEIGHTS * self.sent, channels, fan=WEIGHTS * self.sent)
        self.register_buffer("density_scale", torch.ones(n_ell))
        self.register_buffer("invariant_scale", torch.ones(layers, n_inv))
        self.register_buffer("message_scale", torch.ones(rounds, n_ell))
        self.register_buffer("hidden_scale", torch.ones(rounds, WEIGHTS * self.sent))

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Scalars of all atoms."""
        return self._features(system, pairs, vectors, calibrate=False)

    @torch.no_grad()
    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Set the scales so that densities and invariants of this batch are near 1."""
        for name, scale in self.named_buffers():
            if name.endswith("_scale"):
                scale.fill_(1.0)
        self._features(system, pairs, vectors, calibrate=True)

    def edges(self, pairs: Pairs, vectors: Tensor, n_atoms: int, *, angular: bool = True) -> Edges:
        """Radial functions of pairs, and their harmonics, which the first round alone needs."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        order = torch.arange(1, self.n_basis + 1, dtype=distance.dtype, device=distance.device)
        radial = radial_basis(distance, self.cutoff, self.n_basis) / order
        harmonics = vectors[:, :0]
        if angular:
            harmonics = o3.spherical_harmonics(
                list(range(self.lmax + 1)), vectors / distance[:, None], normalize=False,
                normalization="component",
            )  # fmt: skip
        most = None if pairs.known is None else pairs.known.most
        full = most is not None and len(distance) == most * n_atoms
        return Edges(pairs.i, pairs.j, radial, harmonics, most, full)

    def kinds(self, species: Tensor, dtype: torch.dtype) -> Tensor:
        """One for the species that an atom is of, else zero: (N, species)."""
        return (species[:, None] == torch.arange(len(self.species), device=species.device)).to(
            dtype
        )

    def densities(self, edges: Edges, species: Tensor, n_atoms: int) -> Tensor:
        """Neighbour densities (lm, N, channels)."""
        radial = edges.radial
        if len(self.species) > 1:
            kind = self.kinds(species[edges.j], radial.dtype)
            radial = (kind[:, :, None] * radial[:, None]).flatten(1)
        rows = edges.sum(edges.angular, radial, n_atoms)
        weight = self.density_mix * self.density_scale[:, None, None]
        return torch.bmm(rows.transpose(0, 1), weight[self.ell])

    def invariants(self, t: int, density: Tensor) -> Tensor:
        """Scalars and products of round ``t`` (N, (lmax + 2) channels)."""
        left = torch.bmm(density, self.left[t][self.ell])
        right = torch.bmm(density, self.right[t][self.ell])
        sizes = [2 * ell + 1 for ell in range(self.lmax + 1)]
        parts = [density[0]]
        for ell, product in enumerate((left * right).split(sizes)):
            parts.append(product.sum(0) / math.sqrt(2 * ell + 1))
        return torch.cat(parts, dim=1)

    def describe(self, t: int, invariants: Tensor, species: Tensor, heard: Tensor | None) -> Tensor:
        """Perceptron of round ``t``: (N, hidden)."""
        parts = [invariants * self.invariant_scale[t]]
        if len(self.species) > 1:
            parts.append(self.kinds(species, invariants.dtype))
        if heard is not None:
            parts.append(heard)
        silu = torch.nn.functional.silu
        hidden = silu(self.inner[t](torch.cat(parts, dim=1)))
        return hidden + silu(self.outer[t](hidden))

    def said(self, t: int, density: Tensor, hidden: Tensor) -> Tensor:
        """Return what atoms say after round ``t``: (N, (lm + 1) sent)."""
        gate = 1 + self.gate[t](hidden).view(len(hidden), self.lmax + 1, self.sent)
        spoken = torch.bmm(density, self.send[t][self.ell]).transpose(0, 1)
        spoken = spoken * gate.index_select(1, self.ell)
        return torch.cat([spoken.flatten(1), hidden @ self.send_hidden[t]], dim=1)

    def heard(self, t: int, edges: Edges, spoken: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
        """Averages over neighbours of ``spoken`` (E, …): density (lm, N, channels), hidden."""
        weight = edges.radial @ self.weights[t]
        rows = edges.sum(weight, spoken, n_atoms)
        split = len(self.ell) * self.sent
        density = rows[..., :split].reshape(n_atoms, WEIGHTS, len(self.ell), self.sent)
        density = density.permute(2, 0, 1, 3).flatten(2)
        mix = self.hear[t] * self.message_scale[t][:, None, None]
        hidden = rows[..., split:].flatten(1) * self.hidden_scale[t]
        return torch.bmm(density, mix[self.ell]), hidden

    def _features(
        self, system: System, pairs: Pairs, vectors: Tensor, *, calibrate: bool
    ) -> Features:
        n = len(system.numbers)
        species = self.species_of_number[system.numbers]
        edges = self.edges(pairs, vectors, n)
        density = self.densities(edges, species, n)
        if calibrate:
            density = density * self._set_by_ell(self.density_scale, density)
        hidden: list[Tensor] = []
        heard = None
        for t in range(self.layers):
            invariants = self.invariants(t, density)
            if calibrate:
                self.invariant_scale[t].copy_(inverse_scale(invariants))
            hidden.append(self.describe(t, invariants, species, heard))
            if t == self.layers - 1:
                break
            spoken = self.said(t, density, hidden[-1])
            passed, heard = self.heard(t, edges, spoken.index_select(0, edges.j), n)
            if calibrate:
                passed = passed * self._set_by_ell(self.message_scale[t], passed)
                scale = inverse_scale(heard)
                self.hidden_scale[t].copy_(scale)
                heard = heard * scale
            density = math.sqrt(0.5) * (density + passed)
        scalars = torch.cat(hidden, dim=1)
        nothing = scalars.new_zeros(n, 0, 3), scalars.new_zeros(n, 0, 5)
        return Features(scalars, *nothing)

    def _set_by_ell(self, scale: Tensor, values: Tensor) -> Tensor:
        """Set a scale (ℓ) by values (lm, N, channels); return it for each component."""
        square = values.square().mean((1, 2))
        own = square.new_zeros(self.lmax + 1).index_add(0, self.ell, square)
        own = own / (2 * torch.arange(self.lmax + 1, device=own.device) + 1)
        scale.copy_(own.maximum(1e-2 * own.mean()).clamp(min=1e-20).rsqrt())
        return scale[self.ell][:, None, None]


def inverse_scale(values: Tensor) -> Tensor:
    """One over the rms of each column (N, F)."""
    square = values.square().mean(0)
    return square.maximum(SMALLEST * square.mean()).clamp(min=1e-20).rsqrt()
