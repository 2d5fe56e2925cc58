"""Settings that nequip's builders are called with: what lrcalc knows how to carry.

They name what builds a model and its parts, and what is named is imported and called: so only what
is listed here may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase.data import atomic_numbers

BUILDERS = {
    "nequip.model": ("NequIPGNNModel", "FullNequIPGNNModel", "PresetNequIPGNNModel"),
    "allegro.model": ("AllegroModel", "FullAllegroModel"),
}
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
