"""Phonons from any ASE calculator: relaxation, displacements, forces, Born charges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.converters import read_phonopy_born
from lrcalc.analysis.crystal import Phonons, assemble, check_masses, quiet, without_charges
from lrcalc.analysis.dielectric import check_electronic_part
from lrcalc.analysis.images import (
    check_open,
    phonopy_cell,
    prepare,
    primitive_atoms,
    supercell_atoms,
)
from lrcalc.analysis.modes import Modes
from lrcalc.analysis.raman_modes import raman_tensors
from lrcalc.progress import progress_bar
from lrcalc.structures import total_charge

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
        The unit cell; it is copied. Its total charge (``info["charge"]``), masses and magnetic
        moments travel to the calculator, in supercells too; constraints are lifted, and said.
        Without periods (``pbc``) it is computed so: no ε and no LO-TO splitting then.
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
        Number or (3, 3); if None, from the BORN file, or the calculator's ``dielectric_tensor``,
        or made from its polarizability.
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
    atoms, told = prepare(atoms)
    check_supercell(supercell)
    check_open(atoms, supercell, primitive)
    _check_meaning(atoms, supercell, relax_cell, epsilon_infinity, born)
    atoms.calc = calculator
    if epsilon_infinity is None and not atoms.pbc.all():
        epsilon_infinity = 1.0
    own = born is None and intensities
    if own:  # before hours of forces
        _born_of(calculator, atoms)
    if intensities and epsilon_infinity is None and not isinstance(born, str | Path):
        _epsilon_of(calculator, atoms)
    if relax is not None:
        told.insert(0, _relax(atoms, relax, relax_cell))
    with quiet():
        phonon = _phonopy(atoms, supercell, primitive)
        check_masses(phonon)
        whole = supercell_atoms(atoms, phonon, supercell)
        unit = primitive_atoms(atoms, phonon, whole)
        if isinstance(born, str | Path):
            born, of_file = _born_of_file(born, phonon.primitive)
            epsilon_infinity = of_file if epsilon_infinity is None else epsilon_infinity
        # one axis at a time, as ASE does it
        phonon.generate_displacements(distance=displacement, is_diagonal=False)
        at_rest, phonon.forces = _forces(phonon, whole, calculator, progress)
        phonon.produce_force_constants(fc_calculator="symfc")
        phonon.symmetrize_force_constants(show_drift=False)
    if relax is None:
        told.insert(0, f"the structure was not relaxed: largest force {at_rest:.2g} eV/Å")
    if not intensities:
        found = without_charges(phonon, only_gamma=False)
        return found._replace(notes=(*told, *found.notes), atoms=unit)
    born = _born_of(calculator, unit) if born is None else np.asarray(born)
    light = None
    if epsilon_infinity is None:
        epsilon_infinity, light, source = _epsilon_of(calculator, unit)
        told.append(source)
    epsilon = np.asarray(epsilon_infinity, dtype=float)
    if epsilon.ndim == 0:
        epsilon = float(epsilon) * np.eye(3)
    born = born.transpose(0, 2, 1) if transposed else born
    found = assemble(
        phonon, born, epsilon, only_gamma=False, order_known=own, charge=total_charge(unit)
    )
    return found._replace(notes=(*told, *found.notes), atoms=unit, epsilon_optical=light)


def _check_meaning(
    atoms: Any, supercell: Sequence[int], relax_cell: bool, epsilon_infinity: Any, born: Any
) -> None:
    """Refuse what means nothing for this structure, and a file that is not there."""
    if len(atoms) * int(np.prod(supercell)) == 1:
        raise ValueError(
            "`supercell` holds one atom, which has no neighbours to vibrate against: repeat it, "
            "e.g. 3,3,3"
        )
    periodic = bool(atoms.pbc.all())
    if relax_cell and not periodic:
        raise ValueError("`relax_cell` needs a structure with three periodic directions")
    if epsilon_infinity is not None:
        check_electronic_part(epsilon_infinity)
        if not periodic:
            raise ValueError(
                "`epsilon_infinity` means nothing for a structure that is not periodic in three "
                "directions"
            )
    if isinstance(born, str | Path) and not Path(born).is_file():
        raise FileNotFoundError(f"no BORN file {born}")


def check_supercell(supercell: Sequence[int]) -> None:
    """Refuse what is not three whole numbers above zero."""
    if len(supercell) != 3 or any(int(n) != n or n < 1 for n in supercell):
        raise ValueError(
            f"`supercell` is {tuple(supercell)} but must be three whole numbers above 0"
        )


def _phonopy(atoms: Any, supercell: Sequence[int], primitive: Any) -> Any:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = phonopy_cell(atoms)
    made = PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=cell,
        scaled_positions=np.linalg.solve(cell.T, atoms.positions.T).T,
        masses=atoms.get_masses(),
    )
    return Phonopy(made, np.diag(supercell), primitive, symprec=1e-3, log_level=0)


def _forces(phonon: Any, whole: Any, calculator: Any, progress: bool) -> tuple[float, np.ndarray]:
    """Largest force at rest, and forces (D, N, 3) of the displaced supercells beyond those at rest.

    Parameters
    ----------
    whole
        ASE structure of the supercell at rest.
    """
    forces = []
    moves = [None, *phonon.dataset["first_atoms"]]
    with progress_bar(
        len(moves), unit="supercell", title="displacements", disable=not progress
    ) as bar:
        for move in moves:
            image = whole.copy()
            if move is not None:
                image.positions[move["number"]] += move["displacement"]
            image.calc = calculator
            forces.append(_finite_forces(image))
            bar.update()
    largest = float(np.linalg.norm(forces[0], axis=1).max())
    return largest, np.array(forces[1:]) - forces[0]


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


class Permittivity(NamedTuple):
    """Electronic permittivities of a calculator."""

    forces: np.ndarray
    """(3, 3), the one that its forces hold: for LO-TO splitting and ε(ω)."""
    light: np.ndarray | None
    """(3, 3) of its polarizability, where that is another number: for optics."""
    told: str
    """Where they are from, one line."""


def _epsilon_of(calculator: Any, atoms: Any) -> Permittivity:
    """ε_∞ that fits the calculator's forces, that for light beside it, and where they are from.

    ``dielectric_tensor`` is ASE's name for it, and what splits LO from TO in the forces
    themselves. Only a calculator without it is asked for a polarizability, which for a model with
    a learned one is another number (for light).
    """
    why = "LO-TO splitting needs ε_∞; give it (`epsilon_infinity`)"
    own, missing = _optional(calculator, "dielectric_tensor", atoms)
    if own is None:
        alpha = property_of(calculator, "polarizability", atoms, why)
        told = f"ε_∞ = 1 + α/(ε0 V) of the calculator's polarizability{missing}"
        return Permittivity(_optical(alpha, atoms), None, told)
    told = f"ε_∞ {_diagonal(own)}: the calculator's dielectric_tensor, which fits its forces"
    found, missing = _optional(calculator, "polarizability", atoms)
    told += missing
    light = None if found is None else _optical(found, atoms)
    if light is not None:
        told += f"; its polarizability makes {_diagonal(light)} for light"
    return Permittivity(own.reshape(3, 3), light, told)


def _optical(alpha: np.ndarray, atoms: Any) -> np.ndarray:
    return np.asarray(np.eye(3) + alpha.reshape(3, 3) / (units.EPSILON_0 * atoms.get_volume()))


def _diagonal(tensor: np.ndarray) -> str:
    return " ".join(f"{x:.4g}" for x in np.diag(tensor.reshape(3, 3)))


def _optional(calculator: Any, name: str, atoms: Any) -> tuple[np.ndarray | None, str]:
    """Return a property of an ASE calculator; None where it or this structure has none.

    With what is to be told then: nothing of a refusal, but a mistake in the calculator.
    """
    if name not in getattr(calculator, "implemented_properties", (name,)):
        return None, ""
    try:
        return property_of(calculator, name, atoms, ""), ""
    except ValueError as error:
        mistake = isinstance(error.__cause__, KeyError | AttributeError)
        return None, f"; no {name} ({error.__cause__!r})" if mistake else ""


def _born_of_file(path: str | Path, primitive: Any) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_phonopy_born(path, primitive)
    except (RuntimeError, IndexError, AssertionError, ValueError) as error:
        raise ValueError(f"{path} does not fit the structure: {error}") from None


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
    rest = phonons.structure
    total = 2 * len(modes.wavenumber)
    with progress_bar(
        total, unit="structure", title="polarizabilities", disable=not progress
    ) as bar:

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
    held = "the cell was held"
    moved = atoms.positions - start.positions
    if cell:
        moved = atoms.get_scaled_positions(wrap=False) - start.get_scaled_positions(wrap=False)
        moved = moved @ start.cell[:]
        held = f"volume {start.get_volume():.2f} → {atoms.get_volume():.2f} Å³"
    distance = float(np.linalg.norm(moved, axis=1).max())
    return (
        f"relaxed to forces below {force:g} eV/Å in {optimizer.nsteps} steps: atoms moved by up to "
        f"{distance:.3f} Å, {held if cell or atoms.cell.rank else 'there is no cell'}"
    )
