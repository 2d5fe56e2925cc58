"""Units of labels: what a file may be in, and what a wrong factor looks like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms

from lrcalc.training.settings import POLARIZABILITY_KEYS, POLARIZABILITY_UNITS
from lrcalc.units import BOHR, DEBYE, EV_PER_A3_IN_GPA, HARTREE

KCAL = 0.0433641153
"""kcal/mol in eV."""

KJ = KCAL / 4.184
RYDBERG = HARTREE / 2
GPA = 1.0 / EV_PER_A3_IN_GPA

ENERGIES = {"eV": 1.0, "meV": 1e-3, "Ha": HARTREE, "Ry": RYDBERG, "kcal/mol": KCAL, "kJ/mol": KJ}
LENGTHS = {"A": 1.0, "bohr": BOHR, "nm": 10.0}

UNITS: dict[str, dict[str, float]] = {
    "positions": LENGTHS,
    "energy": ENERGIES,
    "forces": {
        "eV/A": 1.0, "meV/A": 1e-3, "eV/bohr": 1 / BOHR, "Ha/bohr": HARTREE / BOHR, "Ha/A": HARTREE,
        "Ry/bohr": RYDBERG / BOHR, "Ry/A": RYDBERG, "kcal/mol/A": KCAL,
        "kcal/mol/bohr": KCAL / BOHR, "kJ/mol/A": KJ, "kJ/mol/nm": KJ / 10,
    },
    "stress": {
        "eV/A3": 1.0, "GPa": GPA, "kbar": GPA / 10, "bar": GPA / 1e4, "MPa": GPA / 1e3,
        "Pa": GPA / 1e9, "Ha/bohr3": HARTREE / BOHR**3, "Ry/bohr3": RYDBERG / BOHR**3,
        "kcal/mol/A3": KCAL,
    },
    "virial": ENERGIES,
    "born": {"e": 1.0, "D/A": DEBYE, "ebohr/A": BOHR},
    "dipole": {"eA": 1.0, "D": DEBYE, "ebohr": BOHR, "enm": 10.0},
    "polarizability": POLARIZABILITY_UNITS,
}  # fmt: skip
"""Label → unit → what one of it is in ours, the first. That of positions is the cell's too."""

SIGNED = ("energy", "forces", "stress", "virial", "dipole", "born")
"""Labels whose unit may have a minus sign: gradients, pressures, electrons counted positive."""

OPTION = "--units"

COLUMNS = {
    "born": ("REF_born", "born_effective_charges", "born"),
    "dipole": ("REF_dipole",),
    "polarizability": POLARIZABILITY_KEYS,
}
"""Electrical label → its names in a file."""


def parse_units(words: Iterable[str]) -> dict[str, float]:
    """``["forces=Ha/bohr", "dipole=D"]`` → factors to our units, by label.

    Raises
    ------
    ValueError
        For unknown labels or units, naming what there is.
    """
    factors: dict[str, float] = {}
    for word in words:
        label, equals, unit = word.partition("=")
        if label not in UNITS or not equals:
            raise ValueError(
                f"`{OPTION}` has {word!r} but each word must be NAME=UNIT, of which NAME is one of "
                f"{', '.join(UNITS)}"
            )
        if label in factors:
            raise ValueError(f"`{OPTION}` names {label} twice; give one unit")
        sign = -1.0 if unit.startswith("-") else 1.0
        known = {_plain(name): factor for name, factor in UNITS[label].items()}
        factor = known.get(_plain(unit.removeprefix("-")))
        if factor is None or (sign < 0 and label not in SIGNED):
            raise ValueError(
                f"`{OPTION}` {word}: the unit of {label} must be one of "
                f"{', '.join(UNITS[label])}"
                + ("; a minus before it turns the sign" if label in SIGNED else "")
            )
        factors[label] = sign * factor
    return factors


def _plain(unit: str) -> str:
    for written, plain in (("Å", "A"), ("²", "2"), ("³", "3"), ("^", ""), (" ", ""), ("*", "")):
        unit = unit.replace(written, plain)
    unit = unit.lower()
    for written, plain in (("hartree", "ha"), ("rydberg", "ry"), ("debye", "d"), ("ang", "a")):
        unit = unit.replace(written, plain)
    return unit


def convert(atoms: Atoms, factors: Mapping[str, float]) -> None:
    """Turn positions and electrical labels into our units, in place."""
    if "positions" in factors:
        atoms.set_cell(factors["positions"] * atoms.cell.array)
        atoms.positions *= factors["positions"]
    for label, names in COLUMNS.items():
        for name in names if label in factors else ():
            for store in (atoms.info, atoms.arrays):
                if name in store:
                    store[name] = factors[label] * np.asarray(store[name], dtype=float)


def likely(label: str, factor: float, within: float, more: Mapping[str, float] = {}) -> list[str]:
    """Units in which labels would be ``factor`` times too large: at most two, the nearest first.

    Parameters
    ----------
    label : str
    factor : float
        Size of the numbers over that of the right ones in our units.
    within : float
        By what they may miss it.
    more : mapping, optional
        Further names and what the numbers would be too large by.
    """
    choices = {unit: 1.0 / size for unit, size in UNITS[label].items() if size != 1.0} | dict(more)
    apart = {name: abs(np.log(abs(factor) / large)) for name, large in choices.items()}
    return [k for k in sorted(apart, key=lambda k: apart[k]) if apart[k] < np.log(within)][:2]


def way_out(label: str, units: Sequence[str], sign: float = 1.0) -> str:
    """End of a remark: which unit it may be, and the option that says so."""
    signed = [("-" if sign < 0 and label in SIGNED else "") + unit for unit in units]
    if not signed:
        return "convert it" + (", turn its sign" if sign < 0 else "")
    return f"is it in {' or '.join(signed)}? Then give {OPTION} {label}={signed[0]}"
