"""A folder in which i-PI ran: its input, what it started from, its last state, its outputs."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from lrcalc.callers import users_line
from lrcalc.ipi_files.beads import digits_of
from lrcalc.ipi_files.cells import Array, upright
from lrcalc.ipi_files.masses import masses_of
from lrcalc.ipi_files.properties import Properties, read_properties
from lrcalc.ipi_files.quantities import factor
from lrcalc.ipi_files.simulation import Simulation, Start, State, read_simulation, read_state
from lrcalc.ipi_files.xyz import is_ipi_xyz, read_structure

Content = TypeVar("Content")


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
    simulation: Simulation = Simulation(Path())
    """All of what the input says."""

    @property
    def input(self) -> Path:
        """The file that was read."""
        return self.simulation.path


class Masses(NamedTuple):
    """Labels and masses (N,) in amu of the atoms of a run, and which file says so."""

    names: list[str]
    masses: Array
    source: Path


def find_input(folder: str | Path) -> Path:
    """Input of a run: input.xml, else the only other input, else its RESTART.

    Raises
    ------
    FileNotFoundError
        If there is none, or several of which none is called input.xml.
    """
    folder = Path(folder)
    if (folder / "input.xml").is_file():
        return folder / "input.xml"
    others = [path for path in sorted(folder.glob("[!.]*.xml")) if _is_simulation(path)]
    if len(others) == 1:
        return others[0]
    if not others and (folder / "RESTART").is_file():
        return folder / "RESTART"
    if others:
        names = ", ".join(path.name for path in others)
        raise FileNotFoundError(
            f"no input.xml in {folder}, and several others ({names}): rename the one of this run"
        )
    inside = sorted(found.parent.name for found in folder.glob("*/input.xml"))
    way_out = f"give one of {', '.join(inside)}" if inside else "give the files themselves"
    raise FileNotFoundError(f"no input.xml in {folder}: {way_out}")


def has_input(folder: str | Path) -> bool:
    """Whether a folder is that of a run, as `find_input` understands it."""
    try:
        find_input(folder)
    except FileNotFoundError:
        return False
    return True


def read_run(folder: str | Path) -> IPIRun:
    """Read the input of a folder and see which outputs are there.

    Raises
    ------
    FileNotFoundError
        If there is no folder or no input.
    ValueError
        If the input cannot be read.
    """
    folder = Path(folder)
    told = read_simulation(find_input(folder))
    beads = told.beads
    outputs, ignored = _outputs(folder, told, beads)
    start = tuple(folder / one.name for one in told.start) or (folder / "init.xyz",)
    return IPIRun(
        folder,
        told.timestep,
        told.temperature,
        told.mode,
        beads or 1,
        told.prefix,
        outputs,
        told.parameters[0] if told.parameters else {},
        start,
        tuple(ignored),
        told,
    )


def run_of(path: str | Path) -> IPIRun | None:
    """Run that wrote a file: its input lies beside it, or a folder above (``prefix='out/sim'``)."""
    path = Path(path)
    above = path.parent.parent if path.parent.name else path.parent / ".."
    for folder in (path.parent, above):
        if has_input(folder) and (folder == path.parent or _is_simulation(find_input(folder))):
            run = read_run(folder)
            if output_of(run, path) is not None:
                return run
    return None


def output_of(run: IPIRun, path: Path) -> Path | None:
    """Return a file as the run's outputs name it; None if it is none of them."""
    known = (one for files in run.outputs.values() for one in files)
    return next((one for one in known if one.resolve() == path.resolve()), None)


def run_properties(run: IPIRun) -> Properties | None:
    """Properties that a run wrote; None if there are none that can be read."""
    names = [one.filename for one in run.simulation.outputs if one.kind == "properties"]
    for name in names or ["out"]:
        path = run.folder / _stems(run.simulation, name)[0]
        if run.simulation.systems == 1 and path.is_file():
            return _or_warn(read_properties, path)
    return None


def properties_path(run: IPIRun) -> Path:
    """Where `run_properties` looks first."""
    names = [one.filename for one in run.simulation.outputs if one.kind == "properties"]
    return run.folder / _stems(run.simulation, names[0] if names else "out")[0]


def states(run: IPIRun) -> list[tuple[Path, State]]:
    """Last states of a run that can be read: RESTART, then checkpoints.

    One that cannot, cut short by a crash perhaps, is warned of.
    """
    names = [one.filename for one in run.simulation.outputs if one.kind == "checkpoint"]
    paths = [run.folder / "RESTART"]
    for name in dict.fromkeys([*names, "checkpoint"]):
        path = run.folder / _stem(run.prefix, name)  # no system's own
        paths.append(path)
        paths += sorted(path.parent.glob(f"{path.name}_[0-9]*"))
    if run.input.is_file() and run.input not in paths:
        paths.append(run.input)
    there = [path for path in paths if path.is_file()]
    return [(path, state) for path in there if (state := _or_warn(read_state, path)) is not None]


