"""What a model's card says about runs that it is not made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CONSTANT_PRESSURE = "not_for_constant_pressure"
"""Key of the card: why the model's pressure is not to be trusted."""


def pressure_warning(name: str, card: Mapping[str, Any]) -> str | None:
    """Return what to say before this model's stress moves a cell, or None.

    Parameters
    ----------
    name : str
        Of the model, as the user gave it.
    card : mapping
        ``Potential.metadata``.
    """
    reason = card.get(CONSTANT_PRESSURE)
    errors = card.get("errors")  # of `lrcalc train`, on the validation frames
    if not reason and errors and "valid_stress" not in errors:
        reason = "it was trained without stresses"
    if not reason:
        return None
    return f"warning: model {name!r} is not made for constant pressure: {reason}"


def nuclei_warning(name: str, card: Mapping[str, Any], beads: int) -> str | None:
    """Return what to say before ring polymers meet a model that knows classical nuclei only."""
    if beads < 2 or card.get("nuclei") != "classical":
        return None
    return (
        f"warning: model {name!r} was trained on classical nuclei only; with {beads} beads "
        "protons go where it has seen nothing, and bonds may break. Use a model trained on "
        "path-integral frames (bundled: water-quantum)"
    )
