"""The readout of a foreign model that makes the energies of atoms itself, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrcalc.models.backbone import Backbone, Features
from lrcalc.models.readout import Readings
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import Pairs
from lrcalc.system import System


class EnergyReadout(nn.Module):
    """Takes the only scalar of a backbone, an energy in eV, as that of the atom."""

    level = "sr"
    charges = "atomic"
    transfer_cutoff = 0.0

    def forward(
        self, features: Features, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out all atoms, see `lrcalc.models.readout.Readout`."""
        energies = features.scalars[:, 0]
        return Readings(energies, Multipoles(torch.zeros_like(energies)), None, None)


def build_readout(
    species: tuple[int, ...], backbone: Backbone, options: Mapping[str, Any]
) -> EnergyReadout:
    """Make the readout; refuse to read charges out of a model that has none."""
    if options["level"] != "sr":
        raise ValueError(
            f"`level` is {options['level']!r}, but this model makes energies and nothing else "
            "('sr'); to train charges, take the layers as a backbone (nequip, allegro, mace)"
        )
    return EnergyReadout()
