"""A pair potential by force matching: what labels that belong together are alike in.

Ercolessi, Adams, Europhys. Lett. 26, 583 (1994); crude but linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from scipy.sparse import coo_matrix

from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase

REACH, FUNCTIONS = 5.0, 10
"""Å and number of radial functions of the pair potential."""


class PairFit:
    """A pair potential that matches the forces, and what it makes of each structure.

    Attributes
    ----------
    share : float
        R² of the forces (about zero); 0 where there are fewer than two for each parameter.
    energies : ndarray (S,), eV
    stresses : ndarray (S, 6), eV/Å³, ASE's order
        0 without three periodic directions.
    """

    def __init__(self, structures: Sequence[Atoms]) -> None:
        species = sorted({int(z) for a in structures for z in a.numbers})
        kinds = {pair: k for k, pair in enumerate(combinations_with_replacement(species, 2))}
        rows = [_design(a, kinds) for a in structures]
        matrix = np.concatenate([forces for _, forces, _ in rows])
        data = np.concatenate([np.ravel(a.calc.results["forces"]) for a in structures])
        scale = np.sqrt(np.square(matrix).mean(0)) + 1e-12
        matrix /= scale
        normal = matrix.T @ matrix + 1e-4 * len(matrix) * np.eye(len(scale))
        weights = np.linalg.solve(normal, matrix.T @ data)
        size = float(data @ data)
        left = float(np.square(matrix @ weights - data).sum())
        # few numbers are matched by any potential, which then says nothing
        used = int((scale > 1e-9).sum())
        self.share = 1.0 - left / size if size > 0 and len(data) >= 2 * used else 0.0
        weights = weights / scale
        self.energies = np.array([energy @ weights for energy, _, _ in rows])
        self.stresses = np.array([weights @ virial for _, _, virial in rows])


def _design(atoms: Atoms, kinds: dict[tuple[int, int], int]) -> tuple[np.ndarray, ...]:
    """Energy (B,), forces (3N, B) and stress (B, 6) of each function of each kind of pair."""
    system = from_ase(atoms)
    pairs = build_pairs(system, REACH)
    i, j = pairs.i.numpy(), pairs.j.numpy()
    d = pair_vectors(system, pairs).numpy()
    r = np.linalg.norm(d, axis=1)
    z = atoms.numbers
    table = np.zeros((119, 119), dtype=int)
    for (a, b), kind in kinds.items():
        table[a, b] = table[b, a] = kind
    kind = table[z[i], z[j]]
    wave = np.arange(1, FUNCTIONS + 1) * (np.pi / REACH)
    sine, cosine = np.sin(r[:, None] * wave), np.cos(r[:, None] * wave)
    fade, slope_of_fade = ((1 - r / REACH) ** 2)[:, None], (-2 * (1 - r / REACH) / REACH)[:, None]
    value = sine / r[:, None]
    derivative = (wave * cosine - value) / r[:, None] * fade + value * slope_of_fade
    pull = derivative[:, :, None] * (d / r[:, None])[:, None, :]
    pull = pull.reshape(len(r), 3 * FUNCTIONS)
    rows = np.arange(len(r))
    ones = np.ones(len(r))
    n, k = len(atoms), len(kinds)
    by_kind = coo_matrix((ones, (kind, rows)), shape=(k, len(r))).tocsr()
    by_atom = coo_matrix((ones, (i * k + kind, rows)), shape=(n * k, len(r))).tocsr()
    energy = 0.5 * (by_kind @ (value * fade)).ravel()
    forces = (by_atom @ pull).reshape(n, k * FUNCTIONS, 3).transpose(0, 2, 1).reshape(3 * n, -1)
    virial = np.zeros((k * FUNCTIONS, 6))
    if atoms.pbc.all():
        pulls = pull.reshape(len(r), FUNCTIONS, 3)
        for c, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
            virial[:, c] = 0.5 * (by_kind @ (pulls[:, :, a] * d[:, b, None])).ravel()
        virial /= atoms.get_volume()
    return energy, forces, virial
