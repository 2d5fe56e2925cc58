"""Weights of a MACE model's file for `ScalarMace`, with e3nn's normalizations in them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.adapters.mace_scalars import PLAIN, RESIDUAL, Layer, ScalarMace

HIGHEST = 3
"""Order of products that `ScalarMace` knows."""


def couplings_of(mace: Any, settings: dict[str, Any]) -> list[int] | None:
    """Return the number of invariant products of each layer.

    None if features are not scalars alone, or something else is there that `ScalarMace` does not
    know.
    """
    scalars = all(
        len(product.linear.irreps_out) == 1 and product.linear.irreps_out.lmax == 0
        for product in mace.products
    )
    known = (
        scalars
        and {settings["interaction"], settings["interaction_first"]} <= {RESIDUAL, PLAIN}
        and max(settings["correlation"]) <= HIGHEST
        and settings["radial_type"] == "bessel"
        and settings["distance_transform"] == "None"
        and settings["apply_cutoff"]
        and settings["edge_irreps"] is None
        and not settings["use_agnostic_product"]
        and not settings["use_so3"]
    )
    if not known:
        return None
    return [
        sum(_coupling(product, order).shape[-1] for order in range(1, correlation + 1))
        for product, correlation in zip(mace.products, settings["correlation"], strict=True)
    ]


def _coupling(product: Any, order: int) -> Tensor:
    (contraction,) = product.symmetric_contractions.contractions
    return getattr(contraction, f"U_matrix_{order}").detach().double()  # type: ignore[no-any-return]


@torch.no_grad()
def fill(own: ScalarMace, mace: Any) -> None:
    """Take the weights of a model (float64).

    e3nn divides linear maps by the root of the number of their inputs, multiplies activations so
    that they keep the second moment, and MACE divides messages by the mean number of neighbours.
    """
    n_elements, channels = own.embedding.shape
    own.embedding.copy_(_square(mace.node_embedding.linear, n_elements, channels))
    bessel = mace.radial_embedding.bessel_fn
    own.frequencies.copy_(bessel.bessel_weights)
    own.amplitude.copy_(bessel.prefactor)
    for layer, block, product in zip(
        own.interactions, mace.interactions, mace.products, strict=True
    ):
        assert isinstance(layer, Layer)
        _fill_layer(layer, block, product, n_elements, channels)


def _square(linear: Any, inputs: int, outputs: int) -> Tensor:
    return linear.weight.detach().double().view(inputs, outputs) / math.sqrt(inputs)  # type: ignore[no-any-return]


def _fill_layer(layer: Layer, block: Any, product: Any, n_elements: int, channels: int) -> None:
    layer.up.copy_(_square(block.linear_up, channels, channels))
    layer.out.copy_(_square(product.linear, channels, channels))
    network, gain = block.conv_tp_weights, 1.0
    for k, weight in enumerate(layer.radial):
        theirs = getattr(network, f"layer{k}")
        weight.copy_(gain * theirs.weight.detach().double() / math.sqrt(weight.shape[0]))
        if k + 1 < len(layer.radial):
            gain = float(theirs.act.cst)
    ells = layer.max_ell + 1
    root = math.sqrt(channels)
    linear = block.linear.weight.detach().double().view(ells, channels, channels) / root
    linear = linear / float(block.avg_num_neighbors)
    skip = block.skip_tp.weight.detach().double().view(-1, channels, n_elements, channels)
    skip = skip.transpose(1, 2) / math.sqrt(channels * n_elements)  # (…, element, in, out)
    if layer.skip is None:
        layer.linear.copy_(linear[:, None] @ skip)
    else:
        layer.linear.copy_(linear[:, None])
        layer.skip.copy_(skip[0])
    (contraction,) = product.symmetric_contractions.contractions
    correlation = len(contraction.weights) + 1
    weights = [*list(contraction.weights)[::-1], contraction.weights_max]  # by ascending order
    layer.weights.copy_(torch.cat([w.detach().double() for w in weights], dim=1))
    forms = [_cubic(_coupling(product, order)) for order in range(1, correlation + 1)]
    full = torch.cat(forms)  # (couplings, M, M, M), symmetric
    twice = torch.where(layer.first == layer.second, 1.0, 2.0).double()
    layer.basis.copy_(full[:, layer.first, layer.second] * twice[:, None])


def _cubic(coupling: Tensor) -> Tensor:
    """Symmetric forms of third order in (1, A), (K, M+1, M+1, M+1), of MACE's of one to three in A.

    Parameters
    ----------
    coupling : Tensor, shape (M, …, M, K)
    """
    order = coupling.dim() - 1
    m, paths = coupling.shape[0], coupling.shape[-1]
    form = coupling.new_zeros(paths, m + 1, m + 1, m + 1)
    inner = (slice(None),) + (0,) * (HIGHEST - order) + (slice(1, None),) * order
    form[inner] = coupling.movedim(-1, 0)
    permuted = [form.permute(0, *p) for p in itertools.permutations((1, 2, 3))]
    return torch.stack(permuted).mean(0)
