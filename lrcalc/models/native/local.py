"""The native backbone: one layer, products of neighbour densities, built for speed on a CPU.

The density of each neighbour species around an atom is expanded in radial functions and spherical
harmonics; channels mixed from it are multiplied with one another (Clebsch-Gordan products), so
that invariants of up to five bodies reach the readout. One layer means that a feature depends on
atoms within the cutoff only, and that Born charges are exact from pair vectors (physics §3).

All per-atom work runs on atoms sorted by species and padded, so that weights of each species act
in one batched matrix product whatever the number of species.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor, nn

from lrcalc.models.backbone import Features, species_table
from lrcalc.models.native.coupling import L_MAX, N_LM, coupling
from lrcalc.models.radial import radial_basis
from lrcalc.neighbors import Pairs
from lrcalc.system import System


class SpeciesLayout(NamedTuple):
    """Atoms sorted by species into ``n_species × length`` padded slots.

    Attributes
    ----------
    slot : Tensor, shape (N,), int64
        Slot of each atom.
    length : int
        Slots per species.
    """

    slot: Tensor
    length: int


def species_layout(species_index: Tensor, n_species: int) -> SpeciesLayout:
    """Sort atoms by species; ``species_index`` (N,) counts from 0."""
    counts = torch.bincount(species_index, minlength=n_species)
    length = int(counts.max())
    order = torch.argsort(species_index, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    slot = species_index * length + rank - starts[species_index]
    return SpeciesLayout(slot, length)


class LocalBackbone(nn.Module):
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
        Width of the perceptron and number of scalar features.
    """

    cutoff: float
    layers: int = 1
    species: tuple[int, ...]
    n_scalars: int
    n_channels: int
    first: Tensor
    second: Tensor
    species_of_number: Tensor
    density_scale: Tensor
    product_scale: Tensor
    invariant_scale: Tensor

    def __init__(
        self,
        species: tuple[int, ...],
        *,
        cutoff: float = 5.0,
        channels: int = 32,
        n_basis: int = 8,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.species = species
        self.cutoff = float(cutoff)
        self.n_basis = n_basis
        self.n_scalars = hidden
        self.n_channels = 2 * channels
        self.channels = channels
        n_species = len(self.species)
        first, second, cg, self.paths = coupling(symmetric=True)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        norm = torch.zeros(L_MAX + 1, N_LM, dtype=torch.float64)
        for ell in range(L_MAX + 1):
            norm[ell, ell * ell : (ell + 1) ** 2] = (2 * ell + 1) ** -0.5
        # not buffers: a model made in float32 and turned to float64 needs them in full precision
        self._exact = {"cg": cg, "norm": norm}
        self._cast: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}
        self.register_buffer("species_of_number", species_table(self.species), persistent=False)

        n_density = n_species * n_basis
        self.density_mix = nn.Parameter(
            torch.randn(L_MAX + 1, n_species, n_density, channels) / math.sqrt(n_density)
        )
        self.product_mix = nn.ParameterList(
            torch.randn(n_species, (n + 1) * channels, channels) / math.sqrt((n + 1) * channels)
            for n in self.paths
        )
        n_invariants = (1 + self.paths[0] + 2 * (L_MAX + 1)) * channels
        self.layer1 = nn.Parameter(
            torch.randn(n_species, n_invariants, hidden) / math.sqrt(n_invariants)
        )
        self.layer2 = nn.Parameter(torch.randn(n_species, hidden, hidden) / math.sqrt(hidden))
        self.register_buffer("density_scale", torch.ones(n_species, L_MAX + 1))
        self.register_buffer("product_scale", torch.ones(n_species, L_MAX + 1))
        self.register_buffer("invariant_scale", torch.ones(n_species, n_invariants))

    def _constant(self, name: str, like: Tensor) -> Tensor:
        """Coefficients in the precision and on the device of ``like``."""
        key = (name, like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = self._exact[name].to(like.device, like.dtype)
        return self._cast[key]

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms; zero for an atom without neighbours."""
        return self._features(system, pairs, vectors, calibrate=False)

    @torch.no_grad()
    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Set the scales so that densities, products and invariants of this batch are near 1."""
        for scale in (self.density_scale, self.product_scale, self.invariant_scale):
            scale.fill_(1.0)
        self._features(system, pairs, vectors, calibrate=True)

    def _features(
        self, system: System, pairs: Pairs, vectors: Tensor, *, calibrate: bool
    ) -> Features:
        index = self.species_of_number[system.numbers]
        layout = species_layout(index, len(self.species))
        density = self._densities(index, layout, pairs, vectors)
        if calibrate:
            self.density_scale.copy_(_scale(density, by_ell=True))
        density = density * _expand(self.density_scale)
        product, invariants_2 = self._products(density, calibrate)
        norm = self._constant("norm", density)
        invariants = torch.cat(
            [
                density[:, :, 0],
                invariants_2.flatten(2),
                torch.matmul(norm, product * density).flatten(2),
                torch.matmul(norm, product * product).flatten(2),
            ],
            dim=2,
        )
        if calibrate:
            self.invariant_scale.copy_(_scale(invariants, by_ell=False))
        scaled = invariants * self.invariant_scale[:, None]
        hidden = torch.nn.functional.silu(torch.bmm(scaled, self.layer1))
        hidden = hidden + torch.nn.functional.silu(torch.bmm(hidden, self.layer2))
        vector = torch.cat([density[:, :, 1:4], product[:, :, 1:4]], dim=3)
        tensor = torch.cat([density[:, :, 4:9], product[:, :, 4:9]], dim=3)
        pick = layout.slot
        return Features(
            hidden.flatten(0, 1).index_select(0, pick),
            vector.flatten(0, 1).index_select(0, pick).transpose(1, 2),
            tensor.flatten(0, 1).index_select(0, pick).transpose(1, 2),
        )

    def _densities(
        self, index: Tensor, layout: SpeciesLayout, pairs: Pairs, vectors: Tensor
    ) -> Tensor:
        """Mixed neighbour densities, shape (species, slots, lm, channels)."""
        n_species = len(self.species)
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
        target = layout.slot[pairs.i] * n_species + index[pairs.j]
        outer = (angular[:, :, None] * radial[:, None, :]).flatten(1)
        rows = outer.new_zeros((n_species * layout.length * n_species, N_LM * self.n_basis))
        rows = rows.index_add(0, target, outer)
        rows = rows.view(n_species, layout.length, n_species, N_LM, self.n_basis)
        rows = rows.permute(0, 3, 1, 2, 4).reshape(n_species, N_LM, layout.length, -1)
        mix = self.density_mix.repeat_interleave(
            torch.tensor([2 * ell + 1 for ell in range(L_MAX + 1)], device=rows.device), dim=0
        )
        mixed = torch.matmul(rows, mix.transpose(0, 1))
        return mixed.transpose(1, 2)

    def _products(self, density: Tensor, calibrate: bool) -> tuple[Tensor, Tensor]:
        """Second-order densities mixed to channels, and the invariants among the products."""
        pairs = density.index_select(2, self.first) * density.index_select(2, self.second)
        rows = torch.matmul(self._constant("cg", density), pairs)
        n_species, slots, _, channels = rows.shape
        mixed = []
        start = 0
        invariants = rows[:, :, : self.paths[0]]
        for ell, n_paths in enumerate(self.paths):
            width = 2 * ell + 1
            block = rows[:, :, start : start + n_paths * width]
            start += n_paths * width
            block = block.reshape(n_species, slots, n_paths, width, channels)
            own = density[:, :, None, ell * ell : (ell + 1) ** 2]
            block = torch.cat([block, own], dim=2).transpose(2, 3)
            flat = block.reshape(n_species, slots * width, (n_paths + 1) * channels)
            out = torch.bmm(flat, self.product_mix[ell])
            mixed.append(out.view(n_species, slots, width, channels))
        product = torch.cat(mixed, dim=2)
        if calibrate:
            self.product_scale.copy_(_scale(product, by_ell=True))
        return product * _expand(self.product_scale), invariants


def _expand(scale: Tensor) -> Tensor:
    """(species, ℓ) → (species, 1, lm, 1)."""
    repeats = torch.tensor([2 * ell + 1 for ell in range(L_MAX + 1)], device=scale.device)
    return scale.repeat_interleave(repeats, dim=1)[:, None, :, None]


def _scale(values: Tensor, *, by_ell: bool) -> Tensor:
    """One over the root mean square over the occupied slots of each species."""
    occupied = values.flatten(2).abs().amax(2) > 0
    count = occupied.sum(1).clamp(min=1)
    mean_square = (values * values).sum(1) / count.view(-1, *[1] * (values.dim() - 2))
    if by_ell:
        mean_square = torch.stack(
            [mean_square[:, ell * ell : (ell + 1) ** 2].mean((1, 2)) for ell in range(L_MAX + 1)], 1
        )
    return torch.where(mean_square > 0, mean_square.clamp(min=1e-20).rsqrt(), 1.0)
