"""Masses of labels, as i-PI takes them where a file names no masses."""

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

ISOTOPES = {"D": (1, 2.0141), "T": (1, 3.016049)}
"""Isotopes among i-PI's labels: atomic number and the mass in amu that it gives them."""


def number_of(label: str) -> int | None:
    """Atomic number of a label; None if it is no element."""
    if label in ISOTOPES:
        return ISOTOPES[label][0]
    return atomic_numbers.get(label)


def masses_of(labels: Sequence[str], where: object) -> NDArray[np.float64]:
    """Masses (N,) in amu of elements and isotopes of hydrogen.

    Raises
    ------
    ValueError
        For a label that is neither.
    """
    unknown = sorted({label for label in labels if number_of(label) in (None, 0)})
    if unknown:
        raise ValueError(
            f"{where}: {', '.join(map(repr, unknown))} is no element, so its mass is not known:"
            " give a structure file with masses by --structure, or keep the RESTART of the run"
            " beside it"
        )
    return np.array(
        [
            ISOTOPES[label][1] if label in ISOTOPES else atomic_masses[atomic_numbers[label]]
            for label in labels
        ]
    )
