"""On which branch dipoles of periodic structures are compared.

The dipole of a periodic cell is defined up to the quanta ``e a_k``, a computed one as well as a
model's, and the model's also hangs on which image of an atom is taken, by its constant charge q⁰
times a lattice vector. Two things can be compared without a choice:

* matter of finite molecules, none charged: with every molecule in one piece the model's dipole is
  what it is, and label and model agree modulo the quanta;
* anything that is bonded throughout the cell, a crystal: changes of the dipole from frame to frame
  of the same atoms in the same cell, along the shortest displacements, modulo the quanta.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list

STRETCH = 1.2
"""Bonds are as long as the sum of covalent radii times this."""


class Branches:
    """Frames of one file, each crystal's first remembered."""

    def __init__(self) -> None:
        self._first: list[tuple[Atoms, np.ndarray]] = []

    def place(
        self, atoms: Atoms, dipole: np.ndarray
    ) -> tuple[Atoms, Atoms | None, np.ndarray | None]:
        """Bring a structure to the branch of its label.

        Parameters
        ----------
        atoms : Atoms
            Periodic.
        dipole : ndarray, shape (3,), e Å
            Its label.

        Returns
        -------
        atoms : Atoms
            Copy on the branch.
        before : Atoms or None
            Structure whose dipole is to be taken off the model's; None for molecules.
        dipole : ndarray (3,) or None
            What is left of the label; None for the first frame of a crystal.

        Raises
        ------
        ValueError
            For molecules of different composition.
        """
        whole = whole_molecules(atoms)
        if whole is not None:
            return whole, None, dipole
        for first, its_dipole in self._first:
            if np.array_equal(first.numbers, atoms.numbers) and np.allclose(
                first.cell, atoms.cell, atol=1e-6
            ):
                return nearest_images(atoms, first), first, dipole - its_dipole
        self._first.append((atoms.copy(), dipole))
        return atoms, None, None


def nearest_images(atoms: Atoms, first: Atoms) -> Atoms:
    """Copy of ``atoms`` whose atoms are those images that are nearest to ``first``'s."""
    moved = atoms.copy()
    step = first.cell.scaled_positions(atoms.positions - first.positions)
    moved.positions -= (np.rint(step) * atoms.pbc) @ first.cell.array
    return moved


def whole_molecules(atoms: Atoms) -> Atoms | None:
    """Copy with all molecules in one piece; None where bonds run through the periodic cell.

    Raises
    ------
    ValueError
        If the molecules are not all of the same composition: a constant charge per species would
        leave some of them charged, and the model's dipole would hang on which image is taken.
    """
    i, j, shift = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=STRETCH))
    bonds: list[list[tuple[int, np.ndarray]]] = [[] for _ in atoms]
    for a, b, s in zip(i.tolist(), j.tolist(), shift, strict=True):
        bonds[a].append((b, s))
    place: dict[int, np.ndarray] = {}
    ratios = set()
    for start in range(len(atoms)):
        if start in place:
            continue
        place[start] = np.zeros(3, dtype=int)
        queue = [start]
        for here in queue:
            for other, s in bonds[here]:
                at = place[here] + s
                if other not in place:
                    place[other] = at
                    queue.append(other)
                elif not np.array_equal(place[other], at):
                    return None
        species, counts = np.unique(atoms.numbers[queue], return_counts=True)
        ratios.add((*species.tolist(), *(counts / counts.sum()).round(9).tolist()))
    if len(ratios) > 1:
        raise ValueError(
            f"its dipole is of a periodic cell with molecules of {len(ratios)} compositions, where "
            "it has no branch that a model could know; leave REF_dipole out, Born charges do "
            "without a branch"
        )
    whole = atoms.copy()
    whole.positions += np.array([place[k] for k in range(len(atoms))]) @ atoms.cell.array
    return whole
