"""Products of equivariant densities, and a species-wise perceptron on their invariants.

What one round of the native backbone does with the densities around its atoms: channels are
multiplied with one another (Clebsch-Gordan products), so that invariants of up to five bodies come
out of a density of two.

All per-atom work runs on atoms sorted by species, so that each species' weights act in one matrix
product; components (ℓ, m) come first, so that Clebsch-Gordan coefficients act in another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.models.native.coupling import L_MAX, N_LM, coupling

if TYPE_CHECKING:
    from lrcalc.models.native.fast import Fast

WIDTHS = [2 * ell + 1 for ell in range(L_MAX + 1)]
"""Components of each ℓ."""


class SpeciesOrder(NamedTuple):
    """Atoms sorted by species.

    Attributes
    ----------
    species : Tensor, shape (N,), int64
        Of the atoms in their own order, counted from 0.
    place : Tensor, shape (N,), int64
        Where each atom is in the sorted order.
    counts : list of int
        Atoms of each species.
    order : Tensor, shape (N,), int64
        Which atom is at each place.
    """

    species: Tensor
    place: Tensor
    counts: list[int]
    order: Tensor


def sort_by_species(species: Tensor, n_species: int, host: Tensor | None = None) -> SpeciesOrder:
    """Sort atoms by ``species`` (N,), which counts from 0; ``host``, a copy, is counted instead."""
    counts = torch.bincount(species if host is None else host, minlength=n_species).tolist()
    order = torch.argsort(species, stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    return SpeciesOrder(species, place, counts, order)


def sum_outer(
    one: Tensor, two: Tensor, group: Tensor, n_groups: int, seats: int | None = None
) -> Tensor:
    """Sum of ``one ⊗ two`` over the rows of each group: (E, a), (E, b) → (n_groups, a, b).

    Rows are seated group by group, as many ``seats`` for each as the largest needs, and the sum
    is a matrix product: no outer product of any row is stored. Where ``seats`` are given and a
    group has more rows, its last ones find no seat: what fills up a list of pairs (`Known.real`).
    """
    if seats is None:
        counts = torch.bincount(group, minlength=n_groups)
        seats = int(counts.max())
    else:  # bincount looks for the largest group
        counts = group.new_zeros(n_groups).index_add(0, group, torch.ones_like(group))
    order = torch.argsort(group, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group), device=group.device)
    rank = rank - starts[group]
    seat = torch.where(rank < seats, rank + group * seats, n_groups * seats)
    one, two = (
        x.new_zeros(n_groups * seats + 1, x.shape[1])
        .index_copy(0, seat, x)[:-1]
        .view(n_groups, seats, x.shape[1])
        for x in (one, two)
    )
    return torch.bmm(one.transpose(1, 2), two)


def mix(values: Tensor, weight: Tensor, counts: list[int]) -> Tensor:
    """Matrix product of sorted ``values`` (N, ..., a) with each species' ``weight`` (S, a, b)."""
    parts = zip(values.split(counts), weight.unbind(), strict=True)
    return torch.cat([part @ own for part, own in parts if len(part)])


class Edges(NamedTuple):
    """Pairs of sorted atoms.

    Attributes
    ----------
    centre, neighbour : Tensor, shape (E,), int64
        Places in the order by species; None where nobody asks what neighbours say.
    angular : Tensor, shape (E, lm)
        Spherical harmonics of the direction to the neighbour.
    radial : Tensor, shape (E, n_basis)
        Radial functions; zero at the cutoff with two derivatives.
    most : int or None
        At least as many as any atom has neighbours, where that is known.
    """

    centre: Tensor
    neighbour: Tensor | None
    angular: Tensor
    radial: Tensor
    most: int | None = None


class Round(NamedTuple):
    """What a round says of sorted atoms, N of them.

    Attributes
    ----------
    hidden : Tensor, shape (N, hidden)
        Invariants behind the perceptron; zero for an atom without neighbours.
    density, product : Tensor, shape (lm, N, channels)
        Of first and second order.
    features : tuple of Tensor or None, shape (N, 2 channels, 3) and (N, 2 channels, 5)
        Their vectors and tensors, of atoms in their own order, where a kernel made them.
    """

    hidden: Tensor
    density: Tensor
    product: Tensor
    features: tuple[Tensor, Tensor] | None = None


