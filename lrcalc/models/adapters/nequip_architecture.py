"""Settings that nequip's builders are called with: what lrcalc knows how to carry, and the call.

They name what builds a model and its parts, and what is named is imported and called: so only what
is listed here may be.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ase.data import atomic_numbers

from lrcalc.models.adapters.foreign_import import exactly, forget_programs, quiet, require_version

NEQUIP, ALLEGRO = "0.19", "0.8"
"""Versions of nequip and nequip-allegro that the adapters were written for and tested with."""

NOT_MODEL = ("_target_", "seed", "model_dtype", "compile_mode", "do_derivatives")
"""Settings that say how a model is made, not which."""

BUILDERS = {
    "nequip.model": ("NequIPGNNModel", "FullNequIPGNNModel", "PresetNequIPGNNModel"),
    "nequip.model.nequip_models": (
        "NequIPGNNModel", "FullNequIPGNNModel", "PresetNequIPGNNModel",
    ),
    "allegro.model": ("AllegroModel",),
    "allegro.model.allegro_models": ("AllegroModel", "FullAllegroModel"),
}  # fmt: skip
PARTS = (
    "nequip.nn.pair_potential.ZBL", "nequip.nn.pair_potential.LennardJones",
    "nequip.nn.pair_potential.SimpleLennardJones",
    "allegro.nn.TwoBodyBesselScalarEmbed", "allegro.nn.TwoBodySplineScalarEmbed",
)  # fmt: skip
"""What settings may name: it is imported and called."""


def elements_of_types(architecture: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the atomic number of each type of atom; refuse names that are no elements."""
    names = list(architecture["type_names"])
    unknown = [name for name in names if atomic_numbers.get(name, 0) < 1]
    if unknown or len(set(names)) < len(names):
        raise ValueError(
            f"the types of this model are called {', '.join(names)}; lrcalc tells atoms by their "
            "elements only, so types must have names of elements, each once"
        )
    return tuple(atomic_numbers[name] for name in names)


def check_architecture(architecture: Mapping[str, Any]) -> None:
    """Refuse settings that lrcalc does not know how to carry, before anything is called."""
    target = architecture.get("_target_")
    known = [f"{module}.{name}" for module, names in BUILDERS.items() for name in names]
    if target not in known:
        raise ValueError(
            f"this model was made by {target!r}; known are {', '.join(known)}. What one is made of "
            "by changing another (modify, ModelFromPackage, ModelFromCheckpoint) is not in its "
            "settings: use nequip's own calculator for it"
        )
    if architecture.get("categorical_graph_field_embed"):
        raise ValueError(
            "this model wants values for each structure beside its atoms "
            "(`categorical_graph_field_embed`), which lrcalc does not have"
        )
    for name, value in architecture.items():
        if isinstance(value, Mapping) and any(str(key).startswith("_") for key in value):
            _check_part(name, value)
    units = (architecture.get("pair_potential") or {}).get("units", "metal")
    if units != "metal":
        raise ValueError(
            f"the pair potential of this model is in LAMMPS' units {units!r}, so its energies are "
            "not in eV; lrcalc knows eV and Å ('metal') only"
        )


def _check_part(name: str, part: Mapping[str, Any]) -> None:
    special = {key for key in part if key.startswith("_")}
    nested = [
        key for key, value in part.items() if isinstance(value, Mapping) and "_target_" in value
    ]
    if special != {"_target_"} or part["_target_"] not in PARTS or nested:
        raise ValueError(
            f"`{name}` of this model is made by {part.get('_target_')!r}; known are "
            f"{', '.join(PARTS)}, without special settings ({sorted(special)})"
        )


def made_of(architecture: Mapping[str, Any]) -> Any:
    """Make a model with new weights, in double precision: nequip's, less what makes forces of it.

    Raises
    ------
    ValueError
        For a missing package, another version, or settings that `check_architecture` refuses or
        nequip does.
    """
    check_architecture(architecture)
    with exactly():
        model = _called(architecture)
    forget_programs(model)
    return model


def _called(architecture: Mapping[str, Any]) -> Any:
    """Call nequip's builder as one of its own parts, without seeds and global settings."""
    module, _, name = architecture["_target_"].rpartition(".")
    import lrcalc.models.native.e3nn_import  # noqa: F401 (without torch's compiler)

    extra = module.split(".")[0]
    try:
        with quiet():
            from nequip.model.utils import _IS_BUILDING_MODEL

            builder = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this model needs the package {error.name!r}: pip install lrcalc[{extra}]"
        ) from error
    require_version(extra, "nequip", NEQUIP)
    if extra == "allegro":
        require_version("allegro", "nequip-allegro", ALLEGRO)
    arguments = {key: value for key, value in architecture.items() if key not in NOT_MODEL}
    token = _IS_BUILDING_MODEL.set(True)
    try:
        return builder(**arguments, do_derivatives=False).func
    except (TypeError, AssertionError) as error:
        raise ValueError(
            f"{name} of nequip {NEQUIP} does not take these settings: {error}"
        ) from error
    finally:
        _IS_BUILDING_MODEL.reset(token)
