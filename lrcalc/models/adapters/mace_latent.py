"""Dipoles, quadrupoles and responses of a MACE-LES model, read out of MACE's features.

Each is a sum over layers and kinds of readouts (`PARTS`) of what is linear in vectors (1o) or
tensors (2e), or of dyads of vectors, ``Σ_c w_c(s) v_c ⊗ v_c``, with weights made of scalars s.
Quadrupoles lose their trace; κ and α may be squared, which makes them positive.

The kinds are those of MACE's main branch of August 2026; its equations: Kim et al.,
arXiv:2605.05746.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from lrcalc.models.options import LEVELS

ORDERS = {"dipole": "u", "quadrupole": "Q", "capacitance": "iq", "polarizability": "iu"}
"""Name in `Multipoles` → in the levels of the theory."""

PARTS = {
    "dipole": ("vector",),
    "quadrupole": ("tensor", "dyads", "squared dyads", "mixed dyads"),
    "capacitance": ("scalar",),
    "polarizability": ("scalar", "tensor", "dyads", "squared dyads", "mixed dyads"),
}
"""What each may be read out of; "scalar" as energies are, through a hidden layer or not; "tensor"
of a polarizability reads a scalar as well, linear in those of the layer."""


class LayerFeatures(NamedTuple):
    """Features of one of MACE's layers.

    Attributes
    ----------
    scalars : Tensor, shape (N, C0)
    vectors : Tensor, shape (N, C1, 3)
    tensors : Tensor, shape (N, C2, 5)
        In e3nn's order.
    """

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor


class Channels(NamedTuple):
    """How many features of each kind a layer has, and the width of its heads' hidden layer."""

    scalars: int
    vectors: int
    tensors: int
    hidden: int


class Head(nn.Module):
    """One number of the scalars of a layer: linear, or through a hidden layer.

    Parameters
    ----------
    width : int
        Scalars of the layer.
    hidden : int
        Width of the hidden layer; 0: linear.
    bias : bool
        The hidden layer is followed by another one, and both have biases.
    """

    def __init__(self, width: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(width, hidden or 1))
        self.middle = nn.Parameter(torch.zeros(hidden + 1, hidden)) if hidden and bias else None
        self.last = nn.Parameter(torch.zeros(hidden + bias)) if hidden else None

    def forward(self, scalars: Tensor) -> Tensor:
        """Numbers (N,) of scalars (N, width)."""
        values = scalars @ self.first
        if self.last is None:
            return values[:, 0]
        values = nn.functional.silu(values)
        if self.middle is None:
            return values @ self.last
        values = nn.functional.silu(values @ self.middle[:-1] + self.middle[-1])
        return values @ self.last[:-1] + self.last[-1]

    @torch.no_grad()
    def times(self, factor: float) -> None:
        """Multiply what is read out, in place."""
        (self.first if self.last is None else self.last).mul_(factor)


class VectorHead(nn.Module):
    """A vector that is linear in those of a layer."""

    def __init__(self, layer: Channels) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layer.vectors))

    def forward(self, layer: LayerFeatures) -> Tensor:
        """Vectors (N, 3)."""
        return torch.einsum("c,nca->na", self.weight, layer.vectors)

    @torch.no_grad()
    def times(self, factor: float) -> None:
        """Multiply what is read out, in place."""
        self.weight.mul_(factor)


class TensorHead(nn.Module):
    """A symmetric tensor that is linear in those of a layer, and perhaps in its scalars.

    Attributes
    ----------
    basis : Parameter, shape (5, 3, 3) or (6, 3, 3)
        Matrices of e3nn's components, as rounded as in the file; first that of a scalar.
    """

    def __init__(self, layer: Channels, *, scalar: bool) -> None:
        super().__init__()
        self.scalars = nn.Parameter(torch.zeros(layer.scalars)) if scalar else None
        self.weight = nn.Parameter(torch.zeros(layer.tensors))
        self.basis = nn.Parameter(torch.zeros(5 + scalar, 3, 3))

    def forward(self, layer: LayerFeatures) -> Tensor:
        """Tensors (N, 3, 3)."""
        components = torch.einsum("c,ncm->nm", self.weight, layer.tensors)
        if self.scalars is not None:
            components = torch.cat([(layer.scalars @ self.scalars)[:, None], components], dim=1)
        return torch.einsum("nm,mab->nab", components, self.basis)

    @torch.no_grad()
    def times(self, factor: float) -> None:
        """Multiply what is read out, in place."""
        self.weight.mul_(factor)
        if self.scalars is not None:
            self.scalars.mul_(factor)


