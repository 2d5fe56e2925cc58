"""Cells as i-PI writes them: in comments of xyz files and in checkpoints; rows in Å here.

``CELL(abcABC)`` holds lengths and angles in degrees, ``CELL(H)`` a matrix with lattice vectors as
columns, ``CELL(GENH)`` one with lattice vectors as rows, in any orientation; brackets may be round,
square or curly. ``cell{unit}`` names the unit, which is the atomic one otherwise. In format ``ase``
the cell is a ``Lattice="…"`` of nine numbers, rows in Å.
"""

import re

import numpy as np
from numpy.typing import NDArray

from lrcalc.ipi_files.quantities import factor

Array = NDArray[np.float64]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CELL = re.compile(rf"CELL[(\[{{]\s*(\w+)\s*[)\]}}]\s*:\s*((?:{_NUMBER}\s+)*{_NUMBER})")
_LATTICE = re.compile(r'\blattice\s*=\s*["{]([^"}]*)["}]', re.IGNORECASE)
_UNIT = re.compile(r"\bcell\{\s*([^}]*?)\s*\}")
_PBC = re.compile(r"\bpbc\(([TF])([TF])([TF])\)")
_ASE_PBC = re.compile(r"\bpbc\s*=\s*[\"{]?\s*([TF])\w*\s+([TF])\w*\s+([TF])\w*", re.IGNORECASE)
_COUNT = {"abcABC": 6, "H": 9, "GENH": 9}


def comment_cell(comment: str) -> Array | None:
    """Cell (3, 3), rows in Å, of the comment line of an xyz file; None if it has none.

    In the orientation of the file: `upright` turns it as i-PI does.

    Raises
    ------
    ValueError
        If there is a cell that cannot be read, or that has no volume.
    """
    plain = _LATTICE.search(comment)
    if plain is not None:
        rows = _numbers(plain[1])
        if len(rows) != 9:
            raise ValueError(f"the lattice {plain[0]!r} has not nine numbers")
        cell = np.array(rows).reshape(3, 3)
        return cell if volume(cell) > 0 else None
    found = _CELL.search(comment)
    if found is None:
        return None
    kind, numbers = found[1], _numbers(found[2])
    if kind not in _COUNT:
        raise ValueError(
            f"CELL({kind}) is no cell of i-PI, which has {', '.join(_COUNT)}: {comment.strip()!r}"
        )
    if len(numbers) < _COUNT[kind]:
        raise ValueError(
            f"CELL({kind}) has {len(numbers)} numbers, not {_COUNT[kind]}: {comment.strip()!r}"
        )
    unit = _UNIT.search(comment)
    scale = factor("length", unit[1] if unit else None)
    if kind == "abcABC":
        cell = from_lengths_and_angles(*(scale * x for x in numbers[:3]), *numbers[3:6])
    else:
        cell = np.array(numbers[:9]).reshape(3, 3) * scale
        cell = cell.T if kind == "H" else cell
    if not volume(cell) > 0:
        raise ValueError(f"the cell in {comment.strip()!r} has no volume")
    return cell


def comment_pbc(comment: str) -> tuple[bool, bool, bool] | None:
    """Periodic directions that a comment names: lrcalc's ``pbc(TTF)`` or ASE's ``pbc="T T F"``."""
    found = _PBC.search(comment) or _ASE_PBC.search(comment)
    if found is None:
        return None
    x, y, z = (mark.upper() == "T" for mark in found.groups())
    return (x, y, z)


def matrix_cell(text: str, unit: str | None) -> Array:
    """Cell (3, 3), rows in Å, of a ``<cell>`` element: nine numbers, vectors as columns.

    Raises
    ------
    ValueError
        If there are not nine numbers.
    """
    numbers = _numbers(text.replace("[", " ").replace("]", " ").replace(",", " "))
    if len(numbers) != 9:
        raise ValueError(f"a <cell> has nine numbers, not {len(numbers)}")
    return np.array(numbers).reshape(3, 3).T * factor("length", unit)


def from_lengths_and_angles(
    a: float, b: float, c: float, alpha: float, beta: float, gamma: float
) -> Array:
    """Cell (3, 3) as rows, first vector along x, second in the xy plane; angles in degrees."""
    cos_a, cos_b, cos_c = (np.cos(np.deg2rad(x)) if x != 90 else 0.0 for x in (alpha, beta, gamma))
    sin_c = np.sin(np.deg2rad(gamma))
    y = (cos_a - cos_b * cos_c) / sin_c
    z = np.sqrt(max(1.0 - cos_b**2 - y**2, 0.0))
    return np.array([[a, 0.0, 0.0], [b * cos_c, b * sin_c, 0.0], [c * cos_b, c * y, c * z]])


def upright(cell: Array) -> Array:
    """Cell turned as i-PI turns it: first vector along x, second in the xy plane.

    Parameters
    ----------
    cell : array, shape (3, 3)
        Rows.
    """
    lower = np.linalg.qr(cell.T)[1].T
    turned: Array = lower * np.sign(np.diag(lower))
    return turned


def volume(cell: Array) -> float:
    """Volume of a cell (3, 3)."""
    return float(abs(np.linalg.det(cell)))


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        raise ValueError(f"{text.strip()!r} are no numbers of a cell") from None
