"""Phonons from a folder of phonopy files: force constants, structure and Born charges."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc import units
from lrcalc.analysis import modes as mode_math
from lrcalc.analysis.crystal import Phonons, assemble, quiet, solve, without_charges

_THZ = 1e-3 * 2.0 * np.pi  # rad/fs
_YAML = ("phonopy_params.yaml", "phonopy.yaml", "phonopy_disp.yaml")


def from_folder(
    folder: str | Path,
    *,
    transposed: bool = False,
    check_table: bool = True,
    intensities: bool = True,
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
    intensities
        If false, no BORN file is needed: wavenumbers and bands only.
    """
    from phonopy.file_IO import parse_BORN

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if intensities and not (folder / "BORN").is_file():
        raise FileNotFoundError(
            f"no BORN file in {folder}: infrared intensities need Born charges; wavenumbers alone "
            "do not (--no-intensities)"
        )
    with quiet():
        phonon, only_gamma = _read_structure_and_forces(folder)
        if not intensities:
            return without_charges(phonon, only_gamma=only_gamma)
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
        note = _compare_with_table(found, table)
        return found._replace(notes=(*found.notes, *note))
    return found


def _compare_with_table(phonons: Phonons, path: Path) -> list[str]:
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
            f"charges by {there:.2g}: their index order is the other one (--born-order)"
        )
    if here < 1e-3 and here < 0.1 * there:
        return [
            f"{path.name} agrees with the index order as read: intensities to {here:.1g} e²/amu, "
            f"in the other order to {there:.2g}"
        ]
    return []


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
        data = _parsed(parse_FORCE_SETS, folder / "FORCE_SETS")
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
            phonon.force_constants = _parsed(parse_FORCE_CONSTANTS, folder / name)
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


def _parsed(parse: Callable[..., Any], path: Path) -> Any:
    """Return what one of phonopy's parsers finds, whose errors for a cut file are of many kinds."""
    try:
        return parse(filename=str(path))
    except Exception as error:  # a cut file: RecursionError, IndexError, TypeError, …
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}): is it complete?"
        ) from error


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
