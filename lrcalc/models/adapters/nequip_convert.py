"""From a checkpoint or package of nequip to a `Potential` of plain tensors and settings."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from lrcalc.hashing import hash_of
from lrcalc.models.adapters.exact_constants import constants_of
from lrcalc.models.adapters.nequip_architecture import check_architecture, elements_of_types
from lrcalc.models.adapters.nequip_files import NequipFile, read_nequip
from lrcalc.models.adapters.nequip_model import NequipModel
from lrcalc.models.options import NEQUIP_MODEL
from lrcalc.models.potential import Potential

MODEL = "model."
"""Where a `NequipModel` keeps nequip's."""

SHIFTS = "per_type_energy_scale_shift.shifts"
"""Energies of atoms alone, of each type or of all."""


def convert(
    path: str | os.PathLike[str], *, trust_pickle: bool = False, flag: str = "trust_pickle=True"
) -> Potential:
    """Read a NequIP or Allegro model: a checkpoint (``.ckpt``) or package (``.nequip.zip``).

    Parameters
    ----------
    path : path-like
    trust_pickle : bool
        Consent to reading a pickle.
    flag : str
        How consent is given, for the message.

    Returns
    -------
    Potential
        In float64; energies and their derivatives, no charges. Units of the file are taken to be
        eV and Å: it does not state them.

    Raises
    ------
    FileNotFoundError
    ValueError
        Naming what is wrong: no consent, a compiled model, what cannot be carried.
    """
    path = Path(path)
    found = read_nequip(path, trust_pickle=trust_pickle, flag=flag)
    try:
        potential = _potential(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    builder = found.settings["_target_"].rpartition(".")[2]
    card = potential.metadata
    card["source"] = f"{builder} converted from {path.name} ({hash_of(path.read_bytes())})"
    card["licence"] = "that of the file it was converted from"
    return potential


def _potential(found: NequipFile) -> Potential:
    check_architecture(found.settings)
    elements = elements_of_types(found.settings)
    settings = {"cutoff": float(found.settings["r_max"]), "architecture": found.settings}
    potential = Potential(elements, backbone=NEQUIP_MODEL, level="sr", **settings).double()
    backbone = potential.backbone
    assert isinstance(backbone, NequipModel)
    _fill(backbone, found)
    shifts = constants_of(backbone).get(MODEL + SHIFTS)
    own = dict(backbone.named_parameters()).get(MODEL + SHIFTS, shifts)
    if own is not None and own.numel():  # large numbers, which are kept in double precision
        each = own.detach().double().flatten().expand(len(elements))
        order = [elements.index(z) for z in potential.species]
        potential.reference_energy = each[order].clone()
        if shifts is None:
            own.detach().zero_()
        else:
            backbone.set_constants({MODEL + SHIFTS: torch.zeros_like(shifts)})
    return potential.eval().requires_grad_(False)


@torch.no_grad()
def _fill(backbone: NequipModel, found: NequipFile) -> None:
    """Take weights and constants of a file.

    Raises
    ------
    ValueError
        If a tensor is missing, of another shape, or would be left out.
    """
    parameters = {name.removeprefix(MODEL): value for name, value in backbone.named_parameters()}
    constants = {name.removeprefix(MODEL): x for name, x in constants_of(backbone).items()}
    given = dict(found.tensors)
    if found.averages:
        if len(found.averages) != len(parameters):
            raise ValueError(
                f"there are {len(found.averages)} averaged weights for {len(parameters)} of the "
                "model"
            )
        given |= dict(zip(parameters, found.averages, strict=True))
    # constants that nequip does not save it makes anew
    needed = {**parameters, **{name: own for name, own in constants.items() if name in given}}
    missing = [
        name for name, own in needed.items() if name not in given or given[name].shape != own.shape
    ]
    left = [
        name
        for name, value in given.items()
        if value.is_floating_point() and value.numel()
        and name not in parameters and name not in constants and not name.endswith("output_mask")
    ]  # fmt: skip
    if missing or left:
        raise ValueError(
            f"its weights do not fit its settings: missing or of another shape {missing[:5]}, "
            f"left out {left[:5]}; it was made or changed by a version that cannot be read"
        )
    for name, own in parameters.items():
        own.copy_(given[name])
    exact = {f"{MODEL}{name}": given[name].double() for name in constants if name in given}
    backbone.set_constants(exact)
