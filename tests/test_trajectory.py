"""Extended xyz keeps what ASE's own writer fails on."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ase.io import read
from ase.spacegroup import Spacegroup

from lrcalc import LRCalculator
from lrcalc.run_conditions import KEY, RunConditions, from_info, to_info
from lrcalc.trajectory import extxyz_to_traj, read_extxyz, write_extxyz
from tests.conftest import random_potential
from tests.sample_structures import water_box


@pytest.fixture
def atoms():
    structure = water_box(n=3)
    structure.calc = LRCalculator(
        random_potential(structure, level="uiu"), electric_field=(0, 0.1, 0)
    )
    structure.set_momenta(np.random.default_rng(0).normal(size=(9, 3)))
    return structure


NAMES = ["energy", "forces", "stress", "dipole", "polarization", "born_effective_charges",
         "polarizability", "charges", "electric_field", "current"]  # fmt: skip


@pytest.mark.parametrize("append", [False, True])
def test_what_is_written_comes_back(tmp_path, atoms, append):
    path = tmp_path / "run.xyz"
    for name in NAMES:
        atoms.calc.get_property(name, atoms)
    expected = dict(atoms.calc.results)
    write_extxyz(path, atoms, append=append)
    moved = atoms.copy()
    moved.positions += 0.1
    write_extxyz(path, moved, append=True)
    first, second = read_extxyz(path)
    for name in NAMES:
        assert np.shape(first.calc.results[name]) == np.shape(expected[name]), name
        np.testing.assert_allclose(first.calc.results[name], expected[name], atol=2e-8)
    np.testing.assert_allclose(first.get_forces(), expected["forces"], atol=2e-8)
    np.testing.assert_allclose(first.get_momenta(), atoms.get_momenta(), atol=2e-8)
    np.testing.assert_allclose(first.cell, atoms.cell)
    assert "born" not in first.arrays
    assert "forces" not in second.calc.results
    assert not list(tmp_path.glob(".*"))


def test_results_of_another_structure_are_not_written(tmp_path, atoms):
    atoms.get_forces()
    atoms.positions[0] += 0.1
    write_extxyz(tmp_path / "x.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "x.xyz")
    assert "forces" not in frame.calc.results


def test_what_ase_read_of_an_earlier_frame_is_not_written(tmp_path, atoms):
    """A run that starts from a frame of another one, read by ASE, has no old Born charges."""
    for name in NAMES:
        atoms.calc.get_property(name, atoms)
    write_extxyz(tmp_path / "old.xyz", atoms)
    start = read(tmp_path / "old.xyz")
    assert "born" in start.arrays
    write_extxyz(tmp_path / "same.xyz", start)
    (same,) = read_extxyz(tmp_path / "same.xyz")
    assert "born_effective_charges" in same.calc.results  # untouched: it is still of this frame
    start.calc = LRCalculator(atoms.calc.evaluator.potential)
    start.positions += 0.01
    start.get_forces()
    write_extxyz(tmp_path / "new.xyz", start)
    (frame,) = read_extxyz(tmp_path / "new.xyz")
    assert set(frame.calc.results) == {"energy", "forces"}
    assert "born" in start.arrays  # the caller's structure is as it was


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no trajectory"):
        read_extxyz(tmp_path / "none.xyz")
    (tmp_path / "bad.xyz").write_text("3\nthis is\nnot a trajectory\n")
    with pytest.raises(ValueError, match="extended xyz"):
        read_extxyz(tmp_path / "bad.xyz")


CONDITIONS = RunConditions(
    ensemble="npt", thermostat="nose-hoover", temperature=287.4, timestep=0.25,
    held="electric_displacement", value=(0.0, -1e-3, 0.1), varies=True, epsilon_infinity=1.78,
    model="my, 'own' [x]=ü.pt",
)  # fmt: skip


def everything():
    """An ion with isotopes, fixed atoms, odd cell, slab boundary and velocities."""
    atoms = water_box(n=2, pbc=(True, False, True))
    atoms.set_masses([15.999, 2.014, 1.008, 17.999, 3.016, 1.008])
    atoms.set_initial_charges([-0.8, 0.9, 0.9, -0.8, 0.4, 0.4])
    atoms.set_initial_magnetic_moments([0, 1, 0, 0, 0, -1])
    atoms.set_tags(range(6))
    atoms.set_momenta(np.random.default_rng(0).normal(size=(6, 3)))
    atoms.set_constraint([FixAtoms([1]), FixAtoms([1, 4])])
    atoms.info |= {"charge": 1.0, "step": 3, "name": 'an "ion"', **to_info(CONDITIONS)}
    return atoms


def check_same(found, expected):
    assert set(found.arrays) == set(expected.arrays)
    for name, column in expected.arrays.items():
        np.testing.assert_allclose(found.arrays[name], column, atol=1e-8, err_msg=name)
    np.testing.assert_array_equal(found.cell, expected.cell)
    np.testing.assert_array_equal(found.pbc, expected.pbc)
    fixed = [{i for c in a.constraints for i in c.index} for a in (found, expected)]
    assert fixed[0] == fixed[1]
    assert found.info == expected.info
    assert from_info(found.info) == CONDITIONS


@pytest.mark.parametrize("pbc", [True, (True, False, True), False])
def test_what_a_structure_says_comes_back(tmp_path, pbc):
    atoms = everything()
    atoms.pbc = pbc
    write_extxyz(tmp_path / "x.xyz", [atoms, atoms[:1]])
    first, second = read_extxyz(tmp_path / "x.xyz")
    check_same(first, atoms)
    assert len(second) == 1
    assert extxyz_to_traj(tmp_path / "x.xyz", tmp_path / "x.traj") == 2
    check_same(read(tmp_path / "x.traj", index=0), atoms)
    write_extxyz(tmp_path / "again.xyz", first)
    check_same(read(tmp_path / "again.xyz"), atoms)


def test_constraints_of_single_directions_come_back(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    atoms.set_constraint(FixCartesian(0, (True, False, False)))
    write_extxyz(tmp_path / "x.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "x.xyz")
    frame.set_momenta(np.ones((2, 3)))
    np.testing.assert_array_equal(frame.get_momenta(), [[0, 1, 1], [1, 1, 1]])


LOST = {
    "FixBondLength": lambda a: a.set_constraint(FixBondLength(0, 1)),
    r"info\['empty'\]": lambda a: a.info.update(empty=""),  # ASE: swallows pbc, the next entry
    r"info\['none'\]": lambda a: a.info.update(none=None),
    r"info\['back'\]": lambda a: a.info.update(back='C:\\new "x"'),
    r"info\['number'\]": lambda a: a.info.update(number="007"),
    r"info\['Lattice'\]": lambda a: a.info.update(Lattice=4),
    r"info\['cif'\]": lambda a: a.info.update(cif={"a": object()}),
    "'words'": lambda a: a.set_array("words", np.array(["a b", "c"])),
    "'tensor'": lambda a: a.set_array("tensor", np.zeros((2, 3, 3))),
    "'a:b'": lambda a: a.set_array("a:b", np.zeros(2)),
}


@pytest.mark.parametrize("what", LOST)
def test_what_the_format_cannot_hold_is_named_and_harms_nothing(tmp_path, what):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]], cell=[5, 5, 5], pbc=(True, False, False))
    plain = atoms.copy()
    LOST[what](atoms)
    with pytest.warns(UserWarning, match=f"extended xyz cannot hold .*{what}"):
        write_extxyz(tmp_path / "x.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "x.xyz")
    assert frame == plain
    assert frame.info == {}
    assert set(frame.arrays) == {"numbers", "positions"}


HELD = {
    "numbers in single precision": np.array([0.1, 0.2, np.nan], dtype=np.float32),
    "virial": np.arange(9.0).reshape(3, 3),
    "stress of another": np.arange(6.0),
    "nested": {"a": [1, 2], "b": "x"},
    "words": ["a", "b c"],
    "spacegroup": Spacegroup(225),
    "one": np.float32(0.1),
}


def test_entries_of_other_programs_are_written_without_a_word(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    atoms.info |= HELD
    write_extxyz(tmp_path / "x.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "x.xyz")
    assert set(frame.info) == set(HELD)
    assert frame.info["spacegroup"] == "F m -3 m"
    np.testing.assert_array_equal(frame.info["virial"], HELD["virial"])


def test_columns_that_a_traj_cannot_hold_are_named(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    atoms.set_array("kind", np.array([1, 2]))
    write_extxyz(tmp_path / "x.xyz", atoms)
    with pytest.warns(UserWarning, match="trajectory cannot hold the column kind"):
        extxyz_to_traj(tmp_path / "x.xyz", tmp_path / "x.traj")


def test_results_of_others_come_back(tmp_path, atoms):
    """Of every kind that ASE's format knows, and derivatives of the polarizability."""
    derivative = atoms.calc.get_property("polarizability_derivative", atoms)
    write_extxyz(tmp_path / "x.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "x.xyz")
    found = frame.calc.results["polarizability_derivative"]
    np.testing.assert_allclose(found, derivative, atol=1e-8)
    results = {"energy": 1.0, "energies": np.arange(9.0), "magmom": 2.0, "magmoms": np.ones(9),
               "dielectric_tensor": np.arange(9.0).reshape(3, 3)}  # fmt: skip
    atoms.calc = SinglePointCalculator(atoms, **results)
    write_extxyz(tmp_path / "y.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "y.xyz")
    for name, value in results.items():
        np.testing.assert_allclose(frame.calc.results[name], value, err_msg=name)
    extxyz_to_traj(tmp_path / "y.xyz", tmp_path / "y.traj")
    tensor = read(tmp_path / "y.traj").calc.results["dielectric_tensor"]
    np.testing.assert_allclose(tensor, results["dielectric_tensor"])


def test_texts_of_conditions_survive(tmp_path):
    """Backslashes and quotation marks do not get through extended xyz; the rest does."""
    told = CONDITIONS._replace(model='C:\\models\\my "best".pt')
    atoms = Atoms("H", info=to_info(told))
    write_extxyz(tmp_path / "x.xyz", atoms)
    (frame,) = read_extxyz(tmp_path / "x.xyz")
    assert from_info(frame.info) == told._replace(model="C:/models/my 'best'.pt")
    assert isinstance(frame.info[KEY], str)
