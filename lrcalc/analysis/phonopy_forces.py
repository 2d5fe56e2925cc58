"""Force constants in eV/Å² of a phonopy folder, whatever file and unit its forces are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.crystal import check_masses
from lrcalc.analysis.mesh_yaml import from_mesh
from lrcalc.analysis.phonopy_attach import (
    Attach,
    constants_of_file,
    constants_of_yaml,
    force_sets,
    forces_of_yaml,
    has_forces,
    other_displacements,
)
from lrcalc.analysis.phonopy_crystals import Crystal, Options, crystals, find, parsed, same

CONSTANTS = ("FORCE_CONSTANTS", "force_constants")
HDF5 = ("force_constants.hdf5", "fc2.hdf5")


class Found(NamedTuple):
    """What was read.

    Attributes
    ----------
    phonon : phonopy.Phonopy
        With force constants, in Å and eV/Å², without a non-analytical term.
    nac : dict, optional
        ``born``, ``dielectric`` and perhaps ``factor`` that a yaml file holds.
    folder : Path
    tolerance : float
        Of symmetry, Å.
    interface : str, optional
    told : str
        Names of the files and the program.
    only_gamma : bool
        The force constants are good at Γ only.
    notes : list of str
        What is odd about the force constants.
    """

    phonon: Any
    nac: dict[str, Any] | None
    folder: Path
    tolerance: float
    interface: str | None
    told: str
    only_gamma: bool
    notes: list[str] = []  # noqa: RUF012 (of a tuple, never changed)


def read(path: Path, options: Options) -> Found:
    """Read a folder, or the folder of a yaml file that is named.

    Raises
    ------
    FileNotFoundError, ValueError
        If files lack, are cut, or belong to different crystals; the message names them.
    """
    folder, chosen = (path.parent, path) if path.is_file() else (path, None)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    if chosen is None and not any(folder.iterdir()):
        raise FileNotFoundError(
            f"{folder} is empty: phonopy's files are needed (structure, forces, BORN)"
        )
    mesh = find(folder, "mesh.yaml")
    if mesh and not _force_files(folder):
        candidates = _or_none(folder, chosen, options)
        if not any(c.constants is not None or has_forces(c.dataset) for c in candidates):
            phonon, told = from_mesh(mesh[0], candidates, options.interface)
            nac = next((c.nac for c in candidates if c.nac is not None), None)
            interface = options.interface or next((c.interface for c in candidates), None)
            return Found(phonon, nac, folder, 1e-5, interface, told, only_gamma=True)
    candidates = crystals(folder, chosen, options)
    names, attach, candidates = _source(folder, candidates)
    crystal, phonon = _fitting(candidates, attach, names)
    if crystal.masses is not None:
        if len(crystal.masses) != len(phonon.primitive):
            raise ValueError(
                f"MASS in {folder} has {len(crystal.masses)} entries but the primitive cell "
                f"{len(phonon.primitive)} atoms"
            )
        phonon.masses = crystal.masses
    notes = []
    if phonon.force_constants is None:
        parsed(_produce, Path(names), phonon)
    else:
        notes = broken_symmetry(phonon)
    told = f"{crystal.path.name}{f' ({crystal.interface})' if crystal.interface else ''}"
    told += "" if names == crystal.path.name else f", {names}"
    sets = names.startswith("FORCE_SETS") and crystal.dataset is not None
    if sets and other_displacements(phonon.dataset, crystal.dataset):
        told += f" (its displacements are taken, which are not those of {crystal.path.name})"
    length = _units(crystal.interface).distance_to_A
    return Found(
        in_angstrom(phonon, crystal),
        crystal.nac,
        folder,
        crystal.tolerance * length,
        crystal.interface,
        f"read {told}",
        only_gamma=False,
        notes=notes,
    )


def _or_none(folder: Path, chosen: Path | None, options: Options) -> list[Crystal]:
    try:
        return crystals(folder, chosen, options)
    except FileNotFoundError:
        return []


def _units(interface: str | None) -> Any:
    from phonopy.physical_units import get_calculator_physical_units

    return get_calculator_physical_units(interface)


def _force_files(folder: Path) -> list[Path]:
    return find(folder, "FORCE_SETS", *CONSTANTS) + [
        folder / name for name in HDF5 if (folder / name).is_file()
    ]


def _source(folder: Path, found: list[Crystal]) -> tuple[str, Attach, list[Crystal]]:
    """Where the forces are, in phonopy's order of priority, and which structures come with it."""
    for holds, attach in (
        (lambda c: c.constants is not None, constants_of_yaml),
        (lambda c: has_forces(c.dataset), forces_of_yaml),
    ):
        with_it = [c for c in found if holds(c)]
        if with_it:
            return " and ".join(c.path.name for c in with_it), attach, with_it
    files = {path.name: path for path in _force_files(folder)}
    order = [*find(folder, *CONSTANTS), *(folder / n for n in HDF5), *find(folder, "FORCE_SETS")]
    path = next((path for path in order if path.name in files), None)
    if path is None:
        named = ", ".join(c.path.name for c in found)
        raise FileNotFoundError(
            f"no FORCE_SETS, FORCE_CONSTANTS, force_constants.hdf5, fc2.hdf5 or mesh.yaml in "
            f"{folder}, and no forces in {named}; phonopy makes FORCE_SETS from the outputs (-f)"
        )
    if path.name.startswith("FORCE_SETS"):
        return path.name, force_sets(path), found
    return path.name, constants_of_file(path), found


