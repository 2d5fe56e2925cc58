"""Structures and trajectories of i-PI: its xyz format, and its ``ase`` format (extended xyz).

Both name the quantity and its unit in the comment line, ``velocities{atomic_unit}``, and the cell
with a unit of its own (:mod:`lrcalc.ipi_files.cells`). Nothing named means positions, in atomic
units in the xyz format and in Å in the other, as i-PI takes it. In format ``ase`` the quantity is
a column of its name. lrcalc adds to i-PI's xyz, which ignores it, ``charge=1`` in the comment and,
where that names ``masses{dalton}``, a fifth column.
"""

import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.ipi_files.branches import UNKNOWN, Frame, later_branch, replaced
from lrcalc.ipi_files.cells import Array, comment_cell, comment_pbc
from lrcalc.ipi_files.quantities import DIMENSION, factor
from lrcalc.ipi_files.text import open_text

_STEP = re.compile(r"Step:\s*(\d+)")
_BEAD = re.compile(r"Bead:\s*(\d+)")
_QUANTITY = re.compile(r"\b(\w+)(?:\([^)]*\))?\{\s*([^}]*?)\s*\}")
_PROPERTIES = re.compile(r"Properties=(\S+)")
_CHARGE = re.compile(r"\b(?:total_)?charge\s*=\s*\"?([-+0-9.eE]+)")
_MASSES = re.compile(r"\bmasses\{\s*([^}]*?)\s*\}")


class Header(NamedTuple):
    """What the comment line of a frame says."""

    quantity: str
    """"positions", "velocities", "forces", "x_centroid", …"""
    unit: str | None
    """As written; None if not named."""
    ase: bool
    """Format ``ase`` and not i-PI's xyz."""
    step: int | None
    bead: int | None


class XYZFrame(NamedTuple):
    """One frame, in lrcalc's units."""

    names: list[str]
    values: Array
    """(N, 3) of the quantity: Å, Å/fs, eV/Å."""
    cell: Array | None
    """(3, 3), rows in Å, oriented as in the file."""
    pbc: tuple[bool, bool, bool] | None
    """None if the comment does not name it; i-PI itself takes everything for periodic."""
    masses: Array | None
    """(N,) amu, None if the file does not say."""
    charge: float | None
    """Total, e; None if the file does not say."""
    header: Header
    comment: str


def is_ipi_comment(comment: str) -> bool:
    """Whether a comment line is one of i-PI's: a CELL, a quantity with its unit, or both."""
    return bool(
        re.search(r"\bCELL[(\[{]", comment)
        or "ipi_comment" in comment
        or any(m[1] in DIMENSION or m[1] == "cell" for m in _QUANTITY.finditer(comment))
    )


def is_ipi_xyz(path: str | Path) -> bool:
    """Whether a file is an xyz or extended xyz file with i-PI's comments."""
    with open_text(path) as file:
        return file.readline().strip().isdigit() and is_ipi_comment(file.readline())


def parse_header(comment: str) -> Header:
    """Quantity, unit, format and step of a comment line."""
    named = [m for m in _QUANTITY.finditer(comment) if m[1] in DIMENSION]
    quantity, unit = (named[0][1], named[0][2]) if named else ("positions", None)
    step, bead = _STEP.search(comment), _BEAD.search(comment)
    return Header(
        quantity,
        unit,
        "Properties=" in comment or bool(re.search(r"\blattice\s*=", comment, re.IGNORECASE)),
        int(step[1]) if step else None,
        int(bead[1]) if bead else None,
    )


def unit_factor(header: Header) -> float:
    """Factor of the values of a frame to lrcalc's unit.

    Raises
    ------
    ValueError
        For a unit that i-PI does not have.
    """
    unit = header.unit
    if unit is None or unit.lower() == "automatic":
        unit = "ase" if header.ase else "atomic_unit"
    return factor(DIMENSION[header.quantity], unit)


def parse_frame(comment: str, rows: list[str], path: object) -> XYZFrame:
    """One frame from its comment and its lines of atoms.

    Raises
    ------
    ValueError
        If a row has too few words, or one that is no number.
    """
    header = parse_header(comment)
    values = parse_values(comment, rows, path)
    words = [row.split() for row in rows]
    masses = _MASSES.search(comment)
    mass_column, name_column = (
        _column("masses", comment, 4 if masses else 0),
        _column("species", comment, 0),
    )
    try:
        heavy = np.array([float(w[mass_column]) for w in words]) if mass_column else None
        names = [w[name_column] for w in words]
    except (ValueError, IndexError):
        raise _unread(rows, max(mass_column, name_column) + 1, path) from None
    charge = _CHARGE.search(comment)
    return XYZFrame(
        names,
        values,
        _cell(comment, header),
        comment_pbc(comment),
        None if heavy is None else heavy * factor("mass", masses[1] if masses else "dalton"),
        float(charge[1]) if charge else None,
        header,
        comment.rstrip("\n"),
    )


def parse_values(comment: str, rows: list[str], path: object) -> Array:
    """Values (N, 3) of a frame alone, in lrcalc's unit.

    Raises
    ------
    ValueError
        If a row has too few words, or one that is no number.
    """
    header = parse_header(comment)
    first = _column(header.quantity, comment)
    try:
        values = np.array([row.split()[first : first + 3] for row in rows], dtype=float)
        return values.reshape(-1, 3) * unit_factor(header)
    except ValueError:
        unit_factor(header)
        raise _unread(rows, first + 3, path) from None


