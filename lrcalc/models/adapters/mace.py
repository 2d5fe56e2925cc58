"""MACE's interaction blocks (mace-torch 0.3.16, MIT) as a backbone, new or from a file.

Batatia et al., NeurIPS 35 (2022). MACE gives features to an atom alone too, by its species: such
atoms are computed beside the others, and theirs are taken off (setting ``subtract_isolated``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lrcalc.models.adapters.mace_constants import ExactConstants
from lrcalc.models.adapters.mace_files import load_weights, settings_of
from lrcalc.models.adapters.mace_heard import overheard
from lrcalc.models.adapters.mace_import import make_mace
from lrcalc.models.adapters.mace_irreps import channels_of, padded, places_of
from lrcalc.models.backbone import Features, Heard, species_table
from lrcalc.models.options import MACE_DEFAULTS
from lrcalc.neighbors import Pairs
from lrcalc.system import System

__all__ = ["MaceBackbone", "build", "load_weights", "settings_of"]

PARTS = ("node_embedding", "spherical_harmonics", "radial_embedding", "interactions", "products")
"""What is taken of a MACE model: all but energies of atoms and readouts."""

KINDS = ((0, 1), (1, -1), (2, 1))
"""(ℓ, parity) of scalars, vectors and tensors; other features are not handed on."""


class MaceBackbone(ExactConstants):
    """Features of all of MACE's layers, in MACE's order of layers and channels; see `build`."""

    node_embedding: Any
    spherical_harmonics: Any
    radial_embedding: Any
    interactions: Any
    products: Any
    alone: Tensor
    index_of_number: Tensor
    numbers: Tensor
    one_hot: Tensor
    place_of_number: Tensor
    scale: Tensor

    def __init__(self, mace: Any, species: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__()
        self.species, self.settings = species, settings
        self.cutoff = float(settings["cutoff"])
        self.layers = len(mace.interactions)
        for name in PARTS:
            setattr(self, name, getattr(mace, name))
        elements = tuple(mace.atomic_numbers.tolist())
        alone = species if settings["subtract_isolated"] else ()
        for name, values in {
            "numbers": torch.tensor(elements),
            "index_of_number": species_table(elements),
            "place_of_number": species_table(species),
            "alone": torch.tensor(alone, dtype=torch.int64),
            "one_hot": torch.eye(len(elements)),
        }.items():
            self.register_buffer(name, values, persistent=False)
        irreps = [product.linear.irreps_out for product in self.products]
        self.places = [[places_of(i, kind) for kind in KINDS] for i in irreps]
        counts = [sum(i.count(kind) for i in irreps) for kind in KINDS]
        self.n_scalars, self.n_channels = counts[0], max(counts[1:])
        self.filled = (counts[1], counts[2])
        self.keep_constants()
        self.register_buffer("scale", torch.ones(self.layers, len(KINDS)))

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms from the pair vectors (E, 3)."""
        passed: list[Heard] = []
        layers = self._layers(system.numbers, pairs, vectors, passed)
        kinds = [
            torch.cat([x[kind] * self.scale[k, kind] for k, x in enumerate(layers)], dim=1)
            for kind in range(len(KINDS))
        ]
        vector, tensor = (padded(x, self.n_channels) for x in kinds[1:])
        heard = tuple(passed) if len(passed) == self.layers else ()
        return Features(kinds[0][..., 0], vector, tensor, heard)

    @torch.no_grad()
    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Bring the features of each layer near 1; count neighbours, if no setting says them."""
        if self.settings["avg_num_neighbors"] is None:
            near = torch.linalg.vector_norm(vectors, dim=1) < self.cutoff
            average = near.sum() / len(system.numbers)
            names = [f"interactions.{k}.avg_num_neighbors" for k in range(self.layers)]
            self.set_constants(dict.fromkeys(names, average))
        for k, layer in enumerate(self._layers(system.numbers, pairs, vectors)):
            for kind, values in enumerate(layer):
                mean_square = values.square().mean() if values.numel() else 0.0
                self.scale[k, kind] = mean_square**-0.5 if mean_square > 1e-20 else 1.0

    def _layers(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None = None
    ) -> list[list[Tensor]]:
        """Scalars, vectors and tensors (N, C, 2ℓ+1) of each layer, those of atoms alone off."""
        found = self.node_features(torch.cat([numbers, self.alone]), pairs, vectors, passed)
        n = len(numbers)
        if len(self.alone):
            place = n + self.place_of_number[numbers]
            found = [x[:n] - x.index_select(0, place) for x in found]
        places = zip(found, self.places, strict=True)
        return [[channels_of(x, *place) for place in kinds] for x, kinds in places]

    def node_features(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None = None
    ) -> list[Tensor]:
        """MACE's own features of each layer (N, …), of atoms with these numbers (N,).

        What neighbours hear is added to ``passed``.
        """
        species = self.one_hot.index_select(0, self.index_of_number[numbers])
        edges = torch.stack([pairs.j, pairs.i])  # MACE's vectors go from sender to receiver
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        angular = self.spherical_harmonics(-vectors)
        radial, cutoff = self.radial_embedding(lengths, species, edges, self.numbers)
        features: Tensor = self.node_embedding(species)
        layers: list[Tensor] = []
        for block, product in zip(self.interactions, self.products, strict=True):
            with overheard(block, pairs.j, passed):
                message, skip = block(
                    node_attrs=species, node_feats=features, edge_attrs=angular, edge_feats=radial,
                    edge_index=edges, cutoff=cutoff, first_layer=not layers,
                )  # fmt: skip
            features = product(node_feats=message, sc=skip, node_attrs=species)
            layers.append(features)
        return layers


def build(species: tuple[int, ...], **settings: Any) -> MaceBackbone:
    """Make a backbone with new weights for these atomic numbers (ascending).

    Parameters
    ----------
    species : tuple of int
    **settings
        As `lrcalc.models.options.MACE_DEFAULTS`.
    """
    settings = {**MACE_DEFAULTS, **settings}
    backbone = MaceBackbone(make_mace(species, settings), species, settings)
    return backbone.to(torch.get_default_dtype())
