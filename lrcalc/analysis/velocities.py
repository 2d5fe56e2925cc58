"""Velocities of a run, and the masses and species that belong to them.

Masses are those of the run: of an i-PI run its RESTART, checkpoint or input, of ASE's formats the
column of masses, of a LAMMPS dump its column ``mass``. Only where no file says them are they those
of the labels, of which D and T are isotopes.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.analysis.frames import frames_in, read_ase, read_ipi_frames
from lrcalc.analysis.lammps import (
    dump_labels,
    is_dump,
    read_dump,
    read_dump_velocities,
    type_labels,
)
from lrcalc.ipi_files.folder import IPIRun, run_masses
from lrcalc.ipi_files.text import kind_of, open_text
from lrcalc.ipi_files.xyz import is_ipi_xyz, parse_frame, stream
from lrcalc.structures.isotopes import isotope

ASE_KINDS = (".traj", ".db", ".xyz", ".extxyz")


_OTHER_DUMPS = (
    (b"DUMPCUSTOM", "binary"), (b"DUMPATOM", "binary"),
    (b"creator: LAMMPS", "yaml"),
)  # fmt: skip
"""What stands at the begin of dumps in other forms → what they are."""


class Labelled(NamedTuple):
    """Labels (N,) of atoms, their masses (N,) in amu if `source` says them."""

    species: list[str]
    masses: np.ndarray | None
    source: str


class Particles(NamedTuple):
    """Labels (N,) and masses (N,) in amu of the atoms whose velocities are read."""

    species: list[str]
    masses: np.ndarray
    source: str
    """Where the masses are from."""


def read_velocities(
    path: str | Path,
    *,
    unit: str | None = None,
    lammps_units: str | None = None,
    quantity: str = "velocities",
) -> Series:
    """Velocities (T, 3N) in Å/fs, or positions in Å, of a trajectory.

    It may be one of i-PI, ASE, GPUMD or LAMMPS.

    Parameters
    ----------
    unit
        Of a column of velocities whose name does not say it.
    lammps_units
        Of a LAMMPS dump.
    quantity
        ``velocities`` or ``positions``.

    Raises
    ------
    ValueError
        Where there are no velocities, or their unit is not known.
    """
    path = Path(path)
    dump = is_dump(path)
    check_dump(path)
    if lammps_units is not None and not dump:
        raise ValueError(f"`lammps_units` is given but {path} is no dump of LAMMPS")
    if unit is not None and (dump or is_ipi_xyz(path)):
        raise ValueError(f"`unit` is {unit!r} but {path} says its own unit: leave it out")
    if dump:
        return read_dump_velocities(path, units=lammps_units, quantity=quantity)
    if is_ipi_xyz(path):
        return read_ipi_frames(path, quantity)[0]
    return read_ase(path, quantity, 1.0, unit=unit)


def check_dump(path: Path) -> None:
    """Refuse dumps of LAMMPS in other forms than text by columns: binary and yaml."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(256)
    found = next((name for sign, name in _OTHER_DUMPS if sign in start), None)
    if found is not None:
        raise ValueError(
            f"{path} is a {found} dump of LAMMPS, and only its text dumps are read: write "
            "`dump custom … id element xu yu zu vx vy vz` with `dump_modify … units yes time yes`"
        )


def is_folded(path: str | Path) -> bool:
    """Whether a file is of LAMMPS' `dump xyz`: positions inside a box that it does not tell."""
    with open_text(path) as file:
        return any(line.strip().startswith("Atoms. Timestep:") for line in islice(file, 2))


