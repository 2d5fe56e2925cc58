"""Series from files of structures: ASE's formats and the xyz files of i-PI."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.ipi_files.branches import UNKNOWN
from lrcalc.ipi_files.quantities import DIMENSION
from lrcalc.ipi_files.text import kind_of, open_text, seekable
from lrcalc.ipi_files.xyz import is_ipi_xyz, parse_header, parse_values, stream, unit_factor
from lrcalc.run_conditions import KEY, RunConditions, from_info
from lrcalc.structures import read_structures
from lrcalc.structures.content import take_masses, take_velocities, unstated_velocities
from lrcalc.units import EPSILON_0

COLUMNS = {"dipole": 3, "current": 3, "polarizability": 9}
"""Numbers a frame."""

_ASE_KEYS = {
    "dipole": ("dipole", "REF_dipole"),
    "polarizability": ("polarizability", "REF_polarizability"),
    "born": ("born_effective_charges", "born", "REF_born"),
}


def frames_in(path: str | Path) -> Iterator[Any]:
    """ASE's frames one by one, masses where ASE keeps them, whatever their column is called.

    Labels of isotopes, which ASE does not read, make them masses; such a file is read whole.
    """
    from ase.io import iread

    try:
        if kind_of(path) in (".xyz", ".extxyz"):
            frames = iread(seekable(path), index=":", format="extxyz")
        else:
            frames = iread(str(path), index=":")
        first = next(frames, None)
    except KeyError:  # a label that is no element
        yield from read_structures(path, argument="trajectory")
        return
    if first is None:
        raise ValueError(f"{path} has no frames")
    for atoms in chain([first], frames):
        take_masses(atoms, str(path))
        yield atoms


def read_ase(path: Path, quantity: str, factor: float, *, unit: str | None = None) -> Series:
    """Any trajectory that ASE reads; ``time_fs`` in a frame's info tells the time step.

    Where only every k-th frame has the quantity (``lrcalc md --polarizability-every``), those are
    the series.

    Parameters
    ----------
    unit
        Of a column of velocities that is not ASE's momenta, where its name does not tell.
    """
    start = next(frames_in(path))
    columns = COLUMNS.get(quantity) or 3 * len(start)
    conditions, told = from_info(start.info), start.info.get(KEY)
    first, every, times = _layout(path, quantity, unit)

    def chunks() -> Iterator[np.ndarray]:
        rows: list[np.ndarray] = []
        for index, atoms in enumerate(frames_in(path)):
            if (index - first) % every:
                continue
            if atoms.info.get(KEY) != told:
                raise ValueError(
                    f"{path}, frame {index}: made under other conditions ({atoms.info.get(KEY)}) "
                    f"than the first ({told}): cut the trajectory there"
                )
            if quantity not in COLUMNS:
                _check_atoms(atoms, start, index, path)
            value = _frame_value(atoms, quantity, unit, path)
            if quantity == "dipole" and conditions is not None:
                value = _whole_dipole(atoms, conditions, value)
            if value is None or value.size != columns:
                raise ValueError(
                    f"{path}, frame {index}: no {quantity} with {columns} numbers, "
                    f"{_NEEDED[quantity]}"
                )
            if None not in times:
                _check_time(atoms, index, path, times, (index - first) // every)
            rows.append(value.reshape(columns))
            if len(rows) == 4096:
                yield np.array(rows) * factor
                rows = []
        if rows:
            yield np.array(rows) * factor

    known = len(times) == 2 and None not in times
    timestep = float(times[1] - times[0]) if known else None
    return Series(chunks, columns, str(path), timestep, None, conditions)


def _whole_dipole(
    atoms: Any, conditions: RunConditions, value: np.ndarray | None
) -> np.ndarray | None:
    """Dipole with the electrons' part at constant D, which the recorded field tells: V (D - ε0 E).

    Less V D, a constant. Dipoles that lrcalc recorded before may lack the background's part.
    """
    field = _from_frame(atoms, ("electric_field",))
    if not conditions.at_constant_d or field is None or value is None:
        return value
    return np.asarray(-EPSILON_0 * atoms.get_volume() * field)


def _check_atoms(atoms: Any, start: Any, index: int, path: Path) -> None:
    """Refuse a frame whose atoms stand in another order, or have other masses, than the first."""
    if len(atoms) != len(start):
        raise ValueError(
            f"{path}, frame {index}: {len(atoms)} atoms where {len(start)} were before: cut the "
            "trajectory there"
        )
    for what, one, other in (
        ("element", atoms.numbers, start.numbers),
        ("mass", atoms.get_masses(), start.get_masses()),
    ):
        if not np.allclose(one, other, rtol=1e-4):
            bad = int(np.argmax(~np.isclose(one, other, rtol=1e-4)))
            raise ValueError(
                f"{path}, frame {index}: atom {bad} has another {what} ({one[bad]:g}) than in the "
                f"first frame ({other[bad]:g}): atoms must stand in the same order in all frames; "
                "sort them, or cut the trajectory there"
            )


def _check_time(atoms: Any, index: int, path: Path, times: list[Any], number: int) -> None:
    """Refuse a frame whose ``time_fs`` does not follow evenly from those of the first two."""
    step = times[-1] - times[0]
    wanted, found = times[0] + number * step, atoms.info.get("time_fs")
    if found is None or abs(found - wanted) > 1e-3 * max(step, 1e-9):
        raise ValueError(
            f"{path}, frame {index}: time {found} fs where {wanted:g} fs is due: frames must be "
            "evenly apart; cut the trajectory there"
        )


def _layout(
    path: Path, quantity: str, unit: str | None, most: int = 1000
) -> tuple[int, int, list[Any]]:
    """First frame that has the quantity, frames to the next, and the times of these two."""
    found: list[int] = []
    times: list[Any] = []
    for index, atoms in enumerate(islice(frames_in(path), most)):
        if _frame_value(atoms, quantity, unit, path) is not None:
            found.append(index)
            times.append(atoms.info.get("time_fs"))
        if len(found) == 2:
            return found[0], found[1] - found[0], times
    if not found:
        raise ValueError(f"{path}: no {quantity} in any frame, {_NEEDED[quantity]}")
    return found[0], most, times


def _frame_value(atoms: Any, quantity: str, unit: str | None, path: Path) -> np.ndarray | None:
    """Quantity of one ASE frame in e, Å, fs, V, None where it is missing."""
    from ase.units import fs

    if quantity == "positions":
        return np.asarray(atoms.positions).reshape(-1)
    if quantity == "current":
        given = _from_frame(atoms, ("current",))
        if given is not None:
            return given
    if quantity in ("velocities", "current"):
        _momenta(atoms, unit, path)
        if "momenta" not in atoms.arrays:
            return None
    if quantity == "velocities":
        return np.asarray(atoms.get_velocities()).reshape(-1) * fs
    if quantity == "current":
        return frame_current(atoms)
    return _from_frame(atoms, _ASE_KEYS[quantity])


def _momenta(atoms: Any, unit: str | None, path: Path) -> None:
    """Momenta from a column of velocities, whose unit the file or the user must say."""
    if unit is not None and "momenta" in atoms.arrays:
        raise ValueError(f"`unit` is {unit!r} but {path} has momenta in ASE's unit: leave it out")
    column = unstated_velocities(atoms) if unit is None else None
    if column is not None:
        raise ValueError(
            f"{path} has a column {column} but nothing tells its unit: give `unit`, such as "
            "angstrom/fs"
        )
    take_velocities(atoms, str(path), unit)


_NEEDED = {
    "positions": "",
    "velocities": "which need momenta, or a column vel or velocities",
    "current": f"which needs Born charges ({', '.join(_ASE_KEYS['born'])}) and momenta",
    "dipole": f"looked for {', '.join(_ASE_KEYS['dipole'])}",
    "polarizability": f"looked for {', '.join(_ASE_KEYS['polarizability'])}",
}


def read_ipi_velocities(path: str | Path) -> tuple[Series, list[str]]:
    """Read velocities of an i-PI or extended xyz trajectory; the species as well."""
    return read_ipi_frames(path, "velocities")


def read_ipi_frames(path: str | Path, quantity: str) -> tuple[Series, list[str]]:
    """Read velocities or positions of an i-PI or extended xyz trajectory; the species as well.

    i-PI's comment must name the unit (``velocities{atomic_unit}``). Another extended xyz file has
    momenta and positions, which ASE reads.
    """
    path = Path(path)
    if not is_ipi_xyz(path):
        species = next(frames_in(path)).get_chemical_symbols()
        return read_ase(path, quantity, 1.0), species
    with open_text(path) as file:
        count = _atoms(file.readline(), path)
        comment = file.readline()
        species = [line.split()[0] for _ in range(count) if (line := file.readline()).strip()]
    header = parse_header(comment)
    if DIMENSION[header.quantity] != DIMENSION[quantity]:
        raise ValueError(
            f"{path} holds {header.quantity}, not {quantity}: let i-PI write {quantity}"
        )
    try:
        unit_factor(header)
    except ValueError:
        raise ValueError(
            f"{path}: {quantity} in {header.unit!r}; write them in atomic_unit"
        ) from None
    steps = [frame.step for frame in islice(stream(path), 2)] if header.step is not None else []
    stride = steps[1] - steps[0] if len(steps) == 2 else None

    def frames() -> Iterator[np.ndarray]:
        due = steps[0] if steps else 0
        cut = False
        for frame in stream(path):
            if cut or (stride and frame.step not in (due, UNKNOWN)):
                told = f"the frame before step {frame.step} is cut short and not written again"
                gap = f"step {due} expected but {frame.step} found: frames are missing"
                raise ValueError(
                    f"{path}: {told if cut else gap}; give the parts as separate files"
                )
            due += stride or 0
            cut = not frame.whole
            if not cut:  # else the run was killed while it wrote this frame, which must be the last
                comment, rows = frame.content
                yield parse_values(comment, rows, path).reshape(-1)

    def chunks() -> Iterator[np.ndarray]:
        remaining = frames()
        while block := list(islice(remaining, 512)):
            yield np.array(block)

    return Series(chunks, 3 * count, str(path), None, stride), species


def _atoms(line: str, path: Path) -> int:
    try:
        return int(line)
    except ValueError:
        raise ValueError(f"{path}: a number of atoms expected, found {line.strip()!r}") from None


def _from_frame(atoms: Any, keys: Sequence[str]) -> np.ndarray | None:
    results = getattr(getattr(atoms, "calc", None), "results", {})
    for key in keys:
        for place in (results, atoms.info, atoms.arrays):
            if key in place:
                return np.asarray(place[key], dtype=float)
    return None


def frame_current(atoms: Any) -> np.ndarray | None:
    """``J_a = Σ_ib born[i, a, b] v_ib`` in e Å/fs of an ASE frame with velocities.

    None without Born charges.
    """
    from ase.units import fs

    born = _from_frame(atoms, _ASE_KEYS["born"])
    if born is None:
        return None
    velocities = atoms.get_velocities() * fs
    if born.size != 9 * len(velocities):
        raise ValueError(f"Born charges of shape {born.shape} for {len(velocities)} atoms")
    return np.einsum("iab,ib->a", born.reshape(-1, 3, 3), velocities)
