"""ASE's own tools on an LRCalculator: vibrations, strains, bands, filters, sums, files, dynamics.

None of lrcalc is on the other side: what is right comes from ASE's finite differences, from its
other calculators, or from what was written.
"""

import json
import warnings

import numpy as np
import pytest
from ase import Atoms, spacegroup, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.filters import FrechetCellFilter
from ase.io import Trajectory, read, write
from ase.md.langevin import Langevin
from ase.mep import NEB
from ase.optimize import BFGS
from ase.vibrations import Infrared, Vibrations

from lrcalc import LRCalculator, read_extxyz, write_extxyz
from tests.conftest import random_potential
from tests.sample_structures import water_box

SMALL = {"channels": 2, "hidden": 4, "cutoff": 3.0}
BOX = water_box(n=2)
MODEL = random_potential(BOX, level="uiu", **SMALL)
MODEL.readout.weight.mul_(0.05)  # random forces tear a structure apart
HELD = {
    "no field": {},
    "E": {"electric_field": (0.05, -0.1, 0.15)},
    "D": {"electric_displacement": (1e-3, 2e-3, -1e-3)},
    "voltage": {"reduced_field": (0.3, -0.2, 0.5)},
}
IN_AND_OUT = {name: HELD[name] for name in ("no field", "E")}


def calculator(**options):
    return LRCalculator(MODEL, **options)


def alpha_quartz():
    """Nine atoms, trigonal."""
    return spacegroup.crystal(
        ["Si", "O"], [(0.46468, 0, 2 / 3), (0.4125, 0.2774, 0.7784)], spacegroup=154,
        cellpar=[4.8734, 4.8734, 5.3742, 90, 90, 120],
    )  # fmt: skip


@pytest.fixture
def atoms():
    structure = BOX.copy()
    structure.calc = calculator(**HELD["E"])
    return structure


@pytest.mark.parametrize("held", HELD)
def test_numerical_forces_and_stress(held):
    """Triclinic cell; ASE deforms it. At constant E, D or voltage, like the energy."""
    structure = BOX.copy()
    structure.calc = calculator(**HELD[held])
    forces = calculate_numerical_forces(structure, eps=2e-5)
    np.testing.assert_allclose(structure.get_forces(), forces, atol=1e-6)
    stress = calculate_numerical_stress(structure, eps=2e-5)
    # waves enter the Ewald sum as the cell changes: differences of energies know that
    np.testing.assert_allclose(structure.get_stress(), stress, atol=2e-6, rtol=2e-4)
    full = structure.get_stress(voigt=False)
    np.testing.assert_array_equal(full, full.T)
    np.testing.assert_array_equal(structure.get_stress(), full.ravel()[[0, 4, 8, 5, 2, 1]])


