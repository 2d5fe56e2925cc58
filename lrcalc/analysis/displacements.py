"""Phonons from any ASE calculator: relaxation, displacements, forces, Born charges."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc import units
from lrcalc.analysis.converters import read_phonopy_born
from lrcalc.analysis.crystal import Phonons, assemble, quiet
from lrcalc.analysis.modes import Modes
from lrcalc.analysis.raman_modes import raman_tensors


def from_calculator(
    atoms: Any,
    calculator: Any,
    *,
    supercell: Sequence[int] = (1, 1, 1),
    displacement: float = 0.01,
    relax: float | None = 0.005,
    relax_cell: bool = False,
    epsilon_infinity: float | np.ndarray | None = None,
    born: np.ndarray | str | Path | None = None,
    transposed: bool = False,
    primitive: str = "P",
    progress: bool = False,
) -> Phonons:
    """Phonons and Born charges from an ASE calculator.

    Parameters
    ----------
    atoms
        The unit cell; it is copied.
    calculator
        Gives forces and ``born_effective_charges`` (N, 3, 3): atom, field, displacement.
    supercell
        Repeats for the force constants.
    displacement
        Å.
    relax
        Largest force in eV/Å after relaxation, None to take the structure as it is.
    epsilon_infinity
        Number or (3, 3); if None, from the BORN file or made from the calculator's polarizability.
    born
        (N, 3, 3) or a BORN file of phonopy, for a calculator that gives forces only.
    transposed
        ``born`` holds (displacement, field).

    Raises
    ------
    ValueError
        If the calculator lacks what is needed.
    """
    from ase import Atoms
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = atoms.copy()
    if atoms.cell.rank != 3:
        raise ValueError("phonons need a three-dimensional cell; put a molecule into a large box")
    atoms.pbc = True
    atoms.calc = calculator
    if relax is not None:
        _relax(atoms, relax, relax_cell)
    with quiet():
        cell = PhonopyAtoms(
            symbols=atoms.get_chemical_symbols(),
            cell=atoms.cell[:],
            scaled_positions=atoms.get_scaled_positions(),
            masses=atoms.get_masses(),
        )
        phonon = Phonopy(cell, np.diag(supercell), primitive, symprec=1e-3, log_level=0)
        phonon.generate_displacements(distance=displacement)
        displaced = phonon.supercells_with_displacements
        if progress:
            from tqdm import tqdm

            displaced = tqdm(displaced, desc="displacements")
        forces = []
        for one in [phonon.supercell, *displaced] if not progress else _first(phonon, displaced):
            image = Atoms(one.symbols, cell=one.cell, scaled_positions=one.scaled_positions)
            image.set_masses(one.masses)
            image.pbc, image.calc = True, calculator
            forces.append(image.get_forces())
        residual = np.asarray(forces[0])
        phonon.forces = np.array(forces[1:]) - residual
        phonon.produce_force_constants(fc_calculator="symfc")
        phonon.symmetrize_force_constants()
    primitive_cell = phonon.primitive
    unit = primitive_atoms(primitive_cell)
    if isinstance(born, str | Path):
        born, of_file = read_phonopy_born(born, primitive_cell)
        epsilon_infinity = of_file if epsilon_infinity is None else epsilon_infinity
    own = born is None
    if born is None:
        why = "infrared intensities need them; give a BORN file (`born`, --born)"
        born = property_of(calculator, "born_effective_charges", unit, why).reshape(-1, 3, 3)
    if epsilon_infinity is None:
        why = "LO-TO splitting needs ε_∞; give it (`epsilon_infinity`, --epsilon-infinity)"
        alpha = property_of(calculator, "polarizability", unit, why)
        epsilon_infinity = np.eye(3) + alpha.reshape(3, 3) / (units.EPSILON_0 * unit.get_volume())
    epsilon = np.asarray(epsilon_infinity, dtype=float)
    if epsilon.ndim == 0:
        epsilon = float(epsilon) * np.eye(3)
    born = np.asarray(born).transpose(0, 2, 1) if transposed else born
    return assemble(phonon, born, epsilon, only_gamma=False, order_known=own)


def primitive_atoms(cell: Any) -> Any:
    """ASE Atoms of a phonopy cell."""
    from ase import Atoms

    return Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)


def property_of(calculator: Any, name: str, atoms: Any, why: str) -> np.ndarray:
    """Return a property of an ASE calculator; a calculator without it is a ValueError."""
    try:
        value = calculator.get_property(name, atoms)
    except (NotImplementedError, KeyError, AttributeError):
        value = None
    if value is None:
        raise ValueError(f"{type(calculator).__name__} gives no {name}: {why}")
    return np.asarray(value, dtype=float)


def with_raman(
    phonons: Phonons,
    modes: Modes,
    calculator: Any,
    *,
    step: float = 0.01,
    progress: bool = False,
) -> Modes:
    """Add Raman tensors to the modes, from the calculator's polarizability along each.

    Parameters
    ----------
    calculator
        Gives ``polarizability`` (3, 3) of a cell in e Å²/V.
    step
        Largest displacement of an atom, Å.

    Raises
    ------
    ValueError
        If the calculator has no polarizability.
    """
    from tqdm import tqdm

    rest = primitive_atoms(phonons.phonopy.primitive)
    total = 2 * len(modes.wavenumber)
    with tqdm(total=total, desc="polarizabilities", disable=not progress) as bar:

        def polarizability(shift: np.ndarray) -> np.ndarray:
            bar.update()
            moved = rest.copy()
            moved.positions += shift
            why = "Raman activities need it, with its change along each mode"
            return property_of(calculator, "polarizability", moved, why)

        return modes._replace(raman=raman_tensors(modes, polarizability, step))


def _first(phonon: Any, displaced: Any) -> Iterator[Any]:
    yield phonon.supercell
    yield from displaced


def _relax(atoms: Any, force: float, cell: bool) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    optimizer = BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None)
    if not optimizer.run(fmax=force, steps=500):
        raise ValueError(f"relaxation did not reach {force} eV/Å in 500 steps; loosen `relax`")
