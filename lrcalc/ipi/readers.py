"""Reads what i-PI writes, in lrcalc's units, whole or cut short, with repeated steps dropped.

A run that was interrupted and resumed writes the steps since its last checkpoint twice; the later
ones count.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import ase.io
import numpy as np
from numpy.typing import NDArray

from lrcalc.ipi.conversions import POLARIZABILITY_UNIT
from lrcalc.units import BOHR, EV_PER_A3_IN_GPA, HARTREE

Array = NDArray[np.float64]

ATOMIC_TIME = 2.4188843265857e-2
"""Atomic unit of time, fs."""

KELVIN_PER_HARTREE = 315775.02480407
"""Atomic unit of temperature, K."""

_FACTORS: dict[str, tuple[float, str]] = {
    "electronvolt": (1.0, "eV"),
    "hartree": (HARTREE, "eV"),
    "kelvin": (1.0, "K"),
    "femtosecond": (1.0, "fs"),
    "picosecond": (1e3, "fs"),
    "angstrom": (1.0, "Å"),
    "angstrom3": (1.0, "Å³"),
    "bohr": (BOHR, "Å"),
    "megapascal": (1e-3 / EV_PER_A3_IN_GPA, "eV/Å³"),
    "gigapascal": (1.0 / EV_PER_A3_IN_GPA, "eV/Å³"),
    "bar": (1e-4 / EV_PER_A3_IN_GPA, "eV/Å³"),
}

_ATOMIC: dict[str, tuple[float, str]] = {
    "step": (1.0, ""),
    "time": (ATOMIC_TIME, "fs"),
    "conserved": (HARTREE, "eV"),
    "temperature": (KELVIN_PER_HARTREE, "K"),
    "potential": (HARTREE, "eV"),
    "kinetic_md": (HARTREE, "eV"),
    "kinetic_cv": (HARTREE, "eV"),
    "volume": (BOHR**3, "Å³"),
    "cell_h": (BOHR, "Å"),
    "pressure_md": (HARTREE / BOHR**3, "eV/Å³"),
    "pressure_cv": (HARTREE / BOHR**3, "eV/Å³"),
    "virial_md": (HARTREE / BOHR**3, "eV/Å³"),
    "stress_md": (HARTREE / BOHR**3, "eV/Å³"),
}

_HEADER = re.compile(r"#\s*(?:column|cols\.)\s+(\d+)(?:-(\d+))?\s*-->\s*(\S+)")
_NAME = re.compile(r"([^({]+)(\([^)]*\))?(?:\{([^}]*)\})?")


class Properties(NamedTuple):
    """Columns of a properties file: `values[name]` of shape (T,) or (T, n), and their units."""

    values: dict[str, Array]
    units: dict[str, str]


class Extras(NamedTuple):
    """Extras of one file: `name`, `steps` (T,) and `values` (T, …).

    dipole (T, 3) in e Å; polarizability (T, 3, 3) in e Å²/V; BEC (T, N, 3, 3) in e, ordered
    [atom, field, displacement] as everywhere in lrcalc; others as printed.
    """

    name: str
    steps: NDArray[np.int64]
    values: Array


def _last_of_each(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows to keep: the last of each step, in the order of steps."""
    _, backwards = np.unique(steps[::-1], return_index=True)
    return len(steps) - 1 - backwards


def _unit(name: str, unit: str | None) -> tuple[float, str]:
    if unit in (None, "", "atomic_unit", "automatic"):
        return _ATOMIC.get(name, (1.0, "atomic_unit" if name not in _ATOMIC else ""))
    return _FACTORS.get(str(unit), (1.0, str(unit)))


def read_properties(path: str | Path) -> Properties:
    """Read a properties file of i-PI (``sim.out``).

    Energies come in eV, times in fs, lengths in Å, pressures in eV/Å³ (of ASE's stress, the
    negative trace over three), temperatures in K, whatever the file uses; a unit that is not
    known is kept and named in `units`. A last line that is not complete is left out.
    """
    with Path(path).open() as lines:
        table = parse_properties(lines)
    if not table.values:
        raise ValueError(f"{path} has no column headers: is it a properties file of i-PI?")
    return table


def parse_properties(lines: Iterable[str]) -> Properties:
    """Lines of a properties file; see `read_properties`. Without headers there are no columns."""
    columns: list[tuple[int, int, str]] = []
    rows: list[list[float]] = []
    for line in lines:
        if line.startswith("#"):
            match = _HEADER.match(line)
            if match:
                first = int(match.group(1))
                columns.append((first - 1, int(match.group(2) or first), match.group(3)))
        elif line.endswith("\n") and line.strip():
            rows.append([float(word) for word in line.split()])
    if not columns:
        return Properties({}, {})
    width = max(stop for _, stop, _ in columns)
    table = np.array([row for row in rows if len(row) == width]).reshape(-1, width)
    values: dict[str, Array] = {}
    units: dict[str, str] = {}
    for start, stop, label in columns:
        match = _NAME.match(label)
        name = label if match is None else match.group(1) + (match.group(2) or "")
        factor, unit = _unit(name.split("(")[0], None if match is None else match.group(3))
        column = table[:, start:stop] * factor
        values[name] = column[:, 0] if stop - start == 1 else column
        units[name] = unit
    if "step" in values and len(table):
        keep = _last_of_each(values["step"].astype(np.int64))
        values = {name: value[keep] for name, value in values.items()}
    return Properties(values, units)


