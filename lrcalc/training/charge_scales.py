"""Whether dipoles, Born charges and polarizabilities are of a size that matter has.

Dipoles of molecules are made of charges of atoms: fitted to them, a charge for each kind of atom
with its neighbours comes out as chemistry has it, in units of e if the dipoles are in e Å. Born
charges have a bound by valence, and those of molecules a dipole, by their rotational sum rule.
Seen in e Å: charges of at most 0.46 of the valence in peptides and water clusters; ion pairs 0.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from lrcalc.analysis.index_order import rotation_matrix
from lrcalc.structures import total_charge
from lrcalc.structures.spacing import NOBLE
from lrcalc.training.label_units import COLUMNS, UNITS, way_out

CORES = (0, *NOBLE)

NONMETALS = frozenset(
    atomic_numbers[x] for x in ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I")
)

SOFT = frozenset(atomic_numbers[x] for x in ("P", "S", "As", "Se", "Br", "Sb", "Te", "I"))
"""Anions whose Born charges may be several times their valence (SnTe: 8 e)."""

MOST_BORN = {"hydrogen": 1.7, "soft": 4.5, "else": 2.4}
"""Born charges (a third of the trace, mean over a species) over the valence: 2.1 in WO3."""

BONDED = {True: (0.40, 0.60), False: (0.80, 1.15)}
"""Fitted charges of molecules, of nonmetals alone or not, over the valence: usual, and largest."""

MOST = 200
"""Structures that are looked at."""

FITS = 0.8
"""R² of dipoles made of charges from which on these mean something."""


def valence(number: int, positive: bool) -> float:
    """Charge that an atom has at most in the ions that chemistry writes, e; inf where none has."""
    core = max(c for c in CORES if c < number)
    outer, row = number - core, CORES.index(core)
    if row >= 5 and outer > 2:  # behind the 4f or 5f shell
        outer = 4 if outer < 17 else outer - 14
    if row >= 3 and outer > 10:
        outer = {11: 3, 12: 2}.get(outer, outer - 10)
    elif row >= 3:
        outer = min(outer, 8)
    if positive:
        return float(outer)
    if number == 1:
        return 1.0
    p_block = number - core > (2 if row < 3 else 12 if row < 5 else 26)
    return 8.0 - outer if p_block and 4 <= outer <= 7 else np.inf


def describe_charges(structures: Sequence[Atoms]) -> list[str]:
    """Say that dipoles or Born charges look like another unit than e Å and e: a line each.

    Parameters
    ----------
    structures : sequence of Atoms
        With the labels under the names of `lrcalc.training.label_units.COLUMNS`.
    """
    step = max(1, len(structures) // MOST)
    chosen = list(structures[::step])
    lines = [_born_line(chosen)]
    if lines == [None]:
        lines.append(_dipole_line(chosen, "born", _turned))
    lines.append(_dipole_line(chosen, "dipole", _stated))
    return [line for line in lines if line]


def born_of(atoms: Atoms) -> np.ndarray | None:
    """Born charges (N, 3, 3) that a structure has, whatever their unit; None for other shapes."""
    for name in COLUMNS["born"]:
        if name in atoms.arrays:
            value = np.asarray(atoms.arrays[name], dtype=float)
            right = value.size == 9 * len(atoms) and np.isfinite(value).all()
            return value.reshape(-1, 3, 3) if right else None
    return None


def _stated(atoms: Atoms) -> np.ndarray | None:
    for name in COLUMNS["dipole"]:
        if name in atoms.info:
            value = np.asarray(atoms.info[name], dtype=float).ravel()
            return value if value.shape == (3,) and np.isfinite(value).all() else None
    return None


def _turned(atoms: Atoms) -> np.ndarray | None:
    """Return the dipole that Born charges turn with the molecule, about the mean position."""
    born = born_of(atoms)
    if born is None:
        return None
    m = rotation_matrix(atoms.positions, born)
    return 0.5 * np.array([m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]])


def _born_line(structures: Sequence[Atoms]) -> str | None:
    """Born charges against valences."""
    found: dict[int, list[float]] = {}
    for atoms in structures:
        born = born_of(atoms)
        if born is None:
            continue
        for z, trace in zip(atoms.numbers.tolist(), born.trace(axis1=1, axis2=2), strict=True):
            found.setdefault(z, []).append(float(trace) / 3)
    worst: tuple[float, float, float, int] = (0.0, 0.0, 0.0, 0)
    for z, values in found.items():
        mean = float(np.mean(values))
        kind = "hydrogen" if z == 1 else "soft" if z in SOFT and mean < 0 else "else"
        share = abs(mean) / valence(z, mean > 0)
        worst = max(worst, (share / MOST_BORN[kind], share, mean, z))
    excess, share, mean, z = worst
    if excess <= 1.0:
        return None
    usual = 0.6 if set(found) <= NONMETALS else 1.1
    return (
        f"{chemical_symbols[z]} has mean Born charges of {mean:.3g}, {share:.2g} times its "
        f"valence: {way_out('born', _unit('born', share / usual))}"
    )


def _dipole_line(
    structures: Sequence[Atoms], label: str, dipole_of: Callable[[Atoms], np.ndarray | None]
) -> str | None:
    """Dipoles of molecules against charges of atoms."""
    rows = [(a, m) for a in structures if not a.pbc.any() and (m := dipole_of(a)) is not None]
    worst = max(_charges([a for a, _ in rows], np.array([m for _, m in rows])), default=None)
    if worst is None or worst[0] <= 1.0:
        return None
    _, name, charge, usual = worst
    what = "the dipoles" if label == "dipole" else "the dipoles that the Born charges mean"
    return (
        f"{what} are those of molecules in which {name} has a charge of {charge:.2g} e, "
        f"{way_out(label, _unit(label, usual))}"
    )


def _unit(label: str, factor: float) -> list[str]:
    """Take the unit whose factor is nearest."""
    large = {unit: 1 / size for unit, size in UNITS[label].items() if size < 1.0}
    return [min(large, key=lambda unit: abs(np.log(factor / large[unit])))]


def _charges(
    molecules: Sequence[Atoms], dipoles: np.ndarray
) -> Iterator[tuple[float, str, float, float]]:
    """Fit charges to dipoles, one for each kind of atom.

    Yields charges that are known to a tenth, over what they may be at most: that ratio, the kind,
    the charge, and it over what is usual.
    """
    sums: dict[tuple[int, str], dict[int, np.ndarray]] = {}
    for n, atoms in enumerate(molecules):
        places = atoms.positions - atoms.get_center_of_mass()
        for kind, place in zip(_kinds(atoms), places, strict=True):
            entry = sums.setdefault(kind, {}).setdefault(n, np.zeros(4))
            entry += [*place, 3.0]  # the total charge counts like a dipole over 3 Å
    kinds = sorted(sums)
    matrix = np.zeros((len(molecules), 4, len(kinds)))
    for k, kind in enumerate(kinds):
        for n, entry in sums[kind].items():
            matrix[n, :, k] = entry
    if len(molecules) < 4 or 3 * len(molecules) < 2 * len(kinds):
        return
    charges = np.array([total_charge(a, "it") for a in molecules])
    offset = charges[:, None] * np.array([a.get_center_of_mass() for a in molecules])
    data = np.concatenate([dipoles - offset, 3.0 * charges[:, None]], axis=1)
    flat, values = matrix.reshape(-1, len(kinds)), data.ravel()
    normal = flat.T @ flat + 1e-6 * len(flat) * np.eye(len(kinds))
    fitted = np.linalg.solve(normal, flat.T @ values)
    left = flat @ fitted - values
    if not float(left @ left) < (1 - FITS) * float(values @ values):
        return
    variance = float(left @ left) / max(1, 3 * len(molecules) - len(kinds))
    errors = np.sqrt(variance * np.diag(np.linalg.inv(normal)))
    simple = all(int(z) in NONMETALS for a in molecules for z in a.numbers)
    usual, largest = BONDED[simple]
    for (z, name), charge, error in zip(kinds, fitted.tolist(), errors.tolist(), strict=True):
        relative = abs(charge) / valence(z, charge > 0)
        if error < 0.1 * abs(charge):
            yield relative / largest, name, charge, relative / usual


def _kinds(atoms: Atoms) -> list[tuple[int, str]]:
    """Kind of each atom: its number, and words that name it with those it is bonded to."""
    i, j, d = neighbor_list("ijd", atoms, 3.5)
    z, radii = atoms.numbers, covalent_radii[atoms.numbers]
    bonded: list[list[str]] = [[] for _ in atoms]
    for a, b in zip(*(x[d < 1.25 * (radii[i] + radii[j])] for x in (i, j)), strict=True):
        bonded[a].append(chemical_symbols[z[b]])
    return [
        (int(z[k]), f"{chemical_symbols[z[k]]}" + (f" ({', '.join(sorted(b))})" if b else ""))
        for k, b in enumerate(bonded)
    ]
