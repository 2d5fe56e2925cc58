"""Options and reading shared by the commands that make spectra."""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis import cells, jumps
from lrcalc.analysis.conditions import check, common, forced, of_data
from lrcalc.analysis.correlation import COARSEST, WINDOWS, Series, affordable_resolution, lags_for
from lrcalc.analysis.ipi_folder import IPIRun, mean_temperature, read_run
from lrcalc.analysis.lammps import UNITS as LAMMPS_UNITS
from lrcalc.analysis.series import (
    UNITS,
    WANTED,
    bead_groups,
    count_frames,
    frame_spacing,
    read_runs,
)
from lrcalc.ipi_files.folder import output_of, run_of
from lrcalc.progress import progress_bar
from lrcalc.run_conditions import RunConditions

PREFERRED = 20.0
"""Resolution where the data allow it, cm⁻¹."""


PICTURES = ("png", "pdf", "svg")
"""Kinds of picture."""


class Data(NamedTuple):
    """Series of one quantity and what was found out on the way."""

    series: list[Series]
    timestep: float
    """fs between frames."""
    runs: list[IPIRun]
    """i-PI runs that the files belong to."""
    cell: cells.Cell | None
    notes: list[str]
    undone: jumps.Record
    """Jumps of the dipole, filled while the series are read."""
    conditions: RunConditions | None = None
    """That all runs share, where they say them."""


def in_options(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Let the errors of a command name options where the library names arguments."""

    @wraps(run)
    def renamed(args: argparse.Namespace) -> int:
        def option(name: re.Match[str]) -> str:
            return f"--{name[1].replace('_', '-')}" if name[1] in vars(args) else name[0]

        try:
            return run(args)
        except ValueError as error:
            raise ValueError(re.sub(r"`(\w+)`", option, str(error))) from error

    return renamed


def add_series_arguments(parser: argparse.ArgumentParser, *quantities: str) -> None:
    """Files and what is in them."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="folder of an i-PI run, or i-PI extras, plain columns, .npz, .h5, .traj, .extxyz, "
        "LAMMPS dumps with velocities; several runs are averaged, files that end in _0, _1, … are "
        "beads of one run",
    )
    add_reading_arguments(parser, *quantities)


