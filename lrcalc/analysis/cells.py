"""The cell that a run really had: mean over its frames, of its restart, or of a structure file."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.analysis.lammps import is_dump, read_dump, says_units
from lrcalc.analysis.lammps_series import column, is_series, read_head
from lrcalc.ipi_files.cells import volume as _volume
from lrcalc.ipi_files.folder import IPIRun, properties_path, run_properties, start_states, states
from lrcalc.ipi_files.simulation import read_state
from lrcalc.ipi_files.text import kind_of
from lrcalc.ipi_files.xyz import cells_of, pbc_of

VARIES = 0.01
"""A volume that changes by more than this part of its mean is worth a note."""


CONSTANT = 1e-5
"""What changes by less than this part of itself is constant."""


PERIODIC = (True, True, True)


class Cell(NamedTuple):
    """A cell, where it is from, and how much the volume changed about it."""

    vectors: np.ndarray
    """(3, 3), rows in Å; the mean where there are several frames."""
    source: str
    volume: float
    """Å³; the mean where there are several frames."""
    spread: float = 0.0
    """(largest − smallest volume)/mean."""
    motion: float = 0.0
    """How far a component of a periodic vector goes from that of the first frame, by the cube root
    of the volume: a cell may also change its shape."""
    pbc: tuple[bool, bool, bool] = PERIODIC

    @property
    def constant(self) -> bool:
        """Whether neither volume nor shape change; of a slab, whether its periods do not."""
        return max(self.spread if all(self.pbc) else 0.0, self.motion) <= CONSTANT

    @property
    def note(self) -> str:
        """Say where it is from, and if the volume changes."""
        if not all(self.pbc):  # its box may end at the outermost atom: no volume
            return f"cell from {self.source}, periodic in {directions(self.pbc)}"
        if self.spread <= VARIES:
            return f"cell from {self.source}"
        return (
            f"the volume varies by {100 * self.spread:.1f} %: its mean {self.volume:.2f} Å³ "
            f"is used, from {self.source}"
        )


def directions(pbc: Sequence[bool]) -> str:
    """Names of the periodic directions."""
    return " and ".join(name for name, on in zip("abc", pbc, strict=True) if on) or "none"


def run_cell(run: IPIRun) -> Cell | None:
    """Cell of an i-PI run; None if no file tells.

    Where the cell moves only a mean over the run counts: of the volume column of the properties,
    or of the frames. Where it does not, that of a frame, else of the run's own state, else of the
    structure or checkpoint that input.xml starts from.
    """
    frames = [*run.outputs.get("positions", [])[:1], *run.outputs.get("velocities", [])[:1]]
    fixed = run.mode == "nve" or run.mode.startswith(("nvt", "eda"))
    for path in frames:
        found = file_cell(path, every=not fixed)
        if found is not None:
            return found if fixed else _with_mean_volume(found, run)
    for path, state in [*states(run), *start_states(run)]:
        if state.cell is not None:
            found = Cell(state.cell, str(path), _volume(state.cell))
            if fixed:
                return found
            mean = _with_mean_volume(found, run)
            return mean if mean is not found else None
    if run.simulation.cell is not None and fixed:
        return Cell(run.simulation.cell, str(run.input), _volume(run.simulation.cell))
    return None


def _with_mean_volume(found: Cell, run: IPIRun) -> Cell:
    """Scale a cell to the mean of the properties' volume column, which has more frames."""
    table = run_properties(run)
    volumes = None if table is None else table.values.get("volume")
    if table is None or volumes is None or not len(volumes) or table.units["volume"] != "Å³":
        return found
    mean = float(volumes.mean())
    vectors = found.vectors * (mean / _volume(found.vectors)) ** (1 / 3)
    source = f"the volumes of {properties_path(run)}"
    return Cell(vectors, source, mean, float(np.ptp(volumes)) / mean, found.motion)


def read_checkpoint_cell(path: str | Path) -> np.ndarray:
    """Cell (3, 3), rows in Å, of a RESTART or checkpoint of i-PI (its vectors are columns).

    Raises
    ------
    ValueError
        If it has no cell.
    """
    state = read_state(path)
    if state is None or state.cell is None:
        raise ValueError(f"{path} has no <cell> of nine numbers")
    return state.cell


def file_cell(
    path: str | Path, *, every: bool = True, lammps_units: str | None = None
) -> Cell | None:
    """Mean cell over the frames of a trajectory file, or that of the first; None if it has none."""
    path = Path(path)
    cells: Iterator[np.ndarray]
    pbc = PERIODIC
    if is_series(path):
        return _series_cell(path)
    if is_dump(path):
        if lammps_units is None and not says_units(path):
            return None
        frames = read_dump(path, units=lammps_units)
        start = next(frames, None)
        if start is None:
            return None
        cells, pbc = chain([start.cell], (frame.cell for frame in frames)), start.pbc
    elif kind_of(path) in (".xyz", ".extxyz"):
        cells, pbc = cells_of(path), pbc_of(path) or pbc
    elif kind_of(path) in (".traj", ".db"):
        cells, pbc = _ase_cells(path), _ase_pbc(path)
    else:
        return None
    first = next(cells, None)
    if first is None:
        return None
    total, volumes, moved = first.copy(), [_volume(first)], 0.0
    for vectors in cells if every else ():
        total += vectors
        volumes.append(_volume(vectors))
        moved = max(moved, float(np.abs(vectors - first)[list(pbc)].max(initial=0.0)))
    mean = float(np.mean(volumes))
    spread = float(np.ptp(volumes)) / mean
    return Cell(total / len(volumes), str(path), mean, spread, moved / mean ** (1 / 3), pbc)


