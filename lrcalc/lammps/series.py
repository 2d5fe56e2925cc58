"""The file of `fix lrcalc`: dipole, field and current in time, as a table with a header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lrcalc.lammps.library import View
from lrcalc.lammps.style import Style

FIRST = "# lrcalc lammps series 1"
"""First line of a file."""

COLUMNS = (
    "step", "time_fs", "temperature_K", "enthalpy_eV", "volume_A3", "Mx_eA", "My_eA", "Mz_eA",
    "Ex_V/A", "Ey_V/A", "Ez_V/A",
)  # fmt: skip
CURRENT = ("Jx_eA/fs", "Jy_eA/fs", "Jz_eA/fs")


class Series:
    """A file that grows by a row; one that is there is continued after its last row.

    Parameters
    ----------
    name : str
        Of the file.
    style : Style
    view : View
        The system when the run begins.
    every : int
        Steps between rows.
    current : bool

    Raises
    ------
    ValueError
        If the file is there and is another thing, or of another run.
    """

    def __init__(self, name: str, style: Style, view: View, every: int, *, current: bool) -> None:
        self.path = Path(name)
        self.columns = COLUMNS + (CURRENT if current else ())
        self.timestep = 1000.0 * float(view.dt)
        header = self._header(style, view, every)
        self.last = -1
        if self.path.exists() and self.path.stat().st_size:
            self._continue(header, int(view.step))
        else:
            self.path.write_text("\n".join([FIRST, header, "# " + " ".join(self.columns)]) + "\n")

    def _header(self, style: Style, view: View, every: int) -> str:
        cell = [list(view.cell[3 * k : 3 * k + 3]) for k in range(3)]
        told: dict[str, Any] = {
            "model": style.model,
            "timestep_fs": self.timestep,
            "every": every,
            "cell": cell,
            "pbc": [bool(x) for x in view.periodic],
            "n_atoms": int(view.natoms),
            "charge": style.charge,
            "field": None if style.field is None else {style.field.kind: list(style.field.value)},
            "columns": list(self.columns),
        }
        return "# " + json.dumps(told)

    def _continue(self, header: str, step: int) -> None:
        """Keep the rows before ``step``."""
        lines = self.path.read_text().splitlines()
        if lines[0] != FIRST or len(lines) < 3:
            raise ValueError(
                f"fix lrcalc: {self.path} is there and is no series of lrcalc; name another"
            )
        ours, theirs = json.loads(header[2:]), json.loads(lines[1][2:])
        for name in ("model", "every", "n_atoms", "field", "columns", "timestep_fs"):
            if ours[name] != theirs.get(name):
                raise ValueError(
                    f"fix lrcalc: {self.path} is of another run ({name} {theirs.get(name)}, now "
                    f"{ours[name]}); name another file, or remove it"
                )
        kept = [
            x for x in lines[3:] if len(x.split()) == len(self.columns) and int(x.split()[0]) < step
        ]
        self.path.write_text("\n".join([*lines[:3], *kept]) + "\n")

    def write(self, step: int, values: list[float]) -> None:
        """Append the row of a step, once."""
        if step == self.last:  # the setup of a further `run`
            return
        self.last = step
        words = [str(step), *(f"{x:.15g}" for x in [step * self.timestep, *values])]
        with self.path.open("a") as file:
            file.write(" ".join(words) + "\n")
