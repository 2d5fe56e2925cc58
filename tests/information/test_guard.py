"""A calculator warns once of what its model does not know, and at no cost."""

import time
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from lrcalc import LRCalculator
from lrcalc.information import guard
from lrcalc.information.reference import make_reference
from tests.conftest import random_potential
from tests.information.test_reference import shaken


@pytest.fixture(scope="module")
def potential():
    frames = shaken(20, 0.1)
    made = random_potential(frames[0])
    made.environments = make_reference(frames).content()
    return made


def warnings_of(calculator, structures):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for atoms in structures:
            calculator.calculate(atoms, ["energy"])
    return [str(w.message) for w in caught if "outside" in str(w.message)]


def test_warns_once_of_the_first_structure_outside(potential):
    inside, apart = shaken(3, 0.1, seed=1), shaken(2, 0.1, seed=2)
    assert not warnings_of(LRCalculator(potential), inside)
    for atoms in apart:
        atoms.positions[4] += 0.9
    told = warnings_of(LRCalculator(potential), [*apart, Atoms("Cu")])
    assert len(told) == 1
    assert "4" in told[0].split("lie")[0]


def test_another_composition_or_boundary_is_looked_at_when_it_comes(potential):
    inside = shaken(1, 0.1, seed=1)[0]
    open_ = inside.copy()
    open_.pbc = False
    assert len(warnings_of(LRCalculator(potential), [inside, inside, open_])) == 1
    assert len(warnings_of(LRCalculator(potential), [inside, Atoms("Cu")])) == 1


def test_results_are_there_where_warnings_are_errors(potential):
    calculator, atom = LRCalculator(potential), Atoms("Cu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="outside of what the model"):
            calculator.calculate(atom, ["energy"])
    assert calculator.get_potential_energy(atom) == calculator.results["energy"]


def test_can_be_turned_off_and_says_nothing_without_a_reference(potential):
    assert not warnings_of(LRCalculator(potential, watch=False), [Atoms("Cu")])
    bare = random_potential(shaken(1, 0.1)[0])
    assert not warnings_of(LRCalculator(bare), [Atoms("Cu")])


def test_looks_at_one_in_stride(potential, monkeypatch):
    looks = []
    real = guard.Guard._look
    monkeypatch.setattr(guard.Guard, "_look", lambda *a: looks.append(1) or real(*a))
    monkeypatch.setattr(guard, "COST", 1e9)
    calculator = LRCalculator(potential)
    run = shaken(3, 0.1, seed=1) * 20
    assert not warnings_of(calculator, run)
    assert len(looks) == 1 + (len(run) - 1) // guard.STRIDE


def test_what_it_spends_is_bounded(potential, monkeypatch):
    """A look of a second, where a step takes none: no second look."""
    looks = []
    monkeypatch.setattr(guard.Guard, "_look", lambda *a: looks.append(1) or time.sleep(0.3))
    watch, run = guard.Guard("m"), shaken(1, 0.1)
    for _ in range(200):
        watch.see(potential, run[0])
    assert len(looks) == 1


def test_copies_share_nothing(potential):
    from copy import copy

    calculator = LRCalculator(potential)
    other = copy(calculator)
    assert len(warnings_of(calculator, [Atoms("Cu")])) == 1
    assert len(warnings_of(other, [Atoms("Cu")])) == 1


@pytest.mark.parametrize("structure", ["H2O", "OH"])
def test_molecules_are_told_to_be_outside_of_the_liquid(structure):
    """The bundled model of the liquid, with its own reference."""
    assert len(warnings_of(LRCalculator("water"), [molecule(structure)])) == 1


def test_a_slab_is_outside_and_the_bundled_structure_is_not():
    from lrcalc.structures import read_structure

    water = read_structure("water64")
    assert not warnings_of(LRCalculator("water"), [water])
    water.cell[2, 2] += 15.0
    assert len(warnings_of(LRCalculator("water"), [water])) == 1
    water.pbc = (True, True, False)
    assert len(warnings_of(LRCalculator("water"), [water])) == 1
    assert np.isfinite(water.positions).all()
