"""The cell that a run really had: mean over its frames, of its restart, or of a structure file."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.analysis.ipi_folder import IPIRun, properties_column
from lrcalc.analysis.readers import kind_of, open_text
from lrcalc.units import BOHR

VARIES = 0.01
"""A volume that changes by more than this part of its mean is worth a note."""

_IPI = re.compile(r"CELL[(\[{](abcABC|H|GENH)[)\]}]:\s*((?:[-+0-9.eE]+\s+){5,8}[-+0-9.eE]+)")
_ASE = re.compile(r'\blattice\s*=\s*["{]([^"}]*)["}]', re.IGNORECASE)
_STATE = re.compile(r"<cell\b([^>]*)>\s*\[([^\]]*)\]")
_VOLUME = re.compile(r"#\s*column\s+(\d+)\s*-->\s*volume(?:\{(\w+)\})?\s")
_CUBIC = {"angstrom3": 1.0, "atomic_unit": BOHR**3, None: BOHR**3}


class Cell(NamedTuple):
    """A cell, where it is from, and how much the volume changed about it."""

    vectors: np.ndarray
    """(3, 3), rows in Å; the mean where there are several frames."""
    source: str
    volume: float
    """Å³; the mean where there are several frames."""
    spread: float = 0.0
    """(largest − smallest volume)/mean."""

    @property
    def note(self) -> str:
        """Say where it is from, and if the volume changes."""
        if self.spread <= VARIES:
            return f"cell from {self.source}"
        return (
            f"the volume varies by {100 * self.spread:.1f} %: its mean {self.volume:.2f} Å³ "
            f"is used, from {self.source}"
        )


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
    states = [run.folder / "RESTART", run.folder / f"{run.prefix}.checkpoint"]
    for path in [*states, *run.start]:
        vectors = _start_cell(path)
        if vectors is not None:
            found = Cell(vectors, str(path), _volume(vectors))
            if fixed:
                return found
            mean = _with_mean_volume(found, run)
            return mean if mean is not found else None
    return None


def _with_mean_volume(found: Cell, run: IPIRun) -> Cell:
    """Scale a cell to the mean of the properties' volume column, which has more frames."""
    path = run.folder / f"{run.prefix}.out"
    values, unit = properties_column(path, _VOLUME)
    if not values or unit not in _CUBIC:
        return found
    volumes = np.array(values) * _CUBIC[unit]
    mean = float(volumes.mean())
    vectors = found.vectors * (mean / _volume(found.vectors)) ** (1 / 3)
    return Cell(vectors, f"the volumes of {path}", mean, float(np.ptp(volumes)) / mean)


def _start_cell(path: Path) -> np.ndarray | None:
    """Cell of a checkpoint of i-PI or of a structure file, None where there is none."""
    if not path.is_file():
        return None
    with path.open(errors="replace") as file:
        state = "<simulation" in file.read(4000)
    try:
        return read_checkpoint_cell(path) if state else read_cell(path)
    except ValueError:
        return None


def read_checkpoint_cell(path: str | Path) -> np.ndarray:
    """Cell (3, 3), rows in Å, of a RESTART or checkpoint of i-PI (its vectors are columns).

    Raises
    ------
    ValueError
        If it has no cell.
    """
    found = _STATE.search(Path(path).read_text(errors="replace"))
    numbers = [float(x) for x in found[2].replace(",", " ").split()] if found else []
    if found is None or len(numbers) != 9:
        raise ValueError(f"{path} has no <cell> of nine numbers")
    scale = 1.0 if "angstrom" in found[1] else BOHR
    return np.array(numbers).reshape(3, 3).T * scale


def file_cell(path: str | Path, *, every: bool = True) -> Cell | None:
    """Mean cell over the frames of a trajectory file, or that of the first; None if it has none."""
    path = Path(path)
    if kind_of(path) in (".xyz", ".extxyz"):
        cells = _comment_cells(path)
    elif kind_of(path) in (".traj", ".db"):
        cells = _ase_cells(path)
    else:
        return None
    first = next(cells, None)
    if first is None:
        return None
    total, volumes = first.copy(), [_volume(first)]
    for vectors in cells if every else ():
        total += vectors
        volumes.append(_volume(vectors))
    mean = float(np.mean(volumes))
    spread = float(np.ptp(volumes)) / mean
    return Cell(total / len(volumes), str(path), mean, spread)


def _ase_cells(path: Path) -> Iterator[np.ndarray]:
    from ase.io import iread

    for atoms in iread(str(path), index=":"):
        if atoms.cell.rank < 3:
            return
        yield np.array(atoms.cell)


def _comment_cells(path: Path) -> Iterator[np.ndarray]:
    """Cells in the comment lines of an xyz file; the first line without one ends it."""
    with open_text(path) as file:
        while (head := file.readline()).strip().isdigit():
            vectors = _comment_cell(file.readline())
            if vectors is None:
                return
            yield vectors
            for _ in range(int(head)):
                file.readline()


def _comment_cell(comment: str) -> np.ndarray | None:
    from ase.geometry import cellpar_to_cell

    plain = _ASE.search(comment)
    if plain is not None:
        rows = [float(x) for x in plain[1].split()]
        vectors = np.array(rows).reshape(3, 3) if len(rows) == 9 else np.zeros((3, 3))
        return vectors if _volume(vectors) > 0 else None
    found = _IPI.search(comment)
    if found is None:
        return None
    numbers = [float(x) for x in found[2].split()]
    # i-PI's own rule: atomic units unless the comment says otherwise
    scale = 1.0 if "cell{angstrom}" in comment else BOHR
    if found[1] == "abcABC":
        return np.asarray(cellpar_to_cell([*(scale * x for x in numbers[:3]), *numbers[3:6]]))
    # i-PI writes the matrix with lattice vectors as columns
    return np.array(numbers[:9]).reshape(3, 3).T * scale


def read_cell(path: str | Path) -> np.ndarray:
    """Cell (3, 3), rows in Å, of the first structure of a file; i-PI's xyz comment is understood.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, or has no three-dimensional cell.
    """
    from ase.io import read as read_structure

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if kind_of(path) in (".xyz", ".extxyz"):
        found = next(_comment_cells(path), None)
        if found is not None:
            return found
    try:
        atoms = read_structure(path, index=0)
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise ValueError(
            f"{path} could not be read as a structure ({type(error).__name__})"
        ) from error
    if atoms.cell.rank == 3:
        return np.array(atoms.cell)
    raise ValueError(f"{path} has no three-dimensional cell; give --volume")


def common(cells: Sequence[Cell]) -> Cell | None:
    """One cell for several runs.

    Raises
    ------
    ValueError
        If their volumes differ by more than 1 % or their vectors by more than 2 %.
    """
    if len(cells) < 2:
        return cells[0] if cells else None
    volumes = [one.volume for one in cells]
    mean = float(np.mean(volumes))
    apart = max(float(np.abs(one.vectors - cells[0].vectors).max()) for one in cells)
    if np.ptp(volumes) > VARIES * mean or apart > 0.02 * mean ** (1 / 3):
        told = ", ".join(f"{one.volume:.2f} Å³ ({one.source})" for one in cells)
        raise ValueError(
            f"the runs have different cells: {told}; a spectrum needs one volume, so do them one "
            "by one"
        )
    vectors = np.mean([one.vectors for one in cells], axis=0)
    source = ", ".join(dict.fromkeys(one.source for one in cells))
    return Cell(vectors, source, mean, max(one.spread for one in cells))


def _volume(vectors: np.ndarray) -> float:
    return float(abs(np.linalg.det(vectors)))
