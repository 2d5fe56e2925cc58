"""Whether positions are in Å: neighbours stand at the sum of their covalent radii.

Seen in nine data sets of water, SiO2, BaTiO3, NaCl, MgO, peptides: nearest neighbours at a median
of 0.83 to 1.03 of that sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

FAR, CLOSE = 1.45, 0.62
"""Median distance of nearest neighbours over the sum of radii: no matter but rare gases has more,
and none less."""

NOWHERE = 0.02
"""No unit does this: atoms without positions, or upon one another, which is told elsewhere."""

NOBLE = (2, 10, 18, 36, 54, 86)

LENGTHS = {"bohr": 1.8897, "nm": 0.1, "Å, taken for bohr": 0.5292}
"""Unit of a file → what a length of 1 Å is then read as."""


def nearest(structures: Sequence[Atoms]) -> np.ndarray:
    """Distance of each atom to its nearest neighbour over the sum of their covalent radii."""
    found = []
    for atoms in structures:
        if (len(atoms) == 1 and not atoms.pbc.any()) or np.isin(atoms.numbers, NOBLE).any():
            continue
        radii = covalent_radii[atoms.numbers]
        relative = np.full(len(atoms), np.inf)
        reach = 0.15  # of positions in nm or bohr the first shell may be anywhere
        while np.isinf(relative).mean() > 0.4 and reach < 20.0:
            reach *= 2.0
            i, j, d = neighbor_list("ijd", atoms, reach)
            np.minimum.at(relative, i, d / (radii[i] + radii[j]))
        found.append(relative)
    return np.concatenate(found) if found else np.ones(1)


def unit_of_positions(structures: Sequence[Atoms]) -> tuple[float, str] | None:
    """Median of `nearest` and the unit that it means; None where positions are in Å."""
    median = float(np.median(nearest(structures)))
    if CLOSE < median < FAR or not np.isfinite(median) or median < NOWHERE:
        return None
    unit = min(LENGTHS, key=lambda name: abs(np.log(median / LENGTHS[name])))
    return median, unit


def describe_spacing(structures: Sequence[Atoms]) -> str | None:
    """Say that positions look like another unit than Å, or None."""
    found = unit_of_positions(structures)
    if found is None:
        return None
    median, unit = found
    return (
        f"positions in {unit}? The nearest neighbours of atoms stand at {median:.2f} times the sum "
        "of their covalent radii (half of them; in bonds it is 0.8 to 1.2)"
    )
