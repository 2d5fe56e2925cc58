"""Whether forces are in eV/Å, told by the stiffness of chemical bonds.

Badger's rule says how stiff a bond of some length is, ``k (r - d)³ = 1.86 mdyn Å²``, d by the rows
of the two elements (J. Chem. Phys. 3, 710 (1935)); the label's stiffness is the slope of the forces
along bonds against their lengths. Seen in nine data sets of water, SiO2, BaTiO3, NaCl, MgO and
peptides: 0.47 to 1.2 times the rule's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from lrcalc.structures.spacing import NOBLE
from lrcalc.training.labels import has_label

BONDED = 1.25
"""Length of a bond over the sum of covalent radii, at most."""

BADGER = 1.86 * 6.241509
"""Of Badger's rule, eV Å."""

SHIFTS = np.array([
    [0.025, 0.335, 0.585, 0.650, 0.650],
    [0.335, 0.680, 0.940, 1.060, 1.180],
    [0.585, 0.940, 1.250, 1.350, 1.450],
    [0.650, 1.060, 1.350, 1.480, 1.600],
    [0.650, 1.180, 1.450, 1.600, 1.700],
])  # fmt: skip
"""d of Badger's rule, Å, by the rows of the two elements; those of heavy ones are extrapolated."""

SOFT, STIFF = 0.1, 4.5
"""Stiffness over the rule's: less and more is in another unit. Bonds of several orders under one
name look soft."""

CLEAR, HEARD, FEWEST = 0.65, 0.4, 12
"""Correlations of forces with lengths from which on a kind of bonds accuses, and acquits; number
of bonds."""


class Stiffness(NamedTuple):
    """Of the kind of bonds whose forces follow their lengths best.

    Attributes
    ----------
    bond : str
    correlation : float
        Of the force that shortens a bond with its length.
    number : int
    found, expected : float
        eV/Å², of the labels and by Badger's rule.
    """

    bond: str
    correlation: float
    number: int
    found: float
    expected: float

    @property
    def factor(self) -> float:
        """By what the label's is too large; negative for forces that push bonds apart."""
        return self.found / self.expected

    @property
    def is_off(self) -> bool:
        """Whether the labels are in another unit or of another sign."""
        return not SOFT < self.factor < STIFF


def stiffness(structures: Sequence[Atoms]) -> Stiffness | None:
    """Return how stiff the labels make bonds; None where their forces do not tell."""
    told = [one for one in _bonds(structures) if abs(one.correlation) > HEARD]
    told.sort(key=lambda one: abs(one.correlation) * one.number**0.25, reverse=True)
    usual = [one for one in told if not one.is_off]
    clear = [one for one in told if abs(one.correlation) > CLEAR]
    chosen = usual or clear
    return chosen[0] if chosen else None


def _bonds(structures: Sequence[Atoms]) -> Iterator[Stiffness]:
    """Kinds of bonds whose forces follow their lengths."""
    rows: dict[tuple[int, int], list[np.ndarray]] = {}
    for atoms in structures:
        if not has_label(atoms, "forces"):
            continue
        forces = np.asarray(atoms.calc.results["forces"], dtype=float)
        i, j, d, vector = neighbor_list("ijdD", atoms, 3.5)
        z, radii = atoms.numbers, covalent_radii[atoms.numbers]
        bond = (d < BONDED * (radii[i] + radii[j])) & (z[i] <= z[j]) & ((z[i] < z[j]) | (i < j))
        i, j, d, vector = i[bond], j[bond], d[bond], vector[bond]
        apart = 0.5 * np.einsum("nk,nk->n", forces[j] - forces[i], vector) / d
        for one, two in {*zip(z[i].tolist(), z[j].tolist(), strict=True)}:
            kind = (z[i] == one) & (z[j] == two)
            rows.setdefault((one, two), []).append(np.stack([d[kind], apart[kind]]))
    for (one, two), parts in rows.items():
        d, apart = np.concatenate(parts, axis=1)
        middle = float(np.median(d))
        usual = np.abs(d - middle) < 0.15 * middle
        d, apart = d[usual] - d[usual].mean(), apart[usual] - apart[usual].mean()
        if len(d) < FEWEST or not (d.std() > 2e-3 and apart.std() > 0):
            continue
        correlation = -float(d @ apart) / float((d @ d) * (apart @ apart)) ** 0.5
        shift = SHIFTS[_row(one), _row(two)]
        expected = BADGER / max(middle - shift, 0.3) ** 3
        name = f"{chemical_symbols[one]}–{chemical_symbols[two]}"
        yield Stiffness(name, correlation, len(d), -float(d @ apart / (d @ d)), expected)


def _row(number: int) -> int:
    return min(sum(number > noble for noble in NOBLE), 4)
