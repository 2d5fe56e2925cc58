"""MACE's layers with scalar features, evaluated by matrix products; nothing of mace-torch is used.

Batatia et al., NeurIPS 35 (2022). A layer hears the scalars h of the neighbours,

    A_i,clm = Σ_j R_cl(r_ij) h_jc Y_lm(r̂_ij) ,

mixes channels, and takes symmetric products of A up to third order as new scalars. The sum over
neighbours is one matrix product for each atom and ℓ, so that no product of channels and harmonics
is stored for a pair; and a polynomial of third order in A is a cubic form in (1, A), whose gradient
comes with its value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Features, Heard, species_table
from lrcalc.models.native.e3nn_import import o3
from lrcalc.models.native.products import SpeciesOrder, mix, sort_by_species
from lrcalc.neighbors import Pairs
from lrcalc.system import System

RESIDUAL = "RealAgnosticResidualInteractionBlock"
PLAIN = "RealAgnosticInteractionBlock"


class Seats(NamedTuple):
    """Pairs seated around their centres, as many seats for each as the fullest needs.

    Attributes
    ----------
    place : Tensor, shape (E,), int64
        Seat of each pair among all.
    each : int
        Seats of an atom.
    """

    place: Tensor
    each: int


def seat(centre: Tensor, n: int) -> Seats:
    """Seat pairs (E,), sorted by their centres."""
    counts = torch.bincount(centre, minlength=n)
    most = int(counts.max())
    starts = torch.cumsum(counts, 0) - counts
    rows = torch.arange(len(centre), device=centre.device)
    return Seats(rows - starts[centre] + most * centre, most)


class Layer(nn.Module):
    """One of MACE's interaction blocks and the products after it.

    Parameters
    ----------
    n_elements, channels : int
    widths : sequence of int
        Of the radial network, from the radial functions to the last hidden layer.
    max_ell : int
        Of the harmonics.
    couplings : int
        Invariant products of each channel: MACE's paths of all orders.
    residual : bool
        Scalars of the layer before are added; else messages are mixed for each element.

    Attributes
    ----------
    basis : Tensor, shape (couplings, P, M + 1)
        Cubic forms: by pairs of (1, A), each once, and the third factor. Constants of MACE.
    """

    basis: Tensor
    first: Tensor
    second: Tensor

    def __init__(
        self,
        n_elements: int,
        channels: int,
        widths: Sequence[int],
        max_ell: int,
        couplings: int,
        *,
        residual: bool,
    ) -> None:
        super().__init__()
        self.channels, self.max_ell = channels, max_ell
        size = (max_ell + 1) ** 2 + 1
        for name, factor in zip(("first", "second"), torch.triu_indices(size, size), strict=True):
            self.register_buffer(name, factor.clone(), persistent=False)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*shape))

        ends = [*widths, (max_ell + 1) * channels]
        self.radial = nn.ParameterList(zeros(*x) for x in itertools.pairwise(ends))
        self.up = zeros(channels, channels)
        mixers = 1 if residual else n_elements
        self.linear = zeros(max_ell + 1, mixers, channels, channels)
        self.skip = zeros(n_elements, channels, channels) if residual else None
        self.register_buffer("basis", torch.zeros(couplings, len(self.first), size))
        self.weights = zeros(n_elements, couplings, channels)
        self.out = zeros(channels, channels)

    def forward(
        self, own: Tensor, heard: Tensor, radial: Tensor, angular: Tensor,
        seats: Seats, atoms: SpeciesOrder,
    ) -> Tensor:  # fmt: skip
        """Scalars (N, C) of atoms from theirs and from what each pair's neighbour says (E, C).

        Parameters
        ----------
        own : Tensor, shape (N, C)
        heard : Tensor, shape (E, C)
            Already mixed by ``up``.
        radial : Tensor, shape (E, n_basis)
        angular : Tensor, shape (E, lm)
        seats : Seats
        atoms : SpeciesOrder
        """
        for weight in self.radial[:-1]:
            radial = nn.functional.silu(radial @ weight)
        loud = (radial @ self.radial[-1]).view(len(heard), self.max_ell + 1, self.channels)
        said = loud * heard[:, None]
        density = self._density(said, angular, seats, len(own))
        order = torch.argsort(atoms.place)
        mixed = self._mix(density.index_select(0, order), atoms.counts)
        made = self._products(mixed, atoms.counts) @ self.out
        if self.skip is not None:
            made = made + mix(own.index_select(0, order), self.skip, atoms.counts)
        return made.index_select(0, atoms.place)

    def _density(self, said: Tensor, angular: Tensor, seats: Seats, n: int) -> Tensor:
        """Sum over neighbours, (N, lm, C)."""
        rows = n * seats.each
        said, angular = (
            x.new_zeros(rows, *x.shape[1:])
            .index_copy(0, seats.place, x)
            .view(n, seats.each, *x.shape[1:])
            for x in (said, angular)
        )
        parts = angular.transpose(1, 2).split([2 * ell + 1 for ell in range(self.max_ell + 1)], 1)
        return torch.cat(
            [part @ heard for part, heard in zip(parts, said.unbind(2), strict=True)], dim=1
        )

    def _mix(self, density: Tensor, counts: list[int]) -> Tensor:
        """Mix channels within each ℓ, (lm, C, N)."""
        parts = density.split([2 * ell + 1 for ell in range(self.max_ell + 1)], 1)
        if self.skip is None:
            mixed = [mix(x, w, counts) for x, w in zip(parts, self.linear, strict=True)]
        else:
            mixed = [x @ w for x, w in zip(parts, self.linear[:, 0].unbind(), strict=True)]
        return torch.cat(mixed, dim=1).permute(1, 2, 0)

    def _products(self, density: Tensor, counts: list[int]) -> Tensor:
        """Symmetric products of sorted densities (lm, C, N), (N, C)."""
        density = torch.cat([torch.ones_like(density[:1]), density])
        made = []
        for part, weights in zip(density.split(counts, dim=2), self.weights, strict=True):
            if part.shape[2]:
                form = torch.tensordot(weights, self.basis, ([0], [0]))
                made.append(cubic_form(part, form, self.first, self.second))
        return torch.cat(made, dim=1).T


class ScalarMace(nn.Module):
    """MACE with scalar features, as a backbone; its features are those of all layers.

    Parameters
    ----------
    species : tuple of int
    settings : mapping
        Of `lrcalc.models.options.MACE_MODEL_DEFAULTS`.
    """

    n_channels = 0
    index_of_number: Tensor

    def __init__(self, species: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__()
        elements = tuple(settings["elements"] or species)
        self.species = tuple(z for z in species if z in elements)
        self.cutoff = float(settings["cutoff"])
        self.layers = int(settings["num_interactions"])
        self.power = int(settings["num_polynomial_cutoff"])
        self.max_ell = int(settings["max_ell"])
        channels = o3.Irreps(settings["hidden_irreps"]).count("0e")
        self.widths = [channels] * self.layers
        self.n_scalars = sum(self.widths)
        self.register_buffer("index_of_number", species_table(elements), persistent=False)
        self.embedding = nn.Parameter(torch.zeros(len(elements), channels))
        # of the radial functions, as the file has them: rounded, if it is in single precision
        self.frequencies = nn.Parameter(torch.zeros(settings["num_bessel"]))
        self.amplitude = nn.Parameter(torch.tensor(math.sqrt(2.0 / self.cutoff)))
        names = [settings["interaction_first"]] + [settings["interaction"]] * (self.layers - 1)
        self.interactions = nn.ModuleList(
            Layer(
                len(elements), channels, [settings["num_bessel"], *settings["radial_MLP"]],
                self.max_ell, couplings, residual=name == RESIDUAL,
            )
            for name, couplings in zip(names, settings["couplings"], strict=True)
        )  # fmt: skip

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms from the pair vectors (E, 3)."""
        element = self.index_of_number[system.numbers]
        atoms, seats = sort_by_species(element, len(self.embedding)), seat(pairs.i, len(element))
        radial, angular = self.describe(vectors)
        state = self.embedding.index_select(0, element)
        states, passed = [], []
        for layer in self.interactions:
            said = state @ cast("Tensor", layer.up)
            heard = said.index_select(0, pairs.j)
            state = layer(state, heard, radial, angular, seats, atoms)
            states.append(state)
            passed.append(Heard(said, pairs.j, heard))
        scalars = torch.cat(states, dim=1)
        n = len(scalars)
        return Features(
            scalars, scalars.new_zeros(n, 0, 3), scalars.new_zeros(n, 0, 5), tuple(passed)
        )

    def describe(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Radial functions (E, n_basis) and harmonics (E, lm) of pair vectors (E, 3)."""
        distance = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        basis = self.amplitude * torch.sin(self.frequencies * distance) / distance
        radial = basis * switch(distance / self.cutoff, self.power)
        ells = list(range(self.max_ell + 1))
        # MACE's vectors go from the neighbour to the centre
        angular = o3.spherical_harmonics(ells, -vectors, normalize=True, normalization="component")
        return radial, angular


def switch(x: Tensor, p: int) -> Tensor:
    """From 1 at 0 to 0 at 1 and beyond, with two derivatives (Klicpera et al., ICLR 2020)."""
    value = (
        1.0
        - 0.5 * (p + 1.0) * (p + 2.0) * x**p
        + p * (p + 2.0) * x ** (p + 1)
        - 0.5 * p * (p + 1.0) * x ** (p + 2)
    )
    return value * (x < 1.0)


def cubic_form(values: Tensor, form: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """``Σ_pq form[c, p, q] a_first(p) a_second(p) a_q`` of each channel and atom, (C, N).

    Parameters
    ----------
    values : Tensor, shape (M, C, N)
        a.
    form : Tensor, shape (C, P, M)
        Of a form that is symmetric in its three factors; pairs are once in it.
    first, second : Tensor, shape (P,), int64
        Factors of each of the P pairs.
    """
    cubic: Tensor = _Cubic.apply(values, form, first, second)
    return cubic


def _slope(values: Tensor, form: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return a third of the gradient, (C, M, N)."""
    pairs = values.index_select(0, first) * values.index_select(0, second)
    return form.transpose(1, 2) @ pairs.transpose(0, 1)


class _Cubic(torch.autograd.Function):
    """The gradient is three times what the value is made of; further ones are left to autograd."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, form: Tensor, first: Tensor, second: Tensor) -> Any:
        slope = _slope(values, form, first, second)
        ctx.save_for_backward(values, form, slope)
        ctx.factors = (first, second)
        return (slope * values.transpose(0, 1)).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        values, form, slope = ctx.saved_tensors
        (gradient,) = gradients
        first, second = ctx.factors
        to_values = to_form = None
        if ctx.needs_input_grad[0]:
            if torch.is_grad_enabled():  # it will be differentiated
                slope = _slope(values, form, first, second)
            to_values = (3.0 * slope * gradient[:, None]).transpose(0, 1)
        if ctx.needs_input_grad[1]:
            pairs = (values.index_select(0, first) * values.index_select(0, second)).transpose(0, 1)
            weighted = (values * gradient).permute(1, 2, 0)
            to_form = pairs @ weighted
        return to_values, to_form, None, None
