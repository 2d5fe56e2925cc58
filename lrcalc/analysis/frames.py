"""Series from files of structures: ASE's formats and the xyz files of i-PI."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lrcalc import units
from lrcalc.analysis.correlator import Series

COLUMNS = {"dipole": 3, "current": 3, "polarizability": 9}
"""Numbers a frame."""

_ASE_KEYS = {
    "dipole": ("dipole", "REF_dipole"),
    "polarizability": ("polarizability", "REF_polarizability"),
    "born": ("born_effective_charges", "born", "REF_born"),
}


def read_ase(path: Path, quantity: str, factor: float) -> Series:
    """Any trajectory that ASE reads; ``time_fs`` in a frame's info tells the time step."""
    from ase.io import iread
    from ase.units import fs

    velocities = quantity == "velocities"
    columns = 3 * len(next(iread(str(path), index=0))) if velocities else COLUMNS[quantity]

    def chunks() -> Iterator[np.ndarray]:
        rows: list[np.ndarray] = []
        for index, atoms in enumerate(iread(str(path), index=":")):
            if velocities:
                if "momenta" not in atoms.arrays:
                    raise ValueError(f"{path}, frame {index}: no momenta, so no velocities")
                rows.append(atoms.get_velocities().reshape(-1) * fs)
            elif quantity == "current":
                rows.append(frame_current(atoms, f"{path}, frame {index}"))
            else:
                value = _from_frame(atoms, _ASE_KEYS[quantity])
                if value is None or value.size != columns:
                    raise ValueError(
                        f"{path}, frame {index}: no {quantity} with {columns} numbers "
                        f"(looked for {', '.join(_ASE_KEYS[quantity])})"
                    )
                rows.append(value.reshape(columns))
            if len(rows) == 4096:
                yield np.array(rows) * factor
                rows = []
        if rows:
            yield np.array(rows) * factor

    times = [atoms.info.get("time_fs") for atoms in islice(iread(str(path), index=":2"), 2)]
    known = len(times) == 2 and None not in times
    return Series(chunks, columns, str(path), float(times[1] - times[0]) if known else None)


_UNIT = re.compile(r"velocities\{(\w+)\}")
_PROPERTIES = re.compile(r"Properties=(\S+)")
_STEP = re.compile(r"Step:\s*(\d+)")
_VELOCITY = {
    "atomic_unit": units.BOHR / 2.418884326e-2,
    "angstrom/femtosecond": 1.0,
    "ase": 0.09822694788,
}


def read_ipi_velocities(path: str | Path) -> tuple[Series, list[str]]:
    """Read velocities of an i-PI or extended xyz trajectory; the species as well.

    i-PI's comment must name the unit (``velocities{atomic_unit}``); in its format ``ase`` the
    velocities stand behind a column of positions that are zero. Another extended xyz file has
    momenta, which ASE reads.
    """
    path = Path(path)
    with path.open() as file:
        count = _atoms(file.readline(), path)
        comment = file.readline()
        species = [file.readline().split()[0] for _ in range(count)]
        following = file.readline() and file.readline()
    named = _UNIT.search(comment)
    if named is None:
        if "positions{" in comment:
            raise ValueError(f"{path} holds positions, not velocities: let i-PI write velocities")
        return read_ase(path, "velocities", 1.0), species
    if named[1] not in _VELOCITY:
        raise ValueError(f"{path}: velocities in {named[1]!r}; write them in atomic_unit")
    factor = _VELOCITY[named[1]]
    first = _column_of("velocities", comment)
    steps = [int(found[1]) for text in (comment, following) if (found := _STEP.search(text))]

    def frames() -> Iterator[np.ndarray]:
        with path.open() as file:
            while header := file.readline():
                if _atoms(header, path) != count:
                    raise ValueError(f"{path}: a frame of {header.strip()} atoms, not {count}")
                file.readline()
                words = [file.readline().split()[first : first + 3] for _ in range(count)]
                if any(len(row) != 3 for row in words):
                    raise ValueError(f"{path}: the last frame is cut off")
                yield np.array(words, dtype=float).reshape(-1) * factor

    def chunks() -> Iterator[np.ndarray]:
        stream = frames()
        while block := list(islice(stream, 512)):
            yield np.array(block)

    stride = steps[1] - steps[0] if len(steps) == 2 else None
    return Series(chunks, 3 * count, str(path), None, stride), species


def _atoms(line: str, path: Path) -> int:
    try:
        return int(line)
    except ValueError:
        raise ValueError(f"{path}: a number of atoms expected, found {line.strip()!r}") from None


def _column_of(name: str, comment: str) -> int:
    """Return the first column of a property in an extended xyz line; 1 in a plain xyz file."""
    found = _PROPERTIES.search(comment)
    if found is None:
        return 1
    fields = found[1].split(":")
    column = 0
    for key, width in zip(fields[::3], fields[2::3], strict=True):
        if key == name:
            return column
        column += int(width)
    return 1


def _from_frame(atoms: "object", keys: Sequence[str]) -> np.ndarray | None:
    results = getattr(getattr(atoms, "calc", None), "results", {})
    for key in keys:
        for place in (results, atoms.info, atoms.arrays):  # type: ignore[attr-defined]
            if key in place:
                return np.asarray(place[key], dtype=float)
    return None


def frame_current(atoms: "object", where: str) -> np.ndarray:
    """``J_a = Σ_ib born[i, a, b] v_ib`` in e Å/fs of an ASE frame with velocities."""
    from ase.units import fs

    born = _from_frame(atoms, _ASE_KEYS["born"])
    momenta = "momenta" in atoms.arrays  # type: ignore[attr-defined]
    if born is None or not momenta:
        raise ValueError(
            f"{where}: a current needs Born charges ({', '.join(_ASE_KEYS['born'])}) and momenta"
        )
    velocities = atoms.get_velocities() * fs  # type: ignore[attr-defined]
    if born.size != 9 * len(velocities):
        raise ValueError(f"{where}: Born charges of shape {born.shape} for {len(velocities)} atoms")
    return np.einsum("iab,ib->a", born.reshape(-1, 3, 3), velocities)
