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
from lrcalc.models.adapters.nequip_weights import MODEL, fill
from lrcalc.models.adapters.pickles import CONSENT
from lrcalc.models.backbone import refuse_broken
from lrcalc.models.options import NEQUIP_MODEL
from lrcalc.models.potential import Potential

SHIFTS = "per_type_energy_scale_shift.shifts"
"""Energies of atoms alone, of each type or of all."""


def convert(
    path: str | os.PathLike[str], *, trust_pickle: bool = False, flag: str = CONSENT
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
    refuse_broken(potential, path)
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
    fill(backbone, found)
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
