"""The file of `fix lrcalc`: dipole, field and current in time, as a table with a header."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrcalc.files import replacing
from lrcalc.lammps.library import View
from lrcalc.lammps.style import Style

FIRST = "# lrcalc lammps series 1"
"""First line of a file."""

COLUMNS = (
    "step", "time_fs", "temperature_K", "enthalpy_eV", "volume_A3", "Mx_eA", "My_eA", "Mz_eA",
    "Ex_V/A", "Ey_V/A", "Ez_V/A",
)  # fmt: skip
CURRENT = ("Jx_eA/fs", "Jy_eA/fs", "Jz_eA/fs")


PS = 1000.0
"""fs; LAMMPS' unit of time in `units metal`."""


class Series:
    """A file that grows by a row; that of a run that goes on is continued after its last row.

    Parameters
    ----------
    name : str
        Of the file. A run that begins with step 0 replaces it.
    style : Style
    view : View
        The system when the run begins.
    every : int
        Steps between rows.
    fixes : sequence of str
        ID, style and target temperature of each fix, one after the other.
    current : bool

    Raises
    ------
    ValueError
        If the file is there and is no such series, or is one of another run.
    """

    def __init__(
        self,
        name: str,
        style: Style,
        view: View,
        every: int,
        fixes: Sequence[str],
        *,
        current: bool,
    ) -> None:
        self.path = Path(name)
        self.columns = COLUMNS + (CURRENT if current else ())
        self.timestep = PS * float(view.dt)
        self.told = told = self._told(style, view, every, fixes)
        self.last = -1
        head = [FIRST, "# " + json.dumps(told), "# " + " ".join(self.columns)]
        rows: list[str] = []
        if self.path.exists():
            rows = self._earlier(told, int(view.step))
        with replacing(self.path) as temporary:
            temporary.write_text("\n".join([*head, *rows]) + "\n")
        self.size = self.path.stat().st_size

    def _told(self, style: Style, view: View, every: int, fixes: Sequence[str]) -> dict[str, Any]:
        """Collect what a reader has to know of the run."""
        triples = zip(fixes[::3], fixes[1::3], fixes[2::3], strict=True)
        return {
            "model": style.model,
            "timestep_fs": PS * float(view.dt),
            "every": every,
            "cell": [list(view.cell[3 * k : 3 * k + 3]) for k in range(3)],
            "pbc": [bool(x) for x in view.periodic],
            "n_atoms": int(view.natoms),
            "charge": style.charge,
            "epsilon_infinity": style.epsilon_infinity,
            "field": None if style.field is None else {style.field.kind: list(style.field.value)},
            "fixes": [[one, kind, float(t) if t else None] for one, kind, t in triples],
            "columns": list(self.columns),
        }

    def goes_on(self, style: Style, view: View, every: int, fixes: Sequence[str]) -> bool:
        """Whether a further `run` of the same input is what stands in front, and later in time."""
        now = self._told(style, view, every, fixes)
        return int(view.step) >= self.last and now | {"cell": self.told["cell"]} == self.told

    def _earlier(self, told: dict[str, Any], step: int) -> list[str]:
        """Rows of the file before ``step``; none where a run begins anew."""
        if not self.path.stat().st_size:  # as LAMMPS leaves it until its buffer is full
            raise ValueError(
                f"fix lrcalc: {self.path} is there and empty: a dump, a log or a fix of this input "
                "may have opened it; name another file, or remove it"
            )
        lines = self.path.read_text().split("\n")[:-1]  # what is behind the last newline was cut
        if lines[:1] != [FIRST] or len(lines) < 3:
            raise ValueError(
                f"fix lrcalc: {self.path} is there and is no series of lrcalc; name another"
            )
        if step == 0:
            return []
        theirs = json.loads(lines[1][2:])
        for name in (
            "model", "every", "n_atoms", "field", "charge", "epsilon_infinity", "columns",
            "timestep_fs",
        ):  # fmt: skip
            if told[name] != theirs.get(name):
                raise ValueError(
                    f"fix lrcalc: {self.path} is of another run ({name} {theirs.get(name)}, now "
                    f"{told[name]}); name another file, or remove it"
                )
        return [x for x in lines[3:] if int(x.split()[0]) < step]

    def write(self, view: View, values: Sequence[float]) -> None:
        """Append the row of a step, once."""
        step = int(view.step)
        if step == self.last:  # the setup of a further `run`
            return
        if abs(PS * float(view.dt) - self.timestep) > 1e-9 * self.timestep:
            raise ValueError(
                f"fix lrcalc: the timestep was {self.timestep:g} fs and is {PS * float(view.dt):g} "
                f"fs in step {step}; a series has one: give a file for each"
            )
        self._check_alone(step)
        self.last = step
        words = [str(step), *(f"{x:.15g}" for x in [step * self.timestep, *values])]
        with self.path.open("a") as file:
            file.write(" ".join(words) + "\n")
            self.size = file.tell()

    def _check_alone(self, step: int) -> None:
        """Refuse to go on in a file that a dump, a restart, a log or another run writes, too."""
        size = self.path.stat().st_size if self.path.exists() else None
        if size != self.size:
            found = "is gone" if size is None else f"has {size} bytes"
            raise ValueError(
                f"fix lrcalc: {self.path} {found} in step {step}, where {self.size} bytes were "
                "written: a dump, a restart, a log or another run writes it, too; name another "
                "file for one of them"
            )
