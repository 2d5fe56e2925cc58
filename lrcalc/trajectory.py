"""Extended xyz that keeps Born charges, polarizability and field (ASE's own writer fails on them).

Born charges are a column ``born:R:9`` (``born[atom, field, displacement]`` flattened), the
polarizability nine numbers of the header; other programs read both. `read_extxyz` puts everything
back into ``atoms.calc.results`` in the shapes of `LRCalculator`. What the format has no place for,
or would give back as something else, is left out with a warning that names it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.io import iread, write
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict
from ase.io.trajectory import Trajectory
from ase.spacegroup import Spacegroup

from lrcalc.callers import users_line
from lrcalc.files import replacing
from lrcalc.properties import PROPERTIES, Property
from lrcalc.structures.formats import find, frames_of

STANDARD = (
    "energy", "energies", "forces", "stress", "stresses", "dipole", "charges", "magmom", "magmoms",
)  # fmt: skip
"""Results that ASE's extended xyz carries itself."""

KNOWN_TO_TRAJ = {
    "numbers", "positions", "momenta", "masses", "tags", "initial_charges", "initial_magmoms",
}  # fmt: skip
"""Columns that an ASE trajectory keeps."""


def _header() -> dict[str, Property]:
    """Results kept in the header, by their names there."""
    return {name: p for name, p in _ours().items() if not p.per_atom}


def _columns() -> dict[str, Property]:
    """Results kept as a column, a flattened tensor of each atom, by the names of the columns."""
    return {name: p for name, p in _ours().items() if p.per_atom}


def _ours() -> dict[str, Property]:
    """Properties that ASE's extended xyz does not carry itself."""
    return {p.column or p.name: p for p in PROPERTIES.values() if p.name not in STANDARD}


def write_extxyz(
    path: str | os.PathLike[str], atoms: Atoms | Sequence[Atoms], *, append: bool = False
) -> None:
    """Write structures with the results their calculators hold; nothing is computed.

    Parameters
    ----------
    path : path-like
        Without ``append`` replaced only once the new file is complete.
    atoms : Atoms or sequence of Atoms
        Results are taken from ``atoms.calc.results`` where these belong to the structure as it
        is now; momenta, masses, charges, fixed atoms, boundary and ``info`` are kept. With a
        calculator that computes, what ASE's own reader left of an earlier frame
        (``info["polarizability"]``, ``arrays["born"]``) is not.
    append : bool
        Add to the end of the file.

    Warns
    -----
    UserWarning
        Naming what extended xyz cannot hold: constraints other than FixAtoms and FixCartesian,
        entries of ``info`` that come back as something else, columns that are not numbers or
        words.
    """
    path = Path(path)
    frames = [_flat(a) for a in ([atoms] if isinstance(atoms, Atoms) else atoms)]
    if append:
        write(path, frames, format="extxyz", append=True)
        return
    with replacing(path) as temporary:
        write(temporary, frames, format="extxyz")


def read_extxyz(path: str | os.PathLike[str], index: str = ":") -> list[Atoms]:
    """Read what `write_extxyz` wrote.

    Parameters
    ----------
    path : path-like
    index : str
        Frames, as in ASE.

    Returns
    -------
    list of Atoms
        ``atoms.calc.results`` holds ``born_effective_charges`` (N, 3, 3), ``polarizability``
        (3, 3) and so on beside what ASE knows.

    Raises
    ------
    FileNotFoundError, ValueError
        For a missing file or one that is not extended xyz.
    """
    frames = frames_of(find(Path(path), "trajectory"), index, "trajectory", extended=True)
    return [_restored(a) for a in frames]


