"""From a MACE-POLAR pickle, read without running anything in it, to a `Potential`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.adapters.exact_constants import constants_of, numbers_of
from lrcalc.models.adapters.mace_files import settings_of
from lrcalc.models.adapters.mace_polar import LEVEL, PolarMace
from lrcalc.models.options import MACE_POLAR
from lrcalc.models.potential import Potential

AS_THEY_ARE = (
    "kspace_cutoff_factor", "atomic_multipoles_max_l", "atomic_multipoles_smearing_width",
    "field_feature_max_l", "field_feature_widths", "num_recursion_steps", "field_si",
    "include_electrostatic_self_interaction", "add_local_electron_energy",
    "quadrupole_feature_corrections", "return_electrostatic_potentials", "field_norm_factor",
    "use_last_readout_only",
)  # fmt: skip
"""Attributes of a model that are settings of its class."""

UNDER = ("field_feature_norms", "fixedpoint_update_config", "field_readout_config")
"""The same, with an underscore before."""

FOR_HEADS = ("scale_shift.scale", "scale_shift.shift", "atomic_energies_fn.atomic_energies")
"""Tensors that have an axis for the heads, or none where there is one head."""

WITHOUT_EFFECT = ("lammps_mliap", "cueq_config", "oeq_config")


def polar_settings(mace: Any) -> dict[str, Any]:
    """Return settings of `lrcalc.models.adapters.mace_polar.build`, plain values.

    Raises
    ------
    ValueError
        For cuequivariance weights.
    """
    for name in ("cueq_config", "oeq_config"):
        if getattr(getattr(mace, name, None), "enabled", False):
            raise ValueError(
                f"this MACE-POLAR model is made for `{name}`; convert it to e3nn first"
            )
    polar = {name: getattr(mace, name) for name in AS_THEY_ARE}
    polar |= {name: getattr(mace, f"_{name}") for name in UNDER}
    polar |= {
        "MLP_irreps": str(mace.fukui_source_map.hidden_irreps),
        "readout_cls": type(mace.readouts[-1]).__name__,
        "pair_repulsion": hasattr(mace, "pair_repulsion_fn"),
    }
    return {**settings_of(mace), "full_last": False, "polar": polar}


def polar_potential(mace: Any, head: int, heads: list[str]) -> Potential:
    """Make a potential of a PolarMACE model as it is in the file, in float64."""
    settings = {**polar_settings(mace), "heads": heads, "head": head}
    settings.pop("subtract_isolated", None)
    elements = settings["elements"]
    potential = Potential(
        elements, backbone=MACE_POLAR, level=LEVEL, charges="atomic", **settings
    ).double()
    backbone = potential.backbone
    assert isinstance(backbone, PolarMace)
    found = [*_differences(mace, backbone.mace), *_fill(backbone, mace)]
    if found:
        raise ValueError(
            f"this PolarMACE has {', '.join(found[:8])}, other than what its settings make: it "
            "was made by another version than mace-torch 0.3.16, or changed afterwards"
        )
    energies = torch.atleast_2d(mace.atomic_energies_fn.atomic_energies.detach().double())
    order = [elements.index(z) for z in potential.species]
    potential.reference_energy = energies[head if len(energies) > 1 else 0][order]
    own = backbone.mace.atomic_energies_fn.atomic_energies
    backbone.set_constants({"mace.atomic_energies_fn.atomic_energies": torch.zeros_like(own)})
    return potential.eval().requires_grad_(False)


def _differences(theirs: Any, own: Any) -> Iterator[str]:
    """Modules and plain attributes of the file that the model made of its settings has not."""
    for path, module in theirs.named_modules():
        try:
            made = own.get_submodule(path)
        except AttributeError:
            yield f"`{path}`"
            continue
        for name, value in vars(module).items():
            if name.startswith("_") or name in WITHOUT_EFFECT or value is None:
                continue
            if isinstance(value, bool | int | float | str) and not _same(value, made, name):
                yield f"`{f'{path}.{name}'.lstrip('.')} = {value}`"


def _same(value: Any, made: Any, name: str) -> bool:
    own = getattr(made, name, None)
    if isinstance(own, Tensor) and own.numel() == 1:  # a number that is kept exactly
        own = float(own)
    if isinstance(value, float) and isinstance(own, float):
        return abs(value - own) <= 1e-5 * abs(value)
    return name == "training" or bool(own == value)


@torch.no_grad()
def _fill(backbone: PolarMace, mace: Any) -> list[str]:
    """Take weights and constants; return names of tensors that do not fit."""
    given = {**dict(mace.named_parameters()), **dict(mace.named_buffers()), **numbers_of(mace)}
    parameters, constants = dict(backbone.mace.named_parameters()), constants_of(backbone)
    exact, wrong = {}, []
    for name, own in {**parameters, **constants}.items():
        name = name.removeprefix("mace.")
        value = given.pop(name, None)
        if name in FOR_HEADS and value is not None and value.numel() == own.numel():
            value = value.reshape(own.shape)
        if value is None and "_compiled_" in name:  # in e3nn's programs, which were not run
            continue
        if value is None or value.shape != own.shape:
            wrong.append(f"`{name}` of shape {None if value is None else tuple(value.shape)}")
        elif name in parameters:
            own.copy_(value)
        else:
            exact[f"mace.{name}"] = value.double()
    backbone.set_constants(exact)
    left = [name for name, value in given.items() if value.is_floating_point() and value.numel()]
    return wrong + [f"`{name}`" for name in left if not name.endswith("output_mask")]
