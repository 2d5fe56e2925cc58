"""Text dumps of LAMMPS: positions and velocities in the order of atom ids, in Å and Å/fs.

A dump does not say its units unless told to (``dump_modify … units yes``), so they are asked for.
Columns are known by name, atoms by their ``id``; elements are a column ``element``, or types with
a list of what they are. Boxes are orthogonal, restricted or general triclinic. Of a dump that a
restarted run appended to, the later branch counts (:mod:`lrcalc.ipi_files.branches`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.analysis.lammps_units import UNITS, Units
from lrcalc.ipi_files.branches import UNKNOWN, Frame, replaced
from lrcalc.ipi_files.text import open_text

_UNWRAPPED = (("xu", "yu", "zu"), ("xsu", "ysu", "zsu"))
_WRAPPED = (("x", "y", "z"), ("xs", "ys", "zs"))
_IMAGES = ("ix", "iy", "iz")
_VELOCITIES = ("vx", "vy", "vz")


class DumpFrame(NamedTuple):
    """One frame of a dump, atoms in the order of their ids; None for columns that are not there."""

    step: int
    time: float | None
    """fs."""
    ids: np.ndarray
    types: np.ndarray | None
    elements: list[str] | None
    masses: np.ndarray | None
    positions: np.ndarray | None
    """(N, 3) Å, from the corner of the first frame's box, which may move with the outermost atom;
    unwrapped where the dump has that, or image flags."""
    velocities: np.ndarray | None
    cell: np.ndarray
    """(3, 3) rows, Å."""
    pbc: tuple[bool, bool, bool]


def is_dump(path: str | Path) -> bool:
    """Whether a file is there and a text dump of LAMMPS."""
    if not Path(path).is_file():
        return False
    with open_text(path) as file:
        return file.readline().startswith("ITEM:")


def says_units(path: str | Path) -> bool:
    """Whether a dump says its units itself (``dump_modify … units yes``)."""
    with open_text(path) as file:
        return file.readline().startswith("ITEM: UNITS")


def dump_units(path: str | Path, units: str | None) -> Units:
    """Units of a dump, as given or as it says itself.

    Raises
    ------
    ValueError
        If nobody says them, the two differ, or they are not known.
    """
    with open_text(path) as file:
        head = list(islice(file, 2))
    own = head[1].strip() if head and head[0].startswith("ITEM: UNITS") else None
    if own and units and own != units:
        raise ValueError(f"`lammps_units` is {units!r} but {path} says {own!r}")
    name = units or own
    choice = ", ".join(UNITS)
    if name is None:
        raise ValueError(
            f"{path} is a dump of LAMMPS that does not say its units: give `lammps_units`, one of "
            f"{choice}, as in the command `units` of the run"
        )
    if name not in UNITS:
        raise ValueError(
            f"`lammps_units` is {name!r} but must be one of {choice}; reduced units (lj) have no "
            "length and time of their own: scale the data first"
        )
    return UNITS[name]


def type_labels(text: str | None) -> dict[int, str]:
    """Labels of atom types from ``O,H`` (types 1, 2) or ``1=O,2=H``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not any("=" in part for part in parts):
        return dict(enumerate(parts, start=1))
    try:
        pairs = [part.split("=") for part in parts]
        return {int(number): label.strip() for number, label in pairs}
    except ValueError:
        raise ValueError(f"`types` is {text!r} but must look like O,H or 1=O,2=H") from None


def read_dump(path: str | Path, *, units: str | None = None) -> Iterator[DumpFrame]:
    """Frames of a dump one by one.

    Raises
    ------
    ValueError
        Without units, for a frame that is damaged, and where atoms have no ids.
    """
    path = Path(path)
    scale = dump_units(path, units)
    left_out = set(replaced([frame.step for frame in _all_frames(path)]).tolist())
    cut: Frame | None = None
    origin: np.ndarray | None = None
    for number, frame in enumerate(_all_frames(path)):
        if number in left_out:
            continue
        if cut is not None:
            raise ValueError(
                f"{path}: the frame of timestep {cut.step} is cut short and not written again; "
                "give the parts as separate files"
            )
        if frame.whole:
            found, corner = _parsed(frame, scale, path)
            origin = corner if origin is None else origin
            where = None if found.positions is None else found.positions - origin
            yield found._replace(positions=where)
        else:
            cut = frame  # the run was killed while it wrote this frame, which must be the last


