"""A file of nequip as a backbone to go on from: its settings, and its weights for the layers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lrcalc.models.adapters.exact_constants import constants_of
from lrcalc.models.adapters.nequip_files import NequipFile, read_nequip
from lrcalc.models.adapters.nequip_model import build
from lrcalc.models.adapters.nequip_settings import settings_of_backbone
from lrcalc.models.adapters.nequip_weights import MODEL, fill

ENERGIES = (
    "per_atom_energy_readout", "per_type_energy_scale_shift", "edge_readout", "edge_eng_sum",
    "cutoff", "pair_potential", "total_energy_sum",
)  # fmt: skip
"""Modules of NequIP and Allegro that make energies of features, which a backbone leaves out."""


def read_backbone(
    name: str, path: Path, *, trust_pickle: bool, flag: str
) -> tuple[dict[str, Any], Callable[[Any], None]]:
    """Return settings of the backbone ``name``, and what gives one that is made so its weights.

    Raises
    ------
    ValueError
        As `read_nequip` and `settings_of_backbone`.
    """
    found = read_nequip(path, trust_pickle=trust_pickle, flag=flag)
    try:
        return settings_of_backbone(name, found.settings), partial(load_weights, found=found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@torch.no_grad()
def load_weights(backbone: Any, found: NequipFile) -> None:
    """Give a backbone, made with the settings of a file, the file's weights and constants.

    They go through the whole model, which says whether all of them are there, and knows the order
    of averaged ones.

    Raises
    ------
    ValueError
        If a tensor is missing, of another shape, or would be left out and makes no energies.
    """
    architecture = found.settings
    whole = build((), cutoff=architecture["r_max"], architecture=architecture).double()
    fill(whole, found)
    given = {**dict(whole.named_parameters()), **constants_of(whole)}
    names = {name: MODEL + _theirs(name) for name, _ in backbone.named_parameters()}
    exact = {name: MODEL + _theirs(name) for name in constants_of(backbone)}
    taken = {*names.values(), *exact.values()}
    left = [
        name
        for name, value in given.items()
        if name not in taken and value.numel() and name.split(".")[1] not in ENERGIES
    ]
    missing = [name for name in taken if name not in given]
    if left or missing:
        raise ValueError(
            f"its weights do not fit the layers of a backbone: left out {left[:5]}, missing "
            f"{missing[:5]}; it was made by a version that cannot be read"
        )
    for name, own in backbone.named_parameters():
        own.copy_(given[names[name]])
    backbone.set_constants({name: given[theirs] for name, theirs in exact.items()})


def _theirs(name: str) -> str:
    """Return nequip's name for a parameter or constant of a backbone."""
    plain = name.removeprefix("before.").removeprefix("parts.")
    return re.sub(r"^convnets\.(\d+)\.", r"layer\1_convnet.", plain)
