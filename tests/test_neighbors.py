import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch.utils import _pytree

from lrcalc.electrostatics.hosted import moved
from lrcalc.neighbors import FamiliarPairs, Known, build_pairs, pair_vectors
from lrcalc.system import from_ase, validate_atoms
from tests.sample_structures import TRICLINIC, water_box

CELLS = {
    "cubic": np.diag([4.0, 5.0, 6.0]),
    "small": np.array([[3.0, 0, 0], [1.0, 2.5, 0], [-0.7, 0.8, 3.2]]),
    "triclinic": np.array([[9.0, 0, 0], [2.0, 8.5, 0], [-1.5, 1.0, 10.0]]),
}


def spread_atoms(cell, pbc, n, seed=0, closest=0.5):
    rng = np.random.default_rng(seed)
    while True:
        # outside the cell too: positions are not wrapped
        atoms = Atoms(f"O{n}", rng.uniform(-1, 2, (n, 3)) @ cell, cell=cell, pbc=pbc)
        if len(neighbor_list("i", atoms, closest)) == 0:
            return atoms


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)), ids=str)
def test_pairs_are_those_of_ase(cell, pbc):
    atoms = spread_atoms(cell, pbc, n=5)
    system = from_ase(atoms)
    pairs = build_pairs(system, 5.0)
    i, j, shift, vectors = neighbor_list("ijSD", atoms, 5.0)
    ours = sorted(zip(pairs.i.tolist(), pairs.j.tolist(), *pairs.shift.T.tolist(), strict=True))
    assert ours == sorted(zip(i.tolist(), j.tolist(), *shift.T.tolist(), strict=True))
    ours = np.sort(torch.linalg.norm(pair_vectors(system, pairs), dim=1).numpy())
    np.testing.assert_allclose(ours, np.sort(np.linalg.norm(vectors, axis=1)), atol=1e-12)
    assert (pairs.i[1:] >= pairs.i[:-1]).all()


def test_batch_is_the_lists_side_by_side():
    structures = [water_box(), water_box(seed=5, n=2), water_box(seed=3, n=3, pbc=False)]
    together = build_pairs(from_ase(structures), 4.0)
    offset, rows = 0, []
    for atoms in structures:
        alone = build_pairs(from_ase(atoms), 4.0)
        rows += [
            (a + offset, b + offset, *s)
            for a, b, s in zip(*(t.tolist() for t in alone), strict=True)
        ]
        offset += len(atoms)
    assert sorted(rows) == sorted(
        (a, b, *s) for a, b, s in zip(*(t.tolist() for t in together), strict=True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.positions.__setitem__((3, 1), np.nan), "NaN or infinite positions.*atom 3"),
        (lambda a: a.set_cell(np.zeros((3, 3))), "spans no volume"),
        (lambda a: a.set_cell([[1, 0, 0], [2, 0, 0], [0, 0, 1]]), "spans no volume"),
        (lambda a: a.set_cell(np.full((3, 3), np.nan)), "infinite cell"),
        (lambda a: a.numbers.__setitem__(0, 0), "atomic number 0"),
        (lambda a: a.__delitem__(slice(None)), "no atoms"),
    ],
)
def test_bad_structures_are_refused_by_name(change, message):
    atoms = water_box(TRICLINIC)
    change(atoms)
    with pytest.raises(ValueError, match=message):
        validate_atoms(atoms)


def test_overlapping_atoms_are_refused_also_across_the_boundary():
    atoms = Atoms("OO", [[0.05, 0, 0], [5.9, 0, 0]], cell=np.eye(3) * 6, pbc=True)
    with pytest.raises(ValueError, match=r"atoms 0 and 1 are 0\.150 Å apart"):
        build_pairs(from_ase(atoms), 3.0)
    with pytest.raises(ValueError, match="`cutoff` is 0"):
        build_pairs(from_ase(atoms), 0.0)
    with pytest.raises(ValueError, match="empty list"):
        from_ase([])


def test_what_is_known_of_pairs_travels_beside_the_three():
    pairs = build_pairs(from_ase(water_box()), 4.0)
    i, _, shift = pairs
    assert pairs.known is None
    assert len(i) == len(shift)
    familiar = FamiliarPairs(*pairs, Known(9, 4.0, torch.arange(3)))
    assert len(familiar) == 3
    for twin in (
        copy.copy(familiar),
        pickle.loads(pickle.dumps(familiar)),
        moved(familiar, torch.device("meta")),
    ):
        assert twin.known[:2] == (9, 4.0)
        assert twin.known.near.shape == (3,)
    assert twin.known.near.is_meta
    assert twin.shift.is_meta
    rebuilt = _pytree.tree_map(lambda x: x, familiar)  # as in torch's checkpoints
    assert rebuilt.known is None
    assert len(rebuilt) == 3
