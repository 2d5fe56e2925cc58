"""Force constants with Born charges and ε_∞, checked, symmetrised, and solved at Γ.

The sum rule is imposed in :func:`lrcalc.analysis.modes.neutral_born`. phonopy's objects are used
but not imported here.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis import modes as mode_math
from lrcalc.analysis.dielectric import check_electronic_part
from lrcalc.analysis.index_order import order_note, rotation_residual
from lrcalc.analysis.modes import Modes
from lrcalc.structures import total_charge


class Phonons(NamedTuple):
    """Force constants with what infrared intensities need besides."""

    phonopy: Any
    """``phonopy.Phonopy`` with force constants and no non-analytical term."""
    born: np.ndarray
    """(N, 3, 3) e of the primitive cell, symmetrised: atom, field, displacement."""
    epsilon_infinity: np.ndarray
    """(3, 3), what the forces hold: LO-TO splitting and ε(ω) are of this one."""
    only_gamma: bool
    """The force constants are good at Γ only, so there are no bands."""
    notes: tuple[str, ...] = ()
    order_known: bool = False
    """Whether something tells that the first index of ``born`` is the field: a calculator's own
    order, or the rotational sum rule of a molecule."""
    charged: bool = True
    """False where there are no Born charges: ``born`` is zero then and means nothing."""
    atoms: Any = None
    """ASE structure of the primitive cell that a calculator saw, with its total charge, masses and
    boundary conditions; None for a folder of files."""
    epsilon_optical: np.ndarray | None = None
    """(3, 3), what the calculator's polarizability makes, where that is another number: for light
    only, and in no formula here."""

    @property
    def structure(self) -> Any:
        """ASE structure of the primitive cell."""
        if self.atoms is not None:
            return self.atoms.copy()
        from ase import Atoms

        cell = self.phonopy.primitive
        made = Atoms(cell.numbers, cell=cell.cell, positions=cell.positions, pbc=True)
        made.set_masses(cell.masses)
        return made

    @property
    def total_charge(self) -> float:
        """Of the primitive cell, e."""
        return 0.0 if self.atoms is None else total_charge(self.atoms)

    @property
    def periodic(self) -> bool:
        """Whether there are periods in all three directions, so that there is an ε."""
        return self.atoms is None or bool(self.atoms.pbc.all())


WIDE = 10.0
"""A supercell narrower than this, Å, holds no force constants between distant atoms."""


def widths(cell: np.ndarray) -> np.ndarray:
    """Distances (3,) between opposite faces of a cell (3, 3), rows in Å."""
    return np.asarray(1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0))


def narrow(cell: np.ndarray, supercell: np.ndarray) -> bool:
    """Whether a direction is neither repeated nor :data:`WIDE`: good at Γ only."""
    wide = widths(supercell)
    return bool(((wide < WIDE) & (wide < 1.5 * widths(cell))).any())


def check_masses(phonon: Any) -> None:
    """Refuse a primitive cell that stands for atoms of different masses, of which it has one."""
    cell = phonon.supercell
    first = np.asarray(phonon.primitive.s2p_map)
    masses = np.asarray(cell.masses)
    other = np.abs(masses - masses[first]) > 1e-4
    if other.any():
        one = int(np.flatnonzero(other)[0])
        raise ValueError(
            f"{cell.symbols[one]} atoms of {masses[first[one]]:g} and {masses[one]:g} amu would be "
            "one atom of the primitive cell: keep the unit cell (--primitive P)"
        )


def without_charges(phonon: Any, *, only_gamma: bool) -> Phonons:
    """Phonons of which only wavenumbers and bands are known.

    Parameters
    ----------
    phonon
        ``phonopy.Phonopy`` with force constants.
    only_gamma
        The force constants are good at Γ only.
    """
    only_gamma = only_gamma or narrow(phonon.unitcell.cell, phonon.supercell.cell)
    note = "no Born charges: no intensities, no ε, no LO-TO splitting"
    born = np.zeros((len(phonon.primitive), 3, 3))
    return Phonons(phonon, born, np.eye(3), only_gamma, (note,), order_known=True, charged=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence phonopy."""
    # phonopy warns about its own changed defaults; everything that matters is passed explicitly.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assemble(
    phonon: Any,
    born: np.ndarray,
    epsilon: np.ndarray,
    *,
    only_gamma: bool,
    order_known: bool = False,
    charge: float = 0.0,
) -> Phonons:
    """Check and symmetrise Born charges; refuse a molecule's tensors in the wrong index order.

    Parameters
    ----------
    phonon
        ``phonopy.Phonopy`` with force constants.
    born, epsilon
        (N, 3, 3) e of the primitive cell and ε_∞ (3, 3).
    only_gamma
        The force constants are good at Γ only.
    order_known
        The first index of ``born`` is the field for certain.
    charge
        Total charge of the primitive cell, e, which the Born charges add up to.
    """
    check_electronic_part(epsilon)
    born = np.asarray(born, dtype=float)
    count = len(phonon.primitive)
    if born.shape != (count, 3, 3):
        raise ValueError(f"`born` has shape {born.shape} but the cell has {count} atoms")
    if not np.isfinite(born).all():
        raise ValueError("the Born charges hold NaN or infinity")
    symmetric = symmetrise_born(phonon, born)
    notes = []
    shift = float(np.abs(symmetric - born).max())
    if shift > 0.05:
        raise ValueError(
            f"Born charges change by {shift:.2f} e when the crystal's symmetry is imposed: wrong "
            "order of atoms or rotated axes"
        )
    _check_permittivity(phonon, np.asarray(epsilon, dtype=float))
    excess = float(np.abs(born.sum(0) - charge * np.eye(3)).max())
    notes.append(f"sum rule residual {excess:.2g} e, taken off by mass")
    positions = molecule_positions(phonon.primitive)
    if positions is not None:
        right = rotation_residual(positions, symmetric)
        wrong = rotation_residual(positions, symmetric.transpose(0, 2, 1))
        if wrong < 0.5 * right and right > 0.05:
            raise ValueError(
                f"Born charges break the rotational sum rule by {right:.3f} e Å, transposed by "
                f"{wrong:.3f}: they are in the order (displacement, field); say so "
                "(--born-order displacement-field) or transpose them"
            )
        if right < 0.5 * wrong and wrong > 0.05:
            order_known = True
            notes.append(
                f"the molecule's rotational sum rule tells the index order: {right:.2g} e Å as "
                f"read, {wrong:.2g} e Å transposed"
            )
    only_gamma = only_gamma or narrow(phonon.unitcell.cell, phonon.supercell.cell)
    return Phonons(
        phonon, symmetric, np.asarray(epsilon, dtype=float), only_gamma, tuple(notes), order_known
    )


