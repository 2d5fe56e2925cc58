"""The total charge of a structure, under whatever name a file has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

CHARGE_KEYS = (
    "charge", "total_charge", "tot_charge", "net_charge", "system_charge", "molecular_charge",
    "mol_charge", "totalcharge", "totcharge", "netcharge", "total_q", "q_total", "q_tot", "qtot",
)  # fmt: skip
"""Entries of ``info`` that mean the total charge, in any case, also after ``REF_`` or ``DFT_``."""

CHARGE_COLUMNS = (
    "q", "charge", "charges", "atomic_charge", "atomic_charges", "partial_charge",
    "partial_charges", "atom_charges",
)  # fmt: skip
"""Columns of charges of atoms, in any case, also after ``REF_`` or ``DFT_``."""


def total_charge(atoms: Atoms, name: str = "atoms") -> float:
    """Total charge (e) that a structure states; 0 if it states none.

    Parameters
    ----------
    atoms : Atoms
        Stated by an entry of `CHARGE_KEYS` in ``info`` (of a database: among its key-value
        pairs).
    name : str, optional
        Named in errors.

    Raises
    ------
    ValueError
        For anything but one finite number, more charge than the atoms have nuclear charge,
        statements that differ, an entry that may or may not be a total charge, or charges of atoms
        that do not add up to what is stated.
    """
    stated = charges_stated(atoms)
    values = {key: _one_charge(key, value, atoms, name) for key, value in stated.items()}
    if len(set(values.values())) > 1:
        told = ", ".join(f"{key}={value:g}" for key, value in values.items())
        raise ValueError(
            f"{name}: the total charge is stated twice and differently ({told}); keep one of them"
        )
    charge = next(iter(values.values()), None)
    _check_atomic_charges(atoms, charge, name)
    if charge is None:
        unclear = _unclear_charges(atoms)
        if unclear:
            key = next(iter(unclear))
            raise ValueError(
                f"{name}: {key}={unclear[key]} may be a total charge; call it charge= if it is "
                "(in e), or add charge=0"
            )
    return 0.0 if charge is None else charge


def entries(atoms: Atoms) -> dict[str, Any]:
    """Entries of ``info``, those that a database keeps in pairs and data among them."""
    found = dict(atoms.info)
    for place in ("key_value_pairs", "data"):
        pairs = atoms.info.get(place)
        if isinstance(pairs, Mapping):
            found |= {key: value for key, value in pairs.items() if key not in found}
    return found


def _plain(key: str) -> str:
    return str(key).lower().replace("-", "_").removeprefix("ref_").removeprefix("dft_")


def charges_stated(atoms: Atoms) -> dict[str, Any]:
    """Entries that mean the total charge, as they are."""
    return {key: v for key, v in entries(atoms).items() if _plain(key) in CHARGE_KEYS}


def _one_charge(key: str, value: Any, atoms: Atoms, name: str) -> float:
    numbers = number(value)
    charge = float(numbers.flat[0]) if numbers.size == 1 else float("nan")
    if isinstance(value, bool | np.bool_) or not abs(charge) <= max(1, int(atoms.numbers.sum())):
        raise ValueError(
            f"{name}: info[{key!r}] is {value!r} but must be the total charge in e, one number "
            "no larger than the nuclear charge; delete it for a neutral structure"
        )
    return charge


def _unclear_charges(atoms: Atoms) -> dict[str, float]:
    """Single numbers, not zero, under a name that has "charge" in it."""
    found = {}
    for key, value in entries(atoms).items():
        if "charge" in key.lower() and not isinstance(value, str | bool | np.bool_):
            numbers = number(value)
            if numbers.size == 1 and numbers.flat[0]:
                found[key] = float(numbers.flat[0])
    # those of the parts of a neutral whole, chargeA=1 chargeB=-1, leave nothing open
    return found if abs(sum(found.values())) > 1e-6 else {}


def _check_atomic_charges(atoms: Atoms, charge: float | None, name: str) -> None:
    """Refuse charges of the atoms that add up to another total than the one stated."""
    values = atoms.arrays.get("initial_charges")
    if values is None or not np.any(values):
        return
    total = float(np.sum(values))
    expected = 0.0 if charge is None else charge
    if abs(total - expected) <= max(0.05, 5e-4 * len(atoms)):
        return
    said = "no total charge is stated" if charge is None else f"charge={charge:g} is stated"
    raise ValueError(
        f"{name}: the initial charges of the atoms add up to {total:.4g} e, but {said}; state "
        f"charge={round(total):d} in `info` (the comment line) if that is meant, or remove the "
        "initial charges"
    )


def check_computed_charges(atoms: Atoms, told: str) -> None:
    """Refuse charges of atoms that add up to an ion, where no total charge is stated."""
    charges = getattr(atoms.calc, "results", {}).get("charges")
    if charges is None:
        columns = [key for key in atoms.arrays if _plain(key) in CHARGE_COLUMNS]
        charges = number(atoms.arrays[columns[0]]) if columns else 0.0
    total = float(np.sum(charges))
    if round(total) and abs(total - round(total)) < 0.05:
        raise ValueError(
            f"{told}: the charges of the atoms add up to {total:.4g} e, but no total charge is "
            f"stated; add charge={round(total):d} to `info` (the comment line), or charge=0"
        )


def number(value: Any) -> np.ndarray:
    """Numbers in a value, an empty array if it has none."""
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return np.empty(0)
