"""What an i-PI run says about itself: time step, temperature, cell and the files it wrote."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.units import BOHR

_TIME = {"femtosecond": 1.0, "picosecond": 1e3, "atomic_unit": 2.418884326e-2, None: 2.418884326e-2}
_KELVIN = {"kelvin": 1.0, "atomic_unit": 315775.02480407, None: 315775.02480407}
_CELL = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]:\s*((?:[-+0-9.eE]+\s+){5,8}[-+0-9.eE]+)")
_COLUMN = re.compile(r"#\s*column\s+(\d+)\s*-->\s*temperature\{kelvin\}")


class IPIRun(NamedTuple):
    """An i-PI run as its input file describes it."""

    folder: Path
    timestep: float | None
    """fs; None if the input names none or several."""
    temperature: float | None
    """K of the ensemble."""
    mode: str
    """``nve``, ``nvt``, …"""
    beads: int
    prefix: str
    outputs: dict[str, list[Path]]
    """Files that are there: ``dipole`` and other extras, ``positions``, ``velocities``."""
    parameters: dict[str, str]
    """Of the first force field: ``model``, …"""


def read_run(folder: str | Path) -> IPIRun:
    """Read ``input.xml`` of a folder and see which outputs are there.

    Raises
    ------
    FileNotFoundError
        If there is no folder or no input.xml.
    ValueError
        If input.xml cannot be read.
    """
    folder = Path(folder)
    path = folder / "input.xml"
    if not path.is_file():
        inside = sorted(found.parent.name for found in folder.glob("*/input.xml"))
        way_out = f"give one of {', '.join(inside)}" if inside else "give the files themselves"
        raise FileNotFoundError(f"no input.xml in {folder}: {way_out}")
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise ValueError(f"{path} is not XML: {error}") from None
    output = root.find("output")
    prefix = "i-pi" if output is None else output.get("prefix", "i-pi").strip("'\" ")
    dynamics = next(root.iter("dynamics"), next(root.iter("driven_dynamics"), None))
    initialize = next(root.iter("initialize"), None)
    return IPIRun(
        folder,
        _single(root, "timestep", _TIME, "dynamics", "driven_dynamics"),
        _single(root, "temperature", _KELVIN, "ensemble"),
        "" if dynamics is None else dynamics.get("mode", "nve"),
        1 if initialize is None else int(initialize.get("nbeads", "1")),
        prefix,
        _outputs(folder, prefix, output),
        _parameters(root),
    )


def _single(root: Any, name: str, units: dict[str | None, float], *parents: str) -> float | None:
    """Return the value of an element where there is one and only one such value."""
    found = {
        (element.text or "", element.get("units"))
        for parent in parents
        for holder in root.iter(parent)
        for element in holder.findall(name)
    }
    if len(found) != 1:
        return None
    text, unit = found.pop()
    try:
        return float(text) * units[unit]
    except (ValueError, KeyError):
        return None


def _parameters(root: Any) -> dict[str, str]:
    """Words of ``<parameters> { model: water, extras: dipole } </parameters>``."""
    text = next((one.text for one in root.iter("parameters") if one.text), "")
    pairs = (item.partition(":") for item in text.strip().strip("{}").split(","))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _outputs(folder: Path, prefix: str, output: Any) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for element in [] if output is None else output.findall("trajectory"):
        what = (element.text or "").strip()
        name = element.get("extra_type", what) if what.startswith("extras") else what
        name = re.split(r"[{(]", name)[0].strip()
        stem = f"{prefix}.{element.get('filename', name)}"
        there = re.compile(re.escape(stem) + r"(_\d+)?(\.\w+)?$")
        found = sorted(path for path in folder.iterdir() if there.match(path.name))
        if found:
            files.setdefault(name, []).extend(found)
    return files


def mean_temperature(run: IPIRun) -> tuple[float, str] | None:
    """Temperature in K and where it is from; None if the run does not say.

    At constant energy with one bead it is the mean of the properties file, where there is one;
    else that of the ensemble, since a ring polymer's own temperature is no better.
    """
    path = run.folder / f"{run.prefix}.out"
    if run.mode.endswith("nve") and run.beads == 1 and path.is_file():
        values = _column(path, _COLUMN)
        if values:
            return float(np.mean(values)), f"mean of {path}"
    if run.temperature is None:
        return None
    return run.temperature, str(run.folder / "input.xml")


def _column(path: Path, header: re.Pattern[str]) -> list[float]:
    """Numbers of the column of a properties file that ``header`` matches; a cut line is left."""
    column: int | None = None
    values = []
    with path.open() as file:
        for line in file:
            if line.startswith("#"):
                found = header.search(line)
                column = int(found[1]) - 1 if found else column
            elif column is not None and line.endswith("\n") and len(line.split()) > column:
                values.append(float(line.split()[column]))
    return values


def run_cell(run: IPIRun) -> tuple[np.ndarray, str] | None:
    """Cell (3, 3), rows in Å, and the file it is from; None if no file tells."""
    structures = [*run.outputs.get("positions", []), *run.outputs.get("velocities", [])]
    structures.append(run.folder / "init.xyz")
    for path in structures:
        if path.is_file():
            try:
                return read_cell(path), str(path)
            except ValueError:
                continue
    return None


def read_cell(path: str | Path) -> np.ndarray:
    """Cell (3, 3), rows in Å, of the first structure of a file; i-PI's xyz comment is understood.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it has no three-dimensional cell.
    """
    from ase.geometry import cellpar_to_cell
    from ase.io import read as read_structure

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    atoms = read_structure(path, index=0)
    if atoms.cell.rank == 3:
        return np.array(atoms.cell)
    with path.open(errors="replace") as file:
        comment = [file.readline(), file.readline()][1]
    found = _CELL.search(comment)
    if found is None:
        raise ValueError(f"{path} has no three-dimensional cell; give --volume")
    numbers = [float(x) for x in found[2].split()]
    # i-PI's own rule: atomic units unless the comment says otherwise
    scale = 1.0 if "cell{angstrom}" in comment else BOHR
    if found[1] == "abcABC":
        return np.asarray(cellpar_to_cell([*(scale * x for x in numbers[:3]), *numbers[3:6]]))
    # i-PI writes the matrix with lattice vectors as columns
    return np.array(numbers[:9]).reshape(3, 3).T * scale