_EXTRAS_HEADER = re.compile(r"\s*#EXTRAS\w*\(([^)]*)\)#\s*Step:\s*(\d+)")


def read_extras(path: str | Path) -> Extras:
    """Read a file of extras (``sim.dipole_0``) of one bead, or of a force component."""
    name = ""
    steps: list[int] = []
    frames: list[list[float]] = []
    complete = True
    with Path(path).open() as lines:
        for line in lines:
            match = _EXTRAS_HEADER.match(line)
            if match:
                name = match.group(1)
                steps.append(int(match.group(2)))
                frames.append([])
            elif steps and line.strip():
                complete = line.endswith("\n")
                if complete:
                    frames[-1].extend(float(word) for word in line.split())
    if not steps:
        raise ValueError(f"{path} has no frames of extras: is it an extras file of i-PI?")
    size = len(frames[0])
    if len(frames[-1]) != size:  # cut short
        steps, frames = steps[:-1], frames[:-1]
    if any(len(frame) != size for frame in frames):
        raise ValueError(f"the frames in {path} differ in size: the file is damaged")
    numbers = np.array(steps, dtype=np.int64)
    keep = _last_of_each(numbers)
    return Extras(name, numbers[keep], _shaped(name, np.array(frames)[keep]))


def _shaped(name: str, values: Array) -> Array:
    """Shapes and units of lrcalc."""
    count = len(values)
    if name == "dipole":
        return values.reshape(count, 3) * BOHR if values.shape[1] == 3 else values * BOHR
    if name == "polarizability":
        return values.reshape(count, 3, 3) * POLARIZABILITY_UNIT
    if name == "BEC":
        return values.reshape(count, -1, 3, 3).transpose(0, 1, 3, 2)
    return values


def bead_files(prefix: str | Path, name: str) -> list[Path]:
    """Find the files of all beads, in order: ``sim.dipole_0``, ``sim.dipole_1``.

    `prefix` may have a folder: ``run/sim``. With `name` "pos" the ``.extxyz`` files are found.
    """
    prefix = Path(prefix)
    pattern = re.compile(re.escape(f"{prefix.name}.{name}_") + r"(\d+)(\.\w+)?$")
    found = {
        int(match.group(1)): path
        for path in prefix.parent.iterdir()
        if (match := pattern.match(path.name))
    }
    if not found:
        single = prefix.with_name(f"{prefix.name}.{name}")
        if single.exists():
            return [single]
        raise FileNotFoundError(f"no file {prefix}.{name}_* : did the run write {name!r}?")
    return [found[index] for index in sorted(found)]


def read_bead_extras(paths: Sequence[str | Path]) -> Extras:
    """Extras of all beads, `values` of shape (B, T, …), at the steps that all beads have."""
    beads = [read_extras(path) for path in paths]
    steps = beads[0].steps
    for bead in beads[1:]:
        steps = np.intersect1d(steps, bead.steps)
    values = [bead.values[np.isin(bead.steps, steps)] for bead in beads]
    return Extras(beads[0].name, steps, np.stack(values))


def bead_average(paths: Sequence[str | Path]) -> Extras:
    """Mean over beads: the estimator of a property of the positions, `values` (T, …).

    For the dipole it is also what TRPMD and PA-CMD spectra are made of.
    """
    beads = read_bead_extras(paths)
    return beads._replace(values=beads.values.mean(axis=0))


class Trajectory(NamedTuple):
    """Positions (B, T, N, 3) in Å, cells (T, 3, 3) in Å as rows, species, steps (T,)."""

    positions: Array
    cells: Array
    numbers: NDArray[np.int64]
    steps: NDArray[np.int64]

    def centroid(self) -> Array:
        """Mean position over beads, (T, N, 3)."""
        return np.asarray(self.positions.mean(axis=0))


def read_positions(paths: Sequence[str | Path]) -> Trajectory:
    """Read positions of all beads from ``sim.pos_*.extxyz``."""
    beads, cells, steps = [], [], []
    numbers = np.zeros(0, dtype=np.int64)
    for path in paths:
        frames = ase.io.read(path, index=":")
        number = np.array([int(frame.info.get("Step", i)) for i, frame in enumerate(frames)])
        keep = _last_of_each(number)
        beads.append([frames[i].positions for i in keep])
        cells = [np.array(frames[i].cell) for i in keep]
        steps.append(number[keep])
        numbers = frames[0].numbers
    count = min(len(bead) for bead in beads)
    return Trajectory(
        np.array([bead[:count] for bead in beads]),
        np.array(cells[:count]),
        numbers,
        steps[0][:count],
    )
