"""Structure files for i-PI, and the rotation that i-PI's cell convention asks for."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.formula import Formula
from ase.units import fs
from numpy.typing import NDArray

from lrcalc.ipi_files.simulation import read_state
from lrcalc.structures import fixed_atoms, read_structure, total_charge
from lrcalc.structures.formats import fixed_mark
from lrcalc.structures.isotopes import isotope
from lrcalc.structures.turned import Turned, triangular
from lrcalc.units import ATOMIC_TIME, BOHR

__all__ = ["OPEN_BOX", "continued", "orient", "read_structure", "write_ipi_xyz"]

OPEN_BOX = 1000.0
"""Edge (Å) of the box that i-PI is told for atoms without a cell; only i-PI sees it."""


def orient(atoms: Atoms) -> Turned:
    """Turn atoms so that the first cell vector is along x and the second in the xy plane.

    i-PI accepts no other cell (it would turn the structure itself and say so nowhere), and all
    tensors it prints are in this frame. Atoms without a cell get a box.
    """
    if not np.any(atoms.pbc):
        boxed = atoms.copy()
        boxed.set_cell(OPEN_BOX * np.eye(3))
        return Turned(boxed, np.eye(3))
    return triangular(atoms, where="i-PI")


def write_ipi_xyz(path: Path, atoms: Atoms) -> None:
    """Write an xyz file as i-PI reads it, at full precision, in Å.

    i-PI takes name and position of it. Masses (a fifth column), total charge and fixed atoms stand
    there for those who read the file again: the driver, analyses, and `read_structure`.
    """
    own = atoms.has("masses")
    columns = np.column_stack([atoms.positions, *([atoms.get_masses()] if own else [])])
    charge = total_charge(atoms)
    more = " masses{dalton}" * own + (f" charge={charge:.12g}" if charge else "")
    more += fixed_mark(fixed_atoms(atoms, where="i-PI"))
    path.write_text(_xyz(atoms, columns, f"positions{{angstrom}}{more}"))


def write_ipi_velocities(path: Path, atoms: Atoms) -> None:
    """Write the velocities of a structure as i-PI reads them, in atomic units."""
    velocities = atoms.get_velocities() * fs * ATOMIC_TIME / BOHR
    path.write_text(_xyz(atoms, velocities, "velocities{atomic_unit}", "22.15e"))


def _xyz(atoms: Atoms, columns: NDArray[np.float64], what: str, form: str = "20.12f") -> str:
    cell = " ".join(f"{x:.12f}" for x in np.array(atoms.cell).T.reshape(-1))
    pbc = "".join("T" if p else "F" for p in atoms.pbc)
    rows = (
        f"{symbol:>4s} " + " ".join(f"{x:{form}}" for x in row)
        for symbol, row in zip(atoms.get_chemical_symbols(), columns, strict=True)
    )
    head = f"# CELL(H): {cell} cell{{angstrom}} {what} pbc({pbc})"
    return "\n".join([str(len(atoms)), head, *rows]) + "\n"


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
        state = read_state(restart)
    except ValueError as error:
        raise ValueError(f"`restart` {str(restart)!r} is no RESTART of i-PI: {error}") from error
    if state is None or state.positions is None or state.cell is None:
        raise ValueError(
            f"`restart` {str(restart)!r} has no positions: give a RESTART or checkpoint that a run"
            " of i-PI has written"
        )
    symbols = [named[0] if (named := isotope(name)) else name for name in state.names]
    if symbols != atoms.get_chemical_symbols():
        raise ValueError(
            f"`restart` {str(restart)!r} has {len(symbols)} atoms ({Formula.from_list(symbols)}),"
            f" `structure` has {len(atoms)} ({atoms.symbols.formula}): both must have the same"
            " atoms in the same order"
        )
    moved = atoms.copy()
    moved.set_cell(state.cell, apply_constraint=False)
    moved.set_positions(state.positions.mean(axis=0), apply_constraint=False)
    if state.masses is not None:
        _take_masses(moved, state.masses, restart)
    return moved


def _take_masses(atoms: Atoms, masses: NDArray[np.float64], restart: Path) -> None:
    """Go on with the masses of a run; those that a structure itself states have to be these."""
    other = np.abs(masses - atoms.get_masses()) > 0.01
    if atoms.has("masses") and other.any():
        atom = int(np.argmax(other))
        raise ValueError(
            f"`restart` {str(restart)!r} has a mass of {masses[atom]:.4f} amu for atom {atom}, but"
            f" `structure` has {atoms.get_masses()[atom]:.4f}: a run goes on with its own masses;"
            " give the structure that it started from"
        )
    if other.any():
        atoms.set_masses(masses)
