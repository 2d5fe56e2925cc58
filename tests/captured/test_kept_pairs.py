"""Pairs kept on the device: those of a search at every step, whatever moves."""

import numpy as np
import pytest
import torch

from lrcalc.captured.kept_pairs import KeptPairs
from lrcalc.neighbors import build_pairs
from lrcalc.system import from_ase
from tests.captured.test_cell_list import rows
from tests.sample_structures import cluster, water_box

CUTOFF = 3.0


def slab(seed):
    atoms = water_box(seed=seed, n=3)
    atoms.pbc = [True, True, False]
    return atoms


BATCHES = {
    "closed": [water_box(), water_box(seed=3, n=3)],
    "mixed": [water_box(), cluster(), slab(4)],
}


@pytest.mark.parametrize("cell_moves", [False, True])
@pytest.mark.parametrize("name", BATCHES)
def test_pairs_along_a_walk_are_those_of_a_search(name, cell_moves):
    system, rng = from_ase(BATCHES[name]), np.random.default_rng(0)
    kept = KeptPairs(CUTOFF, system.pbc.numpy())
    steps = 40
    for _ in range(steps):
        found = kept(system, system.cell.numpy().copy())
        assert rows(found) == rows(build_pairs(system, CUTOFF))
        assert (found.i[1:] >= found.i[:-1]).all()
        step = torch.as_tensor(rng.normal(scale=0.022, size=system.positions.shape))
        system = system._replace(positions=system.positions + step + 0.2)  # all move together too
        if cell_moves:
            strain = torch.eye(3) + torch.as_tensor(rng.normal(scale=2e-3, size=(3, 3)))
            system = system._replace(positions=system.positions @ strain, cell=system.cell @ strain)
    if cell_moves and name == "mixed":
        assert kept.searches == steps, "open directions of a cell that changes are searched anew"
    else:
        assert 1 < kept.searches < steps / 2, "candidates are kept, and searched when they must be"


def test_overlapping_atoms_are_named():
    atoms = water_box()
    kept = KeptPairs(CUTOFF, from_ase(atoms).pbc.numpy())
    system = from_ase(atoms)
    kept(system, system.cell.numpy())
    atoms.positions[7] = atoms.positions[2] + [0.0, 0.1, 0.0]
    near = from_ase(atoms)
    with pytest.raises(ValueError, match=r"atoms 2 and 7 are 0\.100 Å apart"):
        kept(near, near.cell.numpy())


def test_positions_that_are_no_numbers_are_refused():
    system = from_ase(water_box())
    kept = KeptPairs(CUTOFF, system.pbc.numpy())
    kept(system, system.cell.numpy())
    system.positions[3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        kept(system, system.cell.numpy())


def test_a_lone_atom_has_no_pairs():
    system = from_ase(cluster()[:1])
    assert len(KeptPairs(CUTOFF, system.pbc.numpy())(system, system.cell.numpy()).i) == 0