def _series_cell(path: Path) -> Cell:
    """Cell of a series of LAMMPS: that of the start, at the mean volume of its rows."""
    head, volumes = read_head(path), column(path, "volume_A3")
    start, first = head.cell, _volume(head.cell)
    if volumes is None or not len(volumes):
        return Cell(start, str(path), first, pbc=head.pbc)
    mean = float(np.mean(volumes))
    spread = float(np.ptp(volumes)) / mean
    if not all(head.pbc):  # its box may end at the outermost atom, whatever the periods are
        return Cell(start, str(path), mean, spread, spread / 3, head.pbc)
    vectors = start * (mean / first) ** (1 / 3) if spread > CONSTANT else start
    return Cell(vectors, str(path), mean if spread > CONSTANT else first, spread)


def _ase_cells(path: Path) -> Iterator[np.ndarray]:
    from ase.io import iread

    for atoms in iread(str(path), index=":"):
        if atoms.cell.rank < 3:
            return
        yield np.array(atoms.cell)


def _ase_pbc(path: Path) -> tuple[bool, bool, bool]:
    from ase.io import iread

    x, y, z = next(iread(str(path), index=":")).pbc.tolist()
    return (x, y, z)


def read_cell(path: str | Path) -> np.ndarray:
    """Cell (3, 3), rows in Å, of the first structure of a file, or of a bundled one by its name.

    I-PI's xyz comment is understood.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or has no three-dimensional cell.
    """
    from lrcalc.structures.formats import find, frames_of

    path = find(path, "cell")
    if kind_of(path) in (".xyz", ".extxyz"):
        found = next(cells_of(path), None)
        if found is not None:
            return found
    (atoms,) = frames_of(path, 0, "cell")
    if atoms.cell.rank == 3:
        return np.array(atoms.cell)
    raise ValueError(f"{path} has no three-dimensional cell; give --volume")


def common(cells: Sequence[Cell]) -> Cell | None:
    """One cell for several runs.

    Raises
    ------
    ValueError
        If their volumes differ by more than 1 % or their periods by more than 2 %, or they are
        periodic in different directions.
    """
    if len(cells) < 2:
        return cells[0] if cells else None
    volumes = [one.volume for one in cells]
    mean = float(np.mean(volumes))
    pbc, slab = cells[0].pbc, not all(cells[0].pbc)
    if any(one.pbc != pbc for one in cells):
        told = ", ".join(f"{directions(one.pbc)} ({one.source})" for one in cells)
        raise ValueError(f"the runs are periodic in different directions: {told}; do each alone")
    moves = [np.abs(one.vectors - cells[0].vectors)[list(pbc)] for one in cells]
    apart = max(float(one.max(initial=0.0)) for one in moves)
    if (np.ptp(volumes) > VARIES * mean and not slab) or apart > 0.02 * mean ** (1 / 3):
        told = ", ".join(f"{one.volume:.2f} Å³ ({one.source})" for one in cells)
        raise ValueError(
            f"the runs have different cells: {told}; a spectrum needs one volume, so do them one "
            "by one"
        )
    vectors = np.mean([one.vectors for one in cells], axis=0)
    source = ", ".join(dict.fromkeys(one.source for one in cells))
    spread = max(one.spread for one in cells)
    moved = max(apart / mean ** (1 / 3), *(one.motion for one in cells))
    return Cell(vectors, source, mean, spread, moved, pbc)


def of_files(
    paths: Sequence[Path],
    runs: Sequence[IPIRun],
    notes: list[str],
    *,
    given: str | None = None,
    lammps_units: str | None = None,
) -> Cell | None:
    """Cell of a structure file that is given, of the i-PI runs or the trajectories; None if none.

    Where the cell changes along a run its mean counts; runs with different cells are refused.

    Parameters
    ----------
    paths, runs
        Trajectories and the i-PI runs that they belong to.
    notes
        Gets where the cell is from, or why it is not known.
    """
    if given is not None:
        named = pbc_of(given) if kind_of(given) in (".xyz", ".extxyz") else None
        return Cell(read_cell(given), given, cell_volume(given), pbc=named or PERIODIC)
    found = [one for run in runs if (one := run_cell(run)) is not None]
    inside = {path for run in runs for files in run.outputs.values() for path in files}
    found += [
        one
        for path in paths
        if path not in inside and (one := file_cell(path, lammps_units=lammps_units)) is not None
    ]
    for run in runs:
        if not found and run.mode.startswith(("npt", "nst", "np", "ns")):
            notes.append(
                f"the cell of {run.folder} moves ({run.mode}) and no output tells its mean: the "
                "volume column of the properties would"
            )
    cell = common(found)
    if cell is not None:
        notes.append(cell.note)
    return cell


def cell_volume(path: str | Path) -> float:
    """Volume of the first structure of a file; i-PI's own xyz comment is understood."""
    return _volume(read_cell(path))
