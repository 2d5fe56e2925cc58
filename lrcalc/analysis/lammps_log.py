"""Thermodynamic output in log files of LAMMPS: lines of all three styles (one, multi, yaml).

A log says units, time step and which compute is a dipole where it echoes the input's commands,
which it does unless told not to.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.analysis.lammps_echo import Echo
from lrcalc.analysis.lammps_series import COLUMNS
from lrcalc.analysis.lammps_units import UNITS
from lrcalc.ipi_files.text import open_text

_FIRST = re.compile(r"LAMMPS \(\d+ \w+ \d{4}")
_MULTI = re.compile(r"-+ Step\s+(\d+) -+ CPU =\s*(\S+)")
_BEGIN = ("Per MPI rank memory allocation", "Memory usage per processor")
_PAIR = re.compile(r"(\S+)\s*=\s*(\S+)")
_PAIRS = re.compile(r"(\s*\S+\s*=\s*\S+)+\s*")
_UNIT_CHARGE = ("metal", "real", "electron", "nano")
"""Units whose charges are multiples of e."""


class LogTable(NamedTuple):
    """Output of one run or minimization."""

    columns: tuple[str, ...]
    values: np.ndarray
    """(T, columns), in the units of the run."""
    echo: Echo = Echo()
    """What was in force when it began; the atoms are those at its end."""

    def column(self, name: str) -> np.ndarray:
        """One column (T,), by its name."""
        if name not in self.columns:
            raise ValueError(f"the log has no column {name!r}; it has {' '.join(self.columns)}")
        return np.asarray(self.values[:, self.columns.index(name)])


class Log(NamedTuple):
    """A log: its tables in order, and what its echo of the input says of the last of them."""

    tables: list[LogTable]
    units: str | None
    timestep: float | None
    """In the run's unit of time."""
    dipoles: tuple[str, ...]
    """Computes that are dipoles."""


def is_log(path: str | Path) -> bool:
    """Whether a file is there and a log of LAMMPS."""
    if not Path(path).is_file():
        return False
    with open_text(path) as file:
        return _FIRST.match(file.readline()) is not None


def read_log(path: str | Path) -> Log:
    """All tables of a log; rows that were cut by a crash are left out.

    Raises
    ------
    ValueError
        If it has none.
    """
    with open_text(path) as file:
        lines = file.read().split("\n")
    tables = list(_tables(lines[:-1]))  # what has no end was cut
    if not tables:
        raise ValueError(f"{path} has no thermodynamic output: has the run begun?")
    echo = tables[-1].echo
    return Log(tables, echo.units, echo.timestep, tuple(dict.fromkeys(echo.dipoles)))


def read_log_series(
    path: str | Path, quantity: str, use_columns: Sequence[int] | None, unit: float | None
) -> Series:
    """Dipole or another quantity of the last run in a log.

    Parameters
    ----------
    use_columns
        Counted from 0; by default those that `fix lrcalc` would have called so, or of a compute
        that is a dipole.
    unit
        Factor to ours; by default that of the run's units, for charges in e.

    Raises
    ------
    ValueError
        If the columns cannot be told, steps are missing, or columns are divided by the number of
        atoms (`thermo_modify norm yes`) and nothing tells which, or how many those are.
    """
    log = read_log(path)
    table = _even(log.tables[-1])
    names = _names(table, log, quantity, path) if use_columns is None else _at(table, use_columns)
    scale = UNITS.get(log.units or "")
    ours = set(names) == set(COLUMNS.get(quantity, ()))
    if unit is None and not ours:
        if quantity != "dipole" or scale is None or log.units not in _UNIT_CHARGE:
            raise ValueError(
                f"{path} is in units {log.units or 'that it does not name'}: give `unit` of the "
                f"{quantity}"
            )
        unit = scale.length
    columns = [table.column(name) * _divisor(table, name, path) for name in names]
    values = np.stack(columns, axis=1) * (1.0 if ours else unit or 1)
    stride, timestep = _spacing(table, log, path)
    return Series(lambda: iter((values,)), len(names), str(path), timestep, stride)


def log_notes(path: str | Path) -> list[str]:
    """Say which of several runs of a log is read, and whether it has columns by atom."""
    if not is_log(path):
        return []
    tables = read_log(path).tables
    last, notes = tables[-1], []
    if len(tables) > 1 and "Step" in last.columns:
        steps = last.column("Step")
        notes.append(
            f"{path}: the last of {len(tables)} runs is read, steps {steps[0]:.0f} to "
            f"{steps[-1]:.0f}"
        )
    if last.echo.normed and any(map(last.echo.is_divided, last.columns)):
        notes.append(
            f"{path}: thermo_modify norm yes: columns of `compute pair` are multiplied by the "
            "number of atoms again"
        )
    return notes


def log_temperature(path: str | Path) -> tuple[float, str] | None:
    """Mean temperature (K) of the last run in a log, and where it is from; None without one."""
    table = read_log(path).tables[-1]
    if "Temp" not in table.columns or table.echo.units == "lj":  # reduced: no kelvin
        return None
    found = table.column("Temp")
    found = found[np.isfinite(found)]
    return (float(found.mean()), f"mean of the last run in {path}") if len(found) else None