def start_states(run: IPIRun) -> list[tuple[Path, State]]:
    """Structures and checkpoints that a run starts from, in its own frame."""
    told = run.simulation.start or (Start("init.xyz", "xyz"),)
    return [
        (run.folder / one.name, state)
        for one in told
        if (state := start_state(run.folder / one.name, one)) is not None
    ]


def start_state(path: Path, start: Start) -> State | None:
    """Atoms and cell of a file that a run starts from; None if it is not there.

    None with a warning if it cannot be read.
    """

    def read(path: Path) -> State | None:
        if start.mode == "chk" or _is_simulation(path):
            return read_state(path)
        if start.mode == "xyz" and is_ipi_xyz(path):
            return _structure(path, start)
        return _ase_structure(path)

    return _or_warn(read, path) if path.is_file() else None


def run_masses(run: IPIRun) -> Masses | None:
    """Labels and masses of a run: of its last state, else of its start and input.

    None if no file tells.

    Raises
    ------
    ValueError
        For a label of which no file says the mass.
    """
    for path, state in states(run):
        if state.names and state.masses is not None:
            return Masses(state.names, state.masses, path)
    for path, state in start_states(run):
        if state.names:
            names = list(run.simulation.labels) or state.names
            return Masses(names, _as_told(names, state.masses, run.simulation.masses, path), path)
    return None


def _as_told(names: list[str], own: Array | None, told: dict[int, Array], path: Path) -> Array:
    """Masses of the input's ``<masses>``, else of the file, else of the labels."""
    count = len(names)
    if -1 in told:
        return np.broadcast_to(told[-1], count).astype(float)
    single = {index: values[0] for index, values in told.items() if 0 <= index < count}
    if own is None:
        own = masses_of(
            ["H" if index in single else name for index, name in enumerate(names)], path
        )
    masses = np.array(own, dtype=float)
    masses[list(single)] = list(single.values())
    return masses


def _structure(path: Path, start: Start) -> State:
    """i-PI's xyz as its input has it read: units there win over none in the comment."""
    frame = read_structure(path)  # whose masses i-PI does not read
    scale = cell_scale = 1.0
    if frame.header.unit is None and start.units:
        scale = factor("length", start.units) / factor("length", None)
    if start.cell_units and "cell{" not in frame.comment:
        cell_scale = factor("length", start.cell_units) / factor("length", None)
    cell = None if frame.cell is None else upright(frame.cell) * cell_scale
    return State(frame.names, None, frame.values[None] * scale, None, cell)


def _ase_structure(path: Path) -> State:
    """Read what ASE reads, turned as i-PI turns it."""
    from ase.io import read

    try:
        atoms = read(path, index=0)
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise ValueError(f"{path} could not be read ({type(error).__name__})") from error
    heavy = np.array(atoms.get_masses()) if atoms.has("masses") else None
    cell = upright(np.array(atoms.cell)) if atoms.cell.rank == 3 else None
    return State(atoms.get_chemical_symbols(), heavy, atoms.positions[None], None, cell)


def _or_warn(read: Callable[[Path], Content | None], path: Path) -> Content | None:
    """Return what a file has; None with a warning where it cannot be read: others may do."""
    try:
        return read(path)
    except (ValueError, OSError) as error:
        warnings.warn(f"{path} is not used: {error}", stacklevel=users_line())
        return None


def _is_simulation(path: Path) -> bool:
    with path.open(errors="replace") as file:
        return "<simulation" in file.read(4000)


def _outputs(
    folder: Path, told: Simulation, beads: int | None
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Files that are there by what they hold, and those of beads that the run does not have."""
    files: dict[str, list[Path]] = {}
    ignored: list[Path] = []
    trajectories = [one for one in told.outputs if one.kind == "trajectory"]
    for output, stem in (
        (one, folder / stem) for one in trajectories for stem in _stems(told, one.filename)
    ):
        there = re.compile(re.escape(stem.name) + r"(?:_(\d+))?(\.(?!gz)\w+)?(\.gz)?$")
        for path in sorted(stem.parent.iterdir()) if stem.parent.is_dir() else []:
            match = there.match(path.name)
            if match is None or (match[3] and path.with_suffix("").is_file()):
                continue
            if beads is not None and match[1] is not None and _foreign(match[1], beads):
                ignored.append(path)
            else:
                files.setdefault(output.name, []).append(path)
    return files, ignored


def _stem(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _stems(told: Simulation, filename: str) -> list[str]:
    """Beginnings of the names of a file of each system; a prefix may have a folder."""
    plain = _stem(told.prefix, filename)
    prefixes = dict.fromkeys(told.system_prefixes or ("",))
    return [f"{prefix}_{plain}" if prefix else plain for prefix in prefixes]


def _foreign(digits: str, beads: int) -> bool:
    """Whether a bead's number is one that a run with so many beads does not write."""
    return int(digits) >= beads or len(digits) != digits_of(beads)
