"""MACE's interaction blocks (mace-torch 0.3.16, MIT) as a backbone, new or from a file.

Batatia et al., NeurIPS 35 (2022). MACE gives features to an atom alone as well, by its species;
here such atoms, one of each species and without pairs, are computed beside the others and what
they have is subtracted (setting ``subtract_isolated``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lrcalc.models.adapters.mace_files import load_weights, settings_of
from lrcalc.models.adapters.mace_import import (
    constants_of,
    forget_buffers,
    make_mace,
    numbers_to_buffers,
)
from lrcalc.models.backbone import Features, Heard, species_table
from lrcalc.models.options import MACE_DEFAULTS
from lrcalc.neighbors import Pairs
from lrcalc.system import System

__all__ = ["MaceBackbone", "build", "load_weights", "settings_of"]

PARTS = ("node_embedding", "spherical_harmonics", "radial_embedding", "interactions", "products")
"""What is taken of a MACE model: all but energies of atoms and readouts."""

KINDS = ((0, 1), (1, -1), (2, 1))
"""(ℓ, parity) of scalars, vectors and tensors; MACE's other features are not handed on."""


class MaceBackbone(nn.Module):
    """Features of all of MACE's layers, in MACE's order of layers and channels.

    Made by `build`. MACE's constants (couplings, radial functions) are kept in double precision
    whatever the type of the parameters, so that a model turned to float64 is exact.
    """

    node_embedding: Any
    spherical_harmonics: Any
    radial_embedding: Any
    interactions: Any
    products: Any
    alone: Tensor
    constants: Tensor
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
        elements = tuple(settings["elements"] or species)
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
        self.slices = [[_slices(i, kind) for kind in KINDS] for i in irreps]
        counts = [sum(i.count(kind) for i in irreps) for kind in KINDS]
        self.n_scalars, self.n_channels = counts[0], max(counts[1:])
        numbers_to_buffers(self)
        forget_buffers(self)
        self.register_buffer("scale", torch.ones(self.layers, len(KINDS)))
        # as integers, which no change of type rounds
        self.register_buffer("constants", torch.zeros(0, dtype=torch.int64))
        self.set_constants(torch.cat([x.flatten() for x in constants_of(self)]))
        self.register_load_state_dict_post_hook(lambda module, _: module.fill_constants())

    def set_constants(self, exact: Tensor) -> None:
        """Take these values, float64, for all of MACE's constants, in their order."""
        self.constants = exact.view(torch.int64)
        self.fill_constants()

    def fill_constants(self) -> None:
        """Fill MACE's constants from those in double precision."""
        found = constants_of(self)
        exact = self.constants.view(torch.float64).split([x.numel() for x in found])
        for constant, values in zip(found, exact, strict=True):
            constant.copy_(values.view_as(constant))

    def _apply(self, *args: Any, **kwargs: Any) -> MaceBackbone:
        super()._apply(*args, **kwargs)
        self.fill_constants()
        return self

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms from the pair vectors (E, 3)."""
        passed: list[Heard] = []
        layers = self._layers(system.numbers, pairs, vectors, passed)
        scalars, vector, tensor = (
            torch.cat([x[kind] * self.scale[k, kind] for k, x in enumerate(layers)], dim=1)
            for kind in range(len(KINDS))
        )
        return Features(
            scalars[..., 0],
            _padded(vector, self.n_channels),
            _padded(tensor, self.n_channels),
            tuple(passed) if len(passed) == self.layers else (),
        )

    @torch.no_grad()
    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Bring the features of each layer near 1; count neighbours, if no setting says them."""
        if self.settings["avg_num_neighbors"] is None:
            near = torch.linalg.vector_norm(vectors, dim=1) < self.cutoff
            for block in self.interactions:
                block.avg_num_neighbors.fill_(near.sum() / len(system.numbers))
            self.set_constants(torch.cat([x.double().flatten() for x in constants_of(self)]))
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
        return [
            [
                _channels(x, parts, 2 * ell + 1)
                for parts, (ell, _) in zip(slices, KINDS, strict=True)
            ]
            for x, slices in zip(found, self.slices, strict=True)
        ]

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


@contextmanager
def overheard(block: Any, speaker: Tensor, passed: list[Heard] | None) -> Iterator[None]:
    """Add what a block of MACE hands to the neighbours to ``passed``, where it can be seen."""
    if passed is None or not torch.is_grad_enabled() or hasattr(block, "conv_fusion"):
        yield
        return
    said: list[Tensor] = []
    hooks = [
        block.linear_up.register_forward_hook(lambda _, __, out: said.append(out)),
        block.conv_tp.register_forward_pre_hook(
            lambda _, args: passed.append(Heard(said[0], speaker, args[0]))
        ),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def build(species: tuple[int, ...], **settings: Any) -> MaceBackbone:
    """Make a backbone with new weights for these atomic numbers (ascending).

    Parameters
    ----------
    species : tuple of int
    **settings
        As `lrcalc.models.options.MACE_DEFAULTS`.
    """
    settings = {**MACE_DEFAULTS, **settings}
    elements = tuple(settings["elements"] or species)
    missing = sorted(set(species) - set(elements))
    if missing:
        raise ValueError(f"this MACE model was made for the elements {elements}, not {missing}")
    backbone = MaceBackbone(make_mace(elements, settings), species, settings)
    return backbone.to(torch.get_default_dtype())


def _slices(irreps: Any, kind: tuple[int, int]) -> list[slice]:
    """Where the features of one (ℓ, parity) are among those of an atom."""
    return [s for s, (_, ir) in zip(irreps.slices(), irreps, strict=True) if ir == kind]


def _channels(values: Tensor, parts: list[slice], width: int) -> Tensor:
    """Pick parts (N, C·width) and let their channels be (N, C, width)."""
    picked = [values[:, part].reshape(len(values), -1, width) for part in parts]
    return torch.cat(picked, dim=1) if picked else values.new_zeros(len(values), 0, width)


def _padded(values: Tensor, channels: int) -> Tensor:
    """Add channels of zeros (N, C, 2ℓ+1), for vectors and tensors have as many."""
    return nn.functional.pad(values, (0, 0, 0, channels - values.shape[1]))
