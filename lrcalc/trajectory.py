"""Extended xyz that keeps Born charges, polarizability and field (ASE's own writer fails on them).

Born charges are a column ``born:R:9`` (``born[atom, field, displacement]`` flattened), the
polarizability nine numbers of the header; other programs read both. `read_extxyz` puts everything
back into ``atoms.calc.results`` in the shapes of `LRCalculator`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, read, write
from ase.io.trajectory import Trajectory

STANDARD = ("energy", "forces", "stress", "dipole", "charges")
"""Results that ASE's extended xyz carries itself."""

HEADER = {
    "polarizability": (3, 3), "polarization": (3,), "electric_field": (3,), "current": (3,),
}  # fmt: skip
"""Results kept in the header, and their shapes."""

BORN = "born"


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
        is now; momenta and ``info`` are kept. With a calculator that computes, what ASE's own
        reader left of an earlier frame (``info["polarizability"]``, ``arrays["born"]``) is not.
    append : bool
        Add to the end of the file.
    """
    path = Path(path)
    frames = [_flat(a) for a in ([atoms] if isinstance(atoms, Atoms) else atoms)]
    if append:
        write(path, frames, format="extxyz", append=True)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary, frames, format="extxyz")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    if not Path(path).is_file():
        raise FileNotFoundError(f"no trajectory {path}")
    try:
        frames = read(path, index=index, format="extxyz")
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise ValueError(f"{path} could not be read as extended xyz: {error}") from error
    return [_restored(a) for a in (frames if isinstance(frames, list) else [frames])]


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
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no trajectory {path}")
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with Trajectory(str(temporary), "w") as trajectory:
            for atoms in iread(path, index=":", format="extxyz"):
                frame = _restored(atoms)
                results = frame.calc.results
                for name in (set(HEADER) - {"polarization"}) & set(results):
                    frame.info[name] = results[name]
                trajectory.write(frame)
                count += 1
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _flat(atoms: Atoms) -> Atoms:
    results: dict[str, Any] = {}
    if atoms.calc is not None and not atoms.calc.check_state(atoms):
        results = dict(atoms.calc.results)
    copy = atoms.copy()
    if atoms.calc is not None and not isinstance(atoms.calc, SinglePointCalculator):
        # what ASE's reader left here is of the frame that was read, not of one that was computed
        for name in HEADER:
            copy.info.pop(name, None)
        copy.arrays.pop(BORN, None)
    for name in HEADER:
        if name in results:
            copy.info[name] = np.asarray(results[name]).reshape(-1)
    if "born_effective_charges" in results:
        copy.arrays[BORN] = np.asarray(results["born_effective_charges"]).reshape(len(atoms), 9)
    known = {name: results[name] for name in STANDARD if name in results}
    if known:
        copy.calc = SinglePointCalculator(copy, **known)
    return copy


def _restored(atoms: Atoms) -> Atoms:
    if atoms.calc is None:
        atoms.calc = SinglePointCalculator(atoms)
    results = atoms.calc.results
    for name, shape in HEADER.items():
        if name in atoms.info:
            results[name] = np.asarray(atoms.info.pop(name), dtype=float).reshape(shape)
    if BORN in atoms.arrays:
        born = np.asarray(atoms.arrays.pop(BORN), dtype=float)
        results["born_effective_charges"] = born.reshape(len(atoms), 3, 3)
    # the calculator remembers the structure without what was taken off it
    atoms.calc.atoms = atoms.copy()
    return atoms