def molecule_positions(cell: Any, gap: float = 4.0) -> np.ndarray | None:
    """Unwrapped positions if the cell holds one molecule with ``gap`` Å of vacuum, else None.

    Atoms nearer than 2 Å are joined; a crystal joins to its own images and is no molecule.
    """
    vectors = np.asarray(cell.cell)
    scaled = np.asarray(cell.scaled_positions)
    found = {0: scaled[0]}
    queue = [0]
    while queue:
        here = queue.pop()
        delta = scaled - found[here]
        delta -= np.round(delta)
        near = np.flatnonzero(np.linalg.norm(delta @ vectors, axis=1) < 2.0)
        for other in near:
            if int(other) not in found:
                found[int(other)] = found[here] + delta[other]
                queue.append(int(other))
    if len(found) < len(scaled):
        return None
    unwrapped = np.array([found[i] for i in range(len(scaled))])
    heights = 1.0 / np.linalg.norm(np.linalg.inv(vectors), axis=0)
    extent = np.ptp(unwrapped, axis=0) * heights
    return unwrapped @ vectors if (heights - extent > gap).all() else None


def _check_permittivity(phonon: Any, epsilon: np.ndarray) -> None:
    """Refuse ε_∞ (3, 3) that has not the crystal's symmetry: of rotated axes, or mistyped."""
    turned = [t @ epsilon @ t.T for _, t in _operations(phonon)]
    change = float(np.abs(np.mean([0.5 * (t + t.T) for t in turned], axis=0) - epsilon).max())
    if change > 0.03 * np.abs(epsilon).max():
        raise ValueError(
            f"ε_∞ {epsilon.round(4).tolist()} changes by {change:.2g} when the crystal's symmetry "
            "is imposed: rotated axes, or entries in a wrong order"
        )


