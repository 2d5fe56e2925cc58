"""What a trained NequIP or Allegro model is as a backbone: its settings, from those of its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrcalc.models.adapters.nequip_architecture import check_architecture, elements_of_types
from lrcalc.models.options import ALLEGRO_DEFAULTS, NEQUIP_DEFAULTS

DEFAULTS = {"nequip": NEQUIP_DEFAULTS, "allegro": ALLEGRO_DEFAULTS}
"""Backbone → its settings and their defaults."""


def settings_of_backbone(name: str, architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the backbone ``name`` that has the layers of a model.

    Parameters
    ----------
    name : {"nequip", "allegro"}
    architecture : mapping
        What nequip's builder was called with, and its name (``_target_``).

    Returns
    -------
    dict
        All settings. ``architecture`` has everything; the others repeat what it states by their
        name, and are None where it does not.

    Raises
    ------
    ValueError
        For a model of the other kind, or one that `check_architecture` refuses.
    """
    check_architecture(architecture)
    builder = str(architecture["_target_"])
    own = builder.split(".")[0]
    if own != name:
        raise ValueError(f"this model was made by {builder}: its layers are the backbone {own!r}")
    stated = {**(architecture.get("radial_chemical_embed") or {}), **architecture}
    return {
        **{key: stated.get(key) for key in DEFAULTS[name]},
        "cutoff": float(architecture["r_max"]),
        "elements": list(elements_of_types(architecture)),
        "architecture": dict(architecture),
    }