def add_reading_arguments(parser: argparse.ArgumentParser, *quantities: str) -> None:
    """How files are read."""
    names = sorted({unit for quantity in quantities for unit in UNITS[quantity]})
    parser.add_argument(
        "--unit", choices=names, help="unit in the files (i-PI: atomic, others: e, Å, fs, V)"
    )
    parser.add_argument("--key", help="array in an npz or HDF5 file")
    parser.add_argument("--columns", help="columns of a text file, e.g. 1,2,3 (from 0)")
    parser.add_argument("--beads", default="mean", choices=("mean", "separate"))
    parser.add_argument("--timestep", type=float, metavar="FS", help="time between frames, fs")
    parser.add_argument(
        "--md-timestep",
        type=float,
        metavar="FS",
        help="integrator step; i-PI files tell the stride (default: from input.xml beside them)",
    )
    if "velocities" in quantities:
        parser.add_argument(
            "--lammps-units", choices=tuple(LAMMPS_UNITS), help="`units` of the run of a dump"
        )
        parser.add_argument(
            "--types", metavar="LIST", help="what the atom types of a dump are: O,H or 1=O,2=H"
        )
    parser.add_argument(
        "--force-equilibrium",
        action="store_true",
        help="compute from a driven or damped run nevertheless, and say so",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    if "dipole" in quantities:
        parser.add_argument(
            "--keep-jumps",
            action="store_true",
            help="do not undo, or refuse, jumps of the dipole by e times a lattice vector",
        )


def add_condition_arguments(parser: argparse.ArgumentParser) -> None:
    """Volume and temperature."""
    parser.add_argument("--volume", type=float, metavar="A3", help="cell volume, Å³")
    parser.add_argument(
        "--cell-from",
        metavar="FILE",
        help="structure file to take the cell from (default: the i-PI run's)",
    )
    add_temperature_argument(parser)


def add_temperature_argument(parser: argparse.ArgumentParser) -> None:
    """Temperature alone."""
    parser.add_argument("--temperature", type=float, metavar="K", help="default: the i-PI run's")


def add_resolution_argument(parser: argparse.ArgumentParser) -> None:
    """Resolution alone."""
    parser.add_argument(
        "--resolution",
        type=float,
        metavar="CM1",
        help=f"cm⁻¹ (default {PREFERRED:g}, or coarser where the data are short)",
    )


def add_spectrum_arguments(parser: argparse.ArgumentParser) -> None:
    """Resolution, window, range, output."""
    add_resolution_argument(parser)
    parser.add_argument("--window", default="hann", choices=sorted(WINDOWS))
    parser.add_argument("--maximum", type=float, default=4500.0, help="highest cm⁻¹ (default 4500)")
    parser.add_argument("--title", default="", help="title of the picture")
    add_output_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Where results go, and the kind of picture."""
    parser.add_argument("-o", "--output", default="spectrum", metavar="PREFIX")
    parser.add_argument("--picture", default="png", choices=PICTURES, help="default png")


def locate(files: Sequence[str], quantity: str) -> tuple[list[Path], list[IPIRun]]:
    """Files of a quantity, those of folders included, and the i-PI runs they belong to.

    Raises
    ------
    ValueError
        If a folder has no such output; it says what there is.
    """
    paths: list[Path] = []
    runs: dict[Path, IPIRun] = {}
    for path in map(Path, files):
        if path.is_dir():
            run = read_run(path)
            found = run.outputs.get(quantity)
            _check_systems(run, path)
            if not found:
                there = ", ".join(run.outputs) or "no trajectories"
                raise ValueError(f"{path} has no {quantity}, only {there}. {WANTED[quantity]}")
            paths += found
            runs[path.resolve()] = run
        else:
            writer = run_of(path)
            paths.append(path if writer is None else output_of(writer, path) or path)
            if writer is not None:
                runs.setdefault(writer.folder.resolve(), writer)
    whole = [path.resolve() for path in paths]
    twice = sorted({str(path) for path in paths if whole.count(path.resolve()) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is given twice: each run counts once")
    return paths, list(runs.values())


def _check_systems(run: IPIRun, folder: Path) -> None:
    """Several systems are averaged where they are alike."""
    told = run.simulation
    if told.systems > 1 and (told.temperature is None or told.timestep is None):
        names = ", ".join(f"{prefix}_{told.prefix}.*" for prefix in told.system_prefixes)
        raise ValueError(
            f"{folder} is a run of {told.systems} systems at different temperatures or time steps:"
            f" give the files of one of them ({names}) with its temperature"
        )


def read(args: argparse.Namespace, quantity: str, files: Sequence[str] | None = None) -> Data:
    """Series with a progress bar, the time between frames, and the cell."""
    paths, runs = locate(files or args.files, quantity)
    notes = [
        f"{len(run.ignored)} files of an earlier run left out, since this one has {run.beads} "
        f"bead{'s' if run.beads > 1 else ''}: {', '.join(path.name for path in run.ignored[:4])}"
        for run in runs
        if run.ignored
    ]
    cell = find_cell(args, paths, runs, notes)
    vectors = None if cell is None else cell.vectors
    undone: jumps.Record = {}
    guard = quantity == "dipole" and not getattr(args, "keep_jumps", False)
    series = read_runs(
        paths,
        quantity,
        beads=args.beads,
        unit=args.unit,
        key=args.key,
        use_columns=numbers_of(args.columns, "--columns") if args.columns is not None else None,
        lammps_units=getattr(args, "lammps_units", None),
        each=(lambda one: jumps.guarded(one, vectors, undone)[0]) if guard else None,
    )
    beads = max(len(group) for group in bead_groups(paths))
    if args.beads == "separate" and beads > 1:
        notes.append(
            f"WARNING: the {beads} beads of a run are taken as separate runs but do not move "
            f"independently: error bars are too small by up to {np.sqrt(beads):.2g} "
            "(not so with --beads mean)"
        )
    timestep = _spacing(args, series, runs, notes)
    told = common(of_data(series))
    if getattr(args, "force_equilibrium", False):
        told, overridden = forced(told, args.analysis)
        notes += overridden
        series = [run._replace(conditions=told) for run in series]
    if hasattr(args, "analysis"):
        check(told, args.analysis)  # before hours of reading
    if not args.no_progress:
        series = [run._replace(chunks=_progress(run)) for run in series]
    return Data(series, timestep, runs, cell, notes, undone, told)


def _spacing(
    args: argparse.Namespace, series: Sequence[Series], runs: Sequence[IPIRun], notes: list[str]
) -> float:
    """Fs between frames; what is given must not contradict what the runs say."""
    known = {run.timestep for run in runs if run.timestep is not None}
    if len(known) > 1:
        raise ValueError(f"the runs have different time steps: {sorted(known)} fs")
    if not known:
        return frame_spacing(series, args.timestep, args.md_timestep)
    step, where = known.pop(), runs[0].input
    if args.md_timestep is not None and abs(args.md_timestep - step) > 1e-3 * step:
        raise ValueError(f"--md-timestep is {args.md_timestep:g} fs but {where} says {step:g} fs")
    if all(run.stride is None for run in series):
        return frame_spacing(series, args.timestep, args.md_timestep)
    found = frame_spacing(series, None, step)
    if args.timestep is None:
        notes.append(f"time step {step:g} fs from {where}")
    elif abs(args.timestep - found) > 1e-3 * found:
        raise ValueError(
            f"--timestep is {args.timestep:g} fs but frames are {found:g} fs apart, a step of "
            f"{step:g} fs ({where}) times a stride of {found / step:g}: leave it out"
        )
    return found


def numbers_of(text: str, option: str, least: int = 0) -> list[int]:
    """Whole numbers of a list like ``1,2,3``, none below ``least``."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        raise ValueError(
            f"{option} is {text!r} but must be whole numbers from {least} on, like 1,2,3"
        )
    return found


