"""Frames of structure files as ASE reads them, isotopes as masses, and of i-PI's xyz."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io.formats import filetype, open_with_compression, string2index

from lrcalc import zoo
from lrcalc.ipi_files.quantities import DIMENSION
from lrcalc.ipi_files.xyz import XYZFrame, is_ipi_xyz, read_frames
from lrcalc.structures import lammps, native
from lrcalc.structures.content import mass_column
from lrcalc.structures.isotopes import isotope

XYZ = (".xyz", ".extxyz", ".exyz")

PACKED = (".gz", ".bz2", ".xz")

_FIRST_LABEL = re.compile(r"\s*(?:[DTdt]|\[?\d{1,3}[A-Za-z]{1,2}\]?|[A-Z][a-z]?-\d{1,3})\s+\S")

_OTHER_CASE = re.compile(
    r"(?<![\w.])(?:lattice(?=\s*=\s*[\"'{\[]?\s*[-+.\d])|properties(?=\s*=))", re.I
)
"""ASE's two words, in any case: GPUMD writes them small, ASE would pass them over."""

_FIXED = re.compile(r"\bfixed=([\d,-]+)")

_PROPERTIES = re.compile(r'Properties\s*=\s*"?([^"\s]+)"?')


def told_as(path: Path, argument: str) -> str:
    """Name a file in errors as the user knows it."""
    return f"`{argument}` {str(path)!r}"


def find(path: str | Path, argument: str) -> Path:
    """Return the file that is meant: one that is there, or a bundled structure by its name."""
    path = Path(path)
    if not path.exists() and str(path) in zoo.structures():
        return zoo.structure_file(str(path))
    if path.is_dir():
        raise ValueError(f"{told_as(path, argument)} is a folder: give a structure file")
    if not path.is_file():
        raise FileNotFoundError(
            f"no {argument} file: {told_as(path, argument)} does not exist in {Path.cwd()}; "
            f"bundled by name: {', '.join(zoo.structures())}"
        )
    return path


def kind_of(path: Path) -> str:
    """Return the ending of a file's name, that before .gz if it is packed."""
    name = path.name
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix.lower()


def frames_of(
    path: Path, index: int | str | slice, argument: str, *, extended: bool = False
) -> list[Atoms]:
    """Frames with isotopes as masses; nothing else is understood yet."""
    from ase.io import read

    told = told_as(path, argument)
    try:
        if extended or kind_of(path) in XYZ:
            frames = _read_xyz(path, index)
        elif lammps.kind(path):
            frames = lammps.read(path, index)
        elif (form := filetype(str(path))) in ("db", "json"):
            frames = _read_database(path, index)
        else:
            frames = _listed(read(path, index=index))
            native.add_stated(path, form, frames)
    except Exception as error:  # ASE raises many kinds for a malformed file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system, which says what is wrong
        what = "extended xyz" if extended else "a structure"
        raise ValueError(
            f"{told} cannot be read: it could not be read as {what} ({_reason(error)}"
        ) from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames or len(frames[0]) == 0:
        raise ValueError(f"{told} has no atoms")
    for number, atoms in enumerate(frames):
        if not (np.isfinite(atoms.positions).all() and np.isfinite(np.asarray(atoms.cell)).all()):
            raise ValueError(
                f"{told}{f': frame {number}' * (len(frames) > 1)} has positions or a cell that "
                "are not finite"
            )
    return frames


def _reason(error: Exception) -> str:
    reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
    if isinstance(error, KeyError):
        return (
            f"{reason}); if it is the label of an atom: give elements; isotopes are read from .xyz "
            "as D, T, [13C], or as a column masses:R:1"
        )
    if isinstance(error, StopIteration | IndexError):
        reason += "; is it empty or cut short, or has it no such frame?"
    return f"{reason}); give a whole file of a format that ASE knows, such as .xyz, .cif or POSCAR"


def _read_database(path: Path, index: int | str | slice) -> list[Atoms]:
    """Rows of ASE's databases, with the pairs of keys and values that ``ase.io.read`` drops."""
    from ase.db import connect

    wanted = string2index(index) if isinstance(index, str) else index
    with connect(path, serial=True) as rows:
        chosen = range(rows.count())[wanted]
        numbers = [chosen] if isinstance(chosen, int) else list(chosen)
        if not numbers:
            raise IndexError("no such row")
        first, last = min(numbers), max(numbers)
        found = {
            first + k: row.toatoms(add_additional_information=True)
            for k, row in enumerate(rows.select(offset=first, limit=last - first + 1))
            if first + k in set(numbers)
        }
    return [found[k] for k in numbers]


