"""Weights and constants of a file of nequip, for a model that was made anew of its settings."""

from __future__ import annotations

import torch

from lrcalc.models.adapters.exact_constants import constants_of
from lrcalc.models.adapters.nequip_files import NequipFile
from lrcalc.models.adapters.nequip_model import NequipModel

MODEL = "model."
"""Where a `NequipModel` keeps nequip's."""


@torch.no_grad()
def fill(backbone: NequipModel, found: NequipFile) -> None:
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
