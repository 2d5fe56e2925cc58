"""The door: what is asked of a model is checked once, not in every step of a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcalc.callers import users_line
from lrcalc.fields import Field
from lrcalc.frames import Frames
from lrcalc.models.card import molecule_warning
from lrcalc.models.options import MACE_MODEL, NEQUIP_MODEL
from lrcalc.models.potential import Potential
from lrcalc.models.requests import check_request
from lrcalc.properties import needing
from lrcalc.system import check_frames


class Door:
    """Remembers what was let in last: the same again passes, whatever its (finite) positions.

    Of the potential, what the checks read is remembered too: one that is changed in place, by
    another option or species, is asked again.
    """

    def __init__(self) -> None:
        self._passed: Any = None
        self._warned = False
        self._told_of_charge = False

    def check(
        self,
        potential: Potential,
        frames: Sequence[Frames],
        wanted: set[str],
        field: Field | None,
        *,
        allow_net_charge: bool,
    ) -> None:
        """Refuse what the model or a structure cannot give, before anything is computed.

        Raises
        ------
        ValueError
            Naming the property, the structure and the way out.
        """
        held = set() if field is None else {field.kind}
        asked = (
            potential, potential.surface, dict(potential.config), potential.species,
            frozenset(wanted), frozenset(held), allow_net_charge,
            [
                (part.numbers.tobytes(), part.pbc.tobytes(), part.charge, part.cells.tobytes())
                for part in frames
            ],
        )  # fmt: skip
        # a sum is finite only if all it was made of is
        if asked == self._passed and all(np.isfinite(part.positions.sum()) for part in frames):
            return
        check_request(potential, frames, wanted, held=held, allow_net_charge=allow_net_charge)
        self._warn_of_molecules(potential, frames, wanted)
        self._warn_of_charge(potential, frames)
        check_frames(frames)
        for part in frames:
            potential.check_species(part.numbers)
        self._passed = asked

    def _warn_of_molecules(
        self, potential: Potential, frames: Sequence[Frames], wanted: set[str]
    ) -> None:
        """Warn once if a surface of condensed matter is asked for the response of a molecule."""
        open_ones = any(not part.pbc.any() for part in frames)
        if self._warned or potential.surface is None or not open_ones:
            return
        told = molecule_warning(potential.metadata) if needing("response", wanted) else None
        if told:
            self._warned = True
            warnings.warn(told, stacklevel=users_line())

    def _warn_of_charge(self, potential: Potential, frames: Sequence[Frames]) -> None:
        """Warn once if a structure states a charge that the model's energy does not hear of."""
        backbone = potential.config.get("backbone")
        charge = next((part.charge for part in frames if part.charge), 0.0)
        if self._told_of_charge or not charge or backbone not in (MACE_MODEL, NEQUIP_MODEL):
            return
        self._told_of_charge = True
        rest = "" if potential.config["level"] == "sr" else " (only dipoles and Born charges have)"
        warnings.warn(
            f"a structure states the total charge {charge:g} e, but energies and forces of a "
            f"converted model know nothing of it{rest}: they are those that the file gives this "
            "arrangement of atoms",
            stacklevel=users_line(),
        )
