"""What a log of LAMMPS says about a run besides its table: the echo of the input, counts of atoms.

``thermo_modify norm yes``, the default in ``units lj``, has LAMMPS divide every extensive column by
the number of atoms: all of a ``compute pair``, the dipole of lrcalc among them. Those of
``compute dipole`` are intensive to LAMMPS, and variables are written as they are.
"""

import re
from typing import NamedTuple

_COMPUTE = re.compile(r"compute\s+(\S+)\s+\S+\s+(\S+)(?:\s+(\S+))?")
_ATOMS = re.compile(r"\s*(\d+) atoms\s*$|Deleted \d+ atoms, new total = (\d+)")
_LOOP = re.compile(r"Loop time of .* with (\d+) atoms")
_CREATED = re.compile(r"Created (\d+) atoms\s*$")
_COLUMN = re.compile(r"c_(\w+)")
_FIRST = re.compile(r"LAMMPS \(\d+ \w+ \d{4}")
_LOGICAL = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class Echo(NamedTuple):
    """What is in force where a run begins; None where the log does not say it."""

    units: str | None = None
    timestep: float | None = None
    """In the run's unit of time."""
    computes: tuple[tuple[str, str, str], ...] = ()
    """ID, style and first argument of each compute."""
    norm: bool | None = None
    """As `thermo_modify` has it; None: the default of the units."""
    atoms: int | None = None

    @property
    def normed(self) -> bool:
        """Whether extensive columns are divided by the number of atoms."""
        return self.units == "lj" if self.norm is None else self.norm

    @property
    def dipoles(self) -> tuple[str, ...]:
        """IDs of computes whose first three numbers are a dipole."""
        return tuple(
            name
            for name, style, first in self.computes
            if style.startswith("dipole") or (style, first) == ("pair", "lrcalc")
        )

    def is_divided(self, column: str) -> bool | None:
        """Whether norm divides a column of the table; None where that is not known."""
        if column.startswith("v_"):
            return False
        found = _COLUMN.match(column)
        styles = [style for name, style, _ in self.computes if found and name == found[1]]
        if not styles:
            return None
        return {"pair": True, "dipole": False, "dipole/chunk": False}.get(styles[-1])

    def after(self, line: str) -> "Echo":
        """Return what is in force after one more line of the log."""
        if _FIRST.match(line):
            return Echo()
        if found := _ATOMS.match(line) or _LOOP.match(line):
            return self._replace(atoms=int(next(filter(None, found.groups()))))
        if found := _CREATED.match(line):
            return self._replace(atoms=(self.atoms or 0) + int(found[1]))
        return self._after_command(line.partition("#")[0].split(), line)

    def _after_command(self, words: list[str], line: str) -> "Echo":
        if words == ["clear"]:
            return Echo()
        if len(words) < 2:
            return self
        command, value = words[:2]
        if command == "units":
            return self._replace(units=value)
        if command == "timestep":
            return self._replace(timestep=_positive(value) or self.timestep)
        if command == "thermo_style":  # "previous thermo_modify settings will be lost"
            return self._replace(norm=None)
        if command == "thermo_modify" and "norm" in words[1:-1]:
            # of a variable, ${x}, the echo comes again with its value
            told = _LOGICAL.get(words[words.index("norm", 1) + 1], self.norm)
            return self._replace(norm=told)
        if found := _COMPUTE.match(line.lstrip()):
            return self._replace(computes=(*self.computes, (found[1], found[2], found[3] or "")))
        return self


def _positive(text: str) -> float | None:
    try:
        return float(text) or None
    except ValueError:
        return None
