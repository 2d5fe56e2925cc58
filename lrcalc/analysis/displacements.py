"""Phonons from any ASE calculator: relaxation, displacements, forces, Born charges."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lrcalc import units
from lrcalc.analysis.crystal import Phonons, assemble, quiet


def from_calculator(
    atoms: Any,
    calculator: Any,
    *,
    supercell: Sequence[int] = (1, 1, 1),
    displacement: float = 0.01,
    relax: float | None = 0.005,
    relax_cell: bool = False,
    epsilon_infinity: float | np.ndarray | None = None,
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
        Number or (3, 3); if None, made from the calculator's polarizability.
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
    unit = Atoms(
        primitive_cell.symbols,
        cell=primitive_cell.cell,
        scaled_positions=primitive_cell.scaled_positions,
    )
    unit.pbc, unit.calc = True, calculator
    born = np.asarray(calculator.get_property("born_effective_charges", unit)).reshape(-1, 3, 3)
    if epsilon_infinity is None:
        alpha = np.asarray(calculator.get_property("polarizability", unit))
        epsilon_infinity = np.eye(3) + alpha.reshape(3, 3) / (units.EPSILON_0 * unit.get_volume())
    epsilon = np.asarray(epsilon_infinity, dtype=float)
    if epsilon.ndim == 0:
        epsilon = float(epsilon) * np.eye(3)
    return assemble(phonon, born, epsilon, only_gamma=False)


def _first(phonon: Any, displaced: Any) -> Iterator[Any]:
    yield phonon.supercell
    yield from displaced


def _relax(atoms: Any, force: float, cell: bool) -> None:
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    optimizer = BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None)
    if not optimizer.run(fmax=force, steps=500):
        raise ValueError(f"relaxation did not reach {force} eV/Å in 500 steps; loosen `relax`")