class Products(nn.Module):
    """Densities to products, invariants and what a perceptron makes of them.

    Parameters
    ----------
    n_species : int
    channels : int
        Of the density and of the product.
    hidden : int
        Width of the perceptron.
    n_basis : int
        Radial functions of the pairs.

    Notes
    -----
    A round is a subclass that makes densities of the pairs. `make_densities` makes its parameters,
    before those here are drawn.
    """

    first: Tensor
    second: Tensor
    ell_of_component: Tensor
    product_scale: Tensor
    invariant_scale: Tensor

    def __init__(self, n_species: int, channels: int, hidden: int, n_basis: int) -> None:
        super().__init__()
        self.channels, self.n_basis = channels, n_basis
        first, second, cg, self.paths = coupling(symmetric=True)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        ell_of_component = torch.repeat_interleave(torch.arange(L_MAX + 1), torch.tensor(WIDTHS))
        self.register_buffer("ell_of_component", ell_of_component, persistent=False)
        norm = torch.zeros(L_MAX + 1, N_LM, dtype=torch.float64)
        for ell in range(L_MAX + 1):
            norm[ell, ell * ell : (ell + 1) ** 2] = (2 * ell + 1) ** -0.5
        # not buffers: a model made in float32 and turned to float64 needs them in full precision
        self._exact = {"cg": cg, "norm": norm}
        self._cast: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

        self.make_densities(n_species, hidden)
        self.product_mix = nn.ParameterList(
            torch.randn(n_species, (n + 1) * channels, channels) / math.sqrt((n + 1) * channels)
            for n in self.paths
        )
        n_invariants = (1 + self.paths[0] + 2 * (L_MAX + 1)) * channels
        self.layer1 = nn.Parameter(
            torch.randn(n_species, n_invariants, hidden) / math.sqrt(n_invariants)
        )
        self.layer2 = nn.Parameter(torch.randn(n_species, hidden, hidden) / math.sqrt(hidden))
        self.register_buffer("product_scale", torch.ones(n_species, L_MAX + 1))
        self.register_buffer("invariant_scale", torch.ones(n_species, n_invariants))

    def make_densities(self, n_species: int, hidden: int) -> None:
        """Make the parameters of the densities."""
        raise NotImplementedError

    def constant(self, name: str, like: Tensor) -> Tensor:
        """Coefficients in the precision and on the device of ``like``."""
        key = (name, like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = self._exact[name].to(like.device, like.dtype)
        return self._cast[key]

    def describe(
        self, density: Tensor, atoms: SpeciesOrder, *, calibrate: bool, fast: Fast | None = None
    ) -> Round:
        """Products, invariants and perceptron of a ``density`` (lm, N, channels)."""
        if fast is not None:
            return fast.describe(self, atoms, density)
        by_ell = density.split(WIDTHS)
        mixed, invariants_2 = self._products(density, by_ell, atoms)
        product = torch.cat(mixed)
        if calibrate:
            product = product * self.set_scale(self.product_scale, product, atoms)
        norm = self.constant("norm", density)
        squares = [torch.tensordot(norm, product * x, 1) for x in (density, product)]
        invariants = torch.cat([by_ell[0], invariants_2, *squares])
        invariants = invariants.transpose(0, 1).flatten(1)
        if calibrate:
            self.invariant_scale.copy_(inverse_scale(invariants, atoms.counts))
        return Round(self.perceptron(invariants, atoms), density, product)

    def perceptron(
        self, invariants: Tensor, atoms: SpeciesOrder, multiply: Callable[..., Tensor] = mix
    ) -> Tensor:
        """Species-wise perceptron (N, hidden) on ``invariants`` (N, n); ``multiply`` as `mix`."""
        layer1 = self.layer1 * self.invariant_scale[:, :, None]
        hidden = torch.nn.functional.silu(multiply(invariants, layer1, atoms.counts))
        return hidden + torch.nn.functional.silu(multiply(hidden, self.layer2, atoms.counts))

    def _products(
        self, density: Tensor, by_ell: tuple[Tensor, ...], atoms: SpeciesOrder
    ) -> tuple[list[Tensor], Tensor]:
        """Second-order densities mixed to channels, for each ℓ (2ℓ+1, N, channels), and invariants.

        The latter are the products with ℓ = 0, shape (paths, N, channels).
        """
        pairs = density.index_select(0, self.first) * density.index_select(0, self.second)
        rows = torch.tensordot(self.constant("cg", density), pairs, 1)
        blocks = rows.split([p * width for p, width in zip(self.paths, WIDTHS, strict=True)])
        mixed = []
        for ell, (block, own) in enumerate(zip(blocks, by_ell, strict=True)):
            paths = torch.cat([block.view(self.paths[ell], *own.shape), own[None]])
            channels = paths.permute(2, 1, 0, 3).flatten(2)
            weight = self.product_mix[ell] * self.product_scale[:, ell, None, None]
            mixed.append(mix(channels, weight, atoms.counts).transpose(0, 1))
        return mixed, blocks[0]

    def by_component(self, values: Tensor) -> Tensor:
        """(ℓ, ...) → (lm, ...)."""
        return values.index_select(0, self.ell_of_component)

    def set_scale(self, scale: Tensor, values: Tensor, atoms: SpeciesOrder) -> Tensor:
        """Set a scale (species, ℓ) by ``values`` (lm, N, channels); return what they are to get."""
        scale.copy_(inverse_scale(values.transpose(0, 1), atoms.counts, by_ell=True))
        counts = torch.tensor(atoms.counts, device=scale.device)
        return self.by_component(scale.T).repeat_interleave(counts, dim=1)[:, :, None]


SMALLEST, SMALLEST_ELL = 1e-4, 1e-2
"""Mean square, of that of all features (orders ℓ) of a species, below which none is made larger.

What symmetry or want of data makes small in the first batch (vectors of carbon in a perfect CH4) is
rounding there, and with a scale of its own it would be the loudest feature of any other structure:
1e11 was seen, and trainings on a few molecules that did not converge. Orders enter to the third
power. Liquids and crystals come near neither (products of water 4 times, SiO2's orders 7).
"""


def inverse_scale(values: Tensor, counts: list[int], *, by_ell: bool = False) -> Tensor:
    """One over the root mean square over the atoms of each species that have neighbours.

    At most 100 (10 by ℓ) times that of all features of the species together, see `SMALLEST`.
    """
    scales = []
    for part in values.split(counts):
        heard = part.flatten(1).abs().amax(1) > 0
        mean_square = (part * part).sum(0) / heard.sum().clamp(min=1)
        if by_ell:
            mean_square = torch.stack([x.mean() for x in mean_square.split(WIDTHS)])
        floor = (SMALLEST_ELL if by_ell else SMALLEST) * mean_square.mean()
        scales.append(mean_square.clamp(min=1e-20).maximum(floor).rsqrt().where(floor > 0, 1.0))
    return torch.stack(scales)
