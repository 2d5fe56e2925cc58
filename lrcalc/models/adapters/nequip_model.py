"""A NequIP or Allegro model as it was trained: its energies of atoms, without charges.

All of the model is nequip's own, made anew from its settings: layers, readout, scales of energies,
pair potentials, cutoffs of pairs of types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.adapters.nequip_architecture import elements_of_types, made_of
from lrcalc.models.adapters.nequip_import import GraphModule
from lrcalc.models.backbone import Features, species_table
from lrcalc.neighbors import Pairs
from lrcalc.system import System


class NequipModel(GraphModule):
    """Energies of atoms, eV, as the only scalar of their features; see `build`."""

    index_of_number: Tensor

    def __init__(self, model: Any, elements: tuple[int, ...], settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.species = tuple(sorted(elements))
        self.cutoff = float(settings["cutoff"])
        layers = [name for name, _ in model.named_children() if name.endswith("_convnet")]
        self.layers = max(len(layers), 1)
        self.n_scalars, self.n_channels, self.filled = 1, 0, (0, 0)
        self.register_buffer("index_of_number", species_table(elements), persistent=False)
        self.keep_constants()

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Energies (N, 1) of all atoms from the pair vectors (E, 3)."""
        energies = self.model(self.graph(system.numbers, pairs, vectors))["atomic_energy"]
        n = len(energies)
        return Features(energies, energies.new_zeros(n, 0, 3), energies.new_zeros(n, 0, 5))


def build(species: tuple[int, ...], **settings: Any) -> NequipModel:
    """Make a model with new weights.

    Parameters
    ----------
    species : tuple of int
        Among the model's elements.
    **settings
        As `lrcalc.models.options.NEQUIP_MODEL_DEFAULTS`.

    Raises
    ------
    ValueError
        For a missing package, another version, or settings that name what is not known.
    """
    model = made_of(settings["architecture"])
    backbone = NequipModel(model, elements_of_types(settings["architecture"]), settings)
    return backbone.to(torch.get_default_dtype())
