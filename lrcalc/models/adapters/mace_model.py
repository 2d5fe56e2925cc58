"""A MACE or MACE-LES model as it was trained: MACE's layers with the model's own readouts.

MACE: Batatia et al., NeurIPS 35 (2022); latent charges: Cheng, npj Comput. Mater. 11, 80 (2025).
Energies are ``scale (Σ_layers f(h) + ZBL) + shift``, latent charges ``Σ_layers g(h)``, used as
they are: nothing makes them neutral but the data that they were trained on. Dipoles and Born
charges are those of the charges less their mean. Other moments and responses: `mace_latent`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lrcalc.models.adapters.foreign import KINDS
from lrcalc.models.adapters.mace_latent import Channels, Head, Latent, LayerFeatures, level_of
from lrcalc.models.adapters.mace_scalars import ScalarMace, switch
from lrcalc.models.backbone import Backbone, Features
from lrcalc.models.options import MACE_DEFAULTS
from lrcalc.models.readout import Readings, neutral
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import Pairs
from lrcalc.system import System

ZBL_EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)
"""Of the universal screening function (Ziegler, Biersack, Littmark 1985), in inverse lengths a."""


def build(species: tuple[int, ...], **settings: Any) -> Backbone:
    """Make MACE's layers; their features keep what an atom alone has, which MACE reads out too."""
    if settings["couplings"] is not None:
        return ScalarMace(species, settings)
    from lrcalc.models.adapters import mace

    layers = {name: settings[name] for name in MACE_DEFAULTS}
    return mace.build(species, **layers)


class Repulsion(nn.Module):
    """ZBL repulsion of nuclei, switched off at the sum of covalent radii by a polynomial.

    Parameters
    ----------
    power : int
        Of the polynomial.
    """

    radii: Tensor

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power
        self.shape = nn.Parameter(torch.zeros(2))  # prefactor and exponent of the length a
        self.weights = nn.Parameter(torch.zeros(len(ZBL_EXPONENTS)))
        self.register_buffer("radii", torch.zeros(119))

    def forward(self, numbers: Tensor, pairs: Pairs, vectors: Tensor) -> Tensor:
        """Energies (N,), eV, half of each pair's to either atom."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        end = self.radii[numbers[pairs.i]] + self.radii[numbers[pairs.j]]
        near = (distance < end).nonzero()[:, 0]
        distance, end, i = distance[near], end[near], pairs.i[near]
        one = numbers[i].to(distance.dtype)
        other = numbers[pairs.j[near]].to(distance.dtype)
        prefactor, exponent = self.shape
        length = prefactor * 0.529 / (one**exponent + other**exponent)
        screened = torch.zeros_like(distance)
        for weight, rate in zip(self.weights, ZBL_EXPONENTS, strict=True):
            screened = screened + weight * torch.exp(-rate * distance / length)
        energy = (
            0.5 * 14.3996 * one * other / distance * screened * switch(distance / end, self.power)
        )
        return distance.new_zeros(len(numbers)).index_add(0, i, energy)


class MaceReadout(nn.Module):
    """Energies, charges and other moments and responses of a MACE model.

    Parameters
    ----------
    level : str
        "sr" for energies alone, "q" for charges too, or that of ``latent`` (`level_of`).
    layers : sequence of Channels or None
        Of each layer; None where the layer is not read out.
    widths : sequence of (int, int, int)
        Scalars, vectors and tensors of each layer, read out or not.
    bias : bool
        See `Head`.
    repulsion : int or None
        See `Repulsion`; None for none.
    latent : mapping, optional
        Arguments of `Latent` by its names.
    """

    transfer_cutoff = 0.0
    charges = "atomic"

    def __init__(
        self,
        level: str,
        layers: Sequence[Channels | None],
        widths: Sequence[Sequence[int]],
        *,
        bias: bool = False,
        repulsion: int | None = None,
        latent: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        latent = latent or {}
        if (level != "sr" or latent) and level != level_of(latent):
            raise ValueError(
                f"`level` is {level!r}, but a MACE model reads out energies ('sr') or charges "
                f"too ('q') and what is in `latent` ({list(latent)}: {level_of(latent)!r}); take "
                "the backbone 'mace' to train another readout on its layers"
            )
        self.level = level
        self.widths, self.used = [tuple(each) for each in widths], [x is not None for x in layers]
        read = [layer for layer in layers if layer is not None]
        self.heads = nn.ModuleList(  # of energies, then of charges
            nn.ModuleList(Head(layer.scalars, layer.hidden, bias=bias) for layer in read)
            for _ in range(1 if level == "sr" else 2)
        )
        self.latent = nn.ModuleDict(
            {name: Latent(name, layers=read, bias=bias, **each) for name, each in latent.items()}
        )
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))
        self.repulsion = None if repulsion is None else Repulsion(repulsion)

    def forward(
        self, features: Features, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out all atoms, see `lrcalc.models.readout.Readout`."""
        layers = self._layers(features)
        read = [
            torch.stack(
                [head(x.scalars) for head, x in zip(cast("Any", heads), layers, strict=True)]
            ).sum(0)
            for heads in self.heads
        ]
        energies = read[0]
        if self.repulsion is not None:
            energies = energies + self.repulsion(system.numbers, pairs, vectors)
        energies = self.scale * energies + self.shift
        if self.level == "sr":
            return Readings(energies, Multipoles(torch.zeros_like(energies)), None, None)
        charge = read[1]
        others = {name: each(layers) for name, each in self.latent.items()}
        multipoles = Multipoles(charge, **others)
        return Readings(energies, multipoles, None, charge, neutral(charge, system))

    def _layers(self, features: Features) -> list[LayerFeatures]:
        """Features of each layer that is read out; those of all are padded at the end."""
        kinds = [
            values[:, : sum(counts)].split(counts, 1)
            for values, counts in zip(
                (features.scalars, features.vectors, features.tensors),
                zip(*self.widths, strict=True),
                strict=True,
            )
        ]
        return [
            LayerFeatures(*layer)
            for layer, used in zip(zip(*kinds, strict=True), self.used, strict=True)
            if used
        ]


def build_readout(
    species: tuple[int, ...], backbone: Backbone, options: Mapping[str, Any]
) -> MaceReadout:
    """Make the readout of a MACE model, weights all zero."""
    if options["charges"] != "atomic":
        raise ValueError(f"`charges` is {options['charges']!r} but those of MACE-LES are 'atomic'")
    if isinstance(backbone, ScalarMace):
        widths = [(width, 0, 0) for width in backbone.widths]
    else:
        irreps: Any = backbone.irreps  # type: ignore[attr-defined]
        widths = [tuple(each.count(kind) for kind in KINDS) for each in irreps]
    hidden = options["readout_hidden"]
    if len(hidden) != len(widths):
        raise ValueError(
            f"`readout_hidden` is {hidden!r} but must have an entry for each of the "
            f"{len(widths)} layers"
        )
    layers = [
        None if each is None else Channels(*width, each)
        for width, each in zip(widths, hidden, strict=True)
    ]
    return MaceReadout(
        options["level"], layers, widths, bias=options["readout_bias"],
        repulsion=options["repulsion"], latent=options["latent"],
    )  # fmt: skip
