"""Which charges a model is given when the data are to decide (`lrcalc train --charges auto`)."""

from __future__ import annotations

from collections.abc import Sequence

from lrcalc.training.data import Frame

AUTO = "auto"
"""Choice that leaves it to the data."""

REASONS = {
    "atomic": "all training structures are open, where atomic charges are exact too and learn more "
    "of the dipoles",
    "local": "some training structures are periodic, where only local charges have an energy in a "
    "field",
}
"""Family → why the data ask for it."""


def choose_charges(choice: str, frames: Sequence[Frame], level: str) -> tuple[str, str | None]:
    """Return the family of charges, and why where the data decide.

    Atomic charges in open structures have an exact enthalpy (physics §4) and learn dipoles sooner
    (docs/local-charges.md); in periodic ones only local charges have one.

    Parameters
    ----------
    choice : {"auto", "local", "atomic"}
    frames : sequence of Frame
        Training frames.
    level : str
        Without charges ("sr") there is nothing to say.
    """
    if choice != AUTO:
        return choice, None
    periodic = any(bool(frame.system.pbc.any()) for frame in frames)
    family = "local" if periodic else "atomic"
    return family, None if level == "sr" else REASONS[family]
