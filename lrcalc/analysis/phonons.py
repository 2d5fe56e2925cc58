"""Phonons through phonopy: from a folder of DFT files or from any ASE calculator.

Force constants and Born charges are symmetrised; the sum rule is imposed in
:func:`lrcalc.analysis.modes.neutral_born`. phonopy is imported inside the functions.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis import modes as mode_math
from lrcalc.analysis.modes import Modes

_THZ = 1e-3 * 2.0 * np.pi  # rad/fs
_YAML = ("phonopy_params.yaml", "phonopy.yaml", "phonopy_disp.yaml")


class Phonons(NamedTuple):
    """Force constants with what infrared intensities need besides."""

    phonopy: Any
    """``phonopy.Phonopy`` with force constants and no non-analytical term."""
    born: np.ndarray
    """(N, 3, 3) e of the primitive cell, symmetrised: atom, field, displacement."""
    epsilon_infinity: np.ndarray
    """(3, 3)."""
    only_gamma: bool
    """The force constants are good at Γ only, so there are no bands."""
    notes: tuple[str, ...] = ()


@contextmanager
def _quiet() -> Iterator[None]:
    # phonopy warns about its own changed defaults; everything that matters is passed explicitly.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def from_folder(
    folder: str | Path, *, transposed: bool = False, check_table: bool = True
) -> Phonons:
    """Read a folder of phonopy files.

    Parameters
    ----------
    folder
        FORCE_SETS, FORCE_CONSTANTS, force_constants, force_constants.hdf5 or mesh.yaml (with
        eigenvectors at Γ); BORN; POSCAR, or phonopy.yaml / phonopy_disp.yaml where there is a
        supercell.
    transposed
        The BORN file holds (displacement, field) instead of phonopy's (field, displacement).
    check_table
        Compare with a published ``IR-PeakTable.dat`` (wavenumber, label, e²/amu, …) in the folder
        and refuse Born charges that agree with it only when transposed.
    """
    from phonopy.file_IO import parse_BORN

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if not (folder / "BORN").is_file():
        raise FileNotFoundError(f"no BORN file in {folder}: infrared intensities need Born charges")
    with _quiet():
        phonon, only_gamma = _read_structure_and_forces(folder)
        try:
            nac = parse_BORN(phonon.primitive, filename=str(folder / "BORN"))
        except (RuntimeError, IndexError, AssertionError) as error:
            raise ValueError(f"{folder / 'BORN'} does not fit the structure: {error}") from None
    born, epsilon = nac["born"], nac["dielectric"]
    if transposed:
        born = born.transpose(0, 2, 1)
    found = assemble(phonon, born, epsilon, only_gamma=only_gamma)
    table = folder / "IR-PeakTable.dat"
    if check_table and table.is_file():
        _compare_with_table(found, table)
    return found


def _compare_with_table(phonons: Phonons, path: Path) -> None:
    """Refuse Born charges that reproduce published intensities only when transposed."""
    rows = [line.split() for line in path.read_text().splitlines()]
    published = np.array(
        [[float(r[0]), float(r[2])] for r in rows if len(r) == 4 and _number(r[0])]
    )

    def worst(born: np.ndarray) -> float:
        lines = mode_math.lines(solve(phonons._replace(born=born)))
        differences = [
            abs(line.intensity - value)
            for nu, value in published
            for line in lines
            if abs(line.wavenumber - nu) < 0.01
        ]
        return max(differences, default=0.0)

    here, there = worst(phonons.born), worst(phonons.born.transpose(0, 2, 1))
    if here > 1e-3 and there < 0.1 * here:
        raise ValueError(
            f"intensities differ from {path.name} by up to {here:.3g} e²/amu, with transposed Born "
            f"charges by {there:.2g}: they are in the order (displacement, field)"
        )


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def assemble(phonon: Any, born: np.ndarray, epsilon: np.ndarray, *, only_gamma: bool) -> Phonons:
    """Check and symmetrise Born charges; refuse a molecule's tensors in the wrong index order."""
    born = np.asarray(born, dtype=float)
    count = len(phonon.primitive)
    if born.shape != (count, 3, 3):
        raise ValueError(f"`born` has shape {born.shape} but the cell has {count} atoms")
    symmetric = symmetrise_born(phonon, born)
    notes = []
    shift = float(np.abs(symmetric - born).max())
    if shift > 0.05:
        raise ValueError(
            f"Born charges change by {shift:.2f} e when the crystal's symmetry is imposed: wrong "
            "order of atoms or rotated axes"
        )
    notes.append(f"sum rule residual {float(np.abs(born.sum(0)).max()):.2g} e, taken off by mass")
    positions = molecule_positions(phonon.primitive)
    if positions is not None:
        right = mode_math.rotation_residual(positions, symmetric)
        wrong = mode_math.rotation_residual(positions, symmetric.transpose(0, 2, 1))
        if wrong < 0.5 * right and right > 0.05:
            raise ValueError(
                f"Born charges break the rotational sum rule by {right:.3f} e Å, transposed by "
                f"{wrong:.3f}: they are in the order (displacement, field); transpose them"
            )
    return Phonons(phonon, symmetric, np.asarray(epsilon, dtype=float), only_gamma, tuple(notes))