@pytest.mark.parametrize("held", IN_AND_OUT)
def test_vibrations_and_infrared(held, tmp_path):
    """ASE's Hessian is symmetric, its dipole derivatives are the Born charges."""
    molecule = BOX[:3]
    molecule.set_pbc(False)
    molecule.set_cell(None)
    molecule.calc = calculator(**HELD[held])
    vibrations = Vibrations(molecule, name=str(tmp_path / "vib"), delta=1e-3)
    vibrations.run()
    hessian = vibrations.get_vibrations().get_hessian_2d()
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-4)
    infrared = Infrared(molecule, name=str(tmp_path / "ir"), delta=1e-3)
    infrared.run()
    assert len(infrared.get_frequencies()) == 9
    born = molecule.calc.get_property("born_effective_charges", molecule)
    for atom in range(3):
        for axis in range(3):
            dipoles = []
            for sign in (1, -1):
                moved = molecule.copy()
                moved.positions[atom, axis] += sign * 1e-4
                moved.calc = molecule.calc
                dipoles.append(moved.get_dipole_moment())
            slope = (dipoles[0] - dipoles[1]) / 2e-4
            np.testing.assert_allclose(slope, born[atom, :, axis], atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_a_band_of_images(shared):
    """One calculator for all images gives the same band as one for each."""
    first, last = BOX.copy(), BOX.copy()
    last.positions[0] += 0.2
    images = [first, first.copy(), first.copy(), last]
    one = calculator()
    for image in images:
        image.calc = one if shared else calculator()
    band = NEB(images, allow_shared_calculator=shared, method="improvedtangent")
    band.interpolate()
    BFGS(band, logfile=None).run(steps=2)
    for image in images[1:-1]:
        alone = image.copy()
        alone.calc = calculator()
        np.testing.assert_allclose(
            image.get_potential_energy(), alone.get_potential_energy(), rtol=1e-10
        )
        np.testing.assert_allclose(image.get_forces(), alone.get_forces(), atol=1e-9)


def test_a_crystal_relaxes_with_its_cell():
    crystal = alpha_quartz()
    crystal.calc = LRCalculator("SiO2", dtype="float64")
    crystal.set_cell(crystal.cell * 1.01, scale_atoms=True)
    start = crystal.get_potential_energy()
    optimizer = BFGS(FrechetCellFilter(crystal), logfile=None)
    assert optimizer.run(fmax=0.05, steps=40)
    assert crystal.get_potential_energy() < start - 1e-3
    assert np.abs(crystal.get_stress()).max() * crystal.get_volume() < 0.15
    numerical = calculate_numerical_stress(crystal, eps=1e-4)
    np.testing.assert_allclose(crystal.get_stress(), numerical, atol=3e-5)


def test_a_sum_with_a_pair_potential():
    """Also while one calculator serves both the sum and a structure of its own."""
    other = {"sigma": 2.0, "epsilon": 0.01, "rc": 4.0, "smooth": True}
    ours = calculator(**HELD["E"])
    structure, elsewhere = BOX.copy(), BOX.copy()
    elsewhere.rattle(0.05, seed=3)
    structure.calc = SumCalculator([ours, LennardJones(**other)])
    for _ in range(2):
        structure.rattle(0.01, seed=1)
        elsewhere.calc = ours
        elsewhere.get_stress()
        parts = []
        for part in (calculator(**HELD["E"]), LennardJones(**other)):
            copy = structure.copy()
            copy.calc = part
            parts.append((copy.get_potential_energy(), copy.get_forces(), copy.get_stress()))
        whole = (structure.get_potential_energy(), structure.get_forces(), structure.get_stress())
        for value, *summands in zip(whole, *parts, strict=True):
            np.testing.assert_allclose(value, sum(summands), rtol=1e-10, atol=1e-12)
    BFGS(FrechetCellFilter(structure), logfile=None).run(steps=2)


def all_results(structure):
    for name in ("stress", "dipole", "charges", "polarization", "polarizability"):
        structure.calc.get_property(name, structure)
    return dict(structure.calc.results)


def test_databases(atoms, tmp_path):
    """Results, dipole and the field under which they were obtained survive."""
    expected = all_results(atoms)
    atoms.calc.get_property("born_effective_charges", atoms)  # does not disturb it
    with connect(tmp_path / "runs.db") as database:
        database.write(atoms, label="a")
    row = connect(tmp_path / "runs.db").get(1)
    assert row.calculator == "lrcalculator"
    assert row.calculator_parameters["electric_field"] == list(HELD["E"]["electric_field"])
    back = row.toatoms()
    for name in ("energy", "forces", "stress", "dipole", "charges"):
        np.testing.assert_allclose(back.calc.results[name], expected[name], err_msg=name)


def test_trajectories(atoms, tmp_path):
    """Born charges and polarization too; frames keep what was theirs."""
    expected = []
    with Trajectory(str(tmp_path / "run.traj"), "w", atoms) as trajectory:
        for _ in range(2):
            all_results(atoms)
            atoms.calc.get_property("born_effective_charges", atoms)
            expected.append(dict(atoms.calc.results))
            trajectory.write()
            atoms.positions[0] += 0.01
    frames = read(tmp_path / "run.traj", index=":")
    names = ["energy", "forces", "stress", "dipole", "charges", "polarization",
             "born_effective_charges"]  # fmt: skip
    for frame, results in zip(frames, expected, strict=True):
        for name in names:
            np.testing.assert_allclose(frame.calc.results[name], results[name], err_msg=name)
        assert frame.calc.parameters["electric_field"] == list(HELD["E"]["electric_field"])
    assert np.abs(expected[0]["dipole"] - expected[1]["dipole"]).max() > 1e-4


def test_extended_xyz(atoms, tmp_path):
    """ASE writes what it knows; Born charges, on which it fails, need lrcalc's own writer."""
    expected = all_results(atoms)
    write(tmp_path / "ase.xyz", atoms)
    results = read(tmp_path / "ase.xyz").calc.results
    for name in ("energy", "forces", "stress", "dipole", "charges"):
        np.testing.assert_allclose(results[name], expected[name], atol=1e-8, err_msg=name)
    atoms.calc.get_property("born_effective_charges", atoms)
    expected = dict(atoms.calc.results)
    with pytest.raises(ValueError, match="broadcast"):
        write(tmp_path / "failed.xyz", atoms)
    write_extxyz(tmp_path / "own.xyz", atoms)
    results = read_extxyz(tmp_path / "own.xyz")[0].calc.results
    for name in set(expected) - {"free_energy"}:
        np.testing.assert_allclose(results[name], expected[name], atol=1e-7, err_msg=name)


def test_writers_of_structures(atoms, tmp_path):
    atoms.get_forces()
    for name in ("a.vasp", "a.cif", "a.json", "a.gen", "a.pdb"):
        write(tmp_path / name, atoms)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file format about its own limits
            assert len(read(tmp_path / name)) == len(atoms)
    assert json.loads((tmp_path / "a.json").read_text())


def test_results_as_a_single_point(atoms):
    expected = all_results(atoms)
    frozen = atoms.copy()
    frozen.calc = SinglePointCalculator(frozen, **{
        k: v for k, v in atoms.calc.export_properties().items() if k != "natoms"
    })  # fmt: skip
    atoms.positions += 0.05
    atoms.get_forces()
    np.testing.assert_array_equal(frozen.get_forces(), expected["forces"])
    np.testing.assert_array_equal(frozen.get_dipole_moment(), expected["dipole"])
    several = atoms.calc.calculate_properties(atoms, ["energy", "forces", "dipole"])
    np.testing.assert_array_equal(several["forces"], atoms.get_forces())


def test_dynamics_with_a_trajectory(atoms, tmp_path):
    """Every frame of a Langevin run holds the forces of its own positions."""
    atoms.calc.also = ("dipole",)
    atoms.set_momenta(0.01 * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = Langevin(
        atoms, timestep=0.5 * units.fs, temperature_K=50, friction=0.01, fixcm=False, logfile=None,
        trajectory=str(tmp_path / "md.traj"), rng=np.random.default_rng(1),
    )  # fmt: skip
    dynamics.run(4)
    frames = read(tmp_path / "md.traj", index=":")
    assert len(frames) == 5
    for frame in frames:
        alone = frame.copy()
        alone.calc = calculator(**HELD["E"])
        np.testing.assert_allclose(frame.get_forces(), alone.get_forces(), atol=1e-9)
        np.testing.assert_allclose(frame.get_dipole_moment(), alone.get_dipole_moment(), atol=1e-9)


def test_properties_by_ases_rules(atoms):
    calc = atoms.calc
    assert calc.get_property("dipole", atoms, allow_calculation=False) is None
    dipole = atoms.get_dipole_moment()
    np.testing.assert_array_equal(
        calc.get_property("dipole", atoms, allow_calculation=False), dipole
    )
    assert calc.get_property("forces", atoms, allow_calculation=False) is None
    np.testing.assert_allclose(atoms.get_charges().sum(), 0.0, atol=1e-9)
    np.testing.assert_allclose(
        calc.get_property("polarization", atoms), dipole / atoms.get_volume(), rtol=1e-12
    )
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_magnetic_moment()
    salt = bulk("NaCl", "rocksalt", a=5.6)
    salt.calc = calc
    with pytest.raises(ValueError, match="atomic numbers"):
        salt.get_potential_energy()
    assert not calc.results
    assert isinstance(calc.get_property("energy", Atoms(BOX)), float)