def _fitting(found: list[Crystal], attach: Attach, names: str) -> tuple[Crystal, Any]:
    """Take the one structure that the forces fit best."""
    fits: list[tuple[int, Crystal, Any]] = []
    errors = []
    for crystal in found:
        try:
            phonon = _phonopy(crystal)
            fits.append((attach(phonon, crystal), crystal, phonon))
        except ValueError as error:
            errors.append(error)
    if not fits:
        if len(errors) == 1:
            raise errors[0]
        raise ValueError("; ".join(map(str, errors))) from errors[0]
    best = [fit for fit in fits if fit[0] == max(score for score, *_ in fits)]
    best.sort(key=lambda fit: fit[1].nac is None)
    others = [crystal for _, crystal, _ in best[1:] if not same(best[0][1], crystal)]
    if others:
        both = ", ".join(c.path.name for c in (best[0][1], *others))
        raise ValueError(
            f"{names} fits {both} in {best[0][1].path.parent}, which are different crystals: take "
            f"the others away or name one (--from {best[0][1].path})"
        )
    return best[0][1], best[0][2]


def _phonopy(crystal: Crystal) -> Any:
    from phonopy import Phonopy

    if getattr(crystal.cell, "has_weighted_species", False):
        raise ValueError(f"{crystal.path} mixes species on one site, which has no modes here")
    matrix = np.eye(3, dtype=int) if crystal.supercell is None else crystal.supercell
    primitive = "auto" if crystal.primitive is None else crystal.primitive
    made = parsed(
        Phonopy,
        crystal.path,
        crystal.cell,
        matrix,
        primitive_matrix=primitive,
        symprec=crystal.tolerance,
        calculator=crystal.interface,
        log_level=0,
    )
    check_masses(made)
    return made


def _produce(phonon: Any) -> None:
    """Force constants as `phonopy.load` makes them."""
    if "first_atoms" not in phonon.dataset:
        phonon.produce_force_constants(fc_calculator="symfc", calculate_full_force_constants=False)
        return
    phonon.produce_force_constants(calculate_full_force_constants=False)
    phonon.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)


BREAKS = 0.05
"""Share of the largest force constant by which noise of a calculation breaks symmetry at most."""

LARGE = 200
"""Atoms of a supercell."""


def broken_symmetry(phonon: Any) -> list[str]:
    """Say if force constants of a file are not those of this crystal and supercell.

    They are compared with their own projection on the space group, exchange of atoms and sum rules,
    which takes a minute for more than :data:`LARGE` atoms and is left out there.
    """
    if len(phonon.supercell) > LARGE:
        return []
    given = np.array(phonon.force_constants)
    probe = phonon.copy()
    probe.force_constants = given.copy()
    probe.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)
    change = np.abs(probe.force_constants - given).max() / max(np.abs(given).max(), 1e-300)
    if change < BREAKS:
        return []
    return [
        f"the force constants change by {100 * change:.0f} % of the largest when the crystal's "
        "symmetry is imposed (it is not): are they of this structure, order of atoms and supercell?"
    ]


def in_angstrom(phonon: Any, crystal: Crystal) -> Any:
    """Return the same phonons in Å and eV/Å²."""
    from phonopy import Phonopy
    from phonopy.interface.calculator import get_force_constant_conversion_factor

    units = _units(crystal.interface)
    factor = get_force_constant_conversion_factor(units.force_constants_unit, None)
    if units.distance_to_A == 1.0 and factor == 1.0:
        return phonon
    cell = phonon.unitcell.copy()
    cell.cell = np.asarray(cell.cell) * units.distance_to_A
    converted = Phonopy(
        cell,
        phonon.supercell_matrix,
        primitive_matrix=phonon.primitive_matrix,
        symprec=crystal.tolerance * units.distance_to_A,
        log_level=0,
    )
    converted.masses = phonon.primitive.masses
    converted.force_constants = phonon.force_constants * factor
    return converted
