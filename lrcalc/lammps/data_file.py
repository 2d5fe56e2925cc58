"""Data files of LAMMPS: a structure in its units (metal), at full precision.

Positions are written as they are. LAMMPS folds them into the box when it reads them and counts in
image flags how often it did, so that molecules stay whole and the dipole on its branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.units import fs
from numpy.typing import NDArray

from lrcalc.structures.turned import Turned, triangular

MARGIN = 1.0
"""Å beyond the outermost atoms along open directions; LAMMPS moves these faces with the atoms."""

LENGTH = 20.0
"""Å; cell vector of an open direction that has none."""


class Species(NamedTuple):
    """Atom types: an element with a mass each; isotopes are types of their own."""

    symbols: tuple[str, ...]
    masses: tuple[float, ...]
    """amu."""
    types: NDArray[np.int64]
    """(N,), from 1."""


def species_of(atoms: Atoms) -> Species:
    """Types in the order in which they first occur."""
    masses = atoms.get_masses()
    keys = [(int(z), round(float(m), 6)) for z, m in zip(atoms.numbers, masses, strict=True)]
    kinds = list(dict.fromkeys(keys))
    number = {kind: index for index, kind in enumerate(kinds, start=1)}
    return Species(
        tuple(chemical_symbols[z] for z, _ in kinds),
        tuple(mass for _, mass in kinds),
        np.array([number[key] for key in keys]),
    )


def oriented(atoms: Atoms) -> Turned:
    """Turn a structure into LAMMPS' frame: a along x, b in the xy plane, open directions upright.

    Where two directions are periodic the third cell vector, which means nothing, is made their
    normal; where none is, the cell is a box about the atoms. Vectors that lean by more than half of
    another one, with which LAMMPS is slow, are replaced by others of the same lattice.

    Raises
    ------
    ValueError
        For one periodic direction, or a cell that is left-handed or has no volume.
    """
    periodic = int(np.sum(atoms.pbc))
    if periodic == 0:
        boxed = atoms.copy()
        boxed.set_cell(np.diag(np.ptp(atoms.positions, axis=0) + 2 * MARGIN))
        return Turned(boxed, np.eye(3))
    if periodic == 1:
        raise ValueError(
            f"`structure` has pbc {atoms.pbc.tolist()}: one periodic direction is not supported; "
            "use none, two (a slab) or three"
        )
    if periodic == 2:
        atoms = atoms.copy()
        atoms.set_cell(_upright(np.array(atoms.cell), atoms.pbc), apply_constraint=False)
    turned = triangular(atoms, where="LAMMPS")
    turned.atoms.set_cell(_leaning_less(np.array(turned.atoms.cell)), apply_constraint=False)
    return turned


def _leaning_less(cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower triangular cell of the same lattice, no tilt of it more than half a diagonal."""
    a, b, c = cell.copy()
    b -= _rounds(b[0] / a[0]) * a
    c -= _rounds(c[1] / b[1]) * b
    c -= _rounds(c[0] / a[0]) * a
    return np.array([a, b, c])


def _rounds(ratio: float) -> float:
    """Nearest whole number; 0 up to a half, with some room for rounding."""
    return float(np.round(ratio)) if abs(ratio) > 0.5 + 1e-9 else 0.0


def _upright(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cell whose open vector is along the normal of the other two, in a right-handed sense."""
    (axis,) = np.flatnonzero(~pbc)
    normal = np.cross(cell[axis - 2], cell[axis - 1])
    if np.linalg.norm(normal) < 1e-8:
        raise ValueError(f"`structure` has periodic cell vectors without area: {cell.tolist()}")
    normal /= np.linalg.norm(normal)
    height = float(cell[axis] @ normal)
    if height < 0:
        raise ValueError("`structure` has a cell that is left-handed: swap two cell vectors")
    upright = cell.copy()
    upright[axis] = normal * (height if height > 1e-8 else LENGTH)
    return upright


def data_text(atoms: Atoms, species: Species, *, velocities: bool) -> str:
    """Text of a data file of ``atom_style atomic``, in metal units (Å, Å/ps, amu).

    Parameters
    ----------
    atoms : Atoms
        As `oriented` has them.
    species : Species
    velocities : bool
        Write those of the structure.
    """
    low = np.zeros(3)
    high = np.diag(np.array(atoms.cell)).copy()
    for axis in np.flatnonzero(~atoms.pbc):
        low[axis] = atoms.positions[:, axis].min() - MARGIN
        high[axis] = atoms.positions[:, axis].max() + MARGIN
    lines = [
        "LAMMPS data file written by lrcalc lammps-input, units = metal",
        "",
        f"{len(atoms)} atoms",
        f"{len(species.symbols)} atom types",
        "",
        *(f"{low[k]:.16g} {high[k]:.16g} {x}lo {x}hi" for k, x in enumerate("xyz")),
    ]
    tilt = np.array(atoms.cell)[[1, 2, 2], [0, 0, 1]]
    if np.abs(tilt).max() > 1e-12:
        lines.append(f"{_row(tilt)} xy xz yz")
    lines += ["", "Masses", ""]
    kinds = zip(species.symbols, species.masses, strict=True)
    lines += [f"{k} {mass:.10g}  # {symbol}" for k, (symbol, mass) in enumerate(kinds, start=1)]
    lines += ["", "Atoms  # atomic", ""]
    lines += [
        f"{k} {kind} {_row(x)}"
        for k, (kind, x) in enumerate(zip(species.types, atoms.positions, strict=True), start=1)
    ]
    if velocities:
        of_atoms = atoms.get_velocities() * (1e3 * fs)
        lines += ["", "Velocities", ""]
        lines += [f"{k} {_row(v)}" for k, v in enumerate(of_atoms, start=1)]
    return "\n".join(lines) + "\n"


def _row(numbers: Sequence[float] | NDArray[np.float64]) -> str:
    return " ".join(f"{number:.16g}" for number in numbers)