class Dyads(nn.Module):
    """A symmetric tensor ``Σ_c w_c(s) v_c ⊗ v_c``, or ``Σ_cd M_cd(s) v_c ⊗ v_d`` of mixed ones.

    Parameters
    ----------
    layer : Channels
    squared : bool
        Weights are squares.
    width : int
        Of the hidden layer that M comes through; 0: weights w are linear in the scalars.
    """

    def __init__(self, layer: Channels, *, squared: bool = False, width: int = 0) -> None:
        super().__init__()
        self.squared = squared
        self.vectors = nn.Parameter(torch.zeros(layer.vectors, layer.vectors))
        outputs = layer.vectors**2 if width else layer.vectors
        widths = [layer.scalars, *([width] if width else []), outputs]
        self.weights = nn.ParameterList(
            torch.zeros(a + 1, b) for a, b in pairwise(widths)
        )  # biases in the last row
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, layer: LayerFeatures) -> Tensor:
        """Tensors (N, 3, 3)."""
        vectors = torch.einsum("nca,cd->nda", layer.vectors, self.vectors)
        values = layer.scalars
        for k, weight in enumerate(self.weights):
            values = (nn.functional.silu(values) if k else values) @ weight[:-1] + weight[-1]
        if len(self.weights) == 1:
            weights = values.square() if self.squared else values
            other = weights[..., None] * vectors
        else:
            mixing = values.view(len(values), vectors.shape[1], vectors.shape[1])
            other = 0.5 * (mixing + mixing.mT) @ vectors
        return self.scale * torch.einsum("nca,ncb->nab", vectors, other)

    @torch.no_grad()
    def times(self, factor: float) -> None:
        """Multiply what is read out, in place."""
        self.scale.mul_(factor)


class Latent(nn.Module):
    """One of `ORDERS`: the sum over layers of all its parts.

    Parameters
    ----------
    name : str
    parts : sequence of str
        Some of `PARTS`.
    layers : sequence of Channels
    squared : bool
        What comes out is the square of the sum.
    width : int
        See `Dyads`.
    bias : bool
        See `Head`.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[str],
        layers: Sequence[Channels],
        *,
        squared: bool = False,
        width: int = 32,
        bias: bool = False,
    ) -> None:
        super().__init__()
        unknown = [part for part in parts if part not in PARTS.get(name, ())]
        if unknown or not parts:
            raise ValueError(
                f"`latent` has {name} of {list(parts)}, but known are {PARTS.get(name, PARTS)}"
            )
        self.name, self.parts, self.squared = name, tuple(parts), squared
        self.tensor = any(part == "tensor" or part.endswith("dyads") for part in parts)
        self.heads = nn.ModuleList(
            nn.ModuleList(self._head(part, layer, width, bias) for layer in layers)
            for part in parts
        )

    def forward(self, layers: Sequence[LayerFeatures]) -> Tensor:
        """Numbers (N,), vectors (N, 3) or tensors (N, 3, 3) of the features of the layers."""
        found = []
        for heads in self.heads:
            for head, layer in zip(cast("Any", heads), layers, strict=True):
                value = head(layer.scalars) if isinstance(head, Head) else head(layer)
                if self.tensor and value.dim() == 1:
                    value = torch.diag_embed(value[:, None].expand(-1, 3))
                found.append(value)
        total = torch.stack(found).sum(0)
        if self.name == "quadrupole":
            third = total.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
            total = total - torch.diag_embed(third.expand(-1, 3))
        if self.squared:
            total = total @ total.mT if self.tensor else total.square()
        return total

    def _head(self, part: str, layer: Channels, width: int, bias: bool) -> nn.Module:
        if part == "vector":
            return VectorHead(layer)
        if part == "tensor":
            return TensorHead(layer, scalar=self.name == "polarizability")
        if part == "scalar":
            return Head(layer.scalars, layer.hidden, bias=bias)
        mixed = part.startswith("mixed")
        return Dyads(layer, squared=part.startswith("squared"), width=width if mixed else 0)

    def times(self, factor: float) -> None:
        """Multiply the sum, before it is squared, in place."""
        for heads in self.heads:
            for head in cast("Any", heads):
                head.times(factor)


def level_of(latent: Mapping[str, Any]) -> str:
    """Return the lowest level that has charges and all of these, by the names of `ORDERS`."""
    orders = {"q", *(ORDERS[name] for name in latent)}
    return min((name for name in LEVELS if orders <= LEVELS[name]), key=lambda x: len(LEVELS[x]))
