"""Structure files: the one place that reads them, and what we use and cannot use of them.

What a file says travels whole: total charge, masses and isotopes, constraints, boundary conditions
and velocities end in the `Atoms` where ASE keeps them (``info["charge"]``, ``masses``, ``momenta``,
``constraints``, ``pbc``), whatever name the file has for them. What cannot be understood without a
guess is refused, and `describe_intake` says what is understood and of no use to us.
"""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from lrcalc.structures.charge import total_charge
from lrcalc.structures.content import (
    UNIT_KEYS,
    VELOCITY_UNITS,
    fixed_atoms,
    understood,
    unstated_velocities,
)
from lrcalc.structures.describe import describe_intake, describe_unused
from lrcalc.structures.formats import find, frames_of, told_as
from lrcalc.structures.motion import degrees_of_freedom, moves_as_a_whole

__all__ = [
    "bare",
    "degrees_of_freedom",
    "describe_intake",
    "describe_unused",
    "fixed_atoms",
    "moves_as_a_whole",
    "read_structure",
    "read_structures",
    "total_charge",
]

KEPT = {"numbers", "positions", "momenta", "masses", "tags"}
"""Columns that go on being true when the atoms move."""


def read_structure(path: str | Path, index: int = -1, *, argument: str = "structure") -> Atoms:
    """One structure of a file, the last unless told otherwise.

    Parameters
    ----------
    path : path-like
        Any file that ASE reads, i-PI's xyz, or the name of a bundled structure ("water64").
    index : int, optional
        Frame.
    argument : str, optional
        What the caller's user calls the file; named in errors.

    Returns
    -------
    Atoms
        Å, amu; ``info["charge"]`` (e) where the file states a total charge; ``masses`` where it
        has masses or isotopes; ``momenta`` where it has velocities. Results that the file holds
        stay in ``atoms.calc``, other columns and entries where ASE puts them: see `bare`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read, has no atoms or no such frame, or says something that cannot be
        understood without a guess: charges that contradict each other, velocities of no known
        unit, masses that are not positive.
    """
    path = find(path, argument)
    frames = frames_of(path, index, argument)
    atoms = understood(frames[0], told_as(path, argument))
    stated = unstated_velocities(atoms)
    if stated:
        raise ValueError(
            f"{told_as(path, argument)}: the column {stated!r} names no unit; add "
            f"{UNIT_KEYS[0]}=angstrom/fs (or another of {', '.join(VELOCITY_UNITS)}) to the "
            "comment line, write ASE's `momenta` instead, or remove the column"
        )
    return atoms


def read_structures(
    path: str | Path,
    index: int | str | slice = ":",
    *,
    argument: str = "structure",
    extended: bool = False,
) -> list[Atoms]:
    """Frames of a file, each as `read_structure` gives it.

    With ``extended`` the file is extended xyz, whatever its name ends in. A column of velocities
    without a unit is left alone: `describe_intake` says so.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_structure`; the frame is named.
    """
    path = find(path, argument)
    frames = frames_of(path, index, argument, extended=extended)
    told = told_as(path, argument)
    return [understood(a, f"{told}: frame {k}") for k, a in enumerate(frames)]


def bare(atoms: Atoms) -> Atoms:
    """Copy a structure without results and labels that hold for this geometry alone."""
    copy = atoms.copy()
    for name in set(copy.arrays) - KEPT:
        del copy.arrays[name]
    charge = total_charge(atoms)
    copy.info = {"charge": charge} if charge or "charge" in atoms.info else {}
    return copy