def _names(table: LogTable, log: Log, quantity: str, path: object) -> tuple[str, ...]:
    ours = COLUMNS.get(quantity, ())
    if ours and set(ours) <= set(table.columns):
        return ours
    found = [tuple(f"c_{name}[{k}]" for k in (1, 2, 3)) for name in log.dipoles]
    found = [names for names in found if set(names) <= set(table.columns)]
    if quantity == "dipole" and len(found) == 1:
        return found[0]
    raise ValueError(
        f"{path}: which columns are the {quantity}? Name them by `columns`, counted from 0: "
        + " ".join(f"{k} {name}" for k, name in enumerate(table.columns))
    )


def _divisor(table: LogTable, name: str, path: object) -> np.ndarray | float:
    """By what LAMMPS has divided a column: 1, or the atoms, where `thermo_modify norm` is yes."""
    if not table.echo.normed:
        return 1.0
    divided = table.echo.is_divided(name)
    if divided is False:
        return 1.0
    if divided and "Atoms" in table.columns:
        return table.column("Atoms")
    if divided and table.echo.atoms is not None:
        return float(table.echo.atoms)
    missing = "how many those are" if divided else f"whether `columns` {name} is one"
    raise ValueError(
        f"{path}: thermo_modify norm is yes{' (by default in units lj)' * (not table.echo.norm)}: "
        f"LAMMPS divides extensive columns by the number of atoms, and nothing tells {missing}: "
        "run with `thermo_modify norm no`, or read the file of `fix lrcalc`, which is never divided"
    )


def _at(table: LogTable, use_columns: Sequence[int]) -> tuple[str, ...]:
    if max(use_columns) >= len(table.columns):
        raise ValueError(
            f"the log has {len(table.columns)} columns but column {max(use_columns)} was asked"
        )
    return tuple(table.columns[k] for k in use_columns)


def _even(table: LogTable) -> LogTable:
    """Leave out the very last step, which LAMMPS also prints where it is not due."""
    if "Step" not in table.columns:
        return table
    gaps = np.diff(table.column("Step"))
    late = len(gaps) > 1 and gaps[-1] < gaps[0]
    return table._replace(values=table.values[:-1]) if late else table


def _spacing(table: LogTable, log: Log, path: object) -> tuple[int | None, float | None]:
    """Return steps and fs between rows, where the log says them."""
    scale = UNITS.get(log.units or "")
    if "Step" not in table.columns:
        return None, None
    steps = table.column("Step")
    gaps = np.diff(steps)
    if len(gaps) and (gaps != gaps[0]).any():
        bad = int(np.argmax(gaps != gaps[0]))
        raise ValueError(
            f"{path}: step {steps[bad] + gaps[0]:g} expected but {steps[bad + 1]:g} found: rows "
            "are not evenly apart"
        )
    stride = int(gaps[0]) if len(gaps) else None
    timestep = None
    if scale is not None and stride:
        if "Time" in table.columns:
            times = table.column("Time")
            timestep = float(times[1] - times[0]) * scale.time
        elif log.timestep is not None:
            timestep = stride * log.timestep * scale.time
    return stride, timestep


def _tables(lines: list[str]) -> Iterator[LogTable]:
    """Tables of the lines of a log."""
    for part, echo in _sections(lines):
        first = part[0] if part else ""
        made = _multi if _MULTI.match(first) else _yaml if first.startswith("---") else _one
        table = made(part)
        if table is not None:
            yield table._replace(echo=echo)


def _sections(lines: list[str]) -> Iterator[tuple[list[str], Echo]]:
    """Lines of each run, after what its memory is and before how long its loop took.

    With them what was in force when it began, and the number of atoms at its end.
    """
    part: list[str] | None = None
    echo = before = Echo()
    for line in lines:
        echo = echo.after(line)
        if line.startswith(_BEGIN):
            if part is not None:  # the run before it was not ended
                yield part, before
            part, before = [], echo
        elif line.startswith("Loop time of") and part is not None:
            yield part, before._replace(atoms=echo.atoms)
            part = None
        elif part is not None and line.strip():
            part.append(line)
    if part is not None:
        yield part, before


def _one(part: list[str]) -> LogTable | None:
    """Read a line of names, then one of numbers for each step; warnings between them."""
    columns = tuple(part[0].split()) if part else ()
    return _table(columns, [line.split() for line in part[1:]])


def _yaml(part: list[str]) -> LogTable | None:
    """Read lists of YAML: `keywords: ['Step', …, ]`, then `- [0, …, ]`."""
    keywords = next((line for line in part if line.startswith("keywords:")), "")
    rows = (line.strip() for line in part)
    lists = [row[3:].rstrip("]").replace(",", " ").split() for row in rows if row[:3] == "- ["]
    return _table(tuple(re.findall(r"'([^']*)'", keywords)), lists)


def _multi(part: list[str]) -> LogTable | None:
    """Read a line with the step, then several of `name = value`."""
    frames: list[dict[str, str]] = []
    for line in part:
        if head := _MULTI.match(line):
            frames.append({"Step": head[1], "CPU": head[2]})
        elif frames and _PAIRS.fullmatch(line):
            frames[-1] |= dict(_PAIR.findall(line))
    complete = frames[:-1] or frames
    columns = tuple(
        name for name in (frames[0] if frames else ()) if all(name in one for one in complete)
    )
    return _table(columns, [[one.get(name, "") for name in columns] for one in frames])


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> LogTable | None:
    """Rows that have a number for every column."""
    numbers = [row for row in rows if len(row) == len(columns) and _all_numbers(row)]
    return LogTable(columns, np.array(numbers, dtype=float)) if numbers else None


def _all_numbers(words: Sequence[str]) -> bool:
    return bool(words) and all(_number(word) is not None for word in words)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
