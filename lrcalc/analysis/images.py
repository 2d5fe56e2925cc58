"""Structures that a calculator sees for phonons: what the user's structure says travels with them.

phonopy keeps cells and fractions. Charge, masses, magnetic moments, boundary conditions and the
unwrapped positions are taken from the structure itself, for supercells and primitive cells too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcalc.structures import total_charge
from lrcalc.structures.charge import charges_stated
from lrcalc.structures.content import constraint_name

VACUUM = 20.0
"""Å of vacuum where a direction without a period has no cell vector of its own."""
GAP = 4.0
"""Å; least vacuum of a cell vector that is kept along a direction without a period."""


def prepare(atoms: Any) -> tuple[Any, list[str]]:
    """Copy a structure without constraints and velocities; say what was taken off.

    The total charge stands as ``info["charge"]`` of the copy, whatever its name was.

    Raises
    ------
    ValueError
        If a periodic direction has no cell vector, or the charge cannot be understood.
    """
    copy = atoms.copy()
    if copy.pbc.any() and np.linalg.matrix_rank(copy.cell[copy.pbc]) < copy.pbc.sum():
        raise ValueError(
            f"the structure is periodic along {copy.pbc.tolist()} but its cell "
            f"{copy.cell[:].tolist()} spans no volume; set a cell, or pbc=False for a molecule"
        )
    copy.arrays.pop("momenta", None)
    charge, stated = total_charge(copy), charges_stated(copy)
    for key in stated:
        copy.info.pop(key, None)
    if stated:
        copy.info["charge"] = charge
    told = []
    if copy.constraints:
        names = ", ".join(_told(constraint_name(c), c, len(copy)) for c in copy.constraints)
        told.append(
            f"constraints of the structure are lifted ({names}): all atoms relax and vibrate"
        )
        copy.set_constraint()
    if not copy.pbc.all():
        open_ones = [axis for axis, periodic in zip("abc", copy.pbc, strict=True) if not periodic]
        told.append(
            f"no periods along {', '.join(open_ones)}: computed so (set pbc for a crystal); "
            "intensities of the whole structure, no ε, no LO-TO splitting"
        )
    return copy, told


def _told(name: str, constraint: Any, count: int) -> str:
    index = np.unique(np.ravel(getattr(constraint, "index", ())))
    return f"{name} on {len(index)} of {count} atoms" if len(index) else name


def phonopy_cell(atoms: Any) -> np.ndarray:
    """Cell (3, 3) in Å for phonopy, which knows periodic ones only.

    Vectors without a period are those of the structure where they leave :data:`GAP` of vacuum, and
    are made with :data:`VACUUM` otherwise; the forces do not see them.
    """
    cell = np.array(atoms.cell[:])
    if atoms.pbc.all():
        return cell
    free = ~atoms.pbc
    if np.linalg.matrix_rank(cell) == 3:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        extent = np.ptp(np.linalg.solve(cell.T, atoms.positions.T), axis=1) * heights
        if (heights - extent)[free].min() > GAP:
            return cell
    if free.all():
        return np.eye(3) * (np.ptp(atoms.positions, axis=0).max() + VACUUM)
    # directions at right angles to the periodic ones
    periodic = cell[atoms.pbc]
    across = np.linalg.svd(periodic)[2][len(periodic) :]
    cell[free] = across * (np.ptp(atoms.positions @ across.T, axis=0)[:, None] + VACUUM)
    if np.linalg.det(cell) < 0:
        cell[np.flatnonzero(free)[-1]] *= -1.0
    return cell


def check_open(atoms: Any, supercell: Sequence[int], primitive: Any) -> None:
    """Refuse repeats along directions without a period, and their primitive cells."""
    repeated = [n for n, periodic in zip(supercell, atoms.pbc, strict=True) if not periodic]
    if any(n != 1 for n in repeated):
        raise ValueError(
            f"`supercell` is {tuple(supercell)} but the structure is periodic along "
            f"{atoms.pbc.tolist()} only: 1 elsewhere"
        )
    if not atoms.pbc.all() and not (isinstance(primitive, str) and primitive == "P"):
        raise ValueError("`primitive` needs a structure with three periodic directions")


def supercell_atoms(atoms: Any, phonon: Any, supercell: Sequence[int]) -> Any:
    """ASE structure of phonopy's supercell: copies of the atoms of ``atoms`` as they are.

    The charge is that of all cells together.
    """
    unit = {int(s): k for k, s in enumerate(phonon.supercell.u2s_map)}
    origin = np.array([unit[int(s)] for s in phonon.supercell.s2u_map])
    lattice = np.asarray(phonon.unitcell.cell)
    first = np.asarray(phonon.supercell.u2s_map)[origin]
    away = np.asarray(phonon.supercell.positions) - np.asarray(phonon.supercell.positions)[first]
    shift = np.round(np.linalg.solve(lattice.T, away.T).T)
    made = atoms[origin]
    made.set_cell(atoms.cell[:] * np.asarray(supercell)[:, None])
    made.positions = atoms.positions[origin] + shift @ lattice
    return _charged(made, atoms)


def primitive_atoms(atoms: Any, phonon: Any, whole: Any) -> Any:
    """ASE structure of phonopy's primitive cell; ``atoms`` itself where that is the unit cell.

    Parameters
    ----------
    whole
        From :func:`supercell_atoms`.
    """
    if len(phonon.primitive) == len(atoms):
        unit = [int(s) for s in phonon.supercell.u2s_map]
        order = [unit.index(int(phonon.supercell.s2u_map[p])) for p in phonon.primitive.p2s_map]
        return atoms[order]
    made = whole[[int(p) for p in phonon.primitive.p2s_map]]
    made.set_cell(phonon.primitive.cell)
    return _charged(made, atoms)


def _charged(made: Any, atoms: Any) -> Any:
    """Give a structure of other size its share of the total charge."""
    if "charge" in atoms.info:
        made.info["charge"] = atoms.info["charge"] * len(made) / len(atoms)
    return made