def _progress(run: Series) -> Any:
    def chunks() -> Iterator[np.ndarray]:
        with progress_bar(unit="frame", title=Path(run.source).name, leave=False) as bar:
            for chunk in run.chunks():
                bar.update(len(chunk))
                yield chunk

    return chunks


def find_cell(
    args: argparse.Namespace, paths: Sequence[Path], runs: Sequence[IPIRun], notes: list[str]
) -> cells.Cell | None:
    """Cell from --cell-from, the i-PI runs or the trajectories; None with --volume or without any.

    Where the cell changes along a run its mean counts; runs with different cells are refused.
    """
    if getattr(args, "volume", None) is not None:
        if args.cell_from is not None:
            raise ValueError("give only one of --volume and --cell-from")
        return None
    if getattr(args, "cell_from", None) is not None:
        vectors = cells.read_cell(args.cell_from)
        return cells.Cell(vectors, args.cell_from, float(abs(np.linalg.det(vectors))))
    wanted = hasattr(args, "volume") or hasattr(args, "area")
    if not wanted:
        return None
    found = [one for run in runs if (one := cells.run_cell(run)) is not None]
    inside = {path for run in runs for files in run.outputs.values() for path in files}
    found += [
        one
        for path in paths
        if path not in inside
        and (one := cells.file_cell(path, lammps_units=getattr(args, "lammps_units", None)))
        is not None
    ]
    for run in runs:
        if not found and run.mode.startswith(("npt", "nst", "np", "ns")):
            notes.append(
                f"the cell of {run.folder} moves ({run.mode}) and no output tells its mean: the "
                "volume column of the properties would"
            )
    cell = cells.common(found)
    if cell is not None:
        notes.append(cell.note)
    return cell


def conditions(args: argparse.Namespace, data: Data) -> tuple[float, float]:
    """Volume in Å³ and temperature in K."""
    volume = args.volume
    if volume is None:
        if data.cell is None:
            told = "".join(f" ({note})" for note in data.notes if note.startswith("the cell of"))
            raise ValueError(
                f"no volume known{told}: give it by --volume in Å³, or a structure file with the "
                "cell by --cell-from"
            )
        volume = data.cell.volume
    return volume, temperature(args, data)


