"""A further round: neighbours say what they have heard, and it enters the density around an atom.

    B_i = Σ_j R(r_ij) Y(r̂_ij) ⊗ h_j ,

with h_j scalars, vectors and ℓ = 2 tensors of the round before, and Clebsch-Gordan products up to
ℓ = 3 (the many-body messages of Batatia, Kovács, Simm, Ortner, Csányi, NeurIPS 2022, and of
Cheng, npj Comput. Mater. 10, 157 (2024)). Outer products are summed over the neighbours first, a
matrix product for each atom, and coupled afterwards, once for each atom rather than each pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Heard, Passed
from lrcalc.models.native.coupling import L_MAX, N_LM, coupling
from lrcalc.models.native.fast import Fast
from lrcalc.models.native.products import (
    WIDTHS,
    Edges,
    Products,
    Round,
    SpeciesOrder,
    mix,
    sum_outer,
)
from lrcalc.neighbors import Pairs

SENT = 2
"""Largest ℓ of what a neighbour says."""

COMPONENTS = (SENT + 1) ** 2


class Surroundings(NamedTuple):
    """Whom atoms hear.

    Attributes
    ----------
    pairs : Pairs
    vectors : Tensor, shape (E, 3), Å
    cutoff : float
        Å.
    edges : callable
        Makes what the code in torch needs of them, when it is asked for.
    """

    pairs: Pairs
    vectors: Tensor
    cutoff: float
    edges: Callable[[], Edges]


class MessageRound(Products):
    """The density of what neighbours say, mixed with that of what they are, and its products.

    Parameters
    ----------
    n_species : int
    channels : int
        Of densities; half as many are sent.
    hidden : int
        Width of the perceptron.
    n_basis : int
        Radial functions of the pairs.
    """

    message_scale: Tensor

    def __init__(self, n_species: int, channels: int, hidden: int, n_basis: int) -> None:
        super().__init__(n_species, channels, hidden, n_basis)
        # every product of a harmonic and a component that is sent, in the order of their outer sum
        first, second, matrix, self.message_paths = coupling(symmetric=False, second_max=SENT)
        dense = matrix.new_zeros(len(matrix), N_LM, COMPONENTS)
        dense[:, first, second] = matrix
        self._exact["messages"] = dense.flatten(1)

    def make_densities(self, n_species: int, hidden: int) -> None:
        """Make what is sent, how far it is heard, and the mix of what arrives."""
        channels = self.channels
        self.sent = sent = max(1, channels // 2)
        paths = coupling(symmetric=False, second_max=SENT)[3]
        self.scalar_mix = nn.Parameter(torch.randn(n_species, hidden, sent) / math.sqrt(hidden))
        self.sender_mix = nn.Parameter(
            torch.randn(SENT, n_species, 2 * channels, sent) / math.sqrt(2 * channels)
        )
        self.radial_mix = nn.Parameter(
            torch.randn(self.n_basis, (SENT + 1) * sent) / math.sqrt(self.n_basis)
        )
        self.message_mix = nn.ParameterList(
            torch.randn(n_species, n * sent, channels) / math.sqrt(n * sent) for n in paths
        )
        self.register_buffer("message_scale", torch.ones(n_species, L_MAX + 1))

    def forward(
        self,
        atoms: SpeciesOrder,
        surroundings: Surroundings,
        past: Round,
        *,
        calibrate: bool,
        fast: Fast | None = None,
    ) -> tuple[Round, Passed]:
        """Hear the neighbours, and describe what they are and say."""
        passed = None if fast is None else fast.messages(self, atoms, *surroundings[:3], past)
        if passed is not None:
            density = torch.add(passed.heard, past.density, alpha=math.sqrt(0.5))
            return self.describe(density, atoms, calibrate=calibrate, fast=fast), passed
        edges = surroundings.edges()
        assert edges.neighbour is not None
        said = self._sent(atoms, past)
        heard = Heard(said, edges.neighbour, said.index_select(0, edges.neighbour))
        messages = self._messages(atoms, edges, heard.heard)
        if calibrate:
            messages = messages * self.set_scale(self.message_scale, messages, atoms)
        density = math.sqrt(0.5) * (past.density + messages)
        return self.describe(density, atoms, calibrate=calibrate, fast=fast), heard

    def _sent(self, atoms: SpeciesOrder, past: Round) -> Tensor:
        """Mix what atoms say: scalars, vectors and tensors, shape (N, components, sent)."""
        parts = [mix(past.hidden, self.scalar_mix, atoms.counts)[:, None]]
        pairs = zip(past.density.split(WIDTHS), past.product.split(WIDTHS), strict=True)
        both = [torch.cat(pair, dim=2).transpose(0, 1) for pair in pairs]
        for ell, weight in enumerate(self.sender_mix, start=1):
            parts.append(mix(both[ell], weight, atoms.counts))
        return torch.cat(parts, dim=1)

    def _messages(self, atoms: SpeciesOrder, edges: Edges, heard: Tensor) -> Tensor:
        """Sum over neighbours, coupled and mixed, shape (lm, N, channels)."""
        n = len(atoms.species)
        loud = (edges.radial @ self.radial_mix).view(-1, SENT + 1, self.sent)
        each = [loud[:, ell : ell + 1].expand(-1, WIDTHS[ell], -1) for ell in range(SENT + 1)]
        heard = heard * torch.cat(each, dim=1)
        rows = sum_outer(edges.angular, heard.flatten(1), edges.centre, n, edges.most)
        rows = rows.view(n, N_LM * COMPONENTS, self.sent).transpose(0, 1)
        rows = torch.tensordot(self.constant("messages", rows), rows, 1)
        sizes = [p * width for p, width in zip(self.message_paths, WIDTHS, strict=True)]
        mixed = []
        for ell, block in enumerate(rows.split(sizes)):
            paths = block.view(self.message_paths[ell], WIDTHS[ell], n, self.sent)
            channels = paths.permute(2, 1, 0, 3).flatten(2)
            weight = self.message_mix[ell] * self.message_scale[:, ell, None, None]
            mixed.append(mix(channels, weight, atoms.counts).transpose(0, 1))
        return torch.cat(mixed)
