"""Force constants in eV/Å² of a phonopy folder, whatever file and unit its forces are in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.crystal import check_masses
from lrcalc.analysis.mesh_yaml import from_mesh
from lrcalc.analysis.phonopy_crystals import Crystal, Options, crystals, find, parsed, plain, same

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
    crystal, phonon = _fitting(candidates, attach, names, options)
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


def has_forces(dataset: Any) -> bool:
    """Whether every displacement of a phonopy dataset has its forces."""
    if dataset is None:
        return False
    if "first_atoms" in dataset:
        return bool(dataset["first_atoms"]) and all("forces" in d for d in dataset["first_atoms"])
    return "forces" in dataset


Attach = Callable[[Any, Crystal], int]
"""Gives forces to a Phonopy; returns how well they fit, and raises ValueError if they do not."""


def _source(folder: Path, found: list[Crystal]) -> tuple[str, Attach, list[Crystal]]:
    """Where the forces are, in phonopy's order of priority, and which structures come with it."""
    for holds, attach in (
        (lambda c: c.constants is not None, _constants_of_yaml),
        (lambda c: has_forces(c.dataset), _forces_of_yaml),
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
        return path.name, _force_sets(path), found
    return path.name, _constants(path), found


def _fitting(
    found: list[Crystal], attach: Attach, names: str, options: Options
) -> tuple[Crystal, Any]:
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


def _constants_of_yaml(phonon: Any, crystal: Crystal) -> int:
    _set_constants(phonon, crystal, crystal.constants, crystal.path)
    return 1


def _forces_of_yaml(phonon: Any, crystal: Crystal) -> int:
    data = crystal.dataset
    sets = [d["forces"] for d in data["first_atoms"]] if "first_atoms" in data else data["forces"]
    _check_count(len(sets[0]), phonon, crystal, crystal.path)
    phonon.dataset = data
    return 1


def _force_sets(path: Path) -> Attach:
    """FORCE_SETS of type 1 (one atom displaced) or 2 (all of them)."""
    from phonopy.file_IO import parse_FORCE_SETS

    with plain(path) as readable:
        data = parsed(parse_FORCE_SETS, path, filename=readable)

    def attach(phonon: Any, crystal: Crystal) -> int:
        count = len(phonon.supercell)
        if "first_atoms" in data:
            _check_count(data["natom"], phonon, crystal, path)
            fitted = data
        else:
            lines = len(data["displacements"])
            if lines % count:
                raise ValueError(
                    f"{path.name} holds displacements and forces of {lines} atoms, which is no "
                    f"multiple of the {count} of the supercell of {crystal.path.name}"
                    + _wanted(phonon, crystal, None)
                )
            fitted = {name: value.reshape(-1, count, 3) for name, value in data.items()}
        phonon.dataset = fitted
        return 1 if crystal.dataset is None or other_displacements(fitted, crystal.dataset) else 2

    return attach


def other_displacements(one: Any, other: Any) -> bool:
    """Whether the displacements of a dataset are not (the first of) those of another."""
    from phonopy.structure.dataset import get_displacements_and_forces

    here, there = (get_displacements_and_forces(d)[0] for d in (one, other))
    match = here.shape[1:] == there.shape[1:] and len(here) <= len(there)
    return not (match and np.allclose(here, there[: len(here)], atol=1e-6))


def _constants(path: Path) -> Attach:
    from phonopy.file_IO import parse_FORCE_CONSTANTS, read_force_constants_hdf5
    from phonopy.interface.calculator import get_force_constant_conversion_factor

    unit = None
    if path.suffix == ".hdf5":
        value, unit = parsed(read_force_constants_hdf5, path, path, return_physical_unit=True)
    else:
        with plain(path) as readable:
            value = parsed(parse_FORCE_CONSTANTS, path, filename=readable)

    def attach(phonon: Any, crystal: Crystal) -> int:
        factor = 1.0
        if unit is not None:
            factor = parsed(get_force_constant_conversion_factor, path, unit, crystal.interface)
        _set_constants(phonon, crystal, value * factor, path)
        return 1

    return attach


def _set_constants(phonon: Any, crystal: Crystal, value: Any, path: Path) -> None:
    value = np.asarray(value, dtype=float)
    _check_count(value.shape[1], phonon, crystal, path)
    rows, primitive = value.shape[0], len(phonon.primitive)
    if rows not in (primitive, len(phonon.supercell)):
        raise ValueError(
            f"{path.name} has rows for a primitive cell of {rows} atoms, but that of "
            f"{crystal.path.name} has {primitive}: name the primitive cell (--primitive"
            f"{' P' if rows == len(phonon.unitcell) else ''})"
        )
    if rows == primitive != len(phonon.supercell):
        _check_rows(phonon, path)
    phonon.force_constants = value


def _check_rows(phonon: Any, path: Path) -> None:
    """Let phonopy compare the atoms of compact force constants with those of the primitive cell."""
    from phonopy.file_IO import parse_FORCE_CONSTANTS, read_force_constants_hdf5

    read = read_force_constants_hdf5 if path.suffix == ".hdf5" else parse_FORCE_CONSTANTS
    if "yaml" in path.name:
        return
    with plain(path) as readable:
        parsed(read, path, readable, p2s_map=phonon.primitive.p2s_map)


def _check_count(count: int, phonon: Any, crystal: Crystal, path: Path) -> None:
    if count != len(phonon.supercell):
        raise ValueError(
            f"{path.name} is for {count} atoms but the supercell of {crystal.path.name} has "
            f"{len(phonon.supercell)}{_wanted(phonon, crystal, count)}"
        )


def _wanted(phonon: Any, crystal: Crystal, count: int | None) -> str:
    """How to say the supercell, where nothing told it."""
    if crystal.supercell is not None:
        return ""
    text = ": give the repeats of the unit cell (--supercell), or phonopy_disp.yaml"
    times = (count or 0) / len(phonon.unitcell)
    edge = round(times ** (1 / 3))
    if times > 1 and edge**3 == times:
        return f"{text}; {times:g} cells would be --supercell {edge},{edge},{edge}"
    return f"{text}; {times:g} cells" if times > 1 and times == round(times) else text


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