def temperature(args: argparse.Namespace, data: Data) -> float:
    """Temperature in K, given or of the i-PI runs."""
    if args.temperature is not None:
        return float(args.temperature)
    found = [one for run in data.runs if (one := mean_temperature(run)) is not None]
    told = data.conditions
    if not found and told is not None and told.temperature and told.ensemble in ("nvt", "npt"):
        found = [(told.temperature, "the thermostat that the frames name")]
    if not found:
        energy = told is not None and told.ensemble == "nve"
        raise ValueError(
            "no i-PI run tells the temperature: give --temperature in K"
            + (", the mean of this run at constant energy (its .csv)" if energy else "")
        )
    value = float(np.mean([one[0] for one in found]))
    data.notes.append(f"temperature {value:.1f} K: {', '.join(one[1] for one in found)}")
    return value


def electronic_part(given: float | None, data: Data) -> float | None:
    """ε_∞ as given, or of the run's input.xml or the model named there; None if nothing tells."""
    if given is not None:
        return given
    for run in data.runs:
        name = run.parameters.get("epsilon_infinity") or run.parameters.get("model")
        if name is None:
            continue
        if "epsilon_infinity" in run.parameters:
            value, source = float(name), str(run.input)
        else:
            try:
                value, source = _of_model(name, run.folder), f"model {name!r}"
            except (OSError, ValueError, KeyError, RuntimeError):
                data.notes.append(f"model {name!r} cannot be read, so ε_∞ is unknown")
                continue
        data.notes.append(f"ε_∞ {value:g} from {source}")
        return value
    told = data.conditions
    if told is not None and told.epsilon_infinity is not None:
        data.notes.append(f"ε_∞ {told.epsilon_infinity:g} of the model that made the run")
        return told.epsilon_infinity
    return None


def _of_model(name: str, folder: Path) -> float:
    from lrcalc.checkpoint import load

    beside = folder / name
    return float(load(beside if beside.is_file() else name).metadata["epsilon_infinity"])


def resolution(args: argparse.Namespace, data: Data, window: str | None = None) -> float:
    """Resolution in cm⁻¹: as asked, else what the data can afford, with a note."""
    if args.resolution is not None:
        return float(args.resolution)
    name = window or args.window
    enough = 4 * lags_for(PREFERRED, data.timestep, name) + 4
    frames = [count_frames(run, enough) for run in data.series]
    found = affordable_resolution(frames, data.timestep, name, PREFERRED)
    if found > PREFERRED:
        length = sum(frames) * data.timestep / 1000
        data.notes.append(
            f"resolution {found:g} cm⁻¹, what {length:.3g} ps afford ({PREFERRED:g} wanted, "
            f"{COARSEST:g} at most); ask for another by --resolution"
        )
    return found


def cell_volume(path: str) -> float:
    """Volume of the first structure of a file; i-PI's own xyz comment is understood."""
    return float(abs(np.linalg.det(cells.read_cell(path))))


def add_notes(settings: dict[str, Any], data: Data) -> dict[str, Any]:
    """Put the notes of the reading in front of those of a result."""
    told = [*data.notes, *jumps.notes(data.undone), *settings.get("notes", [])]
    if data.cell is not None and data.cell.spread > 3e-4 and any(data.undone.values()):
        told.append(
            "WARNING: jumps were undone with the mean cell, but the cell changes (volume by "
            f"{100 * data.cell.spread:.2g} %): every jump leaves a step of about "
            f"{100 * data.cell.spread / 3:.2g} % of its size. Write the dipole on one branch"
        )
    return {**settings, "notes": list(dict.fromkeys(told))}


def report(settings: dict[str, Any], files: Sequence[Path]) -> None:
    """Print what was used, what was noted, what was written."""
    used = {k: v for k, v in settings.items() if k != "notes"}
    print("  " + ", ".join(f"{k} {v}" for k, v in used.items()))
    for note in settings.get("notes", []):
        print(f"  note: {note}")
    print("  wrote " + ", ".join(str(path) for path in files))