def molecule_positions(cell: Any, gap: float = 4.0) -> np.ndarray | None:
    """Unwrapped positions if the cell holds one molecule with ``gap`` Å of vacuum, else None.

    Atoms nearer than 2 Å are joined; a crystal joins to its own images and is no molecule.
    """
    vectors = np.asarray(cell.cell)
    scaled = np.asarray(cell.scaled_positions)
    found = {0: scaled[0]}
    queue = [0]
    while queue:
        here = queue.pop()
        delta = scaled - found[here]
        delta -= np.round(delta)
        near = np.flatnonzero(np.linalg.norm(delta @ vectors, axis=1) < 2.0)
        for other in near:
            if int(other) not in found:
                found[int(other)] = found[here] + delta[other]
                queue.append(int(other))
    if len(found) < len(scaled):
        return None
    unwrapped = np.array([found[i] for i in range(len(scaled))])
    heights = 1.0 / np.linalg.norm(np.linalg.inv(vectors), axis=0)
    extent = np.ptp(unwrapped, axis=0) * heights
    return unwrapped @ vectors if (heights - extent > gap).all() else None


def _read_structure_and_forces(folder: Path) -> tuple[Any, bool]:
    from phonopy import Phonopy, load
    from phonopy.file_IO import parse_FORCE_CONSTANTS, parse_FORCE_SETS
    from phonopy.interface.vasp import read_vasp

    yaml = next((folder / name for name in _YAML if (folder / name).is_file()), None)
    if yaml is not None:
        phonon = load(yaml, is_nac=False, produce_fc=False, primitive_matrix="auto", log_level=0)
    else:
        names = ("POSCAR", "POSCAR-unitcell")
        poscar = next((folder / name for name in names if (folder / name).is_file()), None)
        if poscar is None:
            raise FileNotFoundError(f"no POSCAR and no phonopy.yaml in {folder}")
        phonon = Phonopy(read_vasp(str(poscar)), np.eye(3, dtype=int), "P", log_level=0)
    if (folder / "FORCE_SETS").is_file():
        data = parse_FORCE_SETS(filename=str(folder / "FORCE_SETS"))
        if data["natom"] != len(phonon.supercell):
            raise ValueError(
                f"FORCE_SETS is for {data['natom']} atoms but the supercell has "
                f"{len(phonon.supercell)}: phonopy_disp.yaml (with the supercell) is missing"
            )
        phonon.dataset = data
        phonon.produce_force_constants()
        phonon.symmetrize_force_constants()
        return phonon, yaml is None
    for name in ("FORCE_CONSTANTS", "force_constants"):
        if (folder / name).is_file():
            phonon.force_constants = parse_FORCE_CONSTANTS(filename=str(folder / name))
            phonon.symmetrize_force_constants()
            return phonon, yaml is None
    if (folder / "force_constants.hdf5").is_file():
        import h5py

        with h5py.File(folder / "force_constants.hdf5") as file:
            constants = np.asarray(file["force_constants"])
        phonon.force_constants = constants
        phonon.symmetrize_force_constants()
        return phonon, yaml is None
    if phonon.force_constants is not None:
        return phonon, False
    if (folder / "mesh.yaml").is_file():
        cell = Phonopy(phonon.primitive, np.eye(3, dtype=int), "P", log_level=0)
        cell.force_constants = constants_from_mesh(folder / "mesh.yaml", cell.primitive.masses)
        return cell, True
    raise FileNotFoundError(
        f"no FORCE_SETS, FORCE_CONSTANTS, force_constants.hdf5 or mesh.yaml in {folder}"
    )


def constants_from_mesh(path: Path, masses: np.ndarray) -> np.ndarray:
    """Force constants (N, N, 3, 3), periodic sums, from a mesh.yaml with eigenvectors at Γ."""
    import yaml  # type: ignore[import-untyped]

    data = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    point = next((p for p in data["phonon"] if not np.any(p["q-position"])), None)
    if point is None or "eigenvector" not in point["band"][0]:
        raise ValueError(
            f"{path} has no eigenvectors at Γ (phonopy: mesh with EIGENVECTORS = .TRUE.)"
        )
    frequency = np.array([band["frequency"] for band in point["band"]]) * _THZ
    raw = np.array([band["eigenvector"] for band in point["band"]])
    vectors = (raw[..., 0] + 1j * raw[..., 1]).reshape(len(frequency), -1)
    if vectors.shape[1] != 3 * len(masses):
        raise ValueError(f"{path} is for {vectors.shape[1] // 3} atoms, not {len(masses)}")
    square = np.sign(frequency) * frequency**2 * units.EV_PER_AMU_A2_FS2
    matrix = np.einsum("m,mi,mj->ij", square, vectors, vectors.conj()).real
    root = np.sqrt(np.repeat(masses, 3))
    count = len(masses)
    return (matrix * np.outer(root, root)).reshape(count, 3, count, 3).transpose(0, 2, 1, 3).copy()


