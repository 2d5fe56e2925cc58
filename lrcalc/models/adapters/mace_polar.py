"""MACE-POLAR (``PolarMACE`` of mace-torch 0.3.16): a model with an energy of its own in a field.

Batatia et al., arXiv:2602.19411. Charges, dipoles and spins of the atoms answer, in a fixed number
of steps, to the potential of the others and of the applied field; they are no minimum of the
energy. MACE's ``external_field`` g has the energy ``+g·M``: it is minus the electric field E.

The package's own forward is called as it is, with positions, cell and field that have gradients.
In periodic cells the applied potential ``g·r`` is that of the positions as given, so that energies
in a field hang on which image of an atom is taken: fields and dipoles are for open structures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrcalc.models.adapters.exact_constants import ExactConstants
from lrcalc.models.adapters.foreign_import import (
    default_type,
    exactly,
    forget_programs,
    require_version,
)
from lrcalc.models.adapters.mace_import import import_mace, mace_arguments
from lrcalc.models.adapters.mace_polar_graph import check_polar, graph_of
from lrcalc.models.adapters.mace_polar_smooth import make_differentiable
from lrcalc.models.backbone import Backbone, Features, species_table
from lrcalc.models.readout import Readings
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import Pairs
from lrcalc.system import System

SUMS = "0.4.0"
"""Version of graph-longrange that mace-torch 0.3.16 can call: not 0.4.3 and 0.4.4."""

LEVEL = "uiqiu"
"""Charges and dipoles that answer, on single atoms: what may be asked follows from that."""


class PolarMace(ExactConstants):
    """Energy, charge and dipole of each atom, from one call of PolarMACE; see `build`."""

    index_of_number: Tensor
    one_hot: Tensor

    def __init__(self, mace: Any, elements: tuple[int, ...], settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.mace = mace
        self.head = int(settings["head"])
        self.species, self.cutoff = tuple(sorted(elements)), float(settings["cutoff"])
        self.layers = int(settings["num_interactions"])
        self.n_scalars, self.n_channels, self.filled = 2, 1, (1, 0)
        self.register_buffer("index_of_number", species_table(elements), persistent=False)
        self.register_buffer("one_hot", torch.eye(len(elements)), persistent=False)
        self.keep_constants()

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Scalars (N, 2): a share of the energy, and the charge; vectors (N, 1, 3): dipoles."""
        check_polar(system)
        graph = graph_of(system, pairs, vectors.dtype)
        counts = torch.bincount(system.batch)
        graph["head"] = torch.full_like(counts, self.head)
        kinds = self.index_of_number[system.numbers]
        graph["node_attrs"] = self.one_hot.index_select(0, kinds)
        with default_type(vectors.dtype):
            out = self.mace(graph, compute_force=False)
        energies = (out["energy"] / counts).index_select(0, system.batch)
        density = out["density_coefficients"]
        scalars = torch.stack([energies, density[:, 0]], 1)
        dipoles = torch.zeros_like(system.positions, dtype=vectors.dtype)
        if density.shape[1] > 1:
            dipoles = density[:, [3, 1, 2]]  # of order y, z, x
        return Features(scalars, dipoles[:, None], vectors.new_zeros(len(scalars), 0, 5))


class PolarReadout(nn.Module):
    """Takes energies, charges and dipoles of atoms as the backbone has them."""

    level, charges = LEVEL, "atomic"
    transfer_cutoff = 0.0
    own_field = True

    def forward(
        self, features: Features, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out all atoms, see `lrcalc.models.readout.Readout`."""
        energies, charge = features.scalars.unbind(1)
        return Readings(energies, Multipoles(charge, features.vectors[:, 0]), None, None)


def build(species: tuple[int, ...], **settings: Any) -> PolarMace:
    """Make a model with new weights; settings as `lrcalc.models.options.MACE_POLAR_DEFAULTS`."""
    modules = import_mace()
    import graph_longrange  # noqa: F401 (to be named if it is missing)
    from e3nn import o3

    require_version("mace-polar", "graph-longrange", SUMS)

    arguments, polar = mace_arguments(species, settings), dict(settings["polar"])
    heads = [str(head) for head in settings["heads"]]
    arguments |= {
        "heads": heads,
        "atomic_energies": [arguments["atomic_energies"]] * len(heads),
        "atomic_inter_scale": [1.0] * len(heads),
        "atomic_inter_shift": [0.0] * len(heads),
        "MLP_irreps": o3.Irreps(polar.pop("MLP_irreps")),
        "readout_cls": getattr(modules, polar.pop("readout_cls")),
    }
    with exactly():
        mace = modules.PolarMACE(**arguments, **polar)
    forget_programs(mace)
    make_differentiable(mace)
    elements = tuple(int(z) for z in arguments["atomic_numbers"])
    return PolarMace(mace, elements, settings).to(torch.get_default_dtype())


def build_readout(
    species: tuple[int, ...], backbone: Backbone, options: Mapping[str, Any]
) -> PolarReadout:
    """Make the readout, which has no weights."""
    if options["level"] != LEVEL or options["charges"] != "atomic":
        raise ValueError(
            f"MACE-POLAR has its own charges: `level` must be {LEVEL!r} and `charges` 'atomic', "
            f"not {options['level']!r} and {options['charges']!r}"
        )
    return PolarReadout()
