"""Pairs found on a device are those that vesin finds."""

import numpy as np
import pytest
import torch

from lrcalc.captured import cell_list
from lrcalc.captured.cell_list import find_pairs
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.system import from_ase
from tests.sample_structures import cluster, water_box


def rows(pairs):
    return sorted(zip(pairs.i.tolist(), pairs.j.tolist(), *pairs.shift.T.tolist(), strict=True))


def mixed():
    slab, wire = water_box(seed=4), water_box(seed=5, n=3)
    slab.pbc, wire.pbc = [True, True, False], [False, True, False]
    far = water_box(seed=6)
    far.positions += [100.0, -33.0, 20.0]
    return [water_box(), cluster(), slab, wire, far]


STRUCTURES = {
    "triclinic": [water_box()],
    "cluster": [cluster()],
    "mixed": mixed(),
    "large": [water_box().repeat((3, 2, 4))],
    "long": [water_box(cell=np.diag([40.0, 5.0, 6.0]))],
}


@pytest.mark.parametrize("reach", [1.5, 3.0, 5.6, 13.0])
@pytest.mark.parametrize("name", STRUCTURES)
def test_same_pairs_as_vesin(name, reach, monkeypatch):
    if name == "large":
        monkeypatch.setattr(cell_list, "CHUNK", 4000)  # several pieces
    system = from_ase(STRUCTURES[name])
    found, vectors = find_pairs(
        system.positions, system.cell.numpy(), system.pbc.numpy(), system.batch, reach
    )
    torch.testing.assert_close(vectors, pair_vectors(system, found), rtol=0, atol=1e-10)
    expected = build_pairs(system, reach)
    assert rows(found) == rows(expected)
    assert (found.i[1:] >= found.i[:-1]).all()


def test_a_gas_in_a_large_cell_has_no_bins_for_nobody(monkeypatch):
    monkeypatch.setattr(cell_list, "FINEST", 50)
    system = from_ase(water_box(cell=np.diag([60.0, 61.0, 62.0])))
    cell, pbc = system.cell.numpy(), system.pbc.numpy()
    found, _ = find_pairs(system.positions, cell, pbc, system.batch, 4.0)
    assert rows(found) == rows(build_pairs(system, 4.0))
