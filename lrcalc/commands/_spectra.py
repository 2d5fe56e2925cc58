"""Options and reading shared by the commands that make spectra."""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.correlation import WINDOWS, Series
from lrcalc.analysis.series import UNITS, frame_spacing, read_runs
from lrcalc.units import BOHR

_CELL = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]:\s*((?:[-+0-9.eE]+\s+){5,8}[-+0-9.eE]+)")


def add_series_arguments(parser: argparse.ArgumentParser, *quantities: str) -> None:
    """Files and what is in them."""
    names = sorted({unit for quantity in quantities for unit in UNITS[quantity]})
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="i-PI extras, plain columns, .npz, .h5, .traj, .extxyz; several runs are averaged, "
        "files that end in _0, _1, … are beads of one run",
    )
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
        help="integrator step; i-PI files tell the stride",
    )
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def add_condition_arguments(parser: argparse.ArgumentParser) -> None:
    """Volume and temperature."""
    parser.add_argument("--volume", type=float, metavar="A3", help="cell volume, Å³")
    parser.add_argument("--cell-from", metavar="FILE", help="structure file to take the cell from")
    parser.add_argument("--temperature", type=float, metavar="K", required=True)


def add_spectrum_arguments(parser: argparse.ArgumentParser) -> None:
    """Resolution, window, range, output."""
    parser.add_argument("--resolution", type=float, default=20.0, help="cm⁻¹ (default 20)")
    parser.add_argument("--window", default="hann", choices=sorted(WINDOWS))
    parser.add_argument("--maximum", type=float, default=4500.0, help="highest cm⁻¹ (default 4500)")
    parser.add_argument("--title", default="", help="title of the picture")
    parser.add_argument("-o", "--output", default="spectrum", metavar="PREFIX")


def read(
    args: argparse.Namespace, quantity: str, files: Sequence[str] | None = None
) -> tuple[list[Series], float]:
    """Series with a progress bar, and the time between frames in fs."""
    columns = [int(c) for c in args.columns.split(",")] if args.columns else None
    runs = read_runs(
        files or args.files,
        quantity,
        beads=args.beads,
        unit=args.unit,
        key=args.key,
        use_columns=columns,
    )
    timestep = frame_spacing(runs, args.timestep, args.md_timestep)
    if not args.no_progress:
        runs = [run._replace(chunks=_progress(run)) for run in runs]
    return runs, timestep


def _progress(run: Series) -> Any:
    def chunks() -> Iterator[np.ndarray]:
        from tqdm import tqdm

        with tqdm(desc=Path(run.source).name, unit=" frames", leave=False) as bar:
            for chunk in run.chunks():
                bar.update(len(chunk))
                yield chunk

    return chunks


def conditions(args: argparse.Namespace) -> tuple[float, float]:
    """Volume in Å³ and temperature in K."""
    if (args.volume is None) == (args.cell_from is None):
        raise ValueError("give the volume by exactly one of --volume and --cell-from")
    if args.volume is not None:
        return args.volume, args.temperature
    return cell_volume(args.cell_from), args.temperature


def cell_volume(path: str) -> float:
    """Volume of the first structure of a file; i-PI's own xyz comment is understood."""
    from ase.io import read as read_structure

    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    atoms = read_structure(path, index=0)
    if atoms.cell.rank == 3:
        return float(atoms.get_volume())
    comment = Path(path).read_text().split("\n", 2)[1]
    found = _CELL.search(comment)
    if found is not None:
        from ase.geometry import cellpar_to_cell

        numbers = [float(x) for x in found[2].split()]
        cell = cellpar_to_cell(numbers[:6]) if found[1] == "abcABC" else np.array(numbers[:9])
        # i-PI's own rule: atomic units unless the comment says otherwise
        scale = 1.0 if "cell{angstrom}" in comment else BOHR
        return float(abs(np.linalg.det(cell.reshape(3, 3)))) * scale**3
    raise ValueError(f"{path} has no three-dimensional cell; give --volume")


def report(settings: dict[str, Any], files: Sequence[Path]) -> None:
    """Print what was used, what was noted, what was written."""
    used = {k: v for k, v in settings.items() if k != "notes"}
    print("  " + ", ".join(f"{k} {v}" for k, v in used.items()))
    for note in settings.get("notes", []):
        print(f"  note: {note}")
    print("  wrote " + ", ".join(str(path) for path in files))
