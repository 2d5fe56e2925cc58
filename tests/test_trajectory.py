"""Extended xyz keeps what ASE's own writer fails on."""

import numpy as np
import pytest
from ase.io import read

from lrcalc import LRCalculator
from lrcalc.trajectory import read_extxyz, write_extxyz

from .conftest import random_potential
from .structures import water_box


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
