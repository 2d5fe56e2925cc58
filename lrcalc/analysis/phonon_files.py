"""Phonons from a folder of phonopy files: force constants, structure and Born charges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis import modes as mode_math
from lrcalc.analysis.crystal import Phonons, assemble, quiet, solve, without_charges
from lrcalc.analysis.phonopy_crystals import Options, find, plain
from lrcalc.analysis.phonopy_forces import Found, read


def from_folder(
    folder: str | Path,
    *,
    supercell: Sequence[int] | None = None,
    primitive: Any = None,
    interface: str | None = None,
    cell: str | None = None,
    transposed: bool = False,
    check_table: bool = True,
    intensities: bool = True,
) -> Phonons:
    """Read a folder of phonopy files, in the units of whatever program they are from.

    Parameters
    ----------
    folder
        phonopy_params.yaml, phonopy_disp.yaml, phonopy.yaml or a structure file; forces or force
        constants in it or in FORCE_SETS (either type), FORCE_CONSTANTS, force_constants.hdf5,
        fc2.hdf5 or mesh.yaml (with eigenvectors at Γ); Born charges in the yaml file or in BORN.
        Files may be compressed. Or one such yaml file, beside which the others are.
    supercell
        Repeats (3) or matrix (9 entries), where no file tells.
    primitive
        "auto" (found from the symmetry, phonopy's default), "P", "F", "I", "A", "C", "R", or a
        matrix (3, 3), where no file tells or another is wanted.
    interface
        phonopy's name of the program (``qe``, ``aims``, …) that a structure file is of.
    cell
        Name of the structure file, where it is not phonopy's default.
    transposed
        The Born charges are (displacement, field) instead of phonopy's (field, displacement).
    check_table
        Compare with a published ``IR-PeakTable.dat`` (wavenumber, label, e²/amu, …) in the folder
        and refuse Born charges that agree with it only when transposed.
    intensities
        If false, no Born charges are needed: wavenumbers and bands only.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file lacks, is cut or does not fit the others; the message names it and the way out.
    """
    with quiet():
        found = read(Path(folder), Options(supercell, primitive, interface, cell))
        if not intensities:
            bare = without_charges(found.phonon, only_gamma=found.only_gamma)
            return bare._replace(notes=(found.told, *found.notes, *bare.notes))
        nac, source = _born(found)
    born, epsilon = np.asarray(nac["born"], dtype=float), nac["dielectric"]
    if transposed:
        born = born.transpose(0, 2, 1)
    phonons = assemble(found.phonon, born, epsilon, only_gamma=found.only_gamma)
    notes = [f"{found.told}, Born charges of {source}", *found.notes]
    notes += _factor_note(nac, found, source)
    table = found.folder / "IR-PeakTable.dat"
    if check_table and table.is_file():
        notes += _compare_with_table(phonons, table)
    return phonons._replace(notes=(*phonons.notes, *notes))


def _born(found: Found) -> tuple[dict[str, Any], str]:
    """Born charges and ε_∞ of the yaml file or of BORN, in phonopy's order of priority."""
    from phonopy.file_IO import parse_BORN

    if found.nac is not None:
        return found.nac, "the same file"
    paths = find(found.folder, "BORN")
    if not paths:
        raise FileNotFoundError(
            f"no BORN file in {found.folder} and no Born charges in its yaml files: infrared "
            "intensities need them; wavenumbers alone do not (--no-intensities)"
        )
    primitive = found.phonon.primitive
    with plain(paths[0]) as readable:
        try:
            nac = parse_BORN(primitive, symprec=found.tolerance, filename=readable)
        except Exception as error:  # of many kinds for a cut file
            raise ValueError(
                f"{paths[0]} does not fit the structure (primitive cell of {len(primitive)} atoms; "
                f"another one: --primitive): {error}"
            ) from None
    return nac, paths[0].name


def _factor_note(nac: dict[str, Any], found: Found, source: str) -> list[str]:
    """Say if the file's own unit factor is that of other units than the folder's."""
    from phonopy.physical_units import get_calculator_physical_units

    factor, right = nac.get("factor"), get_calculator_physical_units(found.interface).nac_factor
    if factor is None or abs(factor / right - 1.0) < 1e-3:
        return []
    return [
        f"the unit factor {factor:g} of {source} is not that of {found.interface or 'vasp'} "
        f"({right:.4g}); e²/(4π ε0) is used for LO-TO, where phonopy would use {factor:g}"
    ]


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