def symmetrise_born(phonon: Any, born: np.ndarray) -> np.ndarray:
    """Average of ``R born_k Rᵀ`` over the space group of the primitive cell."""
    total = np.zeros_like(born)
    count = 0
    for image, cartesian in _operations(phonon):
        total[image] += np.einsum("ac,kcd,bd->kab", cartesian, born, cartesian)
        count += 1
    return total / count


def _operations(phonon: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where each operation of the space group takes the atoms (N,), and its rotation (3, 3)."""
    cell = phonon.primitive
    lattice = np.asarray(cell.cell).T
    operations = phonon.primitive_symmetry.symmetry_operations
    scaled = np.asarray(cell.scaled_positions)
    for rotation, translation in zip(
        operations["rotations"], operations["translations"], strict=True
    ):
        delta = (scaled @ rotation.T + translation)[:, None] - scaled[None]
        delta -= np.round(delta)
        image = np.argmin(np.linalg.norm(delta @ lattice.T, axis=2), axis=1)
        yield image, lattice @ rotation @ np.linalg.inv(lattice)


def solve(phonons: Phonons) -> Modes:
    """Modes at Γ with irreducible representations."""
    phonon = phonons.phonopy
    cell = phonon.primitive
    with quiet():
        matrix = phonon.dynamical_matrix
        matrix.run([0.0, 0.0, 0.0])
        dynamical = matrix.dynamical_matrix
        labels, unlabelled = labels_or_reason(phonon)
    result = mode_math.solve(
        dynamical,
        cell.masses,
        phonons.born,
        phonons.epsilon_infinity,
        cell.volume,
        labels,
        phonons.notes,
        phonons.total_charge if phonons.charged else 0.0,
    )
    result = result._replace(
        charged=phonons.charged,
        periodic=phonons.periodic,
        epsilon_optical=phonons.epsilon_optical,
    )
    note = None if phonons.order_known else order_note(result, phonons.born)
    notes = [note] if note else []
    if unlabelled and phonons.periodic:
        notes.append(f"the modes have no symmetry labels: {unlabelled}")
    if phonons.periodic and len(cell) > 1 and molecule_positions(cell) is not None:
        # three of the softest modes turn the molecule, at whatever the box makes of that
        notes.append(
            "one molecule in a periodic box: its rotations are among the softest modes, and with "
            "them ε_0 and LO-TO mean nothing; pbc F F F computes it alone, without these"
        )
    return result._replace(notes=(*result.notes, *notes))


def irreps(phonon: Any) -> list[str]:
    """Labels of the 3N - 3 optical modes by rising wavenumber; empty where there are none.

    As where isotopes break the symmetry, which phonopy finds from the elements alone.
    """
    return labels_or_reason(phonon)[0]


def labels_or_reason(phonon: Any) -> tuple[list[str], str]:
    """`irreps`, and why there are none."""
    masses = np.asarray(phonon.primitive.masses)
    if not np.allclose(masses, masses[phonon.primitive_symmetry.get_map_atoms()]):
        return [], "isotopes break the symmetry that phonopy finds from the elements"
    try:
        found = phonon.run_irreps([0.0, 0.0, 0.0]) or phonon.irreps
    except (
        RuntimeError,
        NotImplementedError,
        ValueError,
        AttributeError,
        KeyError,
        TypeError,
    ) as e:
        return [], f"phonopy finds none ({type(e).__name__}: {e})"
    # phonopy 4 prints the labels but has no public name for them.
    names = getattr(found, "_ir_labels", None)
    if names is None:
        group = phonon.primitive_symmetry.pointgroup_symbol
        return [], f"phonopy has none for the point group {group}"
    labels = [""] * (3 * len(phonon.primitive))
    for group, name in zip(found.band_indices, names, strict=True):
        for index in group:
            labels[index] = name or ""
    frequencies = np.asarray(found.frequencies)
    acoustic = set(np.argsort(np.abs(frequencies))[:3].tolist())
    return [label for index, label in enumerate(labels) if index not in acoustic], ""
