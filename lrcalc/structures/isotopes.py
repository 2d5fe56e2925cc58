"""Labels of isotopes: D, T, 2H, [13C], C-13."""

from __future__ import annotations

import re

from ase.data import atomic_numbers

ISOTOPES = {
    ("H", 1): 1.00782503223, ("H", 2): 2.01410177812, ("H", 3): 3.0160492779,
    ("Li", 6): 6.0151228874, ("Li", 7): 7.0160034366, ("B", 10): 10.01293695,
    ("B", 11): 11.00930536, ("C", 12): 12.0, ("C", 13): 13.00335483507, ("C", 14): 14.0032419884,
    ("N", 14): 14.00307400443, ("N", 15): 15.00010889888, ("O", 16): 15.99491461957,
    ("O", 17): 16.99913175650, ("O", 18): 17.99915961286, ("F", 19): 18.99840316273,
    ("Si", 28): 27.97692653465, ("Si", 29): 28.9764946649, ("Si", 30): 29.973770136,
    ("S", 32): 31.9720711744, ("S", 33): 32.9714589098, ("S", 34): 33.967867004,
    ("Cl", 35): 34.968852682, ("Cl", 37): 36.965902602,
}  # fmt: skip
"""Masses in amu (Atomic Mass Evaluation 2012) of isotopes that a label may name."""

_ISOTOPE = re.compile(r"\[?(\d{1,3})([A-Za-z][a-z]?)\]?|([A-Z][a-z]?)-(\d{1,3})")


def isotope(label: str) -> tuple[str, float] | None:
    """Element and mass (amu) of a label like D, T, 2H, [13C], C-13; None for any other.

    Raises
    ------
    ValueError
        For an isotope whose mass is not in `ISOTOPES`.
    """
    found = _ISOTOPE.fullmatch({"D": "2H", "T": "3H", "d": "2H", "t": "3H"}.get(label, label))
    if found is None:
        return None
    symbol, number = (found[2] or found[3]).capitalize(), int(found[1] or found[4])
    if symbol not in atomic_numbers:
        return None
    if (symbol, number) not in ISOTOPES:
        raise ValueError(
            f"the mass of the isotope {label!r} is not known here: write {symbol} and give a "
            "column masses:R:1"
        )
    return symbol, ISOTOPES[symbol, number]
