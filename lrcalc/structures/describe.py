"""What we use of a structure beyond its positions, and what it says that we cannot use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses

from lrcalc.structures.charge import number, total_charge
from lrcalc.structures.content import UNIT_KEYS, constraint_name, unstated_velocities, whole_atoms
from lrcalc.structures.motion import degrees_of_freedom
from lrcalc.structures.spacing import describe_spacing

LENGTH_KEYS = ("unit", "units", "length_unit", "length_units", "position_unit", "positions_unit",
               "pos_unit", "positions_units", "cell_unit")  # fmt: skip
"""Entries that name a unit of lengths; words of other units among them are no matter of ours."""

ANGSTROM = ("angstrom", "ang", "a", "å", "angstroms", "metal", "real", "ev", "ase")


def describe_intake(atoms: Atoms, used: Iterable[str] = ()) -> list[str]:
    """Say what we use of a structure beyond its positions, and what it says that we cannot use.

    Parameters
    ----------
    atoms : Atoms
        As `read_structure` gives it.
    used : iterable of str
        Columns and entries that the caller uses.

    Returns
    -------
    list of str
        One line each, none for a neutral, unconstrained, periodic structure of common atoms.
    """
    return [*_used(atoms), *describe_unused(atoms, used)]


def _used(atoms: Atoms) -> Iterator[str]:
    charge = total_charge(atoms)
    if charge:
        yield f"total charge {charge:+g} e"
    if "masses" in atoms.arrays:
        yield from _mass_lines(atoms)
    whole = [i for c in atoms.constraints if (i := whole_atoms(c)) is not None]
    count = len(np.unique(np.concatenate(whole))) if whole else 0
    if count:
        yield f"{count} of {len(atoms)} atoms are fixed"
    if np.any(atoms.arrays.get("momenta", 0.0)):
        fixed = np.zeros(len(atoms), dtype=bool)
        fixed[np.concatenate(whole) if whole else []] = True
        degrees = max(degrees_of_freedom(atoms, fixed), 1)
        temperature = 2 * atoms.get_kinetic_energy() / (units.kB * degrees)
        yield f"velocities of the file ({temperature:.0f} K)"
    line = describe_spacing([atoms])
    if line:
        yield line
    if not atoms.pbc.any():
        box = ", though it has a cell" if atoms.cell.rank else ""
        yield f"not periodic{box}"
    elif not atoms.pbc.all():
        open_ones = [name for name, periodic in zip("abc", atoms.pbc, strict=True) if not periodic]
        yield f"open along {' and '.join(open_ones)}"


def describe_unused(atoms: Atoms, used: Iterable[str] = ()) -> Iterator[str]:
    """Say what a structure says that we cannot use."""
    used = set(used)
    for constraint in atoms.constraints:
        if whole_atoms(constraint) is None:
            yield f"the constraint {constraint_name(constraint)} is not of whole atoms"
    moments = [
        name
        for name in ("initial_magmoms", "magmoms", "magnetic_moments")
        if name not in used and np.any(number(atoms.arrays.get(name, 0.0)))
    ]
    if moments:
        yield f"not used: {', '.join(moments)} (no model of ours knows spin)"
    spins = ("spin", "multiplicity", "mult", "uhf", "nspin", "magmom", "total_spin", "n_unpaired")
    found = [k for k in atoms.info if k.lower() in spins and k not in used]
    spin = [f"{k}={atoms.info[k]}" for k in found if not _plain_spin(k, atoms.info[k])]
    if spin:
        yield f"not used: {', '.join(spin)} (no model of ours knows spin)"
    charges = [k for k in ("q", "Q") if k not in used and np.any(number(atoms.info.get(k, 0.0)))]
    if charges:
        yield f"not used: {charges[0]}={atoms.info[charges[0]]} (a total charge is called charge)"
    column = unstated_velocities(atoms)
    if column and column not in used:
        yield f"not used: the column {column}, which names no unit (add {UNIT_KEYS[0]}=…)"
    masks = (
        "fix",
        "fixed",
        "fix_atoms",
        "fixed_atoms",
        "freeze",
        "frozen",
        "is_fixed",
        "move",
        "mask",
        "constraint",
        "selective_dynamics",
        "mobile",
    )
    found = [k for k in atoms.arrays if k.lower() in masks and k not in used]
    if found:
        yield f"not used: {', '.join(found)}; fixed atoms are read from a column move_mask:L:1"
    lengths = [k for k in atoms.info if k.lower() in LENGTH_KEYS and k not in used]
    lengths = [k for k in lengths if str(atoms.info[k]).lower() not in ANGSTROM]
    if lengths:
        yield f"not used: {lengths[0]}={atoms.info[lengths[0]]}; positions and cell are read in Å"
    bare = [k for k, v in atoms.info.items() if v is True and re.fullmatch(r"[-+]?\d+", str(k))]
    if bare:
        yield (
            f"not used: the bare numbers {' '.join(bare)} of the comment line; a total charge is "
            "called charge="
        )
    if _disordered(atoms.info.get("occupancy")):
        yield "not used: occupancies below 1; each site has one kind of atom"
    fields = [k for k in atoms.info if "field" in k.lower() and k not in used]
    fields = [k for k in fields if np.any(number(atoms.info[k]))]
    if fields:
        yield f"not used: {', '.join(fields)}; the run has the field that its options give"


def _plain_spin(key: str, value: Any) -> bool:
    """Whether it says that nothing is unpaired."""
    numbers = number(value)
    least = 1.0 if key.lower() in ("multiplicity", "mult", "nspin") else 0.0
    return bool(numbers.size == 1 and numbers.flat[0] == least)


def _disordered(occupancy: Any) -> bool:
    if not isinstance(occupancy, Mapping):
        return False
    sites = [site for site in occupancy.values() if isinstance(site, Mapping)]
    return any(len(site) > 1 or min(site.values(), default=1.0) < 0.999 for site in sites)


def _mass_lines(atoms: Atoms) -> Iterator[str]:
    masses = atoms.get_masses()
    other = np.abs(masses - atomic_masses[atoms.numbers]) > 0.1
    kinds = [
        f"{int(mine.sum())} {symbol} of {value:g} amu"
        for symbol in sorted(set(atoms.symbols[other]))
        for value in np.unique(masses[other & (atoms.symbols == symbol)].round(4))
        if (mine := other & (atoms.symbols == symbol) & (abs(masses - value) < 1e-3)).any()
    ]
    if kinds:
        shown = ", ".join(kinds[:4]) + (", …" if len(kinds) > 4 else "")
        yield f"masses of the file: {shown}"
