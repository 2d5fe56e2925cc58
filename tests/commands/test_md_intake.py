"""`lrcalc md`: what the structure file says is used, written with every frame, and read again."""

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms, FixBondLength, FixCartesian
from ase.io import read, write

from lrcalc import LRCalculator, cli
from lrcalc.dynamics import Simulation
from lrcalc.run_conditions import from_info
from lrcalc.trajectory import read_extxyz
from tests.test_dynamics import barium_titanate


def md(tmp_path, structure, *options, out="run"):
    given = ["md", "BaTiO3", str(structure), "--out", str(tmp_path / out), "--every", "1"]
    return cli.main([*given, "--timestep", "0.5", *options])


def everything(pbc):
    """A charge, isotopes, a fixed atom, a triclinic cell, velocities; the fixed atom has one."""
    atoms = barium_titanate()
    atoms.set_cell([[4.1, 0, 0], [0.3, 4.0, 0], [-0.2, 0.1, 4.2]], scale_atoms=True)
    atoms.pbc = pbc
    atoms.set_masses([137.327, 47.867, 15.999, 17.999, 15.999])
    atoms.set_momenta(np.random.default_rng(0).normal(size=(5, 3)))
    atoms.set_constraint(FixAtoms([1]))
    atoms.info["charge"] = 1.0
    return atoms


def check_same(found, expected):
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-8)
    np.testing.assert_allclose(found.cell, expected.cell, atol=1e-8)
    np.testing.assert_array_equal(found.pbc, expected.pbc)
    np.testing.assert_allclose(found.get_masses(), expected.get_masses(), atol=1e-8)
    momenta = expected.get_momenta()
    momenta[1] = 0.0
    np.testing.assert_allclose(found.get_momenta(), momenta, atol=1e-7)
    assert found.info["charge"] == 1.0
    np.testing.assert_array_equal([i for c in found.constraints for i in c.index], [1])


@pytest.mark.parametrize("ending", ["xyz", "xyz.gz", "traj"])
@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
def test_what_the_structure_says_goes_through(tmp_path, capsys, ending, pbc):
    """And through a second run, which starts from the frames of the first."""
    atoms = everything(pbc)
    write(tmp_path / f"start.{ending}", [barium_titanate(), atoms])
    assert md(tmp_path, tmp_path / f"start.{ending}", "--steps", "1", "--traj") == 0
    said = capsys.readouterr().out
    for part in ("its last frame is the start", "total charge +1 e", "1 O of 17.999 amu",
                 "1 of 5 atoms are fixed", "velocities of the file"):  # fmt: skip
        assert part in said
    assert ("no dipole is recorded" in said) == (pbc == (True, True, False))  # a charged slab
    frames = read_extxyz(tmp_path / "run.xyz")
    check_same(frames[0], atoms)
    check_same(read(tmp_path / "run.traj", index=0), atoms)
    atoms.calc = LRCalculator("BaTiO3")
    np.testing.assert_allclose(
        frames[0].get_potential_energy(), atoms.get_potential_energy(), atol=1e-4
    )
    neutral = atoms.copy()
    neutral.info = {}
    neutral.calc = LRCalculator("BaTiO3")
    assert abs(neutral.get_potential_energy() - atoms.get_potential_energy()) > 0.01
    for ending in ("xyz", "traj"):
        assert md(tmp_path, tmp_path / f"run.{ending}", "--steps", "1", out=f"from_{ending}") == 0
        check_same(read_extxyz(tmp_path / f"from_{ending}.xyz")[0], frames[-1])


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
@pytest.mark.parametrize(
    ("options", "held", "value", "varies"),
    [
        ("", "", None, False),
        ("--field 0 0.01 0", "electric_field", (0.0, 0.01, 0.0), False),
        ("--displacement 0 0 1e-3 --cycle 9", "electric_displacement", (0.0, 0.0, 1e-3), True),
        ("--voltage 0 0 .2 --ramp 7", "reduced_field", (0.0, 0.0, 0.2), True),
    ],
)
def test_frames_carry_the_conditions_of_the_run(tmp_path, ensemble, options, held, value, varies):
    barium_titanate().write(tmp_path / "start.xyz")
    options = [*options.split(), "--ensemble", ensemble, "--temperature", "150", "--traj"]
    options += ["--epsilon-infinity", "4.5"]
    for steps in ("1", "2"):  # a continued run too
        assert md(tmp_path, tmp_path / "start.xyz", "--steps", steps, *options) == 0
    frames = read_extxyz(tmp_path / "run.xyz")
    assert len(frames) == 3
    for frame in (*frames, *read(tmp_path / "run.traj", index=":")):
        told = from_info(frame.info)
        assert told.ensemble == ensemble
        assert told.thermostat == {"nve": "none", "nvt": "bussi", "npt": "nose-hoover"}[ensemble]
        assert told.timestep == 0.5
        assert (told.held, told.value, told.varies) == (held, value, varies)
        np.testing.assert_allclose(told.epsilon_infinity, 4.5)
        assert (told.model, told.dynamics, told.beads) == ("BaTiO3", "classical", 1)
        if ensemble == "nve":  # that of the start
            energy = frames[0].get_kinetic_energy()
            np.testing.assert_allclose(told.temperature, energy / (6 * units.kB), rtol=1e-6)
        else:
            assert told.temperature == 150.0


