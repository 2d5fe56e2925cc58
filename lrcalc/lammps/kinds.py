"""What each kind of LAMMPS run means: ensemble, time step, precision, what it has to be given."""

from __future__ import annotations

from typing import NamedTuple

from lrcalc.fields import DISPLACEMENT, FIELD


class Kind(NamedTuple):
    """Defaults of a kind of run.

    Attributes
    ----------
    about : str
    ensemble : str
        "nve", "nvt", "npt"; "" where atoms go downhill.
    timestep : float
        fs.
    dtype : str
        Of the model.
    moves_cell : bool
        The cell is relaxed too.
    needs_field : str
        Kind of field that must be given.
    """

    about: str
    ensemble: str = "nvt"
    timestep: float = 0.5
    dtype: str = "float32"
    moves_cell: bool = False
    needs_field: str = ""


KINDS: dict[str, Kind] = {
    "nve": Kind("dynamics at constant energy", ensemble="nve"),
    "nvt": Kind("sampling at constant temperature"),
    "npt": Kind("sampling at constant temperature and pressure", ensemble="npt"),
    "efield": Kind("dynamics in a constant electric field E", needs_field=FIELD),
    "dfield": Kind("dynamics at constant electric displacement D", needs_field=DISPLACEMENT),
    "minimize": Kind("atoms moved to the nearest minimum", ensemble="", dtype="float64"),
    "relax": Kind(
        "atoms and cell moved to the nearest minimum at a pressure",
        ensemble="", dtype="float64", moves_cell=True,
    ),
}  # fmt: skip
"""Kind of run by its name."""

WORD = {FIELD: "field", DISPLACEMENT: "dfield"}
"""Kind of field → its word in `pair_style lrcalc`."""