def dump_labels(frame: DumpFrame, types: Mapping[int, str], path: object) -> list[str]:
    """Labels of the atoms of a frame: its elements, or what its types are.

    Raises
    ------
    ValueError
        If it has no elements and not all types are told.
    """
    if frame.elements is not None and not types:
        return frame.elements
    if frame.types is None:
        raise ValueError(
            f"{path} has no column element or type, so nothing tells the species: write "
            "`dump custom … id element vx vy vz` with `dump_modify … element O H`"
        )
    missing = sorted(set(frame.types.tolist()) - set(types))
    if missing:
        raise ValueError(
            f"{path} has atoms of type {', '.join(map(str, missing))} and no column element: "
            "say what they are by `types`, such as O,H or 1=O,2=H"
        )
    return [types[int(number)] for number in frame.types]


def read_dump_velocities(
    path: str | Path, *, units: str | None = None, quantity: str = "velocities"
) -> Series:
    """Velocities (T, 3N) in Å/fs, or ``positions`` in Å, unwrapped where the dump has that.

    The time between frames is known where the dump has times (``dump_modify … time yes``), and
    the stride in steps always.

    Raises
    ------
    ValueError
        Without units or velocities; while reading, for frames that are missing or not evenly
        apart, or atoms that come and go.
    """
    path = Path(path)
    head = list(islice(read_dump(path, units=units), 2))
    if not head:
        raise ValueError(f"{path} has no whole frame")
    if getattr(head[0], quantity) is None:
        wanted = "vx vy vz" if quantity == "velocities" else "xu yu zu"
        raise ValueError(
            f"{path} has no columns {wanted}: write them by `dump custom … id element {wanted}`"
        )
    stride = head[1].step - head[0].step if len(head) == 2 else None
    first, last = head[0], head[-1]
    timestep = None
    if stride and first.time is not None and last.time is not None:
        timestep = last.time - first.time

    def frames() -> Iterator[np.ndarray]:
        for number, frame in enumerate(read_dump(path, units=units)):
            due = first.step + number * (stride or 0)
            if frame.step != due:
                raise ValueError(
                    f"{path}: timestep {due} expected but {frame.step} found: frames are missing; "
                    "give the parts as separate files"
                )
            if not np.array_equal(frame.ids, first.ids):
                raise ValueError(
                    f"{path}: the atoms at timestep {frame.step} are others than at the start "
                    f"({len(frame.ids)} and {len(first.ids)}): lost atoms, or a dump of a group "
                    "that changes"
                )
            yield getattr(frame, quantity).reshape(-1)

    def chunks() -> Iterator[np.ndarray]:
        remaining = frames()
        while block := list(islice(remaining, 512)):
            yield np.array(block)

    return Series(chunks, 3 * len(first.ids), str(path), timestep, stride)


def _all_frames(path: Path) -> Iterator[Frame]:
    """Every frame of a dump; `content` is (header, columns, lines of atoms)."""
    with open_text(path) as file:
        head: dict[str, list[str]] = {}
        line = next(file, "")
        while line:
            start = line.rfind("ITEM:")
            name, _, more = _item(line[start:]) if start >= 0 else ("", "", "")
            if name == "TIMESTEP" and "TIMESTEP" in head:  # cut before its atoms
                yield Frame(_step(head), None, False)
                head = {}
            if name == "ATOMS":
                rows, line = _take(file, _count(head))
                whole = len(rows) == _count(head) and {"TIMESTEP", "BOX BOUNDS"} <= set(head)
                whole = whole and all(row.endswith("\n") for row in rows[-1:])
                yield Frame(_step(head), (head, more.split(), rows), whole)
                head = {}
            elif name:
                rows, line = _take(file, 3 if name == "BOX BOUNDS" else 1)
                if not line and all(row.endswith("\n") for row in rows[-1:]):
                    head[name] = [more, *rows]
            else:
                line = ""
            line = line or next(file, "")
        if "TIMESTEP" in head:
            yield Frame(_step(head), None, False)


def _item(line: str) -> tuple[str, str, str]:
    text = line.removeprefix("ITEM:").strip()
    known = ("TIMESTEP", "NUMBER OF ATOMS", "BOX BOUNDS", "ATOMS", "TIME", "UNITS")
    name = next((one for one in known if text.startswith(one)), text)
    return name, "", text[len(name) :].strip()


