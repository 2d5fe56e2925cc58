"""Follow a structure from call to call: the branch of its dipole, and work that has no energy.

`evaluate_on_branch` wraps an evaluator; the rest says what it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


ANOTHER = 0.5
"""Å, median displacement between two calls beyond which they saw unrelated structures."""


class Past(NamedTuple):
    """What is known of the structures before; never changed, only replaced (`take_up`, `worked`).

    Attributes
    ----------
    numbers, pbc : array-like, shapes (N,), (3,)
        Of the last structure; empty before the first, and after an open one.
    fractional : ndarray or None, shape (N, 3)
        Its positions in units of the lattice vectors; None where there is none.
    shifts : ndarray or None, shape (N, 3)
        Lattice vectors that bring its atoms back to the branch of the first.
    work : float
        eV, done by forces that have no energy since the first structure.
    positions, forces : ndarray or None, shape (N, 3)
        Where that work was last added up (on the branch), and the forces there.
    """

    numbers: np.ndarray | tuple[()] = ()
    pbc: np.ndarray | tuple[()] = ()
    fractional: np.ndarray | None = None
    shifts: np.ndarray | None = None
    work: float = 0.0
    positions: np.ndarray | None = None
    forces: np.ndarray | None = None


class Evaluates(Protocol):
    """What is wrapped (`lrcalc.Evaluator`)."""

    charge_forces: np.ndarray | None

    def __call__(
        self, structures: Sequence[Atoms], properties: Iterable[str]
    ) -> list[dict[str, Any]]:
        """Properties of each structure."""


def evaluate_on_branch(
    evaluator: Evaluates, past: Past, atoms: Atoms, wanted: set[str], *, follow: bool
) -> tuple[dict[str, Any], Past]:
    """Evaluate the next structure on the branch of the last; return results and what is known now.

    The energy contains the work, negative, of forces that have none.

    Parameters
    ----------
    evaluator : Evaluates
    past : Past
        Of the structures before.
    atoms : Atoms
        Wrapped or not.
    wanted : set of str
        Names of properties.
    follow : bool
        Evaluate ``atoms`` on the branch; otherwise as it is, and only the work follows.
    """
    past = take_up(past, atoms)
    branch = on_branch(past, atoms)
    (result,) = evaluator([branch if follow else atoms], wanted)
    if "energy" in result:
        past = worked(past, branch.positions, evaluator.charge_forces)
        result["energy"] -= past.work
    return result, past


def take_up(past: Past, atoms: Atoms) -> Past:
    """Take up the next structure.

    An atom that moved by more than half a lattice vector since the last call is taken to have
    been wrapped. Another set of atoms or boundary, or another structure of the same atoms (half
    of them farther than `ANOTHER` away, whole lattice vectors aside), starts a new branch.
    """
    if not atoms.pbc.any():
        return Past()
    cell = np.asarray(atoms.cell.complete())
    try:
        fractional = atoms.positions @ np.linalg.inv(cell)
    except np.linalg.LinAlgError:  # a cell without volume: refused, by name, where it is used
        return Past()
    here = Past(atoms.numbers.copy(), atoms.pbc.copy(), fractional, np.zeros_like(fractional))
    if past.fractional is None or past.shifts is None:
        return here._replace(work=past.work)
    same = np.array_equal(past.numbers, atoms.numbers) and np.array_equal(past.pbc, atoms.pbc)
    if not same:
        return here
    step = fractional - past.fractional
    jump = np.rint(step) * atoms.pbc
    square = (((step - jump) @ cell) ** 2).sum(axis=1)
    if not (square.max() < ANOTHER**2 or np.median(square) < ANOTHER**2):  # the first is quicker
        return here
    return past._replace(fractional=fractional, shifts=past.shifts - jump)


def on_branch(past: Past, atoms: Atoms) -> Atoms:
    """Return ``atoms``, the structure taken up last, or a copy that continues the branch."""
    if past.shifts is None or not past.shifts.any():
        return atoms
    unwrapped = atoms.copy()
    unwrapped.positions = atoms.positions + past.shifts @ np.asarray(atoms.cell.complete())
    return unwrapped


def worked(past: Past, positions: np.ndarray, forces: np.ndarray | None) -> Past:
    """Add the work (eV) up to here, by the trapezoidal rule.

    Parameters
    ----------
    past : Past
    positions : ndarray, shape (N, 3), Å
        On the branch (`on_branch`).
    forces : ndarray or None, shape (N, 3), eV/Å
        Those that have no energy; None where the energy is whole.
    """
    if forces is None:
        return past._replace(work=0.0, positions=None, forces=None)
    work = past.work
    if past.positions is not None and past.forces is not None:
        work += float(0.5 * ((forces + past.forces) * (positions - past.positions)).sum())
    return past._replace(work=work, positions=positions.copy(), forces=forces)
