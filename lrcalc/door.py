"""The door: what is asked of a model is checked once, not in every step of a run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcalc.callers import users_line
from lrcalc.fields import Field
from lrcalc.frames import Frames
from lrcalc.models.card import charge_warning, field_warning, molecule_warning
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
        self._told: set[Any] = set()

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
        check_frames(frames)
        for part in frames:
            potential.check_species(part.numbers)
        self._warn(potential, frames, wanted, field)  # of what is not refused
        self._passed = asked

    def _warn(
        self,
        potential: Potential,
        frames: Sequence[Frames],
        wanted: set[str],
        field: Field | None,
    ) -> None:
        """Say what a model gives, and what is not what one would take it for: each once."""
        for doubt in (molecules_told, charges_told, field_told):
            if doubt in self._told:
                continue
            line = doubt(potential, frames, wanted, field)
            if line:
                self._told.add(doubt)
                warnings.warn(line, stacklevel=users_line())


def molecules_told(
    potential: Potential, frames: Sequence[Frames], wanted: set[str], field: Field | None
) -> str | None:
    """Whether a surface of condensed matter is asked for the response of a molecule."""
    open_ones = any(not part.pbc.any() for part in frames)
    if potential.surface is None or not open_ones or not needing("response", wanted):
        return None
    return molecule_warning(potential.metadata)


def charges_told(
    potential: Potential, frames: Sequence[Frames], wanted: set[str], field: Field | None
) -> str | None:
    """Whether a structure states a charge that the energy does not hear of, or never learned."""
    charges = [part.charge for part in frames]
    return charge_warning(potential.metadata, potential.config, charges)


def field_told(
    potential: Potential, frames: Sequence[Frames], wanted: set[str], field: Field | None
) -> str | None:
    """Whether forces in a field are asked for that are no derivative of the energy."""
    if field is None or not any(field.value) or not wanted & {"energy", "forces"}:
        return None
    return field_warning(potential.config, (bool(part.pbc.any()) for part in frames))
