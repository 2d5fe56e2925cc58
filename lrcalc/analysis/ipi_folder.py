"""What an i-PI run says about itself: time step, temperature, start and the files it wrote."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_TIME = {"femtosecond": 1.0, "picosecond": 1e3, "atomic_unit": 2.418884326e-2, None: 2.418884326e-2}
_KELVIN = {"kelvin": 1.0, "atomic_unit": 315775.02480407, None: 315775.02480407}
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
    start: tuple[Path, ...] = ()
    """Structure or checkpoint that it starts from."""
    ignored: tuple[Path, ...] = ()
    """Files of beads that this run does not have: an earlier run in the folder wrote them."""


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
    beads = _beads(root)
    outputs, ignored = _outputs(folder, prefix, output, beads)
    return IPIRun(
        folder,
        _single(root, "timestep", _TIME, "dynamics", "driven_dynamics"),
        _single(root, "temperature", _KELVIN, "ensemble"),
        "" if dynamics is None else dynamics.get("mode", "nve"),
        beads or 1,
        prefix,
        outputs,
        _parameters(root),
        _start(folder, root),
        tuple(ignored),
    )


def _beads(root: Any) -> int | None:
    """Return the number of beads; None if the file does not say."""
    for name, default in (("initialize", "1"), ("beads", None)):
        element = next(root.iter(name), None)
        text = None if element is None else element.get("nbeads", default)
        if text is not None and text.strip("'\" ").isdigit():
            return int(text.strip("'\" "))
    return None


def _start(folder: Path, root: Any) -> tuple[Path, ...]:
    """Files that the run starts from; an init.xyz beside a checkpoint is only a template."""
    initialize = next(root.iter("initialize"), None)
    files = [] if initialize is None else initialize.findall("file")
    named = [folder / (element.text or "").strip() for element in files]
    return tuple(named) if named else (folder / "init.xyz",)


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


def _outputs(
    folder: Path, prefix: str, output: Any, beads: int | None
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Files that are there by what they hold, and those of beads that the run does not have."""
    files: dict[str, list[Path]] = {}
    ignored: list[Path] = []
    for element in [] if output is None else output.findall("trajectory"):
        what = (element.text or "").strip()
        name = element.get("extra_type", what) if what.startswith("extras") else what
        name = re.split(r"[{(]", name)[0].strip()
        stem = f"{prefix}.{element.get('filename', name)}"
        there = re.compile(re.escape(stem) + r"(?:_(\d+))?(\.\w+)?$")
        for path in sorted(folder.iterdir()):
            match = there.match(path.name)
            if match is None:
                continue
            if beads is not None and match[1] is not None and int(match[1]) >= beads:
                ignored.append(path)
            else:
                files.setdefault(name, []).append(path)
    return files, ignored


def mean_temperature(run: IPIRun) -> tuple[float, str] | None:
    """Temperature in K and where it is from; None if the run does not say.

    At constant energy with one bead it is the mean of the properties file, where there is one;
    else that of the ensemble, since a ring polymer's own temperature is no better.
    """
    path = run.folder / f"{run.prefix}.out"
    if run.mode.endswith("nve") and run.beads == 1:
        values, _ = properties_column(path, _COLUMN)
        if values:
            return float(np.mean(values)), f"mean of {path}"
    if run.temperature is None:
        return None
    return run.temperature, str(run.folder / "input.xml")


def properties_column(path: Path, header: re.Pattern[str]) -> tuple[list[float], str | None]:
    """Numbers of the column of a properties file that ``header`` matches, and its second group.

    A line that was cut is left out; a file that is not there has none.
    """
    column: int | None = None
    unit: str | None = None
    values: list[float] = []
    if not path.is_file():
        return values, unit
    with path.open() as file:
        for line in file:
            if line.startswith("#"):
                found = header.search(line)
                if found:
                    column = int(found[1]) - 1
                    unit = found[2] if header.groups > 1 else None
            elif column is not None and line.endswith("\n") and len(line.split()) > column:
                values.append(float(line.split()[column]))
    return values, unit
