"""Environments of atoms as vectors: the k-nearest-neighbour descriptor of QUESTS.

The equations are those of Schwalbe-Koda, Hamel, Sadigh, Zhou, Lordi, Nat. Commun. 16, 4014 (2025).
Written here in numpy, because the package `quests` compiles its own with numba, for minutes on a
busy machine, and takes whatever is not periodic in three directions for open: neither will do for a
check that comes with the first structure a calculator sees. The tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.information.given import check_structure
from lrcalc.neighbors import build_pairs
from lrcalc.system import as_frames, from_frames

if TYPE_CHECKING:
    from ase import Atoms

BLOCK = 2048
"""Atoms whose neighbours are compared at once: 16 MB of distances for k = 32."""


class Form(NamedTuple):
    """What a descriptor is made of: two sets can be compared only if theirs are the same.

    Attributes
    ----------
    k : int
        Nearest neighbours that count.
    cutoff : float
        Å; where their weight ends.
    components : bool
        After the columns of all neighbours, the same of neighbours of the atom's own species, in
        columns of that species: tells apart structures that differ in who sits where.
    """

    k: int = 32
    cutoff: float = 5.0
    components: bool = False

    def columns(self, n_species: int) -> int:
        """Length of a descriptor."""
        return (2 * self.k - 1) * (1 + n_species * (self.components and n_species > 1))


PUBLISHED = Form()
"""As QUESTS: 32 neighbours, 5 Å."""


def check_form(form: Form) -> Form:
    """Refuse numbers that make no descriptor."""
    if not (form.k == int(form.k) and 2 <= form.k <= 512):
        raise ValueError(f"`k` is {form.k} but must be a whole number of neighbours, 2 to 512")
    if not 0.5 <= form.cutoff <= 30.0:
        raise ValueError(f"`cutoff` is {form.cutoff} Å but must be from 0.5 to 30 Å")
    return form


def descriptors(
    atoms: Atoms,
    form: Form = PUBLISHED,
    *,
    species: Iterable[int] | None = None,
    name: str = "atoms",
) -> np.ndarray:
    """Descriptors of the atoms of one structure.

    With neighbours of atom i sorted by distance r_ij and w(r) = (1 - (r/r_c)²)² within the cutoff,
    zero beyond,

        X1_j = w(r_ij)/r_ij             X2_m = 1/k Σ_j [m-th largest of √(w_ij w_il)/r_jl over l≠j]

    for j of the k nearest and m < k. Both are in 1/Å and zero where neighbours are missing. In a
    perfect crystal the k-th may be one of a shell: then X2 depends, a little, on which is taken.

    Parameters
    ----------
    atoms : Atoms
        Any cell and boundary: a slab's neighbours are those of a slab, also across cells smaller
        than the cutoff.
    form : Form, optional
    species : iterable of int, optional
        Atomic numbers that have columns of their own (`Form.components`); those of the structure.
    name : str, optional
        Named in errors.

    Returns
    -------
    ndarray, shape (N, 2k - 1) or (N, (2k - 1)(1 + number of species))
        All X1, then all X2: of all neighbours first, then of each species.

    Raises
    ------
    ValueError
        For positions or a cell that are not finite, atoms that overlap, a species without columns.
    """
    check_form(form)
    return descriptors_of(surroundings(atoms, form.cutoff, name), form, species, name)


class Surroundings(NamedTuple):
    """Neighbours of the atoms of a structure.

    Attributes
    ----------
    numbers : ndarray, shape (N,)
    i, j : ndarray, shape (E,)
        Centre and neighbour, sorted by centre.
    vectors : ndarray, shape (E, 3), Å
        From centre to neighbour.
    """

    numbers: np.ndarray
    i: np.ndarray
    j: np.ndarray
    vectors: np.ndarray

    def mean_around(self, values: np.ndarray) -> np.ndarray:
        """Mean of ``values`` (N,) over each atom and its neighbours."""
        count = len(values)
        total = values + np.bincount(self.i, values[self.j], minlength=count)
        return total / (1 + np.bincount(self.i, minlength=count))


def surroundings(atoms: Atoms, cutoff: float, name: str = "atoms") -> Surroundings:
    """All neighbours within ``cutoff`` (Å), images too; refuses as `descriptors`."""
    check_form(Form(cutoff=cutoff))
    check_structure(atoms, name)
    frames = as_frames(atoms, name)
    if not len(frames.numbers):
        raise ValueError(f"{name} has no atoms; give structures")
    if not (np.isfinite(frames.positions).all() and np.isfinite(frames.cells).all()):
        raise ValueError(f"{name} has NaN or infinite positions or cell vectors; mend the file")
    i, j, shift = (x.numpy() for x in build_pairs(from_frames([frames]), cutoff))
    vectors = frames.positions[0][j] - frames.positions[0][i] + shift @ frames.cells[0]
    return Surroundings(np.asarray(frames.numbers), i, j, vectors)


def descriptors_of(
    found: Surroundings, form: Form, species: Iterable[int] | None = None, name: str = "atoms"
) -> np.ndarray:
    """`descriptors` of neighbours that are known."""
    check_form(form)
    numbers, i, j, vectors = found
    parts = [_both(len(numbers), i, vectors, form)]
    known = sorted({int(z) for z in (numbers if species is None else species)})
    missing = sorted({int(z) for z in numbers} - set(known))
    if missing:
        raise ValueError(f"{name} has atoms of number {missing[0]}, but `species` has {known} only")
    if form.components and len(known) > 1:
        for z in known:
            own = (numbers[i] == z) & (numbers[j] == z)
            parts.append(_both(len(numbers), i[own], vectors[own], form))
    return np.concatenate([part[which] for which in (0, 1) for part in parts], axis=1)


def _both(n_atoms: int, i: np.ndarray, vectors: np.ndarray, form: Form) -> Any:
    """X1 (N, k) and X2 (N, k - 1) of pairs sorted by their centre."""
    k = form.k
    square = np.einsum("ea,ea->e", vectors, vectors)
    order = np.lexsort((square, i))
    i, vectors, square = i[order], vectors[order], square[order]
    first = np.searchsorted(i, np.arange(n_atoms))
    rank = np.arange(len(i)) - first[i]
    near = rank < k
    at = i[near], rank[near]
    to, distance, weight = np.zeros((n_atoms, k, 3)), np.ones((n_atoms, k)), np.zeros((n_atoms, k))
    to[at], distance[at] = vectors[near], np.sqrt(square[near])
    weight[at] = (1.0 - square[near] / form.cutoff**2) ** 2
    second = np.empty((n_atoms, k - 1))
    for start in range(0, n_atoms, BLOCK):
        part = slice(start, start + BLOCK)
        second[part] = _second(to[part], weight[part])
    return weight / distance, second


def _second(to: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """X2 from vectors (N, k, 3) and weights (N, k) of the neighbours."""
    k = to.shape[1]
    length = np.einsum("nka,nka->nk", to, to)
    apart = length[:, :, None] + length[:, None, :]
    apart -= 2.0 * np.matmul(to, to.transpose(0, 2, 1))
    root = np.sqrt(weight)
    each = root[:, :, None] * root[:, None, :]
    diagonal = np.arange(k)
    each[:, diagonal, diagonal] = 0.0
    # neighbours that are missing lie on top of one another, and weigh nothing
    each /= np.sqrt(np.maximum(apart, 1e-12))
    each.sort(axis=2)
    return each[:, :, :0:-1].mean(axis=1)
