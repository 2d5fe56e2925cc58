"""Labels of structures: where files keep energy, forces and stress, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from lrcalc.training.label_units import convert

LABELS = ("energy", "forces", "stress")
"""What is trained on, as ASE names it."""

VOIGT = (6,)
FULL = ((9,), (3, 3))

STEMS = {"energy": ("energy",), "forces": ("forces", "force"), "stress": ("stress",),
         "virial": ("virial", "virials")}  # fmt: skip
"""Words that mean a label in the name of an entry."""

PREFIXES = {"ref", "reference", "dft", "qm", "scf", "pbe", "r2scan", "vasp", "qe", "cp2k", "aims",
            "total", "tot", "free", "label", "target", "true", "abinitio", "corrected", "potential",
            "pot", "data"}  # fmt: skip
"""Words that may stand beside it: ``dft_forces``, ``free_energy``, but not ``kinetic_energy``."""


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
    virial : str
        eV, ``-dE/dε``, numbers as of a stress; "" for none. Takes the place of the stress.
    units : mapping
        What the labels of the file have to be multiplied with to be in these units, by label
        (`lrcalc.training.label_units.parse_units`).
    """

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"
    virial: str = ""
    units: Mapping[str, float] = {}


@contextmanager
def at_frame(path: str | Path, index: int, *names: str) -> Iterator[None]:
    """Errors about one structure say which: file, number of the frame, and ``names``."""
    try:
        yield
    except ValueError as error:
        where = ": ".join([str(path), f"frame {index}", *names])
        raise ValueError(f"{where}: {error}") from error


def take_labels(structures: Sequence[Atoms], keys: LabelKeys, path: str | Path) -> list[Atoms]:
    """Put labels where ASE keeps them, whatever a file calls them.

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
        For virials given as stress, a label of the wrong shape, one that a frame has twice with
        different values, or a virial without three periodic directions; names frame and key.
    """
    if "virial" in keys.stress.lower():
        raise ValueError(
            f"`--stress-key` is {keys.stress!r}, but virials are -V times the stress, which is "
            f"(1/V) dE/dε in eV/Å³; give them as --virial-key {keys.stress} (in eV)"
        )
    if keys.virial and keys.stress != "stress":
        raise ValueError(
            f"`--stress-key` {keys.stress} and `--virial-key` {keys.virial} are both given; the "
            "one is -1/V times the other, give one of them"
        )
    for index, atoms in enumerate(structures):
        convert(atoms, keys.units)
        results = {} if atoms.calc is None else dict(atoms.calc.results)
        names = {name: getattr(keys, name) for name in LABELS}
        if keys.virial:
            names["stress"] = keys.virial
        for name, key in names.items():
            with at_frame(path, index, key):
                value = find(atoms, key)
                if key != name:
                    results.pop(name, None)  # of another origin than the one asked for
                if value is not None:
                    label = "virial" if name == "stress" and keys.virial else name
                    results[name] = keys.units.get(label, 1.0) * shaped(name, value, len(atoms))
                    if label == "virial":
                        results[name] = stress_of(results[name], atoms)
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
    return list(structures)


