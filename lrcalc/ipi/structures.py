"""Structure files for i-PI, and the rotation that i-PI's cell convention asks for."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import ase.io
import numpy as np
from ase import Atoms
from ase.formula import Formula
from numpy.typing import NDArray

from lrcalc.units import BOHR

_CELL = re.compile(r"CELL\(H\):\s*((?:[-+0-9.eE]+\s+){8}[-+0-9.eE]+)")
_ABC = re.compile(r"CELL[\(\[{]abcABC[\)\]}]:\s*((?:[-+0-9.eE]+\s+){5}[-+0-9.eE]+)")
_PBC = re.compile(r"pbc\((\w)(\w)(\w)\)")

OPEN_BOX = 1000.0
"""Edge (Å) of the box that i-PI is told for atoms without a cell; only i-PI sees it."""


class Oriented(NamedTuple):
    """Atoms turned so that i-PI's cell is upper triangular; `rotation` @ old vector = new."""

    atoms: Atoms
    rotation: NDArray[np.float64]


def orient(atoms: Atoms) -> Oriented:
    """Turn atoms so that the first cell vector is along x and the second in the xy plane.

    i-PI accepts no other cell (it would turn the structure itself and say so nowhere), and all
    tensors it prints are in this frame. A left-handed cell cannot be turned and is refused.
    """
    if not np.any(atoms.pbc):
        turned = atoms.copy()
        turned.set_cell(OPEN_BOX * np.eye(3))
        return Oriented(turned, np.eye(3))
    cell = np.array(atoms.cell)
    if abs(np.linalg.det(cell)) < 1e-8:
        raise ValueError(f"the cell {cell.tolist()} has no volume: i-PI needs three cell vectors")
    if np.linalg.det(cell) < 0:
        raise ValueError("the cell is left-handed: swap two cell vectors before using i-PI")
    # cell = lower @ q with q orthogonal: turning by q leaves the lower triangle
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    rotation = (q * signs).T
    if np.allclose(rotation, np.eye(3), atol=1e-12):
        return Oriented(atoms.copy(), np.eye(3))
    turned = atoms.copy()
    turned.set_cell(np.tril(cell @ rotation.T))
    turned.set_positions(atoms.positions @ rotation.T)
    return Oriented(turned, rotation)


def write_ipi_xyz(path: Path, atoms: Atoms) -> None:
    """Write an xyz file as i-PI reads it, at full precision, in Å."""
    cell = " ".join(f"{x:.12f}" for x in np.array(atoms.cell).T.reshape(-1))
    pbc = "".join("T" if p else "F" for p in atoms.pbc)
    lines = [
        str(len(atoms)),
        f"# CELL(H): {cell} cell{{angstrom}} positions{{angstrom}} pbc({pbc})",
        *(
            f"{s:>4s} {x:20.12f} {y:20.12f} {z:20.12f}"
            for s, (x, y, z) in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
        ),
    ]
    path.write_text("\n".join(lines) + "\n")


def read_structure(path: str | Path) -> Atoms:
    """Read a structure: i-PI's xyz (with its cell) or whatever ASE reads (last frame)."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`structure` {str(path)!r} does not exist in {Path.cwd()}")
    try:
        atoms = _read(path)
    except Exception as error:  # readers of formats fail in many ways on files of other kinds
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the operating system, which says what is wrong
        raise ValueError(
            f"`structure` {str(path)!r} cannot be read ({type(error).__name__}: {error}): give a"
            " file that ASE reads, whole and with the ending of its format"
        ) from error
    if len(atoms) == 0:
        raise ValueError(f"`structure` {str(path)!r} has no atoms")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(np.array(atoms.cell)).all()):
        raise ValueError(f"`structure` {str(path)!r} has positions or a cell that are not finite")
    return atoms


def _read(path: Path) -> Atoms:
    if path.suffix == ".xyz":
        with path.open() as lines:
            next(lines, "")
            comment = next(lines, "")
        if "CELL" in comment:
            return _read_ipi_xyz(path, comment)
    frame = ase.io.read(path)
    return frame[-1] if isinstance(frame, list) else frame


def _read_ipi_xyz(path: Path, comment: str) -> Atoms:
    lines = path.read_text().splitlines()
    count = int(lines[0])
    rows = [line.split() for line in lines[2 : 2 + count]]
    if len(rows) != count or any(len(row) < 4 for row in rows):
        raise ValueError(f"{path} announces {count} atoms but has fewer: is the file truncated?")
    angstrom = "positions{angstrom}" in comment
    cell_angstrom = "cell{angstrom}" in comment
    explicit, abc = _CELL.search(comment), _ABC.search(comment)
    if explicit is not None:
        cell = np.array(explicit.group(1).split(), dtype=float).reshape(3, 3).T
    elif abc is not None:
        from ase.geometry import cellpar_to_cell

        cell = cellpar_to_cell([float(x) for x in abc.group(1).split()])
    else:
        raise ValueError(f"the cell in the comment of {path} cannot be read: {comment.strip()!r}")
    pbc = _PBC.search(comment)
    return Atoms(
        symbols=[row[0] for row in rows],
        positions=np.array([[float(x) for x in row[1:4]] for row in rows])
        * (1.0 if angstrom else BOHR),
        cell=cell * (1.0 if cell_angstrom else BOHR),
        pbc=True if pbc is None else [mark == "T" for mark in pbc.groups()],
    )


def continued(atoms: Atoms, restart: Path) -> Atoms:
    """`atoms` where a RESTART or checkpoint file has them: its cell, and the mean of its beads.

    Parameters
    ----------
    atoms : Atoms
        Turned as i-PI has them (`orient`); gives species and boundary.
    restart : path
        Of another run of the same atoms.

    Raises
    ------
    ValueError
        If the file cannot be read, or is of other atoms.
    """
    try:
        root = ElementTree.parse(restart).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"`restart` {str(restart)!r} is no RESTART of i-PI: {error}") from error
    names, beads, cell = (root.find(f"system/{tag}") for tag in ("beads/names", "beads/q", "cell"))
    if names is None or beads is None or cell is None:
        raise ValueError(
            f"`restart` {str(restart)!r} has no positions: give a RESTART or checkpoint that a run"
            " of i-PI has written"
        )
    symbols = _words(names)
    if symbols != atoms.get_chemical_symbols():
        raise ValueError(
            f"`restart` {str(restart)!r} has {len(symbols)} atoms ({Formula.from_list(symbols)}),"
            f" `structure` has {len(atoms)} ({atoms.symbols.formula}): both must have the same"
            " atoms in the same order"
        )
    moved = atoms.copy()
    moved.set_cell(np.array(_words(cell), dtype=float).reshape(3, 3).T * BOHR)
    positions = np.array(_words(beads), dtype=float).reshape(-1, len(atoms), 3)
    moved.set_positions(positions.mean(axis=0) * BOHR)
    return moved


def _words(node: ElementTree.Element) -> list[str]:
    """Entries of an array ``[ a, b, ... ]``."""
    return (node.text or "").strip(" []\n").replace(",", " ").split()
