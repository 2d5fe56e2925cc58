"""Kept candidates give the pairs of a search made anew, whatever happens between two calls."""

import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from hypothesis import given, settings

from lrcalc import neighbors
from lrcalc.neighbors import NeighborList, build_pairs, pair_vectors
from lrcalc.system import from_ase
from tests.sample_structures import TRICLINIC, water_box

CUTOFF = 3.5
CUBE = np.diag([6.0, 6.5, 7.0])


@pytest.fixture
def searches(monkeypatch):
    """Reach (Å) of each search that was made."""
    made = []
    search = neighbors._search

    def counted(positions, cell, pbc, reach):
        made.append(reach)
        return search(positions, cell, pbc, reach)

    monkeypatch.setattr(neighbors, "_search", counted)
    return made


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def outcome(search, *arguments):
    """Pairs, or the words in which they were refused."""
    try:
        return search(*arguments)
    except ValueError as error:
        return str(error)


def rows(i, j, shift):
    return sorted(zip(i.tolist(), j.tolist(), *shift.T.tolist(), strict=True))


def start(cell, pbc, seed):
    """Atoms on a grid, so that none overlap."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:22] / 3
    atoms = Atoms("O22", (grid + rng.uniform(-0.02, 0.02, grid.shape)) @ cell, cell=cell, pbc=pbc)
    atoms.numbers[::3] = 1
    return atoms


def strain(atoms, rng, size):
    deformation = np.eye(3) + rng.normal(scale=size, size=(3, 3))
    atoms.set_cell(np.asarray(atoms.cell) @ deformation, scale_atoms=True)


def wrap(atoms, rng, size):
    atoms.positions += rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc @ np.asarray(atoms.cell)


CHANGES = {
    "step": lambda a, rng, size: a.positions.__iadd__(rng.normal(scale=size, size=(len(a), 3))),
    "drift": lambda a, rng, size: a.positions.__iadd__(rng.normal(scale=50 * size, size=3)),
    "one": lambda a, rng, size: a.positions.__setitem__(3, a.positions[3] + 3 * size),
    "strain": strain,
    "cell alone": lambda a, rng, size: a.set_cell(np.asarray(a.cell) * (1 + 0.3 * size)),
    "scale": lambda a, rng, size: a.set_cell(np.asarray(a.cell) * (1 - size), scale_atoms=True),
    "wrap": wrap,
    "species": lambda a, rng, size: a.set_atomic_numbers(np.roll(a.numbers, 1)),
    "order": lambda a, rng, size: a.set_positions(a.positions[rng.permutation(len(a))]),
    "boundary": lambda a, rng, size: a.set_pbc(np.roll(a.pbc, 1)),
    "fewer": lambda a, rng, size: a.__delitem__(0) if len(a) > 10 else None,
    "nothing": lambda a, rng, size: None,
}


SIZES = st.sampled_from([0.002, 0.01, 0.05])


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    cell=st.sampled_from([CUBE, TRICLINIC * 0.6]),
    pbc=st.sampled_from([(True,) * 3, (True, True, False), (False,) * 3]),
    skin=st.sampled_from([0.0, 0.2, 0.6, 2.0]),
    changes=st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), SIZES), max_size=10),
)
def test_any_sequence_gives_the_pairs_of_a_new_search(seed, cell, pbc, skin, changes):
    rng = np.random.default_rng(seed)
    atoms, kept = start(cell, pbc, seed), NeighborList(CUTOFF, skin)
    for change, size in [("nothing", 0.0), ("step", 0.005), *changes]:
        CHANGES[change](atoms, rng, size)
        system = from_ase(atoms)
        expected = outcome(build_pairs, system, CUTOFF)
        found = outcome(kept, system)
        if isinstance(expected, str):  # atoms that overlap by now
            assert found == expected
            return
        assert same(found, expected), change
    assert rows(*found) == rows(*neighbor_list("ijS", atoms, CUTOFF))


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 1000),
    sequence=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=2, max_size=6),
)
def test_batches_may_change(seed, sequence):
    rng = np.random.default_rng(seed)
    structures = [start(CUBE, True, seed), water_box(seed=3, n=3, pbc=False), water_box(TRICLINIC)]
    kept = NeighborList(CUTOFF, 0.6)
    for members in sequence:
        for atoms in structures:
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
        system = from_ase([structures[m] for m in members])
        assert same(kept(system), build_pairs(system, CUTOFF))


def test_a_run_searches_seldom(searches):
    atoms, kept, rng = start(CUBE, True, 0), NeighborList(CUTOFF, 0.6), np.random.default_rng(0)
    velocities = rng.normal(scale=0.01, size=atoms.positions.shape)
    for _ in range(30):
        atoms.positions += velocities
        kept(from_ase(atoms))
    farthest = np.linalg.norm(velocities - velocities.mean(0), axis=1).max()
    assert len(searches) == 1 + np.ceil(29 / np.floor(0.3 / farthest + 1))
    assert searches[0] == pytest.approx(CUTOFF, abs=1e-5)  # nothing is known of what comes next
    assert np.allclose(searches[1:], CUTOFF + 0.6, atol=1e-5)


def test_a_run_at_constant_pressure_searches_seldom_too(searches):
    atoms, kept = start(TRICLINIC * 0.6, True, 0), NeighborList(CUTOFF, 0.6)
    rng = np.random.default_rng(1)
    for _ in range(30):
        strain(atoms, rng, 3e-4)
        system = from_ase(atoms)
        assert same(kept(system), build_pairs(system, CUTOFF))
    assert len(searches) - 30 < 6


def test_beads_in_several_calls_a_step_search_seldom(searches):
    """Five and three beads, as the i-PI driver shares them out, and another run in between."""
    rng, kept = np.random.default_rng(0), NeighborList(CUTOFF, 0.6)
    beads, other = [start(CUBE, True, 0) for _ in range(8)], start(CUBE, True, 5)
    other.rattle(1.0, seed=1)
    for atoms in beads:
        atoms.rattle(0.05, rng=rng)
    for _ in range(20):
        for atoms in (*beads, other):
            atoms.positions += rng.normal(scale=1e-3, size=atoms.positions.shape)
        for part in (beads[:5], beads[5:], [other]):
            system = from_ase(part)
            assert same(kept(system), build_pairs(system, CUTOFF))
    # 9 structures: at first, with the skin at the second call, and in `build_pairs`
    assert len(searches) - 20 * 9 <= 2 * 9


@pytest.mark.parametrize(("limit", "batches"), [(10_000, neighbors.MOST_BATCHES), (50, 2)])
def test_of_many_batches_a_few_are_kept(monkeypatch, limit, batches):
    monkeypatch.setattr(neighbors, "MOST_ATOMS", limit)
    kept = NeighborList(CUTOFF, 0.6)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) / 3
    for seed in range(12):
        places = np.random.default_rng(seed).permutation(grid)[:22]
        kept(from_ase(Atoms("O22", scaled_positions=places, cell=CUBE, pbc=True)))
    assert len(kept._kept) == batches


def test_unrelated_frames_are_searched_without_skin(searches):
    kept = NeighborList(CUTOFF, 0.6)
    for seed in range(4):
        atoms = start(CUBE, True, seed)
        atoms.rattle(0.2, seed=seed)
        kept(from_ase(atoms))
    assert np.allclose(searches, CUTOFF, atol=1e-5)


def test_overlapping_atoms_are_refused_at_every_call():
    atoms, kept = start(CUBE, True, 0), NeighborList(CUTOFF, 6.0)
    for _ in range(3):
        kept(from_ase(atoms))
    atoms.positions[5] = atoms.positions[4] + [0.0, 0.1, 0.0]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"atoms 4 and 5 are 0\.100 Å apart"):
            kept(from_ase(atoms))


def test_a_shell_that_lies_on_the_cutoff_is_on_the_same_side_for_both():
    crystal = bulk("NaCl", "rocksalt", a=5.64).repeat(2)
    kept = NeighborList(5.64 / np.sqrt(2), 0.6)
    rng = np.random.default_rng(0)
    for _ in range(4):
        crystal.positions += 0.1 * rng.integers(-1, 2, (1, 3))
        system = from_ase(crystal)
        assert same(kept(system), build_pairs(system, 5.64 / np.sqrt(2)))


def test_what_was_given_may_be_changed_in_place_afterwards():
    system, kept = from_ase(water_box()), NeighborList(CUTOFF, 0.6)
    for _ in range(3):
        assert same(kept(system), build_pairs(system, CUTOFF))
        system.positions.copy_(torch.flip(system.positions, [0]))
        system.cell.mul_(1.01)


def test_vectors_of_kept_pairs_have_derivatives():
    kept = NeighborList(CUTOFF, 0.6)
    system = from_ase(water_box())
    kept(system)
    system = system._replace(positions=(system.positions + 0.01).requires_grad_())
    vectors = pair_vectors(system, kept(system))
    (gradient,) = torch.autograd.grad((vectors**2).sum(), system.positions)
    (expected,) = torch.autograd.grad(
        (pair_vectors(system, build_pairs(system, CUTOFF)) ** 2).sum(), system.positions
    )
    assert torch.equal(gradient, expected)


def test_a_copy_keeps_its_settings_and_no_candidates(searches):
    kept = NeighborList(CUTOFF, 0.6)
    system = from_ase(water_box())
    kept(system)
    other = pickle.loads(pickle.dumps(kept))
    assert (other.cutoff, other.skin) == (CUTOFF, 0.6)
    assert same(other(system), kept(system))
    assert len(pickle.dumps(other)) < 500
    assert len(searches) == 2


@pytest.mark.parametrize(
    ("cutoff", "skin", "name"), [(0, 0, "cutoff"), (3, -1, "skin"), (3, np.nan, "skin")]
)
def test_numbers_without_sense_are_refused(cutoff, skin, name):
    with pytest.raises(ValueError, match=f"`{name}` is"):
        NeighborList(cutoff, skin)