def particles(
    path: str | Path, *, types: str | None = None, lammps_units: str | None = None
) -> Labelled:
    """Labels of the atoms in a trajectory file, and their masses where it has them.

    Raises
    ------
    ValueError
        If the file does not say the species.
    """
    path = Path(path)
    check_dump(path)
    if types is not None and not is_dump(path):
        raise ValueError(f"`types` is given but {path} is no dump of LAMMPS")
    if is_dump(path):
        frame = next(read_dump(path, units=lammps_units), None)
        if frame is None:
            raise ValueError(f"{path} has no whole frame")
        return Labelled(dump_labels(frame, type_labels(types), path), frame.masses, str(path))
    if kind_of(path) not in ASE_KINDS:
        raise ValueError(f"{path} does not say the species: give `structure`")
    if is_ipi_xyz(path):
        first = next((frame for frame in stream(path) if frame.whole), None)
        if first is None:
            raise ValueError(f"{path} has no whole frame")
        comment, rows = first.content
        found = parse_frame(comment, rows, path)
        return Labelled(found.names, found.masses, str(path))
    return _of_atoms(next(frames_in(path)), str(path))


def of_run(
    paths: Sequence[Path],
    runs: Sequence[IPIRun],
    *,
    structure: str | None = None,
    types: str | None = None,
    lammps_units: str | None = None,
) -> Particles:
    """Species and masses of trajectory files, all of the same atoms.

    Parameters
    ----------
    paths, runs
        Trajectories and the i-PI runs that they belong to.
    structure
        A file of species and masses, for trajectories that have none.
    types, lammps_units
        Of LAMMPS dumps.

    Raises
    ------
    ValueError
        If the files are of different atoms or masses, or nothing tells the species.
    """
    found = [
        _complete(path, runs, structure, types=types, lammps_units=lammps_units) for path in paths
    ]
    first = found[0]
    for path, other in zip(paths[1:], found[1:], strict=True):
        if other.species != first.species:
            raise ValueError(f"{path} has other atoms than {paths[0]}: do them one by one")
        if not np.allclose(other.masses, first.masses, rtol=1e-4):
            raise ValueError(
                f"{path} has other masses (from {other.source}) than {paths[0]} (from "
                f"{first.source}): do them one by one"
            )
    return first


def _complete(
    path: Path, runs: Sequence[IPIRun], structure: str | None, **options: str | None
) -> Particles:
    told = None if structure is None else _of_structure(structure)
    if told is not None and kind_of(path) not in ASE_KINDS and not is_dump(path):
        return _with_masses(told)
    own = particles(path, **options)
    if told is not None:
        if len(told.species) != len(own.species):
            raise ValueError(
                f"`structure` {structure} has {len(told.species)} atoms but {path} has "
                f"{len(own.species)}"
            )
        if told.masses is not None:
            return _with_masses(told)
    run = next((run for run in runs if any(path in files for files in run.outputs.values())), None)
    of_the_run = None if run is None else run_masses(run)
    if of_the_run is not None and len(of_the_run.masses) == len(own.species):
        return Particles(own.species, of_the_run.masses, str(of_the_run.source))
    if told is not None and own.masses is None and not any(map(isotope, own.species)):
        return _with_masses(told)
    return _with_masses(own)


def _of_structure(path: str) -> Labelled:
    from lrcalc.structures import read_structure

    return _of_atoms(read_structure(path, 0), path)


def _of_atoms(atoms: Any, source: str) -> Labelled:
    masses = np.array(atoms.get_masses()) if atoms.has("masses") else None
    return Labelled(atoms.get_chemical_symbols(), masses, source)


def _with_masses(found: Labelled) -> Particles:
    """Masses of the labels where no file has any.

    Raises
    ------
    ValueError
        For a label that is no element.
    """
    if found.masses is not None:
        return Particles(found.species, found.masses, found.source)
    from ase.data import atomic_masses, atomic_numbers

    masses = np.empty(len(found.species))
    for index, label in enumerate(found.species):
        named = isotope(label)
        if named is None and atomic_numbers.get(label, 0) == 0:
            raise ValueError(
                f"{found.source}: {label!r} is no element, so its mass is not known: give "
                "`structure`, a file of the same atoms with a column masses"
            )
        masses[index] = named[1] if named else atomic_masses[atomic_numbers[label]]
    return Particles(found.species, masses, f"the labels in {found.source}")
