"""Under which conditions a run was made: what an analysis must know before it uses a formula.

A fluctuation formula holds for one ensemble at one electric boundary condition. Whoever runs
writes these conditions beside the trajectory (`to_info`), and whoever analyses reads them back
(`from_info`, or from an i-PI folder) and uses or refuses them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from lrcalc.fields import DISPLACEMENT, KINDS

KEY = "run_conditions"
"""Entry of a frame's ``info``: JSON, one line, so that every format that keeps text keeps it."""


class RunConditions(NamedTuple):
    """Conditions of a run; None or "" where they are not known.

    Attributes
    ----------
    ensemble : str
        "nve", "nvt", "npt"; "" if unknown.
    thermostat : str
        "none", or its name: "bussi", "svr", "langevin", "pile_g", "nose-hoover", …
    dynamics : str
        What the time axis means: "classical", "rpmd", "trpmd", "pa-cmd", "pimd", "te-pigs",
        "exchange"; "motion …" with the name of what is not dynamics alone.
    beads : int
    temperature : float or None
        K, of the thermostat, or of the initial velocities at constant energy.
    timestep : float or None
        fs, of the integrator.
    held : str
        "" for none (constant E = 0, tin-foil), or one of `lrcalc.fields.KINDS`.
    value : tuple of float or None, length 3
        Of what is held, in its unit; the amplitude if it varies.
    varies : bool
        The field depends on time (ramp, cycle, pulse): the run is driven, not in equilibrium.
    epsilon_infinity : float or None
        Electronic permittivity of the enthalpy that made the forces.
    model : str
    """

    ensemble: str = ""
    thermostat: str = ""
    dynamics: str = "classical"
    beads: int = 1
    temperature: float | None = None
    timestep: float | None = None
    held: str = ""
    value: tuple[float, float, float] | None = None
    varies: bool = False
    epsilon_infinity: float | None = None
    model: str = ""

    @property
    def at_constant_d(self) -> bool:
        """Whether D is held, or driven."""
        return self.held == DISPLACEMENT


def to_info(conditions: RunConditions) -> dict[str, str]:
    """Entry for ``atoms.info``: ``{KEY: JSON}`` without what is at its default.

    Extended xyz loses backslashes, so a text has none: quotation marks in it become ', the
    separators of other systems' paths /.
    """
    defaults = RunConditions()
    told = {
        name: _plain(value)
        for name, value in conditions._asdict().items()
        if value != getattr(defaults, name)
    }
    return {KEY: json.dumps(told, ensure_ascii=False)}


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return " ".join(value.replace('"', "'").replace("\\", "/").split())


def from_info(info: Mapping[str, Any]) -> RunConditions | None:
    """Conditions that `to_info` wrote, None if there are none.

    Raises
    ------
    ValueError
        If the entry is there and cannot be understood.
    """
    if KEY not in info:
        return None
    content = info[KEY]
    try:
        told = dict(json.loads(content) if isinstance(content, str) else content)
    except (TypeError, ValueError):
        told = {"": None}
    unknown = set(told) - set(RunConditions._fields)
    if unknown or told.get("held", "") not in ("", *KINDS):
        raise ValueError(
            f"info[{KEY!r}] is {content!r}, which is not what lrcalc writes; delete it if the "
            "conditions of the run do not matter"
        )
    if told.get("value") is not None:
        x, y, z = (float(c) for c in told["value"])
        told["value"] = (x, y, z)
    return RunConditions(**told)
