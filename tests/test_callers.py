"""Warnings name the line of the user, whoever of ours gives them."""

import inspect

import numpy as np
import pytest
from ase.build import molecule

from lrcalc import Evaluator, LRCalculator, write_extxyz
from lrcalc.ipi import write_input
from tests.conftest import random_potential


def molecule_on_a_surface():
    """A potential that warns of molecules, and one."""
    atoms = molecule("H2O")
    potential = random_potential(atoms, level="u", channels=4, hidden=4, surface=4)
    potential.metadata["polarizability"] = {"local_field": "clausius-mossotti"}
    return potential, atoms


def from_evaluator(path):
    potential, atoms = molecule_on_a_surface()
    Evaluator(potential)([atoms], ["polarizability"])


def from_calculator(path):
    potential, atoms = molecule_on_a_surface()
    LRCalculator(potential).get_property("polarizability", atoms)


def from_ase(path):
    potential, atoms = molecule_on_a_surface()
    atoms.calc = LRCalculator(potential, also=["polarizability"])
    atoms.get_forces()


def from_writer(path):
    atoms = molecule("H2O")
    atoms.info["function"] = np.sum
    write_extxyz(path / "x.xyz", atoms)


def from_input(path):
    write_input("npt", "water64", path / "run", pressure=101.325)


WAYS = [from_evaluator, from_calculator, from_ase, from_writer, from_input]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_warning_names_the_line_of_the_user(tmp_path, way):
    lines, first = inspect.getsourcelines(way)
    with pytest.warns(UserWarning, match="molecule|cannot hold|in GPa") as said:
        way(tmp_path)
    assert [(one.filename, one.lineno) for one in said] == [(__file__, first + len(lines) - 1)]
