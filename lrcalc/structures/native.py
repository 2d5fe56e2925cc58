"""Charge and masses that files of other programs state in their own words.

ASE reads positions, cell and constraints of these files and passes over the rest. What is found
here goes where ASE keeps it; what is there and not read is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.formats import open_with_compression

from lrcalc.structures.isotopes import isotope

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?)"

CHARGES = {
    "espresso-in": rf"\btot_charge\s*=\s*{_NUMBER}",
    "gaussian-in": r"\A(?:.*\n)*?\s*([-+]?\d+)[ \t,]+\d+[ \t]*$",
    "gaussian-out": r"\bCharge\s*=\s*([-+]?\d+)\s+Multiplicity",
    "nwchem-in": rf"^\s*charge\s+{_NUMBER}",
    "nwchem-out": rf"^\s*Charge\s*:\s*{_NUMBER}",
    "orca-output": rf"\bTotal Charge\s+Charge\s+\.+\s+{_NUMBER}",
    "abinit-in": rf"\b(?:cell)?charge\s+{_NUMBER}",
    "octopus-in": rf"^\s*ExcessCharge\s*=\s*{_NUMBER}",
}
"""ASE's name of a format, and how the total charge (e) stands in it."""

UNREAD = {
    "espresso-in": (r"^\s*ATOMIC_VELOCITIES\b", "the card ATOMIC_VELOCITIES"),
    "gaussian-in": (r"\(\s*[^)]*iso\s*=", "isotopes (iso=)"),
}
"""What a format may hold that nobody reads, and what it is called."""

_COMMENTS = re.compile(r"[!#].*")

_MDL_CHARGE = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
"""Code in an atom's line of an MDL molfile and the charge that it means, e."""


def add_stated(path: Path, form: str, frames: list[Atoms]) -> None:
    """Put the total charge and the masses that a file states into its frames.

    Parameters
    ----------
    path : Path
    form : str
        ASE's name of the file's format.
    frames : list of Atoms
        As ASE read them; changed in place.

    Raises
    ------
    ValueError
        For what the file holds and nobody reads, or charges that cannot be understood.
    """
    if form not in {*CHARGES, *_OWN}:
        return
    with open_with_compression(str(path)) as file:
        text = file.read()
    if form in UNREAD and re.search(UNREAD[form][0], text, re.MULTILINE | re.IGNORECASE):
        raise ValueError(
            f"it has {UNREAD[form][1]}, which is not read here: remove that, or convert the file "
            "to extended xyz with columns masses:R:1 and momenta:R:3 (ASE's unit)"
        )
    charge = _OWN[form](text) if form in _OWN else _total(text, form)
    for atoms in frames:
        if charge is not None:
            atoms.info.setdefault("charge", charge)
        if form == "espresso-in":
            _espresso_masses(text, atoms)
        if form in ("mol", "sdf"):
            _mdl_masses(text, atoms)


def _total(text: str, form: str) -> float | None:
    if form in ("espresso-in", "abinit-in", "octopus-in", "nwchem-in"):
        text = _COMMENTS.sub("", text)
    found = {
        float(one.lower().replace("d", "e"))
        for one in re.findall(CHARGES[form], text, re.MULTILINE | re.IGNORECASE)
    }
    if len(found) > 1:
        told = ", ".join(f"{charge:g}" for charge in sorted(found))
        raise ValueError(f"it states several total charges ({told} e): give one structure a file")
    return found.pop() if found else None


def _pdb_charge(text: str) -> float | None:
    """Sum of the formal charges (columns 79 and 80, as 2+ or 1-) of the first model."""
    charges = []
    for line in text.split("ENDMDL")[0].splitlines():
        found = re.fullmatch(r"(\d)([-+])|([-+])(\d)", line[78:80])
        if line.startswith(("ATOM", "HETATM")) and found is not None:
            size, sign = found[1] or found[4], found[2] or found[3]
            charges.append(int(sign + size))
    return float(sum(charges)) if charges else None


def _mdl_charge(text: str) -> float | None:
    """Sum of the charges of an MDL molfile: its lines CHG, else the codes of its atoms."""
    text = text.split("M  END")[0]
    new = re.findall(r"\bCHG=([-+]?\d+)", text)
    listed = [value for line in _listed(text, "CHG") for _, value in line]
    if new or listed:
        return float(sum(map(int, new)) + sum(listed))
    codes = [_MDL_CHARGE.get(int(line[36:39].strip() or 0), 0) for line in _mdl_atoms(text)]
    return float(sum(codes)) if any(codes) else None


def _mdl_atoms(text: str) -> list[str]:
    lines = text.splitlines()
    count = lines[3][:3].strip() if len(lines) > 3 and "V2000" in lines[3] else ""
    return lines[4 : 4 + int(count)] if count.isdigit() else []


def _listed(text: str, name: str) -> list[list[tuple[int, int]]]:
    """Pairs of atom (from 0) and value in the lines ``M  CHG  2   1   1   4  -1``."""
    found = re.findall(rf"^M  {name}\s+\d+((?:\s+\d+\s+-?\d+)+)\s*$", text, re.MULTILINE)
    numbers = [[int(word) for word in line.split()] for line in found]
    return [[(a - 1, v) for a, v in zip(n[::2], n[1::2], strict=True)] for n in numbers]


def _mdl_masses(text: str, atoms: Atoms) -> None:
    pairs = [pair for line in _listed(text.split("M  END")[0], "ISO") for pair in line]
    if "MASS=" in text:
        raise ValueError("it has isotopes as MASS=, which are not read: use lines M  ISO")
    masses = atoms.get_masses()
    for atom, number in pairs:
        named = isotope(f"{number}{atoms.symbols[atom]}")
        masses[atom] = masses[atom] if named is None else named[1]
    if pairs:
        atoms.set_masses(masses)


def _espresso_masses(text: str, atoms: Atoms) -> None:
    """Masses of ATOMIC_SPECIES, by the order of the labels in ATOMIC_POSITIONS."""
    lines = [_COMMENTS.sub("", line).split() for line in text.splitlines()]
    lines = [words for words in lines if words]
    heads = [words[0].upper() for words in lines]
    if "ATOMIC_SPECIES" not in heads or "ATOMIC_POSITIONS" not in heads:
        return
    start = heads.index("ATOMIC_SPECIES") + 1
    kinds: dict[str, float] = {}
    for words in lines[start:]:
        if len(words) != 3 or words[0].upper().startswith("ATOMIC_"):
            break
        kinds[words[0]] = float(words[1].lower().replace("d", "e"))
    start = heads.index("ATOMIC_POSITIONS") + 1
    labels = [words[0] for words in lines[start : start + len(atoms)]]
    given = np.array([kinds.get(label, 0.0) for label in labels])
    usual = np.asarray(Atoms(atoms.numbers).get_masses())
    masses = np.where(given > 0, given, usual)  # pw.x takes its own where the mass is not positive
    if len(masses) == len(atoms) and (np.abs(masses - usual) > 0.1).any():
        atoms.set_masses(masses)


_OWN: dict[str, Callable[[str], float | None]] = {
    "proteindatabank": _pdb_charge,
    "mol": _mdl_charge,
    "sdf": _mdl_charge,
}
"""Formats whose atoms have charges that add up to the total."""