def _unread(rows: list[str], words: int, path: object) -> ValueError:
    bad = next((row for row in rows if len(row.split()) < words), rows[0] if rows else "")
    return ValueError(
        f"{path}: an atom's line cannot be read as a name and three numbers, such as"
        f" {bad.strip()!r}"
    )


def _cell(comment: str, header: Header) -> Array | None:
    """Cell of a comment; one that cannot be read matters only where atoms are in it."""
    try:
        return comment_cell(comment)
    except ValueError:
        if DIMENSION[header.quantity] == "length":
            raise
        return None


def read_frames(path: str | Path) -> list[XYZFrame]:
    """All whole frames of the later branch (:mod:`lrcalc.ipi_files.branches`).

    Raises
    ------
    ValueError
        If there is none, or one is damaged.
    """
    frames = [
        frame._replace(content=parse_frame(frame.content[0], frame.content[1], path))
        if frame.whole
        else frame
        for frame in _all_frames(Path(path))
    ]
    return [frame.content for frame in later_branch(frames, path)]


def read_structure(path: str | Path, index: int = 0) -> XYZFrame:
    """One frame of positions; the first by default, which is the one that i-PI starts from.

    Raises
    ------
    ValueError
        If the file holds another quantity, or has no such frame.
    """
    frames = read_frames(path)
    try:
        frame = frames[index]
    except IndexError:
        raise ValueError(f"{path} has {len(frames)} frames, but frame {index} was asked") from None
    if DIMENSION[frame.header.quantity] != "length":
        raise ValueError(f"{path} holds {frame.header.quantity}, not positions")
    return frame


def cells_of(path: str | Path) -> Iterator[Array]:
    """Cells in the comment lines, of i-PI or ASE; the first line without one ends it."""
    with open_text(path) as file:
        while (head := file.readline()).strip().isdigit():
            cell = comment_cell(file.readline())
            if cell is None:
                return
            yield cell
            for _ in range(int(head)):
                file.readline()


def pbc_of(path: str | Path) -> tuple[bool, bool, bool] | None:
    """Periodic directions that the first comment line names, if it does."""
    with open_text(path) as file:
        file.readline()
        return comment_pbc(file.readline())


def stream(path: str | Path) -> Iterator[Frame]:
    """Frames of the later branch one by one; `content` is (comment, lines of atoms).

    A frame that is cut and not written again comes with ``whole=False``.
    """
    path = Path(path)
    left_out = set(replaced([frame.step for frame in _all_frames(path)]).tolist())
    for number, frame in enumerate(_all_frames(path)):
        if number not in left_out:
            yield frame


def _all_frames(path: Path) -> Iterator[Frame]:
    """Every frame of a file as it lies there; `content` is (comment, lines of atoms)."""
    with open_text(path) as file:
        head = file.readline().strip()
        if not head.isdigit():
            raise ValueError(f"{path}: a number of atoms expected, found {head!r}")
        count, comment, number = int(head), file.readline(), 0
        source: Iterator[str] = iter(file)
        while comment:
            lines = list(islice(source, count))
            after = next(source, "")
            if len(lines) == count and after.strip() in ("", head) and _ends(after, source):
                following = next(source, "")
            else:
                lines, following, source = _resume([*lines, after], source, count)
            yield _frame(comment, lines, count, number, path)
            comment, number = following, number + 1


def _ends(after: str, source: Iterator[str]) -> bool:
    """Whether a count follows, or nothing but empty lines."""
    return bool(after.strip()) or not any(line.strip() for line in source)


def _resume(
    lines: list[str], source: Iterator[str], count: int
) -> tuple[list[str], str, Iterator[str]]:
    """Lines of a disturbed frame, the comment of the next, and what comes after it.

    A frame that was cut by a kill runs into the next one, which begins at its comment; then the
    line that is half of the one and half of the other is left out.
    """
    rest = chain(lines, source)
    own: list[str] = []
    for line in rest:
        if _is_marked(line):
            return own[:-1], line, rest
        own.append(line)
    while own and not own[-1].strip():
        own.pop()
    # the file ends, perhaps in the number of atoms of another frame
    return own[:count] if len(own) == count + 1 else own, "", rest


def _is_marked(line: str) -> bool:
    return "{" in line or "CELL" in line or "attice" in line


def _frame(comment: str, rows: list[str], count: int, number: int, path: Path) -> Frame:
    found = _STEP.search(comment)
    if len(rows) > count:
        place = f"step {found[1]}" if found else f"frame {number}"
        raise ValueError(f"{path}: a frame of more than {count} atoms, at {place}")
    # a trajectory that was cut there has no end of line; a structure file may lack it
    whole = len(rows) == count and (count == 0 or found is None or rows[-1].endswith("\n"))
    if found is None:
        whole = whole and (count == 0 or len(rows[-1].split()) >= 4)
    step = (int(found[1]) if found else number) if rows or whole else UNKNOWN
    return Frame(step, (comment, rows), whole)


def _column(name: str, comment: str, default: int = 1) -> int:
    """First column of a property in an extended xyz line; the default in a plain xyz file."""
    name = "pos" if name == "positions" and ":pos:" in comment else name
    found = _PROPERTIES.search(comment)
    if found is None:
        return default
    fields = found[1].strip("\"'").split(":")
    column = 0
    for key, width in zip(fields[::3], fields[2::3], strict=False):
        if key == name:
            return column
        column += int(width)
    return default