def test_the_conserved_quantity_follows_from_the_table(tmp_path):
    """By hand: enthalpy + kinetic energy + ∫ M·dE, from what the files say."""
    barium_titanate().write(tmp_path / "start.xyz")
    options = "--field 0.02 0 0.1 --cycle 12 --dtype float64 --steps 10 --temperature 100"
    assert md(tmp_path, tmp_path / "start.xyz", *options.split()) == 0
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    kinetic = [frame.get_kinetic_energy() for frame in read_extxyz(tmp_path / "run.xyz")]
    work = np.zeros(11)
    for axis in "xyz":
        moment, field = table[f"M{axis}_eA"], table[f"E{axis}_VA"]
        work[1:] += np.cumsum(0.5 * (moment[1:] + moment[:-1]) * np.diff(field))
    total = table["enthalpy_eV"] + kinetic + work
    np.testing.assert_allclose(table["conserved_eV"], total, atol=1e-6)
    assert np.ptp(work) > 0.01
    assert np.ptp(total) < 0.02 * np.ptp(work)


@pytest.mark.parametrize("option", ["--field", "--displacement", "--voltage"])
def test_a_pressure_that_depends_on_the_branch_is_said(tmp_path, capsys, option):
    barium_titanate().write(tmp_path / "start.xyz")
    options = ["--ensemble", "npt", option, "0", "0", "0.01", "--steps", "1"]
    assert md(tmp_path, tmp_path / "start.xyz", *options) == 0
    said = capsys.readouterr().err
    assert ("--voltage" in said and "branch" in said) == (option != "--voltage")


def test_voltage_raised_at_once_in_npt_is_conserved(tmp_path):
    """BaTiO3, constant after the first step: the drift was -1.2 meV/atom."""
    barium_titanate().write(tmp_path / "start.xyz")
    options = "--ensemble npt --temperature 100 --voltage 0 0 0.4 --ramp 0.5 --dtype float64"
    assert md(tmp_path, tmp_path / "start.xyz", *options.split(), "--steps", "40") == 0
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    drift = 1e3 * (table["conserved_eV"] - table["conserved_eV"][0]) / 5
    assert np.abs(drift).max() < 0.05
    assert np.ptp(table["volume_A3"]) > 2


def test_the_table_has_energies_and_pressure_to_the_last_digit(tmp_path, monkeypatch):
    barium_titanate().write(tmp_path / "start.xyz")
    conserved, seen = Simulation.conserved, []
    monkeypatch.setattr(
        Simulation, "conserved", lambda self: seen.append(conserved(self)) or seen[-1]
    )
    assert md(tmp_path, tmp_path / "start.xyz", "--ensemble", "npt", "--steps", "2") == 0
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["conserved_eV"], seen[1:], rtol=1e-14)
    for row, frame in zip(table, read_extxyz(tmp_path / "run.xyz"), strict=True):
        kinetic = 2 * frame.get_kinetic_energy() / (3 * frame.get_volume())
        pressure = kinetic - frame.get_stress()[:3].mean()
        np.testing.assert_allclose(row["pressure_GPa"] * units.GPa, pressure, atol=1e-7)
        np.testing.assert_allclose(row["enthalpy_eV"], frame.get_potential_energy(), rtol=1e-14)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (FixBondLength(0, 1), "FixBondLength"),
        (FixCartesian(0, (True, False, False)), "FixCartesian"),
        (FixAtoms(range(5)), "all atoms of the structure are fixed"),
    ],
)
def test_constraints_that_cannot_be_kept_are_refused(tmp_path, capsys, constraint, message):
    atoms = barium_titanate()
    atoms.set_constraint(constraint)
    write(tmp_path / "start.traj", atoms)
    assert md(tmp_path, tmp_path / "start.traj", "--steps", "1") == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["start.traj"]


def test_a_bundled_structure_can_be_started_from(tmp_path, capsys):
    given = ["md", "water", "water64", "--out", str(tmp_path / "run"), "--steps", "1"]
    assert cli.main(given) == 0
    assert "velocities drawn at 300 K" in capsys.readouterr().out


def test_a_file_with_one_frame_is_not_called_many(tmp_path, capsys):
    barium_titanate().write(tmp_path / "start.xyz")
    assert md(tmp_path, tmp_path / "start.xyz", "--steps", "1") == 0
    assert "last frame" not in capsys.readouterr().out


def energy_with_charge(atoms, charge):
    """Energy by the calculator, of an ion that is said to be one, or a neutral molecule."""
    atoms = atoms.copy()
    atoms.info = {"charge": charge}
    atoms.calc = LRCalculator("water", dtype="float64")
    return atoms.get_potential_energy()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["charge/h3o.xyz", "masses/d2o.xyz", "masses/mass.xyz",
                                  "masses/D.xyz", "constraints/fix.vasp"])  # fmt: skip
def test_cases_run_as_they_say(tmp_path, shared, name):
    """``cases/README.md``: energy of the ion, masses of D, atoms that stay."""
    given = ["md", "water", str(shared / "cases" / name), "--out", str(tmp_path / "run")]
    assert cli.main([*given, "--steps", "2", "--every", "2"]) == 0
    first, last = read_extxyz(tmp_path / "run.xyz")
    if name.startswith("charge"):
        ion = read(shared / "cases" / name)
        one, none = (energy_with_charge(ion, charge) for charge in (1, 0))
        assert abs(one - none) > 0.05
        np.testing.assert_allclose(first.get_potential_energy(), one, atol=2e-4)
    elif name.startswith("masses"):
        heavy = last.get_masses()[last.numbers == 1]
        np.testing.assert_allclose(heavy * 1822.888486, 3671.3, rtol=1e-4)
    else:
        held = last.constraints[0].index
        assert 0 < len(held) < len(last)
        np.testing.assert_array_equal(last.positions[held], first.positions[held])
        assert (np.delete(last.positions - first.positions, held, 0) != 0).any(1).all()
