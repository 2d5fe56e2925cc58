"""What a file of labelled structures says that training or evaluation does not use, in lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from lrcalc.structures import describe_unused
from lrcalc.structures.content import whole_atoms
from lrcalc.training.label_units import COLUMNS, OPTION
from lrcalc.training.labels import LABELS, LabelKeys, has_label, names_of, same

HARMLESS = ("names no unit", "fixed atoms are read", "the run has the field")

SILENT = 1e-4
"""eV an atom, eV/Å: energies or forces under two names that differ by less are one."""


def describe_labels(structures: Sequence[Atoms], keys: LabelKeys) -> list[str]:
    """Say what the frames of a file carry that is not used, or not what it seems: a line each.

    Parameters
    ----------
    structures : sequence of Atoms
        As `take_labels` leaves them.
    keys : LabelKeys
        The names that were asked for.
    """
    return [
        *_unused_units(structures, keys),
        *_unused_stress(structures, keys),
        *_unused_values(structures, keys),
        *_open_stress(structures),
        *_placeholders(structures),
        *_fixed_without_force(structures),
        *_in_a_field(structures),
        *_unknown(structures),
    ]


def _unused_units(structures: Sequence[Atoms], keys: LabelKeys) -> Iterator[str]:
    """Find units of labels that are not there."""
    for label in keys.units:
        names = COLUMNS.get(label, ())
        there = any(name in a.info or name in a.arrays for a in structures for name in names)
        stress = keys.virial if label == "virial" else label == "stress" and not keys.virial
        told = "stress" if stress else label
        there = there or label == "positions" or any(has_label(a, told) for a in structures)
        if not there:
            yield f"{OPTION} has a unit of {label}, but no frame has {' or '.join(names) or label}"


def _of(count: int, structures: Sequence[Atoms]) -> str:
    total = len(structures)
    return f"all {total} frames" if count == total else f"{count} of {total} frames"


def _numbers(value: Any) -> np.ndarray:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return np.empty(0)


def _tensors(atoms: Atoms) -> dict[str, np.ndarray]:
    """Entries (6,), in ASE's order, whose name says stress or virial."""
    found = {}
    results = {} if atoms.calc is None else atoms.calc.results
    for key, value in {**results, **atoms.info}.items():
        if "stress" in str(key).lower() or "virial" in str(key).lower():
            numbers = _numbers(value)
            if numbers.size == 9:
                numbers = full_3x3_to_voigt_6_stress(numbers.reshape(3, 3))
            if numbers.shape == (6,):
                found[str(key)] = numbers
    return found


def _unused_stress(structures: Sequence[Atoms], keys: LabelKeys) -> Iterator[str]:
    used = {"stress", keys.virial or keys.stress}
    seen: Counter[str] = Counter()
    unlike: dict[str, list[float]] = {}
    for atoms in structures:
        for key, numbers in _tensors(atoms).items():
            if key in used:
                continue
            seen[key] += 1
            if has_label(atoms, "stress") and atoms.pbc.all():
                stress = np.asarray(atoms.calc.results["stress"])
                wanted = -stress * atoms.get_volume() if "virial" in key.lower() else stress
                scale = float(wanted @ wanted)
                if not np.allclose(numbers, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max()):
                    unlike.setdefault(key, []).append(float(numbers @ wanted) / (scale or 1.0))
    trained = any(has_label(a, "stress") and a.pbc.all() for a in structures)
    for key, count in seen.items():
        option = "--virial-key" if "virial" in key.lower() else "--stress-key"
        if not trained:
            yield (
                f"{key} ({_of(count, structures)}) is not used, and there is no other stress: "
                f"pressures are neither learned nor compared; give {option} {key}"
            )
        elif key in unlike:
            of = "-V times the stress" if "virial" in key.lower() else "the stress"
            yield (
                f"{key} is not used ({keys.virial or keys.stress} is) and is not {of} but "
                f"{np.median(unlike[key]):.3g} times that in {_of(len(unlike[key]), structures)}: "
                f"find out which is right, and give {option} {key} if it is this one"
            )


