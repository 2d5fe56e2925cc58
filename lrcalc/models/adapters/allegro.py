"""Allegro's layers (nequip-allegro 0.8, MIT) as a backbone.

Musaelian et al., Nat. Commun. 14, 579 (2023). Features belong to edges and see the other edges of
their centre only. All are products with what the envelope ends at the cutoff, so their sum over
the edges of an atom is smooth, and zero for an atom alone. Nothing passes from atom to atom.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lrcalc.models.adapters.foreign import KINDS, building, kinds_of
from lrcalc.models.adapters.nequip_import import GraphBackbone, make_allegro
from lrcalc.models.backbone import Heard
from lrcalc.models.options import ALLEGRO_DEFAULTS
from lrcalc.neighbors import Pairs

__all__ = ["AllegroBackbone", "build"]

PARTS = ("edge_norm", "radial_chemical_embed", "scalar_embed_mlp", "tensor_embed", "allegro")
"""What is taken of an Allegro model, in its order: all but the energies of edges."""


class AllegroBackbone(GraphBackbone):
    """Sums of Allegro's features of edges over the neighbours of an atom; see `build`.

    Scalars of the pairs and of all layers, vectors and tensors of all layers.
    """

    layers = 1

    def __init__(self, modules: Any, species: tuple[int, ...], settings: dict[str, Any]) -> None:
        super().__init__(species, settings)
        self.parts = nn.ModuleDict({name: modules[name] for name in PARTS})
        last = modules["allegro"]
        self.width = int(last.num_scalar_features)
        self.irreps = [product.irreps_out for product in last.tps]
        channels = int(last.num_tensor_features)
        counts = [[self.width, 0, 0]] + [
            [self.width, *(channels * each.count(kind) for kind in KINDS[1:])]
            for each in self.irreps
        ]
        self.keep(settings["elements"] or species, counts, alone=False)

    def rounds(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor, passed: list[Heard] | None
    ) -> list[list[Tensor]]:
        """Scalars, vectors and tensors (N, C, 2ℓ+1) of pairs and of each layer."""
        scalars, products = self.edge_features(numbers, pairs, vectors)
        summed = _sum(scalars, pairs.i, len(numbers)).split(self.width, dim=1)
        nothing = [scalars.new_zeros(len(numbers), 0, width) for width in (3, 5)]
        found = [[summed[0][:, :, None], *nothing]]
        for scalar, product, irreps in zip(summed[1:], products, self.irreps, strict=True):
            atoms = _sum(product, pairs.i, len(numbers))
            n = len(atoms)
            kinds = kinds_of(atoms.flatten(0, 1), irreps)[1:]
            found.append([scalar[:, :, None], *(x.reshape(n, -1, x.shape[-1]) for x in kinds)])
        return found

    def edge_features(
        self, numbers: Tensor, pairs: Pairs, vectors: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Allegro's own scalars (E, …), and the tensors (E, channels, …) of each layer."""
        data = self.graph(numbers, pairs, vectors)
        products: list[Tensor] = []
        hooks = [
            product.register_forward_hook(lambda _, __, out: products.append(out))
            for product in self.parts["allegro"].tps  # type: ignore[union-attr]
        ]
        try:
            for module in self.parts.values():
                data = module(data)
        finally:
            for hook in hooks:
                hook.remove()
        return data["edge_features"], products


def _sum(values: Tensor, centre: Tensor, n: int) -> Tensor:
    """Sum over the edges of each atom, (N, …)."""
    return values.new_zeros(n, *values.shape[1:]).index_add(0, centre, values)


build = building(AllegroBackbone, make_allegro, ALLEGRO_DEFAULTS)
"""New weights for species, with settings as `lrcalc.models.options.ALLEGRO_DEFAULTS`."""
