"""Forces and force constants of phonopy's files, given to a `phonopy.Phonopy` that they fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.phonopy_crystals import Crystal, parsed, plain

Attach = Callable[[Any, Crystal], int]
"""Gives forces to a Phonopy; returns how well they fit, and raises ValueError if they do not."""


def has_forces(dataset: Any) -> bool:
    """Whether every displacement of a phonopy dataset has its forces."""
    if dataset is None:
        return False
    if "first_atoms" in dataset:
        return bool(dataset["first_atoms"]) and all("forces" in d for d in dataset["first_atoms"])
    return "forces" in dataset


def constants_of_yaml(phonon: Any, crystal: Crystal) -> int:
    """Take the force constants that the yaml file of a crystal holds."""
    _set_constants(phonon, crystal, crystal.constants, crystal.path)
    return 1


def forces_of_yaml(phonon: Any, crystal: Crystal) -> int:
    """Take the forces that the yaml file of a crystal holds."""
    data = crystal.dataset
    sets = [d["forces"] for d in data["first_atoms"]] if "first_atoms" in data else data["forces"]
    _check_count(len(sets[0]), phonon, crystal, crystal.path)
    phonon.dataset = data
    return 1


def force_sets(path: Path) -> Attach:
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


def constants_of_file(path: Path) -> Attach:
    """FORCE_CONSTANTS or a file in HDF5."""
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
