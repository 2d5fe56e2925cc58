"""Structures turned so that their cell is lower triangular, as i-PI and LAMMPS want it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray


class Turned(NamedTuple):
    """Atoms in another frame; `rotation` @ old vector = new."""

    atoms: Atoms
    rotation: NDArray[np.float64]


def triangular(atoms: Atoms, *, where: str) -> Turned:
    """Turn atoms so that the first cell vector is along x and the second in the xy plane.

    Velocities turn with the atoms; fields have to be turned by `rotation`.

    Parameters
    ----------
    atoms : Atoms
        With three cell vectors.
    where : str
        Whose convention it is, for errors: "i-PI".

    Raises
    ------
    ValueError
        For a cell without volume, or a left-handed one, which cannot be turned.
    """
    cell = np.array(atoms.cell)
    if abs(np.linalg.det(cell)) < 1e-8:
        raise ValueError(
            f"`structure` has a cell without volume, {cell.tolist()}: {where} needs three cell"
            " vectors, also along an open direction"
        )
    if np.linalg.det(cell) < 0:
        raise ValueError(
            "`structure` has a cell that is left-handed: swap two cell vectors before using"
            f" {where}"
        )
    # cell = lower @ q with q orthogonal: turning by q leaves the lower triangle
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    rotation = (q * signs).T
    if np.allclose(rotation, np.eye(3), atol=1e-12):
        return Turned(atoms.copy(), np.eye(3))
    turned = atoms.copy()
    # fixed atoms turn too: what is fixed is their place in the cell
    turned.set_cell(np.tril(cell @ rotation.T), apply_constraint=False)
    turned.set_positions(atoms.positions @ rotation.T, apply_constraint=False)
    if atoms.has("momenta"):
        turned.set_momenta(atoms.get_momenta() @ rotation.T, apply_constraint=False)
    return Turned(turned, rotation)