def symmetrise_born(phonon: Any, born: np.ndarray) -> np.ndarray:
    """Average of ``R born_k Rᵀ`` over the space group of the primitive cell."""
    cell = phonon.primitive
    lattice = np.asarray(cell.cell).T
    operations = phonon.primitive_symmetry.symmetry_operations
    scaled = np.asarray(cell.scaled_positions)
    total = np.zeros_like(born)
    count = 0
    for rotation, translation in zip(
        operations["rotations"], operations["translations"], strict=True
    ):
        delta = (scaled @ rotation.T + translation)[:, None] - scaled[None]
        delta -= np.round(delta)
        image = np.argmin(np.linalg.norm(delta @ lattice.T, axis=2), axis=1)
        cartesian = lattice @ rotation @ np.linalg.inv(lattice)
        total[image] += np.einsum("ac,kcd,bd->kab", cartesian, born, cartesian)
        count += 1
    return total / count


def solve(phonons: Phonons) -> Modes:
    """Modes at Γ with irreducible representations."""
    phonon = phonons.phonopy
    cell = phonon.primitive
    with _quiet():
        matrix = phonon.dynamical_matrix
        matrix.run([0.0, 0.0, 0.0])
        dynamical = matrix.dynamical_matrix
        labels = irreps(phonon)
    result = mode_math.solve(
        dynamical,
        cell.masses,
        phonons.born,
        phonons.epsilon_infinity,
        cell.volume,
        labels,
        phonons.notes,
    )
    note = mode_math.order_note(result, phonons.born)
    return result._replace(notes=(*result.notes, note)) if note else result


def irreps(phonon: Any) -> list[str]:
    """Labels of the 3N - 3 optical modes by rising wavenumber; empty if phonopy has none."""
    try:
        found = phonon.run_irreps([0.0, 0.0, 0.0]) or phonon.irreps
    except (RuntimeError, NotImplementedError, ValueError, AttributeError, KeyError, TypeError):
        return []
    # phonopy 4 prints the labels but has no public name for them.
    names = getattr(found, "_ir_labels", None)
    if names is None:
        return []
    labels = [""] * (3 * len(phonon.primitive))
    for group, name in zip(found.band_indices, names, strict=True):
        for index in group:
            labels[index] = name or ""
    frequencies = np.asarray(found.frequencies)
    acoustic = set(np.argsort(np.abs(frequencies))[:3].tolist())
    return [label for index, label in enumerate(labels) if index not in acoustic]


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
    with _quiet():
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


def band_structure(phonons: Phonons, points: int = 51, nac: bool = True) -> dict[str, Any]:
    """Bands along ASE's path through the Brillouin zone with the non-analytical term.

    Returns
    -------
    dict
        ``distances`` and ``wavenumbers`` (cm⁻¹), a list over segments, and ``labels``, the names of
        both ends of each segment.
    """
    if phonons.only_gamma:
        raise ValueError("these force constants are good at Γ only: bands need a supercell")
    from ase.cell import Cell
    from ase.dft.kpoints import parse_path_string
    from phonopy import Phonopy

    base = phonons.phonopy
    with _quiet():
        phonon = Phonopy(base.unitcell, base.supercell_matrix, base.primitive_matrix, log_level=0)
    phonon.force_constants = phonons.phonopy.force_constants
    if nac:
        phonon.nac_params = {
            "born": mode_math.neutral_born(phonons.born, phonon.primitive.masses),
            "dielectric": phonons.epsilon_infinity,
            "factor": units.COULOMB,
        }
    with _quiet():
        special = Cell(np.array(phonon.primitive.cell)).bandpath()
        runs = parse_path_string(special.path)
        ends = [pair for run in runs for pair in pairwise(run)]
        path = [
            np.linspace(special.special_points[a], special.special_points[b], points)
            for a, b in ends
        ]
        bands = phonon.run_band_structure(path)
    scale = _THZ / units.WAVENUMBER_TO_ANGULAR
    return {
        "distances": [np.asarray(d) for d in bands.distances],
        "wavenumbers": [np.asarray(f) * scale for f in bands.frequencies],
        "labels": ends,
    }


def animation(phonons: Phonons, modes: Modes, mode: int, *, amplitude: float = 0.3) -> list[Any]:
    """Twenty ASE frames over one period; ``amplitude`` is the largest displacement in Å."""
    from ase import Atoms

    if not 0 <= mode < len(modes.wavenumber):
        raise ValueError(f"`mode` is {mode} but must lie in 0 … {len(modes.wavenumber) - 1}")
    cell = phonons.phonopy.primitive
    shift = modes.displacement(mode)
    shift = shift * amplitude / np.linalg.norm(shift, axis=1).max()
    frames = []
    for phase in np.arange(20) * (2 * np.pi / 20):
        atoms = Atoms(
            cell.symbols, positions=cell.positions + np.sin(phase) * shift, cell=cell.cell
        )
        atoms.pbc = True
        atoms.info.update(
            mode=mode, wavenumber_cm1=float(modes.wavenumber[mode]), irrep=modes.irreps[mode]
        )
        frames.append(atoms)
    return frames
