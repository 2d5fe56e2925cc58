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

from lrcalc.frames import Frames
from lrcalc.properties import extras
from lrcalc.structures import total_charge
from lrcalc.units import ATOMIC, BOHR, HARTREE

Array = NDArray[np.float64]

BEC_DIGITS = 8
"""Born charges as text cost more than the model: eight decimals are enough for a force."""


class ForceMessage(NamedTuple):
    """What i-PI wants of one structure, in atomic units."""

    potential: float
    force: NDArray[np.float64]
    virial: NDArray[np.float64]
    extras: str


def frames_from_ipi(template: Atoms, cells: Sequence[Array], positions: Sequence[Array]) -> Frames:
    """Structures in Å.

    Parameters
    ----------
    template : Atoms
        Gives the species, in i-PI's order, the periodic directions and the total charge.
    cells : sequence of arrays, shape (3, 3)
        Lattice vectors as columns, bohr.
    positions : sequence of arrays, shape (N, 3)
        bohr, unwrapped.

    Raises
    ------
    ValueError
        If the number of atoms is not that of `template`.
    """
    places = [np.asarray(x, dtype=float).reshape(-1, 3) for x in positions]
    for x in places:
        if len(x) != len(template):
            raise ValueError(
                f"i-PI sent {len(x)} atoms, but `template` has {len(template)}"
                f" ({template.get_chemical_formula()}): give the structure file that i-PI starts"
                " from"
            )
    columns = np.asarray(cells, dtype=float).reshape(-1, 3, 3)
    return Frames(
        template.numbers,
        template.pbc,
        total_charge(template, "template"),
        columns.transpose(0, 2, 1) * BOHR,
        np.stack(places) * BOHR,
    )


def bec_to_ipi(born: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (N, 3, 3) [atom, field, displacement] into i-PI's (3N, 3)."""
    return born.transpose(0, 2, 1).reshape(-1, 3)


def extras_to_ipi(result: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """Extras of one structure as JSON-able values in atomic units.

    `wanted` holds keys of `lrcalc.properties.extras`. Tensors of a structure are numbers in a row,
    because i-PI cannot print a 3x3 array for more than one bead.
    """
    known, values = extras(), {}
    for name in wanted:
        entry = known[name]
        value = np.asarray(result[entry.name], dtype=float) / ATOMIC[entry.unit]
        if name == "BEC":
            value = np.round(bec_to_ipi(value), BEC_DIGITS)
        else:
            value = value.reshape((len(value), -1) if entry.per_atom and entry.shape else -1)
        values[name] = value.tolist()
    return values


def torque_virial(field: NDArray[np.float64], dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Antisymmetric part of the virial (eV) in a field E: ``(E_a M_b - E_b M_a)/2``.

    A field turns the dipole, so the enthalpy changes with a rotation and -dF/d(strain) is not
    symmetric. i-PI deforms cells by an upper triangular strain and needs the whole derivative,
    where ASE's stress is the symmetric part. At constant D the field is the instantaneous one.
    """
    outer = np.outer(field, dipole)
    return 0.5 * (outer - outer.T)


def message_to_ipi(
    volume: float, result: Mapping[str, Any], wanted: Sequence[str] = ()
) -> ForceMessage:
    """Energy (eV), forces (eV/Å), stress (eV/Å³) and extras of one structure of a volume (Å³).

    Without "stress" in `result` the virial is zero. With "electric_field" and "dipole" it gets the
    part that a symmetric stress leaves out: see `torque_virial`.
    """
    virial = np.zeros((3, 3))
    if "stress" in result:
        virial = -np.array(result["stress"], dtype=float) * volume / HARTREE
        if "electric_field" in result:
            virial += torque_virial(result["electric_field"], result["dipole"]) / HARTREE
    return ForceMessage(
        potential=float(result["energy"]) / HARTREE,
        force=np.array(result["forces"], dtype=float) * (BOHR / HARTREE),
        virial=virial,
        extras=json.dumps(extras_to_ipi(result, wanted)) if wanted else "",
    )
