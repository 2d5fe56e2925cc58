"""Labels of structures: where files keep energy, forces and stress, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

VOIGT = (6,)
FULL = ((9,), (3, 3))


class LabelKeys(NamedTuple):
    """Under which names a file keeps its labels; the defaults are those that ASE reads.

    Attributes
    ----------
    energy : str
        eV, one number in the comment line.
    forces : str
        eV/Å, three columns.
    stress : str
        eV/Å³, ``(1/V) dE/dε``: nine numbers (or six in Voigt's order xx yy zz yz xz xy) in the
        comment line.
    """

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"


def take_labels(structures: Sequence[Atoms], keys: LabelKeys, path: str | Path) -> list[Atoms]:
    """Put labels that a file keeps under other names where ASE keeps them.

    Parameters
    ----------
    structures : sequence of Atoms
        Changed in place; results of other names stay.
    keys : LabelKeys
    path : path-like
        Named in errors.

    Raises
    ------
    ValueError
        For virials given as stress, or a label of the wrong shape, naming frame and key.
    """
    if "virial" in keys.stress.lower():
        raise ValueError(
            f"`--stress-key` is {keys.stress!r}, but virials are -V times the stress, which is "
            "(1/V) dE/dε in eV/Å³; convert them"
        )
    for index, atoms in enumerate(structures):
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        for name, key in keys._asdict().items():
            if key == name:
                continue
            value = find(atoms, key)
            results.pop(name, None)  # of another origin than the one asked for
            if value is not None:
                try:
                    results[name] = shaped(name, value, len(atoms))
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{path}: frame {index}: {key}: {error}") from error
        atoms.calc = SinglePointCalculator(atoms, **results)
    return list(structures)


def find(atoms: Atoms, key: str) -> Any:
    """Whatever a structure keeps under ``key``: per structure, per atom, or as ASE's result."""
    results = {} if atoms.calc is None else atoms.calc.results
    for store in (atoms.info, atoms.arrays, results):
        if store.get(key) is not None:
            return store[key]
    return None


def shaped(name: str, value: Any, n_atoms: int) -> Any:
    """Return a label as ASE keeps it."""
    array = np.asarray(value, dtype=float)
    wanted = {"energy": "one number", "forces": f"{n_atoms} rows of three numbers",
              "stress": "nine numbers, or six (xx yy zz yz xz xy)"}[name]  # fmt: skip
    if name == "energy" and array.size == 1:
        return float(array.reshape(()))
    if name == "forces" and array.shape == (n_atoms, 3):
        return array
    if name == "stress" and array.shape == VOIGT:
        return array
    if name == "stress" and array.shape in FULL:
        return full_3x3_to_voigt_6_stress(array.reshape(3, 3))
    raise ValueError(f"its shape is {array.shape} but it must be {wanted}")


def check_labels(structures: Sequence[Atoms], path: str | Path) -> bool:
    """Check that all frames of a file carry the same labels; return whether that includes stress.

    A stress needs three periodic directions: frames without them neither need nor use one.

    Raises
    ------
    ValueError
        Naming the first frame without energy or forces, with NaN in one of them, or where the set
        of labels changes.
    """
    first: tuple[int, bool] | None = None
    for index, atoms in enumerate(structures):
        for key in ("energy", "forces"):
            if not has_label(atoms, key):
                raise ValueError(
                    f"{path}: frame {index} has no {key}; every frame needs energy= and forces "
                    f"(columns forces:R:3), named as ASE reads them{hint(atoms)}"
                )
        check_finite(atoms, path, index)
        if not atoms.pbc.all():
            continue
        stress = has_label(atoms, "stress")
        first = first or (index, stress)
        if first[1] != stress:
            raise ValueError(
                f"{path}: frame {first[0]} {'has' if first[1] else 'lacks'} a stress but frame "
                f"{index} {'lacks' if first[1] else 'has'} it; put frames of either kind into "
                "separate files"
            )
    return first is not None and first[1]


def check_finite(atoms: Atoms, path: str | Path, index: int) -> None:
    """Refuse labels that are not numbers, naming the frame."""
    for key in LabelKeys():
        if has_label(atoms, key) and not np.isfinite(atoms.calc.results[key]).all():
            raise ValueError(
                f"{path}: frame {index} has NaN {key} (or infinite); remove the frame, its "
                "calculation did not converge"
            )


def has_label(atoms: Atoms, key: str) -> bool:
    """Whether a structure carries a label where ASE keeps it."""
    return atoms.calc is not None and atoms.calc.results.get(key) is not None


def hint(atoms: Atoms) -> str:
    """Say what a structure carries instead and which options read it: the end of an error."""
    found = [*atoms.info, *(k for k in atoms.arrays if k not in ("numbers", "positions"))]
    found += [] if atoms.calc is None else list(atoms.calc.results)
    options = " ".join(f"--{name}-key {key}" for name, key in alternatives(atoms).items())
    return f"; the frame has {', '.join(found) or 'nothing else'}" + (
        f": try {options}" if options else ""
    )


def alternatives(atoms: Atoms) -> dict[str, str]:
    """Usual other names of labels that a structure has while ASE's are missing, by label."""
    out = {}
    for label in LabelKeys():
        usual = (f"ref_{label}", f"dft_{label}", f"{label}_ref", f"{label}_dft")
        similar = [k for k in (*atoms.info, *atoms.arrays) if k.lower() in usual]
        if similar and not has_label(atoms, label):
            out[label] = similar[0]
    return out
