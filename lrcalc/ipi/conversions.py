"""Between lrcalc's units (eV, Å, e) and i-PI's (atomic units, cell vectors as columns).

i-PI's virial is ``-dE/d(strain)`` in hartree, where an atom at r moves to ``r + strain r``; its
dipole is in e bohr; its Born tensor ("BEC") has a row for each atom coordinate and a column for
each dipole component, where lrcalc's is ``[atom, field, displacement]``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from lrcalc.ipi_files.extras import POLARIZABILITY_UNIT
from lrcalc.structures import total_charge
from lrcalc.units import BOHR, HARTREE

EXTRAS: dict[str, str] = {
    "dipole": "dipole",
    "polarizability": "polarizability",
    "BEC": "born_effective_charges",
    "charges": "charges",
}
"""Name in the extras string -> property of the evaluator."""

BEC_DIGITS = 8
"""Born charges as text cost more than the model: eight decimals are enough for a force."""


class ForceMessage(NamedTuple):
    """What i-PI wants of one structure, in atomic units."""

    potential: float
    force: NDArray[np.float64]
    virial: NDArray[np.float64]
    extras: str


def atoms_from_ipi(
    template: Atoms, cell: NDArray[np.float64], positions: NDArray[np.float64]
) -> Atoms:
    """One structure as ASE atoms.

    Parameters
    ----------
    template : Atoms
        Gives the species, in i-PI's order, the periodic directions and the total charge.
    cell : array, shape (3, 3)
        Lattice vectors as columns, bohr.
    positions : array, shape (N, 3)
        bohr, unwrapped.

    Raises
    ------
    ValueError
        If the number of atoms is not that of `template`.
    """
    positions = np.asarray(positions, dtype=float).reshape(-1, 3)
    if len(positions) != len(template):
        raise ValueError(
            f"i-PI sent {len(positions)} atoms, but `template` has {len(template)}"
            f" ({template.get_chemical_formula()}): give the structure file that i-PI starts from"
        )
    charge = total_charge(template, "template")
    return Atoms(
        numbers=template.numbers,
        positions=positions * BOHR,
        cell=np.asarray(cell, dtype=float).reshape(3, 3).T * BOHR,
        pbc=template.pbc,
        info={"charge": charge} if charge else {},
    )


def dipole_to_ipi(dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn e Å into e bohr."""
    return dipole / BOHR


def bec_to_ipi(born: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (N, 3, 3) [atom, field, displacement] into i-PI's (3N, 3)."""
    return born.transpose(0, 2, 1).reshape(-1, 3)


def extras_to_ipi(
    result: Mapping[str, Any], wanted: Sequence[str]
) -> dict[str, float | list[float] | list[list[float]]]:
    """Extras of one structure as JSON-able values in atomic units.

    `wanted` holds keys of `EXTRAS`. The polarizability is nine numbers in a row, because i-PI
    cannot print a 3x3 array for more than one bead.
    """
    extras: dict[str, Any] = {}
    for name in wanted:
        value = np.asarray(result[EXTRAS[name]], dtype=float)
        if name == "dipole":
            extras[name] = dipole_to_ipi(value).tolist()
        elif name == "polarizability":
            extras[name] = (value / POLARIZABILITY_UNIT).reshape(-1).tolist()
        elif name == "BEC":
            extras[name] = np.round(bec_to_ipi(value), BEC_DIGITS).tolist()
        else:
            extras[name] = value.tolist()
    return extras


def torque_virial(field: NDArray[np.float64], dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Antisymmetric part of the virial (eV) in a field E: ``(E_a M_b - E_b M_a)/2``.

    A field turns the dipole, so the enthalpy changes with a rotation and -dF/d(strain) is not
    symmetric. i-PI deforms cells by an upper triangular strain and needs the whole derivative,
    where ASE's stress is the symmetric part. At constant D the field is the instantaneous one.
    """
    outer = np.outer(field, dipole)
    return 0.5 * (outer - outer.T)


def message_to_ipi(
    atoms: Atoms, result: Mapping[str, Any], extras: Sequence[str] = ()
) -> ForceMessage:
    """Energy (eV), forces (eV/Å), stress (eV/Å³) and extras of one structure, for i-PI.

    Without "stress" in `result` the virial is zero. With "electric_field" and "dipole" it gets the
    part that a symmetric stress leaves out: see `torque_virial`.
    """
    virial = np.zeros((3, 3))
    if "stress" in result:
        virial = -np.array(result["stress"], dtype=float) * atoms.get_volume() / HARTREE
        if "electric_field" in result:
            virial += torque_virial(result["electric_field"], result["dipole"]) / HARTREE
    return ForceMessage(
        potential=float(result["energy"]) / HARTREE,
        force=np.array(result["forces"], dtype=float) * (BOHR / HARTREE),
        virial=virial,
        extras=json.dumps(extras_to_ipi(result, extras)) if extras else "",
    )
