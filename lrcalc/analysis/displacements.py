"""Phonons from any ASE calculator: relaxation, displacements, forces, Born charges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc import units
from lrcalc.analysis.converters import read_phonopy_born
from lrcalc.analysis.crystal import Phonons, assemble, quiet, without_charges
from lrcalc.analysis.dielectric import check_electronic_part
from lrcalc.analysis.modes import Modes
from lrcalc.analysis.raman_modes import raman_tensors

RELAXED = 0.002
"""Largest force after relaxation, eV/Å."""


def from_calculator(
    atoms: Any,
    calculator: Any,
    *,
    supercell: Sequence[int] = (1, 1, 1),
    displacement: float = 0.01,
    relax: float | None = RELAXED,
    relax_cell: bool = False,
    epsilon_infinity: float | np.ndarray | None = None,
    born: np.ndarray | str | Path | None = None,
    transposed: bool = False,
    intensities: bool = True,
    primitive: Any = "P",
    progress: bool = False,
) -> Phonons:
    """Phonons and Born charges from an ASE calculator.

    What is missing is said before the forces are computed.

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
    relax_cell
        Relax the cell as well; it is held otherwise.
    epsilon_infinity
        Number or (3, 3); if None, from the BORN file or made from the calculator's polarizability.
    born
        (N, 3, 3) or a BORN file of phonopy, for a calculator that gives forces only.
    transposed
        ``born`` holds (displacement, field).
    intensities
        If false, neither Born charges nor ε_∞ are asked for: wavenumbers and bands only.
    primitive
        Primitive cell of which the modes are, as phonopy has it: "P" (the cell as given), "auto",
        "F", …, or a matrix (3, 3).

    Raises
    ------
    ValueError
        If the calculator lacks what is needed.
    """
    atoms = atoms.copy()
    if atoms.cell.rank != 3:
        raise ValueError("phonons need a three-dimensional cell; put a molecule into a large box")
    check_supercell(supercell)
    if len(atoms) * int(np.prod(supercell)) == 1:
        raise ValueError(
            "`supercell` holds one atom, which has no neighbours to vibrate against: repeat it, "
            "e.g. 3,3,3"
        )
    atoms.pbc = True
    atoms.calc = calculator
    own = born is None and intensities
    if epsilon_infinity is not None:
        check_electronic_part(epsilon_infinity)
    if isinstance(born, str | Path) and not Path(born).is_file():
        raise FileNotFoundError(f"no BORN file {born}")
    if own:
        _born_of(calculator, atoms)
    if intensities and epsilon_infinity is None and not isinstance(born, str | Path):
        _epsilon_of(calculator, atoms)
    told = (
        ["the structure was not relaxed"] if relax is None else [_relax(atoms, relax, relax_cell)]
    )
    with quiet():
        phonon = _phonopy(atoms, supercell, primitive)
        unit = primitive_atoms(phonon.primitive)
        if isinstance(born, str | Path):
            born, of_file = _born_of_file(born, phonon.primitive)
            epsilon_infinity = of_file if epsilon_infinity is None else epsilon_infinity
        phonon.generate_displacements(distance=displacement)
        phonon.forces = _forces(phonon, calculator, progress)
        phonon.produce_force_constants(fc_calculator="symfc")
        phonon.symmetrize_force_constants()
    if not intensities:
        found = without_charges(phonon, only_gamma=False)
        return found._replace(notes=(*told, *found.notes))
    born = _born_of(calculator, unit) if born is None else np.asarray(born)
    if epsilon_infinity is None:
        epsilon_infinity = _epsilon_of(calculator, unit)
    epsilon = np.asarray(epsilon_infinity, dtype=float)
    if epsilon.ndim == 0:
        epsilon = float(epsilon) * np.eye(3)
    born = born.transpose(0, 2, 1) if transposed else born
    found = assemble(phonon, born, epsilon, only_gamma=False, order_known=own)
    return found._replace(notes=(*told, *found.notes))


def check_supercell(supercell: Sequence[int]) -> None:
    """Refuse what is not three whole numbers above zero."""
    if len(supercell) != 3 or any(int(n) != n or n < 1 for n in supercell):
        raise ValueError(
            f"`supercell` is {tuple(supercell)} but must be three whole numbers above 0"
        )


def _phonopy(atoms: Any, supercell: Sequence[int], primitive: Any) -> Any:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell[:],
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    return Phonopy(cell, np.diag(supercell), primitive, symprec=1e-3, log_level=0)


def _forces(phonon: Any, calculator: Any, progress: bool) -> np.ndarray:
    """Return forces (D, N, 3) of the displaced supercells beyond those of the undisplaced one."""
    from ase import Atoms
    from tqdm import tqdm

    images = [phonon.supercell, *phonon.supercells_with_displacements]
    forces = []
    for one in tqdm(images, desc="displacements", disable=not progress):
        image = Atoms(one.symbols, cell=one.cell, scaled_positions=one.scaled_positions)
        image.set_masses(one.masses)
        image.pbc, image.calc = True, calculator
        forces.append(_finite_forces(image))
    return np.array(forces[1:]) - forces[0]


def _finite_forces(atoms: Any) -> np.ndarray:
    forces = np.asarray(atoms.get_forces(), dtype=float)
    if not np.isfinite(forces).all():
        raise ValueError(
            f"{type(atoms.calc).__name__} gives forces that are NaN or infinite for {len(atoms)} "
            "atoms: look at the structure and at the calculator"
        )
    return forces


def _born_of(calculator: Any, atoms: Any) -> np.ndarray:
    why = (
        "infrared intensities need them; give a BORN file (`born`), or ask for wavenumbers and "
        "bands only (--no-intensities; in Python, intensities=False)"
    )
    return property_of(calculator, "born_effective_charges", atoms, why).reshape(-1, 3, 3)


def _epsilon_of(calculator: Any, atoms: Any) -> np.ndarray:
    why = "LO-TO splitting needs ε_∞; give it (`epsilon_infinity`)"
    alpha = property_of(calculator, "polarizability", atoms, why)
    return np.eye(3) + alpha.reshape(3, 3) / (units.EPSILON_0 * atoms.get_volume())


def _born_of_file(path: str | Path, primitive: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_phonopy_born(path, primitive)
    except (RuntimeError, IndexError, AssertionError, ValueError) as error:
        raise ValueError(f"{path} does not fit the structure: {error}") from None


def primitive_atoms(cell: Any) -> Any:
    """ASE Atoms of a phonopy cell."""
    from ase import Atoms

    return Atoms(cell.symbols, cell=cell.cell, positions=cell.positions, pbc=True)


def property_of(calculator: Any, name: str, atoms: Any, why: str) -> np.ndarray:
    """Return a property of an ASE calculator; a calculator without it is a ValueError."""
    cause = None
    try:
        value = calculator.get_property(name, atoms)
    except (NotImplementedError, KeyError, AttributeError) as error:
        value, cause = None, error
    if value is None:
        # an error of its own making may be a mistake in the calculator: it is not kept quiet
        told = "" if cause is None or isinstance(cause, NotImplementedError) else f" ({cause!r})"
        raise ValueError(f"{type(calculator).__name__} gives no {name}{told}: {why}") from cause
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


def _relax(atoms: Any, force: float, cell: bool) -> str:
    """Relax in place; say what that changed."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    _finite_forces(atoms)
    start = atoms.copy()
    optimizer = BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None)
    if not optimizer.run(fmax=force, steps=500):
        raise ValueError(f"relaxation did not reach {force} eV/Å in 500 steps; loosen `relax`")
    moved = atoms.get_scaled_positions(wrap=False) - start.get_scaled_positions(wrap=False)
    distance = float(np.linalg.norm(moved @ start.cell[:], axis=1).max())
    before, after = start.get_volume(), atoms.get_volume()
    return (
        f"relaxed to forces below {force:g} eV/Å in {optimizer.nsteps} steps: atoms moved by up to "
        f"{distance:.3f} Å, "
        + (f"volume {before:.2f} → {after:.2f} Å³" if cell else "the cell was held")
    )
