"""A MACE or MACE-LES model as it was trained: MACE's layers with the model's own readouts.

MACE: Batatia et al., NeurIPS 35 (2022); latent charges: Cheng, npj Comput. Mater. 11, 80 (2025).
Energies are ``scale (Σ_layers f(h) + ZBL) + shift``, latent charges ``Σ_layers g(h)``, used as
they are: nothing makes them neutral but the data that they were trained on. Dipoles and Born
charges are those of the charges less their mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lrcalc.models.adapters.mace_scalars import ScalarMace, switch
from lrcalc.models.backbone import Backbone, Features
from lrcalc.models.options import MACE_DEFAULTS
from lrcalc.models.readout import Readings, neutral
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import Pairs
from lrcalc.system import System

LEVELS = {"sr": 1, "q": 2}
"""What MACE models read out: energies, and charges."""

ZBL_EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)
"""Of the universal screening function (Ziegler, Biersack, Littmark 1985), in inverse lengths a."""


def build(species: tuple[int, ...], **settings: Any) -> Backbone:
    """Make MACE's layers; their features keep what an atom alone has, which MACE reads out too."""
    if settings["couplings"] is not None:
        return ScalarMace(species, settings)
    from lrcalc.models.adapters import mace

    layers = {name: settings[name] for name in MACE_DEFAULTS}
    return mace.build(species, **layers)


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
    """Energies and charges of a MACE model.

    Parameters
    ----------
    level : {"sr", "q"}
        Energies, or charges too.
    widths : sequence of int
        Scalars of each layer.
    hidden : sequence of int or None
        Of each layer the width of the hidden layer of its heads, 0 for a linear one; None where
        the layer is not read out.
    bias : bool
        See `Head`.
    repulsion : int or None
        See `Repulsion`; None for none.
    """

    transfer_cutoff = 0.0
    charges = "atomic"

    def __init__(
        self,
        level: str,
        widths: Sequence[int],
        hidden: Sequence[int | None],
        *,
        bias: bool = False,
        repulsion: int | None = None,
    ) -> None:
        super().__init__()
        if level not in LEVELS:
            raise ValueError(
                f"`level` is {level!r}, but a MACE model reads out energies ('sr') or charges "
                "too ('q'); take the backbone 'mace' to train another readout on its layers"
            )
        if len(widths) != len(hidden):
            raise ValueError(f"`hidden` is {hidden!r} but must have an entry for each of {widths}")
        self.level = level
        self.widths, self.hidden = list(widths), list(hidden)
        self.heads = nn.ModuleList(  # of energies, then of charges
            nn.ModuleList(
                Head(width, each, bias=bias)
                for width, each in zip(widths, hidden, strict=True)
                if each is not None
            )
            for _ in range(LEVELS[level])
        )
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))
        self.repulsion = None if repulsion is None else Repulsion(repulsion)

    def forward(
        self, features: Features, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out all atoms, see `lrcalc.models.readout.Readout`."""
        layers = [
            part
            for part, hidden in zip(
                features.scalars.split(self.widths, 1), self.hidden, strict=True
            )
            if hidden is not None
        ]
        read = [
            torch.stack(
                [head(part) for head, part in zip(cast("Any", heads), layers, strict=True)]
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
        return Readings(energies, Multipoles(charge), None, charge, neutral(charge, system))


def build_readout(
    species: tuple[int, ...], backbone: Backbone, options: Mapping[str, Any]
) -> MaceReadout:
    """Make the readout of a MACE model, weights all zero."""
    if options["charges"] != "atomic":
        raise ValueError(f"`charges` is {options['charges']!r} but those of MACE-LES are 'atomic'")
    if isinstance(backbone, ScalarMace):
        widths = backbone.widths
    else:
        irreps: Any = backbone.irreps  # type: ignore[attr-defined]
        widths = [each.count((0, 1)) for each in irreps]
    return MaceReadout(
        options["level"], widths, options["readout_hidden"],
        bias=options["readout_bias"], repulsion=options["repulsion"],
    )  # fmt: skip
