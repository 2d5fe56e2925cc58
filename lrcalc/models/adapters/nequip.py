"""NequIP's convolution layers (nequip 0.19, MIT) as a backbone.

Batzner et al., Nat. Commun. 13, 2453 (2022). An edge goes from its centre to its neighbour, as
here. Atoms alone have features too, by their species, which are taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from lrcalc.models.adapters.foreign import KINDS, building, kinds_of, overheard
from lrcalc.models.adapters.nequip_import import GraphBackbone, make_nequip
from lrcalc.models.backbone import Heard
from lrcalc.models.options import NEQUIP_DEFAULTS
from lrcalc.neighbors import Pairs

__all__ = ["NequipBackbone", "build"]

BEFORE = ("type_embed", "spharm", "edge_norm", "bessel_encode", "factor")
"""Modules before the layers, in their order and by NequIP's names."""


class NequipBackbone(GraphBackbone):
    """Features of all of NequIP's layers, in NequIP's order of layers and channels; see `build`."""

    def __init__(self, modules: Any, species: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__(species, settings)
        self.before = nn.ModuleDict({name: modules[name] for name in BEFORE})
        convnets = [module for name, module in modules.items() if name.endswith("_convnet")]
        self.convnets = nn.ModuleList(convnets)
        self.layers = len(convnets)
        irreps = [convnet.equivariant_nonlin.irreps_out for convnet in convnets]
        self.irreps = irreps
        counts = [[each.count(kind) for kind in KINDS] for each in irreps]
        self.keep(settings["elements"] or species, counts, alone=True)

    def rounds(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None
    ) -> list[list[Tensor]]:
        """Scalars, vectors and tensors (N, C, 2ℓ+1) of each layer."""
        found = self.node_features(numbers, pairs, vectors, passed)
        return [kinds_of(x, irreps) for x, irreps in zip(found, self.irreps, strict=True)]

    def node_features(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None = None
    ) -> list[Tensor]:
        """NequIP's own features of each layer (N, …), of atoms with these numbers (N,)."""
        data = self.graph(numbers, pairs, vectors)
        for module in self.before.values():
            data = module(data)
        layers: list[Tensor] = []
        convnets: Any = self.convnets
        for convnet in convnets:
            scatter = convnet.conv.tp_scatter
            with overheard(passed, pairs.j, scatter.tp, partial(_inputs, scatter)):
                data = convnet(data)
            layers.append(data["node_features"])
        return layers


def _inputs(scatter: Any, said: Callable[[Tensor], None]) -> Any:
    """Let ``said`` hear what a layer's atoms say to their neighbours."""
    return scatter.register_forward_pre_hook(
        lambda _, __, named: said(named["x"]), with_kwargs=True
    )


build = building(NequipBackbone, make_nequip, NEQUIP_DEFAULTS)
"""New weights for species, with settings as `lrcalc.models.options.NEQUIP_DEFAULTS`."""
