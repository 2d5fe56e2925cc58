"""A polarizability surface: the electronic polarizability of a structure as a sum over its atoms.

Energies and forces hold little about how polarizable a structure is. Where polarizabilities have
been computed, a head on the same local description learns them directly,

    A(R) = Σ_i [ a_i 1 + T_i ],   T_i symmetric and traceless,

and enters the enthalpy as ``-½ E·A·E`` (physics §2): dipoles in a field, forces in a field and
Raman tensors follow as derivatives, and energies without a field do not change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Features
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
        """
        hidden = torch.nn.functional.silu(torch.matmul(features.scalars, self.layer1))
        rows = species * len(species) + torch.arange(len(species), device=species.device)
        out = torch.bmm(hidden, self.layer2).flatten(0, 1).index_select(0, rows)
        gates = out[:, 1:] / math.sqrt(max(self.n_channels, 1))
        spherical = torch.einsum("nc,ncm->nm", gates, features.tensors)
        scalar = out[:, 0] + self.constant[species]
        unit = torch.eye(3, dtype=scalar.dtype, device=scalar.device)
        tensor = scalar[:, None, None] * unit + quadrupole_from_spherical(spherical)
        if owned is not None:
            tensor = tensor * owned[:, None, None]
        total = sum_by_structure(tensor.double(), batch, n_structures)
        return self.unit.double() * total