def _take(file: Iterator[str], count: int) -> tuple[list[str], str]:
    """Take lines, as many as wanted unless another item begins; then also the line of that item."""
    rows: list[str] = []
    for line in islice(file, count):
        if "ITEM:" in line:
            return rows, line
        rows.append(line)
    return rows, ""


def _step(head: Mapping[str, Sequence[str]]) -> int:
    text = head.get("TIMESTEP", ["", ""])[-1].strip()
    return int(text) if text.isdigit() else UNKNOWN


def _count(head: Mapping[str, Sequence[str]]) -> int:
    text = head.get("NUMBER OF ATOMS", ["", ""])[-1].strip()
    return int(text) if text.isdigit() else 0


def _parsed(frame: Frame, scale: Units, path: Path) -> tuple[DumpFrame, np.ndarray]:
    """Return a frame, its positions from where LAMMPS has the origin, and the box's corner (3,)."""
    head, columns, rows = frame.content
    words = [row.split() for row in rows]
    if any(len(row) != len(columns) for row in words):
        raise ValueError(f"{path}, timestep {frame.step}: a line has not {len(columns)} columns")
    table = dict(zip(columns, zip(*words, strict=True), strict=True)) if words else {}
    if "id" not in table:
        raise ValueError(
            f"{path} has no column id, and LAMMPS writes atoms in any order: write `dump custom … "
            "id element vx vy vz`"
        )
    cell, corner, pbc = _box(head["BOX BOUNDS"], path)
    try:
        ids = np.array(table["id"], dtype=np.int64)
        order = np.argsort(ids, kind="stable")

        def numbers(names: Sequence[str]) -> np.ndarray | None:
            if not set(names) <= set(table):
                return None
            return np.array([table[name] for name in names], dtype=float).T[order]

        kinds = numbers(["type"])
        masses = numbers(["mass"])
        velocities = numbers(_VELOCITIES)
        positions = _positions(numbers, cell, corner)
    except ValueError as error:
        raise ValueError(f"{path}, timestep {frame.step}: {error}") from None
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"{path}, timestep {frame.step}: an id occurs twice")
    time = head["TIME"][-1] if "TIME" in head else None
    found = DumpFrame(
        frame.step,
        None if time is None else float(time) * scale.time,
        ids[order],
        None if kinds is None else kinds[:, 0].astype(int),
        [table["element"][i] for i in order] if "element" in table else None,
        None if masses is None else masses[:, 0] * scale.mass,
        None if positions is None else positions * scale.length,
        None if velocities is None else velocities * scale.velocity,
        cell * scale.length,
        pbc,
    )
    return found, corner * scale.length


def _positions(
    numbers: Callable[[Sequence[str]], np.ndarray | None], cell: np.ndarray, corner: np.ndarray
) -> np.ndarray | None:
    """Positions as LAMMPS has them, in the dump's length; unwrapped where that is known."""
    images = numbers(_IMAGES)
    for names in (*_UNWRAPPED, *_WRAPPED):
        found = numbers(names)
        if found is None:
            continue
        places = found @ cell + corner if "s" in names[0] else found
        if names in _WRAPPED and images is not None:
            places = places + images @ cell
        return np.asarray(places)
    return None


def _box(
    content: Sequence[str], path: Path
) -> tuple[np.ndarray, np.ndarray, tuple[bool, bool, bool]]:
    """Cell as rows, corner, and periodic directions, in the dump's length."""
    kind = content[0].split()
    flags = [word for word in kind if len(word) == 2 and set(word) <= set("pfsm")]
    try:
        rows = np.array([line.split() for line in content[1:]], dtype=float)
    except ValueError:
        raise ValueError(f"{path}: the box {content[1:]} cannot be read") from None
    x, y, z = (flag == "pp" for flag in flags) if len(flags) == 3 else (True, True, True)
    pbc = (x, y, z)
    if kind[:2] == ["abc", "origin"]:
        return rows[:, :3], rows[:, 3], pbc
    if rows.shape == (3, 2):
        return np.diag(rows[:, 1] - rows[:, 0]), rows[:, 0], pbc
    if rows.shape != (3, 3):
        raise ValueError(f"{path}: the box {content[1:]} cannot be read")
    xy, xz, yz = rows[:, 2]
    low = rows[:, 0] - [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high = rows[:, 1] - [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    lengths = high - low
    cell = np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]])
    return cell, low, pbc
