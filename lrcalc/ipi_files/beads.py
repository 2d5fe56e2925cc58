"""Files of the beads of a run: ``sim.dipole_0``, ``sim.dipole_00``, ``sim.vel_0.extxyz``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcalc.ipi_files.cells import Array
from lrcalc.ipi_files.extras import Extras, read_extras
from lrcalc.ipi_files.masses import number_of
from lrcalc.ipi_files.xyz import XYZFrame, read_frames

# run.dip_0 and sim.vel_0.extxyz, but not water_300.extxyz
_BEAD = re.compile(r"^(?P<plain>.+)_(?P<bead>\d+)$|^(?P<kind>.+\..+)_(?P<number>\d+)\.(ext)?xyz$")


class BeadName(NamedTuple):
    """Name of a file of one bead without the bead, its number, and the digits that it has."""

    stem: str
    bead: int
    digits: int


def bead_name(name: str) -> BeadName | None:
    """Take a file's name apart (a .gz at its end aside); None if it is not that of a bead."""
    match = _BEAD.match(name.removesuffix(".gz"))
    if match is None:
        return None
    digits = match["bead"] or match["number"]
    return BeadName(match["plain"] or match["kind"], int(digits), len(digits))


def digits_of(beads: int) -> int:
    """Digits in the file names of a run: i-PI pads to the length of the number of beads."""
    return len(str(beads))


def bead_files(prefix: str | Path, name: str) -> list[Path]:
    """Find the files of all beads, in order: ``sim.dipole_0``, ``sim.dipole_1``.

    `prefix` may have a folder: ``run/sim``. With `name` "pos" the ``.extxyz`` files are found.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If a bead has two files, of two runs.
    """
    prefix = Path(prefix)
    pattern = re.compile(re.escape(f"{prefix.name}.{name}_") + r"(\d+)(\.\w+)?$")
    found: dict[int, Path] = {}
    for path in sorted(prefix.parent.iterdir()):
        match = pattern.match(path.name)
        if match is None:
            continue
        index = int(match[1])
        if index in found:
            raise ValueError(
                f"{found[index]} and {path} are both of bead {index}, of two runs: move away the"
                " files of one"
            )
        found[index] = path
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
    """Read positions of all beads from ``sim.pos_*.extxyz``, at the steps that all beads have."""
    found = read_bead_frames(paths)
    numbers = np.array([number_of(name) or 0 for name in found.names])
    return Trajectory(found.values, found.cells, numbers, found.steps)


class BeadFrames(NamedTuple):
    """Values (B, T, N, 3), cells (T, 3, 3) in Å as rows, labels, steps (T,)."""

    values: Array
    cells: Array
    names: list[str]
    steps: NDArray[np.int64]


def read_bead_frames(paths: Sequence[str | Path]) -> BeadFrames:
    """Read a trajectory of all beads, at the steps that all beads have.

    Raises
    ------
    ValueError
        If a file has no frames, a frame no step or no cell.
    """
    beads: list[dict[int, XYZFrame]] = []
    for path in paths:
        frames = read_frames(path)
        if any(frame.header.step is None or frame.cell is None for frame in frames):
            raise ValueError(f"{path} has no frame with a lattice: is it an .extxyz of i-PI?")
        beads.append({int(frame.header.step or 0): frame for frame in frames})
    common = sorted(set.intersection(*(set(bead) for bead in beads)))
    return BeadFrames(
        np.array([[bead[step].values for step in common] for bead in beads]),
        np.array([beads[0][step].cell for step in common]),
        next(iter(beads[0].values())).names,
        np.array(common, dtype=np.int64),
    )