def _unused_values(structures: Sequence[Atoms], keys: LabelKeys) -> Iterator[str]:
    """Energies and forces that stand there under another name and differ from those used."""
    units = {"energy": "eV/atom", "forces": "eV/Å"}
    largest: dict[tuple[str, str], float] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for atoms in structures:
        results = {} if atoms.calc is None else atoms.calc.results
        for label in units:
            for key in names_of(atoms, label):
                other = _numbers(atoms.info.get(key, atoms.arrays.get(key, results.get(key))))
                used = results.get(label)
                if key == getattr(keys, label) or used is None:
                    continue
                if other.size != np.size(used) or same(used, other):
                    continue
                share = len(atoms) if label == "energy" else 1
                apart = float(np.abs(np.ravel(other) - np.ravel(used)).max()) / share
                largest[label, key] = max(apart, largest.get((label, key), 0.0))
                counts[label, key] += 1
    for (label, key), apart in largest.items():
        if apart > SILENT:
            which = (
                "; forces are derivatives of the free energy"
                if key.lower() == "free_energy"
                else ""
            )
            yield (
                f"{key} is not used ({getattr(keys, label)} is) and differs from it by up to "
                f"{apart:.3g} {units[label]} in {_of(counts[label, key], structures)}{which}; give "
                f"--{label}-key {key} if it is the one that is meant"
            )


def _open_stress(structures: Sequence[Atoms]) -> Iterator[str]:
    count = sum(has_label(a, "stress") and not a.pbc.all() for a in structures)
    if count:
        yield (
            f"the stress of {_of(count, structures)} is not used: a stress needs three periodic "
            "directions"
        )


def _placeholders(structures: Sequence[Atoms]) -> Iterator[str]:
    """Find labels that are zero in every number, though the forces on the other atoms are not."""
    for label in LABELS:
        with_label = [a for a in structures if has_label(a, label) and len(a) > 1]
        if label == "stress":
            with_label = [a for a in with_label if a.pbc.all()]
        zero = [a for a in with_label if not np.any(a.calc.results[label])]
        moved = [
            a for a in with_label if has_label(a, "forces") and np.any(a.calc.results["forces"])
        ]
        if label == "forces":  # a perfect crystal has none
            suspect = len(zero) == len(with_label) > 1
        else:
            suspect = any(a is b for a in zero for b in moved)
        if suspect:
            yield (
                f"{label} is exactly zero in {_of(len(zero), structures)}: a placeholder? It is "
                "trained on; remove the entry or these frames if it was not computed"
            )


def _fixed_without_force(structures: Sequence[Atoms]) -> Iterator[str]:
    """Find forces that a program set to zero because the atoms were held fixed."""
    held = first = frames = 0
    for index, atoms in enumerate(structures):
        if not (atoms.constraints and has_label(atoms, "forces")):
            continue
        forces = np.asarray(atoms.calc.results["forces"])
        indices = [i for c in atoms.constraints if (i := whole_atoms(c)) is not None]
        fixed = np.unique(np.concatenate(indices)) if indices else np.empty(0, dtype=int)
        zero = ~forces[fixed].any(axis=1)
        if zero.any() and forces.any():
            first = index if not frames else first
            held, frames = held + int(zero.sum()), frames + 1
    if frames:
        yield (
            f"{held} fixed atoms have a force of exactly zero ({_of(frames, structures)}, first: "
            f"frame {first}): set by the constraint and not computed? Models would learn them; "
            "write forces without constraints (ASE: get_forces(apply_constraint=False)), or leave "
            "these frames out"
        )


def _in_a_field(structures: Sequence[Atoms]) -> Iterator[str]:
    """Find frames that were computed in a field."""
    seen: Counter[str] = Counter()
    for atoms in structures:
        seen.update(k for k, v in atoms.info.items() if "field" in str(k).lower() and _is_set(v))
    for key, count in seen.items():
        yield (
            f"{key} is not zero in {_of(count, structures)}: labels computed in a field are taken "
            "for those without one; leave these frames out"
        )


def _is_set(value: Any) -> bool:
    numbers = _numbers(value)
    return bool(numbers.size and np.any(numbers))


def _unknown(structures: Sequence[Atoms]) -> Iterator[str]:
    """Collect what no structure of ours can carry, such as spins: each kind once."""
    lines: Counter[str] = Counter()
    for atoms in structures:
        said = {x for x in describe_unused(atoms) if x.startswith("not used")}
        # velocities and constraints do no harm here; a field is in the labels
        lines.update(x for x in said if not any(word in x for word in HARMLESS))
    shown = 3
    for line, count in list(lines.items())[:shown]:
        yield f"{line} ({_of(count, structures)})"
    if len(lines) > shown:
        yield f"{len(lines) - shown} more remarks of this kind"