def _read_xyz(path: Path, index: int | str | slice) -> list[Atoms]:
    from ase.io import read

    if is_ipi_xyz(path):
        return _chosen([_from_ipi(frame) for frame in read_frames(path)], index)
    with open_with_compression(str(path)) as file:
        if not any(_may_name_isotope(line) or _in_other_case(line) for line in file):
            packed = path.suffix in PACKED  # ASE jumps about in it, which unpacks it anew each time
            if packed:
                file.seek(0)
            source = io.StringIO(file.read()) if packed else path
            return _listed(read(source, index=index, format="extxyz"))
        file.seek(0)
        text, labels = _without_isotopes(file)
    frames = _listed(read(io.StringIO(text), index=":", format="extxyz"))
    return _chosen([_with_isotopes(*pair) for pair in zip(frames, labels, strict=True)], index)


def _listed(frames: Any) -> list[Atoms]:
    return frames if isinstance(frames, list) else [frames]


def _chosen(frames: list[Atoms], index: int | str | slice) -> list[Atoms]:
    wanted = string2index(index) if isinstance(index, str) else index
    return _listed(frames[wanted])


def _in_other_case(line: str) -> bool:
    """Whether a line names cell or columns in another case than ASE, and not in its own too."""
    found = _OTHER_CASE.findall(line) if "=" in line else []
    return any(word != word.capitalize() for word in found) and len(found) == len(
        {word.lower() for word in found}
    )


def _may_name_isotope(line: str) -> bool:
    """Whether a line starts with the label of an isotope, or says that labels stand elsewhere."""
    if "Properties" in line:
        found = _PROPERTIES.search(line)
        return found is not None and not found[1].startswith("species")
    return _FIRST_LABEL.match(line) is not None


def _without_isotopes(lines: Iterable[str]) -> tuple[str, list[dict[int, float]]]:
    """Text with elements for isotopes, and for each frame the masses of these atoms."""
    kept: list[str] = []
    masses: list[dict[int, float]] = []
    lines = iter(lines)
    for head in lines:
        if not head.strip().isdigit():
            kept += [head, *lines]  # ASE says what is wrong with it
            break
        comment = next(lines, "")
        if _in_other_case(comment):
            comment = _OTHER_CASE.sub(lambda word: word[0].capitalize(), comment)
        column = _species_column(comment)
        frame: dict[int, float] = {}
        kept += [head, comment]
        for atom, line in enumerate(islice(lines, int(head))):
            words = line.split()
            named = isotope(words[column]) if len(words) > column else None
            if named is not None:
                words[column], frame[atom] = named
                line = " ".join(words) + "\n"
            kept.append(line)
        masses.append(frame)
    return "".join(kept), masses


def _species_column(comment: str) -> int:
    found = _PROPERTIES.search(comment)
    fields = found[1].split(":") if found else []
    column = 0
    for name, width in zip(fields[::3], fields[2::3], strict=False):
        if name == "species":
            return column
        column += int(width)
    return 0


def _with_isotopes(atoms: Atoms, named: Mapping[int, float]) -> Atoms:
    """Masses of the isotopes that labels name; a column of masses must agree with them."""
    if not named:
        return atoms
    column = mass_column(atoms)
    if column is not None:
        given = np.asarray(atoms.arrays[column], dtype=float)
        bad = [i for i, mass in named.items() if not abs(given[i] - mass) < 0.1]
        if bad:
            raise ValueError(
                f"the label of atom {bad[0]} is an isotope of {named[bad[0]]:g} amu, but the "
                f"column {column} says {given[bad[0]]:g}; correct one of them"
            )
        return atoms
    masses = atoms.get_masses()
    masses[list(named)] = list(named.values())
    atoms.set_masses(masses)
    return atoms


def fixed_mark(fixed: np.ndarray) -> str:
    """Mark of fixed atoms in the comment of an xyz file for i-PI: ``fixed=0-5,9`` after a space.

    Parameters
    ----------
    fixed : ndarray of bool, shape (N,)
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], fixed, [False]]).astype(int)))
    parts = [
        f"{first}-{last}" if last > first else f"{first}"
        for first, last in zip(edges[::2], edges[1::2] - 1, strict=True)
    ]
    return f" fixed={','.join(parts)}" if parts else ""


def _ranges(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _from_ipi(frame: XYZFrame) -> Atoms:
    """One frame of i-PI's xyz, whose labels may name isotopes."""
    if DIMENSION[frame.header.quantity] != "length":
        raise ValueError(f"these are {frame.header.quantity}, no positions")
    named = {i: found for i, name in enumerate(frame.names) if (found := isotope(name)) is not None}
    periodic = frame.cell is not None
    atoms = Atoms(
        symbols=[named[i][0] if i in named else name for i, name in enumerate(frame.names)],
        positions=frame.values,
        cell=frame.cell,
        pbc=frame.pbc if frame.pbc is not None else periodic,
    )
    if frame.charge is not None:
        atoms.info["charge"] = frame.charge
    if frame.masses is not None:
        atoms.set_masses(frame.masses)
    fixed = _FIXED.search(frame.comment)
    if fixed is not None:
        atoms.set_constraint(FixAtoms(_ranges(fixed[1])))
    return _with_isotopes(atoms, {i: mass for i, (_, mass) in named.items()})
