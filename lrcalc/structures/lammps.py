"""LAMMPS data and dump files as structures: ASE reads them, if it is told what they leave out."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io.formats import open_with_compression

HEAD = 60
"""Lines that are looked at to know a file."""

ELECTRON = 1.03275
"""fs; unit of time of velocities in units ``electron`` by the manual; the program has 1 fs."""

_UNITS = re.compile(r"\bunits\s*=\s*(\w+)|^ITEM: UNITS\s+(\w+)", re.MULTILINE)
_STILL = "names no unit of its velocities (real: Å/fs, metal: Å/ps)"


def kind(path: Path) -> str:
    """Tell "data" and "dump" from all others ("") by their first lines, whatever the name."""
    try:
        head = _head(path)
    except (OSError, EOFError, UnicodeDecodeError):
        return ""
    if head.startswith("ITEM: "):
        return "dump"
    sized = re.search(r"^\s*\d+\s+atoms\b", head, re.MULTILINE)
    return "data" if sized and re.search(r"\bxlo\s+xhi\b", head) else ""


def read(path: Path, index: int | str | slice) -> Any:
    """Frames of a data or dump file.

    Raises
    ------
    ValueError
        For a file that does not say the elements (by masses, or a column ``element``), or that has
        velocities and does not say their unit.
    """
    import ase.io

    head = _head(path)
    named = _UNITS.search(head)
    units = (named[1] or named[2]).lower() if named else None
    if kind(path) == "dump":
        return _dump(path, index, head, units)
    with open_with_compression(str(path)) as file:
        sections = {line.split("#")[0].strip() for line in file if line[:1].isalpha()}
    if "Masses" not in sections:
        raise ValueError(
            "there is no section Masses, by which the elements of the types are known: add one, or"
            " convert the file to extended xyz"
        )
    if "Velocities" in sections and units is None:
        raise ValueError(f"it {_STILL}: write 'units = metal' into its first line, as LAMMPS does")
    atoms = ase.io.read(path, format="lammps-data", units=units or "metal")
    if units == "electron" and "momenta" in atoms.arrays:
        atoms.arrays["momenta"] *= ELECTRON  # ASE takes the manual's unit of velocity
    return atoms


def _dump(path: Path, index: int | str | slice, head: str, units: str | None) -> list[Atoms]:
    import ase.io

    columns = next((line.split() for line in head.splitlines() if "ITEM: ATOMS" in line), [])
    if "element" not in columns:
        raise ValueError(
            "the dump has no column element, and types are no elements: dump it, or convert the "
            "file to extended xyz"
        )
    if units not in (None, "metal") or ("vx" in columns and units is None):
        raise ValueError(
            f"the dump {_STILL if units is None else f'is in units {units}'}, and is read in metal "
            "units only: use 'dump_modify units yes', or convert the file to extended xyz"
        )
    frames = ase.io.read(path, index=index, format="lammps-dump-text")
    return frames if isinstance(frames, list) else [frames]


def _head(path: Path) -> str:
    with open_with_compression(str(path)) as file:
        return "".join(islice(file, HEAD))
