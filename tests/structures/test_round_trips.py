"""Charge, isotopes, fixed atoms, a turned triclinic cell and velocities through every command."""

import json

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lrcalc import LRCalculator
from lrcalc.cli import main
from lrcalc.structures import fixed_atoms, read_structure, total_charge
from tests.structures.samples import COLUMNS, ion, saved_as


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same(found, atoms, *, velocities=True):
    np.testing.assert_array_equal(found.numbers, atoms.numbers)
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(found.cell[:], atoms.cell[:], atol=1e-7)
    np.testing.assert_array_equal(found.pbc, atoms.pbc)
    np.testing.assert_allclose(found.get_masses(), atoms.get_masses(), atol=1e-6)
    assert total_charge(found) == total_charge(atoms)
    assert fixed_atoms(found, where="x").tolist() == fixed_atoms(atoms, where="x").tolist()
    if velocities:
        np.testing.assert_allclose(found.get_momenta(), atoms.get_momenta(), atol=1e-6)


@pytest.mark.parametrize("name", ["a.xyz", "a.xyz.gz", "a.traj", "a.json", "a.db"])
def test_md(here, name, capsys):
    atoms = ion()
    saved_as(here / name, atoms)
    assert main(["md", "water", name, "--out", "run", "--steps", "1", "--every", "1"]) == 0
    assert_same(read_structure("run.xyz", 0), atoms)
    said = "".join(capsys.readouterr())
    for part in ("total charge +1 e", "3 H of 2.014 amu", "1 of 10 atoms are fixed"):
        assert part in said
    # and what it wrote starts another run
    assert main(["md", "water", "run.xyz", "--out", "two", "--steps", "1", "--every", "1"]) == 0
    assert_same(read_structure("two.xyz", 0), read_structure("run.xyz"))


@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.db"])
def test_ipi_input(here, name):
    atoms = ion(turned=False)
    saved_as(here / name, atoms)
    words = ["ipi-input", "--kind", "nve", "--structure", name, "--workdir", "run"]
    assert main(words) == 0
    back = read_structure("run/init.xyz")
    assert_same(back, atoms, velocities=False)


@pytest.mark.parametrize("name", ["a.xyz", "a.traj"])
def test_modes(here, name, monkeypatch):
    """What arrives where forces are computed."""
    import lrcalc.analysis.phonons

    seen = []

    def stop(atoms, *args, **kwargs):
        seen.append(atoms)
        raise ValueError("seen")

    atoms = ion()
    atoms.set_constraint()  # modes frees or refuses fixed atoms: tests of its own
    saved_as(here / name, atoms)
    monkeypatch.setattr(lrcalc.analysis.phonons, "from_calculator", stop)
    assert main(["modes", name, "--model", "water", "--no-relax"]) == 2
    assert_same(seen[0], atoms)


def labelled(path):
    """Frames whose energies and forces are the model's, of an ion with a charge by another name."""
    frames = []
    for shift in (0.0, 0.05):
        atoms = ion()
        atoms.positions[2, 0] += shift
        atoms.calc = LRCalculator("water", dtype="float64")
        energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        atoms.info["total_charge"] = atoms.info.pop("charge")
        frames.append(atoms)
    write(path, frames, format="extxyz", columns=[*COLUMNS, "forces"], write_results=True)
    return frames


def test_training_data(here):
    from lrcalc.training.data import make_frames, read_structures

    frames = labelled(here / "data.xyz")
    found = read_structures("data.xyz")
    for one, atoms in zip(found, frames, strict=True):
        assert_same(one, atoms)
    for frame, atoms in zip(make_frames(found, "data.xyz", 4.0), frames, strict=True):
        assert float(frame.system.total_charge) == 1.0
        np.testing.assert_allclose(frame.system.cell[0], atoms.cell[:], atol=1e-7)


def test_evaluate(here):
    """The model on its own labels: no error, which a lost charge or constraint would make."""
    labelled(here / "data.xyz")
    assert main(["evaluate", "water", "data.xyz", "--json", "e.json", "--dtype", "float64"]) == 0
    errors = json.loads((here / "e.json").read_text())["kept_out"]
    assert errors["energy"]["rmse"] < 1e-6
    assert errors["forces"]["rmse"] < 1e-6
