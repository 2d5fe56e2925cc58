"""MACE's interaction blocks (mace-torch 0.3.16, MIT) as a backbone, new or from a file.

Batatia et al., NeurIPS 35 (2022). MACE gives features to an atom alone too, by its species: such
atoms are computed beside the others, and theirs are taken off (setting ``subtract_isolated``).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.adapters.foreign import KINDS, ForeignBackbone, building, kinds_of, overheard
from lrcalc.models.adapters.mace_files import load_weights, settings_of
from lrcalc.models.adapters.mace_import import make_mace
from lrcalc.models.backbone import Heard
from lrcalc.models.options import MACE_DEFAULTS
from lrcalc.neighbors import Pairs

__all__ = ["MaceBackbone", "build", "load_weights", "settings_of"]

PARTS = ("node_embedding", "spherical_harmonics", "radial_embedding", "interactions", "products")
"""What is taken of a MACE model: all but energies of atoms and readouts."""


class MaceBackbone(ForeignBackbone):
    """Features of all of MACE's layers, in MACE's order of layers and channels; see `build`."""

    node_embedding: Any
    spherical_harmonics: Any
    radial_embedding: Any
    interactions: Any
    products: Any
    numbers: Tensor
    one_hot: Tensor

    def __init__(self, mace: Any, species: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__(species, settings)
        self.layers = len(mace.interactions)
        for name in PARTS:
            setattr(self, name, getattr(mace, name))
        elements = tuple(mace.atomic_numbers.tolist())
        self.register_buffer("numbers", torch.tensor(elements), persistent=False)
        self.register_buffer("one_hot", torch.eye(len(elements)), persistent=False)
        self.irreps = [product.linear.irreps_out for product in self.products]
        counts = [[each.count(kind) for kind in KINDS] for each in self.irreps]
        self.keep(elements, counts, alone=settings["subtract_isolated"])

    def neighbor_constants(self, average: Tensor) -> dict[str, Tensor]:
        """Return the constants that hang on the average number of neighbours, by name."""
        names = [f"interactions.{k}.avg_num_neighbors" for k in range(self.layers)]
        return dict.fromkeys(names, average)

    def rounds(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None
    ) -> list[list[Tensor]]:
        """Scalars, vectors and tensors (N, C, 2ℓ+1) of each layer."""
        found = self.node_features(numbers, pairs, vectors, passed)
        return [kinds_of(x, irreps) for x, irreps in zip(found, self.irreps, strict=True)]

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
            asked = None if hasattr(block, "conv_fusion") else passed  # which hides the messages
            with overheard(asked, pairs.j, block.conv_tp, partial(_outputs, block.linear_up)):
                message, skip = block(
                    node_attrs=species, node_feats=features, edge_attrs=angular, edge_feats=radial,
                    edge_index=edges, cutoff=cutoff, first_layer=not layers,
                )  # fmt: skip
            features = product(node_feats=message, sc=skip, node_attrs=species)
            layers.append(features)
        return layers


def _outputs(linear: Any, said: Callable[[Tensor], None]) -> Any:
    """Let ``said`` hear what a layer's atoms say to their neighbours."""
    return linear.register_forward_hook(lambda _, __, out: said(out))


build = building(MaceBackbone, make_mace, MACE_DEFAULTS)
"""New weights for species, with settings as `lrcalc.models.options.MACE_DEFAULTS`."""