def stress_of(virial: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Stress (6,) in eV/Å³ of a virial (6,) in eV: ``-virial/V``."""
    if not atoms.pbc.all():
        raise ValueError(
            f"a virial needs three periodic directions to be a stress, but pbc is "
            f"{atoms.pbc.tolist()}; leave --virial-key out for this file"
        )
    return -np.asarray(virial) / atoms.get_volume()


def find(atoms: Atoms, key: str) -> Any:
    """Whatever a structure keeps under ``key``: per structure, per atom, or as ASE's result.

    Raises
    ------
    ValueError
        If it is there twice with different values.
    """
    results = {} if atoms.calc is None else atoms.calc.results
    stores: dict[str, Mapping[str, Any]] = {
        "info": atoms.info, "arrays": atoms.arrays, "calculator": results,
    }  # fmt: skip
    found = {name: store[key] for name, store in stores.items() if store.get(key) is not None}
    places = list(found)
    for other in places[1:]:
        if not same(found[places[0]], found[other]):
            raise ValueError(
                f"it is there twice, with different values: {short(found[places[0]])} in "
                f"{places[0]}, {short(found[other])} in {other}; remove one of them"
            )
    return found[places[0]] if places else None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same numbers, to single precision."""
    try:
        a, b = (np.ravel(np.asarray(x, dtype=float)) for x in (one, other))
    except (TypeError, ValueError):
        return bool(one == other)
    if {a.size, b.size} == {6, 9}:
        a, b = (x if x.size == 6 else full_3x3_to_voigt_6_stress(x.reshape(3, 3)) for x in (a, b))
    if a.size != b.size:
        return False
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    return bool(np.allclose(a, b, rtol=0.0, atol=1e-6 * scale, equal_nan=True))


def short(value: Any) -> str:
    """First numbers of a value, for an error."""
    numbers = np.ravel(np.asarray(value))
    return " ".join(
        f"{x:.8g}" if isinstance(x, float) else str(x) for x in numbers[:3].tolist()
    ) + (" …" if numbers.size > 3 else "")


def shaped(name: str, value: Any, n_atoms: int) -> Any:
    """Return a label as ASE keeps it."""
    try:
        array = np.asarray(value, dtype=float)
    except TypeError as error:
        raise ValueError(str(error)) from error
    wanted = {"energy": "one number", "forces": f"{n_atoms} rows of three numbers",
              "stress": "nine numbers, or six (xx yy zz yz xz xy)"}[name]  # fmt: skip
    if name == "energy" and array.size == 1:
        return float(array.reshape(()))
    if name == "forces" and array.shape == (n_atoms, 3):
        return array
    if name == "stress" and array.shape == VOIGT:
        return array
    if name == "stress" and array.shape in FULL:
        full = array.reshape(3, 3)
        if np.abs(full - full.T).max() > 0.02 * np.abs(full).max():
            raise ValueError(
                f"it is not symmetric: {short(full)}; a stress is (nine numbers xx xy xz yx yy yz "
                "zx zy zz)"
            )
        return full_3x3_to_voigt_6_stress(full)
    raise ValueError(f"its shape is {array.shape} but it must be {wanted}")


def check_labels(structures: Sequence[Atoms], path: str | Path, numbers: Sequence[int]) -> bool:
    """Check that all frames of a file carry the same labels; return whether that includes stress.

    A stress needs three periodic directions: frames without them neither need nor use one.
    ``numbers`` says which frames of the file they are.

    Raises
    ------
    ValueError
        Naming the first frame without energy or forces, with NaN in one of them, or where the set
        of labels changes.
    """
    first: tuple[int, bool] | None = None
    for index, atoms in zip(numbers, structures, strict=True):
        for key in ("energy", "forces"):
            if not has_label(atoms, key):
                raise ValueError(
                    f"{path}: frame {index} has no {key}; every frame needs energy= and forces "
                    f"(columns forces:R:3), named as ASE reads them{hint(atoms)}"
                )
        check_labels_finite(atoms, path, index)
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


def check_labels_finite(atoms: Atoms, path: str | Path, index: int) -> None:
    """Refuse labels that are not numbers, naming the frame."""
    for key in LABELS:
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
    for label in LABELS:
        named = names_of(atoms, label)
        if named and not has_label(atoms, label):
            out[label] = named[0]
    virials = names_of(atoms, "virial")
    if virials and not has_label(atoms, "stress") and "stress" not in out:
        out["virial"] = virials[0]
    return out


def names_of(atoms: Atoms, label: str) -> list[str]:
    """Other names than ASE's under which a structure may have a label (or "virial")."""
    results = {} if atoms.calc is None else atoms.calc.results
    found = []
    for key in dict.fromkeys((*atoms.info, *atoms.arrays, *results)):
        words = set(re.split(r"[_\-. ]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", str(key)).lower()))
        stems = words & set(STEMS[label])
        if stems and words - stems <= PREFIXES and key not in LABELS:
            found.append(str(key))
    return found
