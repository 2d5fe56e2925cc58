"""Reads what i-PI writes, in lrcalc's units, whole or cut short, with repeated steps dropped.

A run that was interrupted and resumed writes the steps since its last checkpoint twice; the later
ones count. Killed while it wrote, it leaves a frame that is cut in the middle of a line, at the end
of the file or, once resumed, with the next frame on the same line: such frames are left out, and
must be there again later in the file.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers
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
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("#"):
            match = _HEADER.match(line)
            if match:
                first = int(match.group(1))
                columns.append((first - 1, int(match.group(2) or first), match.group(3)))
        elif line.endswith("\n") and line.strip():
            rows.append(line.split())
    if not columns:
        return Properties({}, {})
    width = max(stop for _, stop, _ in columns)
    # a row that was cut is too short, or has the next one behind it on the same line
    numbers = [[float(word) for word in row[-width:]] for row in rows if len(row) >= width]
    table = np.array(numbers).reshape(-1, width)
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


_EXTRAS_HEADER = re.compile(r"#EXTRAS\w*\(([^()#]*)\)#\s*Step:\s*(\d+)")


class _Frame(NamedTuple):
    """One frame of a file: its step, what it holds, whether it is whole."""

    step: int
    content: Any
    whole: bool


_UNKNOWN = 2**62
"""Step of a frame whose header is cut: later than any, so that it may be followed by any."""


def _whole_frames(frames: Sequence[_Frame], path: str | Path) -> list[_Frame]:
    """Return whole frames, the last of each step, in the order of steps.

    Raises
    ------
    ValueError
        If a frame is cut and neither the last nor written again.
    """
    after = None
    for frame in reversed(frames):
        if frame.whole:
            after = frame.step
        elif after is not None and after > frame.step:
            raise ValueError(
                f"the frame of step {frame.step} in {path} is cut or differs in size, and the run"
                " was not resumed before it: the file is damaged"
            )
    whole = [frame for frame in frames if frame.whole]
    if not whole:
        raise ValueError(f"{path} has no whole frame")
    keep = _last_of_each(np.array([frame.step for frame in whole], dtype=np.int64))
    return [whole[index] for index in keep]


def read_extras(path: str | Path) -> Extras:
    """Read a file of extras (``sim.dipole_0``) of one bead, or of a force component."""
    name = ""
    frames: list[_Frame] = []
    with Path(path).open() as lines:
        for line in lines:
            headers = list(_EXTRAS_HEADER.finditer(line))
            before = line[: headers[-1].start()].strip() if headers else line.strip()
            if before and frames and not before.startswith("#"):
                if headers or not line.endswith("\n"):  # cut within this line
                    frames[-1] = frames[-1]._replace(whole=False)
                else:
                    frames[-1].content.extend(float(word) for word in before.split())
            if headers:
                name = headers[-1].group(1)
                frames.append(_Frame(int(headers[-1].group(2)), [], True))
    if not frames:
        raise ValueError(f"{path} has no frames of extras: is it an extras file of i-PI?")
    size = max(len(frame.content) for frame in frames)
    frames = [frame._replace(whole=frame.whole and len(frame.content) == size) for frame in frames]
    frames = _whole_frames(frames, path)
    steps = np.array([frame.step for frame in frames], dtype=np.int64)
    return Extras(name, steps, _shaped(name, np.array([frame.content for frame in frames])))


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


_STEP = re.compile(r"Step:\s*(\d+)")
_LATTICE = re.compile(r'Lattice="([^"]+)"')


def read_positions(paths: Sequence[str | Path]) -> Trajectory:
    """Read positions of all beads from ``sim.pos_*.extxyz``, at the steps that all beads have."""
    beads = [_read_extxyz(path) for path in paths]
    common = set.intersection(*({frame.step for frame in bead} for bead in beads))
    chosen = [[frame for frame in bead if frame.step in common] for bead in beads]
    symbols, cells = beads[0][0].content[0], [frame.content[2] for frame in chosen[0]]
    return Trajectory(
        np.array([[frame.content[1] for frame in bead] for bead in chosen]),
        np.array(cells),
        np.array([atomic_numbers[symbol] for symbol in symbols]),
        np.array(sorted(common), dtype=np.int64),
    )


def _read_extxyz(path: str | Path) -> list[_Frame]:
    """Whole frames of one bead: content (symbols, positions (N, 3), cell (3, 3) as rows)."""
    lines = Path(path).read_text().split("\n")  # after the last end of line: nothing, or a cut one
    headers = [index for index, line in enumerate(lines[:-1]) if "Lattice=" in line]
    if not headers or not lines[headers[0] - 1].strip().isdigit():
        raise ValueError(f"{path} has no frame with a lattice: is it an .extxyz of i-PI?")
    count = int(lines[headers[0] - 1])
    frames = []
    for header, following in zip(headers, [*headers[1:], len(lines)], strict=True):
        rows = [line.split() for line in lines[header + 1 : header + 1 + count]]
        comment = lines[header] if lines[header].count('"') % 2 == 0 else ""  # else cut in it
        label, lattice = _STEP.search(comment), _LATTICE.search(comment)
        # the line before the next header is its count, perhaps with a cut row before it
        whole = bool(label and lattice) and following - header - 2 >= count
        step = int(label.group(1)) if label else _UNKNOWN
        content = None
        if whole and lattice:
            cell = np.array(lattice.group(1).split(), dtype=float).reshape(3, 3)
            positions = np.array([row[1:4] for row in rows], dtype=float)
            content = ([row[0] for row in rows], positions, cell)
        frames.append(_Frame(step, content, whole))
    return _whole_frames(frames, path)
