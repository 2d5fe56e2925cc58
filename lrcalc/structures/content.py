"""Masses, velocities and constraints of a structure, put where ASE keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixScaled
from ase.data import atomic_masses

from lrcalc.structures.charge import charges_stated, check_computed_charges, entries, total_charge
from lrcalc.units import ASE_TIME, ATOMIC_TIME, BOHR

MASS_COLUMNS = ("masses", "mass", "atomic_mass", "atomic_masses", "amu")
"""Columns that mean masses in amu, in any case."""

VELOCITY_COLUMNS: dict[str, str | None] = {
    "vel": "angstrom/fs", "velo": "angstrom/fs", "velocity": None, "velocities": None,
}  # fmt: skip
"""Columns of velocities and their unit: that of GPUMD (vel) and QUIP (velo), else to be named."""

VELOCITY_UNITS = {
    "angstrom/fs": 1.0, "a/fs": 1.0, "å/fs": 1.0, "angstrom/femtosecond": 1.0,
    "angstrom/ps": 1e-3, "a/ps": 1e-3, "å/ps": 1e-3, "nm/ps": 1e-2, "m/s": 1e-5,
    "ase": 1 / ASE_TIME, "atomic_unit": BOHR / ATOMIC_TIME,
}  # fmt: skip
"""Å/fs of what ``velocities_unit`` in the comment line may be."""

UNIT_KEYS = ("velocities_unit", "velocity_unit", "vel_unit", "velo_unit")


def understood(atoms: Atoms, told: str) -> Atoms:
    """Put charge, masses and velocities where ASE keeps them."""
    charge = total_charge(atoms, told)
    if charges_stated(atoms):
        atoms.info["charge"] = charge
    else:
        check_computed_charges(atoms, told)
    take_masses(atoms, told)
    take_velocities(atoms, told)
    return atoms


def take_masses(atoms: Atoms, told: str) -> None:
    """Put a column of masses where ASE keeps them."""
    column = mass_column(atoms, told)
    if column is None:
        return
    masses = np.asarray(atoms.arrays[column], dtype=float)
    _check_masses(atoms, masses, column, told)
    if column != "masses":
        del atoms.arrays[column]
    atoms.arrays.pop("masses", None)
    atoms.set_masses(masses)


def mass_column(atoms: Atoms, told: str = "the structure") -> str | None:
    """Return the column of masses, None without; two that differ are refused."""
    found = [name for name in atoms.arrays if name.lower() in MASS_COLUMNS]
    for other in found[1:]:
        if not np.allclose(atoms.arrays[other], atoms.arrays[found[0]], atol=1e-3):
            raise ValueError(
                f"{told}: the columns {found[0]} and {other} are both masses and differ; keep one"
            )
    return found[0] if found else None


def _check_masses(atoms: Atoms, masses: np.ndarray, column: str, told: str) -> None:
    if masses.shape != (len(atoms),):
        raise ValueError(f"{told}: the column {column} must have one number an atom")
    bad = ~(np.isfinite(masses) & (masses > 0))
    if bad.any():
        atom = int(np.argmax(bad))
        raise ValueError(
            f"{told}: the mass of atom {atom} is {masses[atom]} amu (column {column}) but must be "
            "positive and finite"
        )
    usual = atomic_masses[atoms.numbers]
    wrong = (usual > 0) & (masses > 200 * usual)
    if wrong.any():
        atom = int(np.argmax(wrong))
        raise ValueError(
            f"{told}: the mass of atom {atom} ({atoms.symbols[atom]}) is {masses[atom]:g} (column "
            f"{column}): electron masses? Give amu"
        )


def _velocity_column(atoms: Atoms) -> str | None:
    return next((name for name in atoms.arrays if name.lower() in VELOCITY_COLUMNS), None)


def _velocity_unit(atoms: Atoms, column: str) -> str | None:
    told = {key.lower(): value for key, value in entries(atoms).items()}
    stated = next((str(told[key]) for key in UNIT_KEYS if key in told), None)
    if stated is None and "Timestep" in atoms.info:  # of LAMMPS, whose unit is that of its run
        return None
    return stated or VELOCITY_COLUMNS[column.lower()]


def unstated_velocities(atoms: Atoms) -> str | None:
    """Name of a column of velocities whose unit nobody states; None where all is clear."""
    column = _velocity_column(atoms)
    if column is None or "momenta" in atoms.arrays or _velocity_unit(atoms, column) is not None:
        return None
    return column


def take_velocities(atoms: Atoms, told: str, unit: str | None = None) -> None:
    """Put a column of velocities where ASE keeps momenta.

    Parameters
    ----------
    unit : str, optional
        A key of `VELOCITY_UNITS` that goes before what the file or its column's name says.
    """
    from ase.units import fs

    column = _velocity_column(atoms)
    if column is None:
        return
    unit = unit or _velocity_unit(atoms, column)
    if unit is None:
        return
    if unit.lower() not in VELOCITY_UNITS:
        raise ValueError(
            f"{told}: the unit of the column {column} is {unit!r}, but the choice is "
            f"{', '.join(VELOCITY_UNITS)}"
        )
    velocities = np.asarray(atoms.arrays[column], dtype=float) * VELOCITY_UNITS[unit.lower()]
    if velocities.shape != (len(atoms), 3) or not np.isfinite(velocities).all():
        raise ValueError(f"{told}: the column {column} must have three finite numbers an atom")
    momenta = atoms.get_masses()[:, None] * velocities / fs
    there = atoms.arrays.get("momenta")
    if there is not None and not np.allclose(there, momenta, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{told}: momenta and the column {column} ({unit}) are of different velocities; keep "
            "one of them"
        )
    del atoms.arrays[column]
    atoms.set_momenta(momenta, apply_constraint=False)


def fixed_atoms(atoms: Atoms, *, where: str) -> np.ndarray:
    """Which atoms are held fixed: (N,) bool.

    Parameters
    ----------
    atoms : Atoms
    where : str
        Where the structure goes, for the error: "i-PI".

    Raises
    ------
    ValueError
        For a constraint that is not FixAtoms (or FixCartesian, FixScaled in all three directions).
    """
    fixed = np.zeros(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        indices = whole_atoms(constraint)
        if indices is None:
            raise ValueError(
                f"the structure has the constraint {constraint_name(constraint)}, which {where} "
                "cannot keep: only FixAtoms (all three directions of an atom) is passed on; remove "
                "the constraint from the structure, or fix whole atoms"
            )
        fixed[indices] = True
    return fixed


def whole_atoms(constraint: Any) -> np.ndarray | None:
    """Return the atoms that a constraint holds in all directions; None if it is another."""
    if isinstance(constraint, FixAtoms):
        return np.atleast_1d(np.asarray(constraint.index, dtype=int))
    if isinstance(constraint, FixCartesian | FixScaled):
        mask = np.asarray(constraint.mask, dtype=bool)
        index = np.atleast_1d(np.asarray(constraint.index, dtype=int))
        if mask.all():
            return index
        return index[:0] if not mask.any() else None
    return None


def constraint_name(constraint: Any) -> str:
    """Say what a constraint is: ``FixCartesian [1, 1, 0]``."""
    mask = np.asarray(getattr(constraint, "mask", ()))
    which = f" {mask.astype(int).tolist()}" if mask.size == 3 else ""
    return type(constraint).__name__ + which
