"""Force constants from phonopy's mesh.yaml, which phonopy does not read back.

The file states neither the unit of its lengths nor that of its frequencies: lengths are in the
unit of the program that computed the forces, frequencies in THz unless the run had another factor.
A structure beside it tells the first, and the phonopy.yaml that the same run wrote both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc import units
from lrcalc.analysis.phonopy_crystals import Crystal, parsed

_THZ = 1e-3 * 2.0 * np.pi  # rad/fs
_HIGHEST = 150.0
"""THz; no vibration is faster (H2: 132), so larger numbers are in another unit."""


def from_mesh(
    path: Path, beside: Sequence[Crystal], interface: str | None = None
) -> tuple[Any, str]:
    """``Phonopy`` of the primitive cell in Å with the force constants of Γ, and the files used.

    Parameters
    ----------
    beside
        Structures of the same folder.
    interface
        Program whose unit the lengths are in, where no structure tells.
    """
    from phonopy import Phonopy
    from phonopy.interface.phonopy_yaml import load_yaml
    from phonopy.physical_units import get_calculator_physical_units
    from phonopy.structure.atoms import parse_cell_dict

    data = parsed(load_yaml, path, path)
    if not isinstance(data, dict) or not data.get("phonon"):
        raise ValueError(f"{path} holds no phonons: is it complete?")
    cell = parsed(parse_cell_dict, path, data)
    reference = _fitting(path, cell, beside)
    factor, scale, told = 1.0, 1.0, path.name
    if reference is not None:
        of_program = get_calculator_physical_units(reference.interface)
        if reference.frequency_factor:
            scale = of_program.factor / reference.frequency_factor
            scale = 1.0 if abs(scale - 1.0) < 1e-4 else scale
        told = f"{reference.path.name}, {path.name}"
        if not _of_the_run(reference):
            told += " (its frequencies taken as THz: no phonopy.yaml of the run tells)"
        length = of_program.distance_to_A
        if cell is None:
            cell = _primitive(reference)
            factor = length
        else:
            factor = _length_unit(path, cell, reference, length)
    elif interface is not None:
        factor = get_calculator_physical_units(interface).distance_to_A
    else:
        raise FileNotFoundError(
            f"{path} does not say the unit of its lengths: put phonopy.yaml or the structure "
            "(POSCAR) beside it, or name the program (--interface vasp for Å)"
        )
    cell.cell = np.asarray(cell.cell) * factor
    phonon = Phonopy(cell, np.eye(3, dtype=int), "P", log_level=0)
    phonon.force_constants = constants_from_data(path, data, phonon.primitive.masses, scale)
    return phonon, f"read {told}"


def _of_the_run(crystal: Crystal) -> bool:
    """Whether the file is the one that each run of phonopy writes beside its results."""
    return crystal.path.name.startswith("phonopy.yaml")


def _primitive(crystal: Crystal) -> Any:
    from phonopy import Phonopy

    primitive = "auto" if crystal.primitive is None else crystal.primitive
    phonon = Phonopy(crystal.cell, np.eye(3, dtype=int), primitive, log_level=0)
    return phonon.primitive.copy()


def _volume(cell: Any) -> float:
    return float(abs(np.linalg.det(np.asarray(cell.cell)))) / len(cell)


def _fitting(path: Path, cell: Any, beside: Sequence[Crystal]) -> Crystal | None:
    """Take the structure with the composition of the mesh."""
    beside = sorted(beside, key=_of_the_run, reverse=True)
    if cell is None or not beside:
        return beside[0] if beside else None

    def shares(one: Any) -> dict[str, float]:
        symbols = list(one.symbols)
        return {s: symbols.count(s) / len(symbols) for s in set(symbols)}

    found = [c for c in beside if shares(c.cell) == shares(cell)]
    if not found:
        raise ValueError(
            f"{path} is for another crystal than {', '.join(c.path.name for c in beside)}"
        )
    return found[0]


def _length_unit(path: Path, cell: Any, reference: Crystal, length: float) -> float:
    """Å per unit of length of the mesh: as in the structure beside it, or bohr."""
    there = _volume(reference.cell) ** (1 / 3) * length
    here = _volume(cell) ** (1 / 3)
    for factor in (length, 1.0, units.BOHR):
        if abs(here * factor / there - 1.0) < 0.02:
            return factor
    raise ValueError(
        f"the cell of {path} ({here**3:.4g} per atom) is not that of {reference.path.name} "
        f"({there**3:.4g} Å³ per atom), neither in Å nor in bohr"
    )


def constants_from_mesh(path: Path, masses: np.ndarray) -> np.ndarray:
    """Force constants (N, N, 3, 3), periodic sums, from a mesh.yaml with eigenvectors at Γ."""
    from phonopy.interface.phonopy_yaml import load_yaml

    return constants_from_data(path, parsed(load_yaml, path, path), masses)


def constants_from_data(
    path: Path, data: dict[str, Any], masses: np.ndarray, scale: float = 1.0
) -> np.ndarray:
    """Force constants (N, N, 3, 3) in eV/Å² from the content of a mesh.yaml.

    Parameters
    ----------
    scale
        THz per unit of frequency in the file.
    """
    point = next((p for p in data["phonon"] if not np.any(p["q-position"])), None)
    if point is None or "eigenvector" not in point["band"][0]:
        raise ValueError(
            f"{path} has no eigenvectors at Γ (phonopy: mesh with EIGENVECTORS = .TRUE.)"
        )
    count = len(masses)
    frequency = np.array([band["frequency"] for band in point["band"]]) * scale
    if np.abs(frequency).max() > _HIGHEST:
        raise ValueError(
            f"{path} has frequencies up to {np.abs(frequency).max():.4g}, which are not in THz: "
            "put the phonopy.yaml of the same run beside it, which tells their unit"
        )
    frequency = frequency * _THZ
    raw = parsed(lambda: np.array([band["eigenvector"] for band in point["band"]], float), path)
    if raw.shape[1] != count:
        raise ValueError(f"{path} is for {raw.shape[1]} atoms, not {count}")
    if raw.shape != (3 * count, count, 3, 2):
        raise ValueError(
            f"{path} has {len(raw)} modes at Γ but {3 * count} are needed: is it complete?"
        )
    vectors = (raw[..., 0] + 1j * raw[..., 1]).reshape(len(frequency), -1)
    square = np.sign(frequency) * frequency**2 * units.EV_PER_AMU_A2_FS2
    matrix = np.einsum("m,mi,mj->ij", square, vectors, vectors.conj()).real
    root = np.sqrt(np.repeat(masses, 3))
    return (matrix * np.outer(root, root)).reshape(count, 3, count, 3).transpose(0, 2, 1, 3).copy()