def extxyz_to_traj(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Copy what `write_extxyz` wrote to an ASE trajectory; return the number of frames.

    ASE's format keeps Born charges and polarization among the results; polarizability and field,
    which it does not know, stay in ``atoms.info``.

    Parameters
    ----------
    path : path-like
        Extended xyz.
    target : path-like
        Replaced only once the new file is complete. One frame is in memory at a time.

    Warns
    -----
    UserWarning
        Naming columns that the format has no place for.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no trajectory {path}")
    count = 0
    with replacing(target) as temporary, Trajectory(str(temporary), "w") as trajectory:
        for atoms in iread(path, index=":", format="extxyz"):
            frame = _restored(atoms)
            results = frame.calc.results
            for name in {p.name for p in _ours().values()} - set(all_properties):
                if name in results:
                    frame.info[name] = results.pop(name)
            lost = [f"the column {name}" for name in set(frame.arrays) - KNOWN_TO_TRAJ]
            _say_lost(lost, "an ASE trajectory")
            trajectory.write(frame)
            count += 1
    return count


def _flat(atoms: Atoms) -> Atoms:
    results: dict[str, Any] = {}
    if atoms.calc is not None and not atoms.calc.check_state(atoms):
        results = dict(atoms.calc.results)
    copy = atoms.copy()
    if atoms.calc is not None and not isinstance(atoms.calc, SinglePointCalculator):
        # what ASE's reader left here is of the frame that was read, not of one that was computed
        for name in _header():
            copy.info.pop(name, None)
        for name in _columns():
            copy.arrays.pop(name, None)
    _say_lost(_take_off(copy), "extended xyz")
    for name, entry in _header().items():
        if entry.name in results:
            copy.info[name] = np.asarray(results[entry.name]).reshape(-1)
    for name, entry in _columns().items():
        if entry.name in results:
            copy.arrays[name] = np.asarray(results[entry.name]).reshape(len(atoms), -1)
    known = {name: results[name] for name in STANDARD if name in results}
    if known:
        copy.calc = SinglePointCalculator(copy, **known)
    return copy


def _take_off(atoms: Atoms) -> list[str]:
    """Remove what extended xyz cannot hold; say what it was."""
    lost = [
        f"the constraint {type(constraint).__name__}"
        for constraint in atoms.constraints
        if not isinstance(constraint, FixAtoms | FixCartesian)
    ]
    for name in [name for name, column in atoms.arrays.items() if not _holds_column(name, column)]:
        lost.append(f"the column {name!r}")
        del atoms.arrays[name]
    for name in [name for name, value in atoms.info.items() if not _holds_entry(name, value)]:
        lost.append(f"info[{name!r}]")
        del atoms.info[name]
    return lost


def _holds_column(name: str, column: np.ndarray) -> bool:
    """Whether a line of extended xyz can have it: numbers, or words."""
    if column.ndim > 2 or not name.strip() or set(name) & set(': \t"='):
        return False
    if column.dtype.kind in "USO":
        return all(isinstance(x, str) and len(x.split()) == 1 for x in column.ravel())
    return column.dtype.kind in "ifb" and column.size > 0


def _holds_entry(name: Any, value: Any) -> bool:
    """Whether the header gives back an entry, and leaves its neighbours alone."""
    if not isinstance(name, str) or name.lower() in ("lattice", "properties", "pbc"):
        return False
    if isinstance(value, float | int | np.bool_ | np.number) and name.isidentifier():
        return True
    beside = {"first": 1, name: value, "last": 2}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE's own, of what is said here
            back = key_val_str_to_dict(key_val_dict_to_str(beside))
        return set(back) == set(beside) and back["last"] == 2 and _alike(value, back[name])
    except Exception:  # ASE raises many kinds for what it cannot write
        return False


def _alike(value: Any, back: Any) -> bool:
    """Whether it is the same thing; a sequence may come back as an array or a number."""
    if isinstance(value, str | bytes) or value is None:
        return type(back) is not bytes and str(back) == value
    if isinstance(value, Spacegroup):  # of a cif file: its symbol
        return bool(back == value.symbol)
    if isinstance(value, dict):
        return bool(back == value)
    one, other = np.ravel(np.asarray(value)), np.ravel(np.asarray(back))
    if one.dtype.kind == "f":  # perhaps in single precision
        return one.shape == other.shape and np.allclose(one, other, atol=0, equal_nan=True)
    return bool(np.array_equal(one, other))


def _say_lost(lost: Sequence[str], place: str) -> None:
    if lost:
        warnings.warn(
            f"{place} cannot hold {', '.join(lost)}: left out; keep it elsewhere, or remove it",
            stacklevel=users_line(),
        )


def _restored(atoms: Atoms) -> Atoms:
    if atoms.calc is None:
        atoms.calc = SinglePointCalculator(atoms)
    results = atoms.calc.results
    for name, entry in _header().items():
        found = atoms.info.pop(name, results.get(entry.name))  # among the results if ASE knows it
        if found is not None:
            results[entry.name] = np.asarray(found, dtype=float).reshape(entry.shape)
    for name, entry in _columns().items():
        if name in atoms.arrays:
            flat = np.asarray(atoms.arrays.pop(name), dtype=float)
            results[entry.name] = flat.reshape(len(atoms), *entry.shape)
    # the calculator remembers the structure without what was taken off it
    atoms.calc.atoms = atoms.copy()
    return atoms
