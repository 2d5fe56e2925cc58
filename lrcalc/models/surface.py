"""A polarizability surface: the electronic polarizability of a structure as a sum over its atoms.

Energies and forces hold little about how polarizable a structure is. Where polarizabilities have
been computed, a head on the same local description learns them directly,

    A(R) = Σ_i [ a_i 1 + T_i ],   T_i symmetric and traceless,

and enters the enthalpy as ``-½ E·A·E`` (physics §2): dipoles in a field, forces in a field and
Raman tensors follow as derivatives, and energies without a field do not change.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Features
from lrcalc.models.compiled_surface import compiled_parts
from lrcalc.models.fused_surface import fused_parts, usable
from lrcalc.multipoles import quadrupole_from_spherical
from lrcalc.system import sum_by_structure


class PolarizabilitySurface(nn.Module):
    """One hidden layer per species on the invariants; its outputs weigh the tensors.

    Parameters
    ----------
    n_species, n_scalars, n_channels : int
        Of the backbone.
    hidden : int
        Width of the hidden layer.

    Notes
    -----
    An isolated atom has its species' constant polarizability. Tensors need not be positive
    definite atom by atom; their sum is as good as the data.
    """

    unit: Tensor

    def __init__(self, n_species: int, n_scalars: int, n_channels: int, hidden: int) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.layer1 = nn.Parameter(torch.randn(n_species, n_scalars, hidden) / math.sqrt(n_scalars))
        self.layer2 = nn.Parameter(
            torch.randn(n_species, hidden, 1 + n_channels) * (0.1 / math.sqrt(hidden))
        )
        self.constant = nn.Parameter(torch.zeros(n_species))
        # e Å²/V that one unit of the output stands for; set from the spread of the data
        self.register_buffer("unit", torch.ones(()))

    def forward(
        self,
        features: Features,
        species: Tensor,
        batch: Tensor,
        n_structures: int,
        owned: Tensor | None = None,
        *,
        once: bool = False,
        compiled: bool = False,
    ) -> Tensor:
        """Return the polarizability of each structure, shape (S, 3, 3), e Å²/V, float64.

        Parameters
        ----------
        features : Features
        species : Tensor, shape (N,), int64
            Index of each atom's species.
        batch : Tensor, shape (N,), int64
            Structure of each atom.
        n_structures : int
            S.
        owned : Tensor or None, shape (N,), bool
            Atoms that count (`System.owned`).
        once, compiled : bool
            As for `System.once`, `System.compiled`.
        """
        parts = None
        if once and usable(self, features.scalars):
            parts = fused_parts(self, features, species)
        elif once and compiled:
            parts = compiled_parts(self, features, species)
        if parts is None:
            parts = self.parts(features, species)
        if owned is not None:
            parts = parts * owned[:, None]
        total = sum_by_structure(parts, batch, n_structures, dtype=torch.float64)
        basis = tensors_of_six(self.n_channels, total.dtype, total.device)
        return (total @ basis).unflatten(1, (3, 3))

    def parts(self, features: Features, species: Tensor) -> Tensor:
        """Return six numbers of each atom, (N, 6), e Å²/V, in the precision of the features.

        The scalar a, and what a traceless tensor is made of, spherical and a sum over channels
        (`tensors_of_six`).
        """
        hidden = torch.nn.functional.silu(torch.matmul(features.scalars, self.layer1))
        rows = species * len(species) + torch.arange(len(species), device=species.device)
        out = torch.bmm(hidden, self.layer2).flatten(0, 1).index_select(0, rows)
        scalar, gates = out.split([1, self.n_channels], dim=1)
        spherical = torch.einsum("nc,ncm->nm", gates, features.tensors)
        parts = torch.cat([scalar + self.constant[species][:, None], spherical], dim=1)
        return self.unit * parts


@lru_cache
def tensors_of_six(n_channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return flat matrices (6, 9): the unit matrix, and five of ℓ = 2, for a sum over channels.

    Kept: a CUDA graph that copied them from the host would find them gone.
    """
    with torch.inference_mode(False):  # of use outside too
        unit, five = (torch.eye(n, dtype=dtype, device=device) for n in (3, 5))
        traceless = quadrupole_from_spherical(five) / math.sqrt(max(n_channels, 1))
        return torch.cat([unit[None], traceless]).flatten(1)
