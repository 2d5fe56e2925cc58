"""Properties files of i-PI (``sim.out``): columns with names and units."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.ipi_files.branches import kept
from lrcalc.ipi_files.cells import Array
from lrcalc.ipi_files.quantities import DIMENSION, OURS, factor
from lrcalc.ipi_files.text import open_text

_HEADER = re.compile(r"#\s*(?:column|cols\.)\s+(\d+)(?:-(\d+))?\s*-->\s*(\S.*?)(?:\s+:\s|\s*$)")
_UNIT = re.compile(r"\{([^}]*)\}")


class Properties(NamedTuple):
    """Columns of a properties file: `values[name]` of shape (T,) or (T, n), and their units."""

    values: dict[str, Array]
    units: dict[str, str]


class Column(NamedTuple):
    """One property of the header: where it stands, its name and the factor to lrcalc's unit."""

    start: int
    stop: int
    name: str
    factor: float
    unit: str


def read_properties(path: str | Path) -> Properties:
    """Read a properties file of i-PI (``sim.out``).

    Energies come in eV, times in fs, lengths in Å, pressures in eV/Å³ (of ASE's stress, the
    negative trace over three), temperatures in K, whatever the file uses; a unit that is not
    known is kept and named in `units`. A last line that is not complete is left out, and so are
    the lines that a resumed run replaced.
    """
    with open_text(path) as lines:
        table = parse_properties(lines)
    if not table.values:
        raise ValueError(f"{path} has no column headers: is it a properties file of i-PI?")
    return table


def parse_properties(lines: Iterable[str]) -> Properties:
    """Lines of a properties file; see `read_properties`. Without headers there are no columns."""
    columns: list[Column] = []
    rows: list[str] = []
    for line in lines:
        if line.startswith("#"):
            match = _HEADER.match(line)
            if match:
                column = _column(match)
                # a run that was resumed writes the header again
                columns = [c for c in columns if c.start != column.start] + [column]
        elif line.endswith("\n") and line.strip():
            rows.append(line)
    if not columns:
        return Properties({}, {})
    table = _table(rows, max(column.stop for column in columns))
    values = {c.name: _values(table, c) for c in columns}
    order = values.get("step", values.get("time"))
    if order is not None and len(table):
        keep = kept(order)
        values = {name: value[keep] for name, value in values.items()}
    return Properties(values, {c.name: c.unit for c in columns})


def _table(rows: Sequence[str], width: int) -> Array:
    """Numbers (T, width); a row that was cut is too short, or has the next one behind it."""
    words = [row.split() for row in rows]
    found = []
    for row in words:
        if len(row) >= width:
            try:
                found.append([float(word) for word in row[-width:]])
            except ValueError:
                continue  # cut within a number, with the next row behind it
    return np.array(found).reshape(-1, width)


def _column(match: re.Match[str]) -> Column:
    """Name and unit of a header such as ``potential{electronvolt}`` or ``atom_x{angstrom}(3)``."""
    first, label = int(match[1]), match[3].strip()
    unit = _UNIT.search(label)
    name = _UNIT.sub("", label).replace(" ", "")
    scale, ours = _scale(name.partition("(")[0], unit[1] if unit else None)
    return Column(first - 1, int(match[2] or first), name, scale, ours)


def _scale(name: str, unit: str | None) -> tuple[float, str]:
    dimension = DIMENSION.get(name)
    plain = (unit or "").strip().lower() in ("", "automatic", "atomic_unit")
    if dimension is None:
        return 1.0, "" if name == "step" else "atomic_unit" if plain else str(unit)
    try:
        return factor(dimension, unit), OURS[dimension]
    except ValueError:
        return 1.0, str(unit)


def _values(table: Array, column: Column) -> Array:
    found: Array = table[:, column.start : column.stop] * column.factor
    return found[:, 0] if column.stop - column.start == 1 else found
