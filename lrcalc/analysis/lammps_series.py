"""Dipole, current and temperature of a LAMMPS run, as `fix … lrcalc` of its input writes them.

Two lines of comment in front (the second is JSON) say under which conditions the run was made. Of a
file that a restarted run appended to, the later branch counts (:mod:`lrcalc.ipi_files.branches`).
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.fields import KINDS
from lrcalc.ipi_files.branches import replaced
from lrcalc.ipi_files.extras import numbers
from lrcalc.ipi_files.text import open_text
from lrcalc.run_conditions import RunConditions

MARK = "# lrcalc lammps series"
"""Begin of the first line."""

SUFFIX = ".series"
"""Of the file, where its run has a name: NAME.series beside NAME.dump."""

COLUMNS = {
    "dipole": ("Mx_eA", "My_eA", "Mz_eA"),
    "current": ("Jx_eA/fs", "Jy_eA/fs", "Jz_eA/fs"),
}
"""Names of the columns of a quantity, in e Å and e Å/fs."""

THERMOSTATS = {
    "temp/csvr": "svr", "temp/csld": "svr", "nvt": "nose-hoover", "npt": "nose-hoover",
    "temp/berendsen": "berendsen", "temp/rescale": "rescale", "langevin": "langevin",
    "gjf": "langevin", "gld": "gle", "gle": "gle",
}  # fmt: skip
"""Fixes of LAMMPS that hold a temperature → thermostats as `RunConditions` has them."""

BAROSTATS = ("npt", "nph", "press/berendsen", "box/relax", "press/langevin", "deform")
"""Fixes that change the cell."""

_LINES = 4096
"""Lines read at a time."""


class Head(NamedTuple):
    """What the first lines of a file of a series say."""

    columns: tuple[str, ...]
    every: int
    """Integrator steps between rows."""
    timestep: float
    """fs, of the integrator."""
    cell: np.ndarray
    """(3, 3) rows, Å; of the start."""
    conditions: RunConditions
    pbc: tuple[bool, bool, bool] = (True, True, True)


def is_series(path: str | Path) -> bool:
    """Whether a file is there and one of these."""
    if not Path(path).is_file():
        return False
    with open_text(path) as file:
        return file.readline(len(MARK) + 1).startswith(MARK)


def series_of(path: str | Path) -> Path | None:
    """Return the series itself, or that of the run that wrote a dump beside it; None without."""
    path = Path(path)
    if is_series(path):
        return path
    beside = path.with_name(Path(path.name.removesuffix(".gz")).stem + SUFFIX)
    return beside if beside.is_file() and is_series(beside) else None


def read_head(path: str | Path) -> Head:
    """Read what the first lines say.

    Raises
    ------
    ValueError
        If they are damaged.
    """
    with open_text(path) as file:
        lines = list(islice(file, 2))
    try:
        told = json.loads(lines[1].lstrip("# "))
        x, y, z = (bool(on) for on in told.get("pbc", (True, True, True)))
        return Head(
            tuple(told["columns"]), int(told["every"]), float(told["timestep_fs"]),
            np.array(told["cell"], dtype=float).reshape(3, 3), _conditions(told), (x, y, z),
        )  # fmt: skip
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: the second line, which says how the run was made, cannot be read"
            f" ({type(error).__name__}: {error}); put it back"
        ) from error


def read_lammps_series(path: str | Path, quantity: str, factor: float = 1.0) -> Series:
    """Dipole (T, 3) in e Å, or current in e Å/fs.

    Raises
    ------
    ValueError
        If the file has no such columns, rows are missing, or none is whole.
    """
    path = Path(path)
    head = read_head(path)
    names = COLUMNS.get(quantity, ())
    if not names or not set(names) <= set(head.columns):
        raise ValueError(
            f"{path} has no {quantity}, only {' '.join(head.columns)}"
            + "; say `current` in `fix … lrcalc N FILE current`" * (quantity == "current")
        )
    _check_steps(head, path)
    chosen = [head.columns.index(name) for name in names]

    def chunks() -> Iterator[np.ndarray]:
        for rows in _rows(path, head):
            yield rows[:, chosen] * factor

    spacing = head.every * head.timestep
    return Series(chunks, 3, str(path), spacing, head.every, head.conditions)


def column(path: str | Path, name: str) -> np.ndarray | None:
    """One column (T,) of a file, such as ``temperature_K``; None if there is none."""
    head = read_head(path)
    if name not in head.columns:
        return None
    at = head.columns.index(name)
    return np.concatenate([np.empty(0), *(rows[:, at] for rows in _rows(Path(path), head))])


def _rows(path: Path, head: Head) -> Iterator[np.ndarray]:
    """Whole rows of the later branch, (n, columns)."""
    steps, width = _steps(path, head), len(head.columns)
    left_out, number = set(replaced(steps).tolist()), 0
    with open_text(path) as file:
        while block := list(islice(file, _LINES)):
            kept = []
            for line in block:
                if _is_whole(line, width):
                    if number not in left_out:
                        kept.append(line)
                    number += 1
            if kept:
                yield numbers(" ".join(kept), path).reshape(len(kept), width)


def _steps(path: Path, head: Head) -> np.ndarray:
    """Return the steps of all whole rows."""
    width = len(head.columns)
    with open_text(path) as file:
        return np.array([int(line.split(None, 1)[0]) for line in file if _is_whole(line, width)])


def _is_whole(line: str, width: int) -> bool:
    """Whether a line is a row that was written to its end."""
    return not line.startswith("#") and line.endswith("\n") and len(line.split()) == width


def _check_steps(head: Head, path: Path) -> None:
    steps = _steps(path, head)
    steps = np.delete(steps, replaced(steps))
    if not len(steps):
        raise ValueError(f"{path} has no whole row: has the run begun?")
    due = steps[0] + head.every * np.arange(len(steps))
    if (steps != due).any():
        bad = int(np.argmax(steps != due))
        raise ValueError(
            f"{path}: step {due[bad]} expected but {steps[bad]} found: rows are missing; give the "
            "parts as separate files"
        )


def _conditions(told: dict[str, Any]) -> RunConditions:
    """Conditions of a run, from what stands in front of its series."""
    fixes = told.get("fixes", [])
    styles = [_plain(style) for _, style, *_ in fixes]
    thermostats = dict.fromkeys(THERMOSTATS[style] for style in styles if style in THERMOSTATS)
    aims = [aim for _, _, aim, *_ in fixes if aim is not None]
    held, value = "", None
    for kind, vector in (told.get("field") or {}).items():
        if kind not in KINDS:
            raise ValueError(f"field {kind!r} is not known")
        x, y, z = (float(c) for c in vector)
        held, value = kind, (x, y, z)
    return RunConditions(
        ensemble=_ensemble(styles),
        thermostat=" + ".join(thermostats) or ("none" if styles else ""),
        temperature=float(aims[0]) if aims else told.get("temperature_K"),
        timestep=float(told["timestep_fs"]),
        held=held,
        value=value,
        epsilon_infinity=told.get("epsilon_infinity"),
        model=str(told.get("model", "")),
    )


def _plain(style: str) -> str:
    """Return the style of a fix without the suffix of an accelerated one."""
    for suffix in ("/omp", "/kk", "/intel", "/kk/device", "/kk/host"):
        style = style.removesuffix(suffix)
    return style


def _ensemble(styles: Sequence[str]) -> str:
    if not styles:
        return ""
    if any(style in BAROSTATS for style in styles):
        return "npt"
    return "nvt" if any(style in THERMOSTATS for style in styles) else "nve"
