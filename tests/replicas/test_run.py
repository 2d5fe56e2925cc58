"""Replicas that move at once are the runs that ASE's integrators make of each alone."""

import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.constraints import FixAtoms
from scipy.special import exprel as scipys_exprel

from lrcalc import LRCalculator, load
from lrcalc.dynamics import Simulation
from lrcalc.fields import Field, Ramp
from lrcalc.integrators import RunSettings
from lrcalc.replicas.barostat import exprel
from lrcalc.replicas.run import Replicas
from tests.conftest import random_potential
from tests.sample_structures import water_box

CELL = [[6.0, 0.0, 0.0], [0.5, 6.5, 0.0], [0.0, -0.7, 7.0]]


@pytest.fixture(scope="module")
def potential():
    return load("water", dtype=torch.float64)


def dimer(pbc=True):
    """Two waters, a hydrogen bond apart, without velocities."""
    atoms, other = molecule("H2O"), molecule("H2O")
    other.rotate(90, "x")
    other.translate([0.0, 0.0, 2.9])
    atoms += other
    atoms.rattle(0.02, seed=1)
    if pbc:
        atoms.set_cell(CELL)
        atoms.pbc = pbc
    return atoms


def calculator(potential, **options):
    return LRCalculator(potential, watch=False, **options)


def settings(ensemble, **options):
    chosen = {"temperature": 300.0, "thermostat_time": 30.0, "barostat_time": 100.0, "seed": 4}
    if ensemble == "npt":
        chosen["pressure"] = 0.5
    return RunSettings(ensemble=ensemble, **{**chosen, **options})


def with_fixed():
    atoms = dimer()
    atoms.set_constraint(FixAtoms([0, 4]))
    return atoms


def with_velocities():
    atoms = dimer(pbc=False)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(6, 3)))  # which move the whole, too
    return atoms


E, VOLTAGE = {"electric_field": (0.0, 0.02, 0.05)}, {"reduced_field": (0.1, 0.2, -0.3)}
RUNS = {
    "nve": ("nve", dimer, {}, 3),
    "nve at constant D": ("nve", dimer, {"electric_displacement": (0.0, 0.0, 2e-3)}, 2),
    "nve, open, with velocities": ("nve", with_velocities, {}, 1),
    "nvt": ("nvt", dimer, {}, 3),
    "nvt in a field, fixed atoms": ("nvt", with_fixed, E, 2),
    "nvt, slab": ("nvt", lambda: dimer(pbc=[True, True, False]), {}, 2),
    "npt": ("npt", dimer, {}, 2),
    "npt at a voltage": ("npt", dimer, VOLTAGE, 1),
}


@pytest.mark.parametrize("name", RUNS)
def test_each_replica_is_the_run_of_its_seed(potential, name):
    ensemble, make, held, count = RUNS[name]
    steps = 8
    replicas = Replicas(make(), calculator(potential, **held), settings(ensemble), count)
    replicas.look(["dipole"])
    firsts = replicas.conserved()
    for _ in range(steps):
        replicas.step(["dipole"])
    frames, conserved = replicas.frames(), replicas.conserved()
    for k in range(count):
        alone = Simulation(make(), calculator(potential, **held), settings(ensemble, seed=4 + k))
        first = alone.conserved()
        for _ in range(steps):
            alone.step()
        atoms, frame = alone.atoms, frames[k]
        np.testing.assert_allclose(frame.positions, atoms.positions, rtol=0, atol=1e-9)
        np.testing.assert_allclose(frame.cell[:], atoms.cell[:], rtol=0, atol=1e-9)
        momenta = frame.get_momenta()
        np.testing.assert_allclose(momenta, atoms.get_momenta(), rtol=0, atol=1e-9)
        energy = frame.calc.results["energy"]
        np.testing.assert_allclose(energy, atoms.get_potential_energy(), rtol=0, atol=1e-9)
        dipole = alone.calculator.get_property("dipole", atoms)
        np.testing.assert_allclose(frame.calc.results["dipole"], dipole, rtol=0, atol=1e-9)
        np.testing.assert_allclose(firsts[k], first, rtol=0, atol=1e-9)
        np.testing.assert_allclose(conserved[k], alone.conserved(), rtol=0, atol=1e-9)
        np.testing.assert_allclose(replicas.temperatures()[k], alone.temperature, rtol=1e-9)
        if ensemble == "npt":
            np.testing.assert_allclose(replicas.pressures()[k], alone.pressure, rtol=1e-7)
            assert abs(frame.get_volume() - make().get_volume()) > 1e-4, "the volume moves"
        assert frame.info["run_conditions"] == atoms.info["run_conditions"]
        assert dict(alone.identity) | {"seed": 4} == {
            name: value for name, value in replicas.identity.items()
            if name not in ("engine", "replicas")
        }  # fmt: skip


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_the_conserved_quantity_goes_with_the_square_of_the_time_step(potential, ensemble):
    swings = []
    for timestep, steps in ((0.5, 24), (0.25, 48)):
        run = Replicas(dimer(), calculator(potential), settings(ensemble, timestep=timestep), 2)
        run.look()
        first, worst = run.conserved(), np.zeros(2)
        for _ in range(steps):
            run.step()
            worst = np.maximum(worst, np.abs(run.conserved() - first))
        swings.append(worst)
    # velocities of a thermostat of chance are others with another step, and so is the error
    ratio = swings[0].mean() / swings[1].mean()
    assert 2.0 < ratio < 8.0, (swings, ratio)


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_run_continued_from_its_state_is_the_whole_one(potential, ensemble):
    def make():
        return Replicas(dimer(), calculator(potential), settings(ensemble), 2)

    whole, first = make(), make()
    for _ in range(6):
        whole.step()
    for _ in range(3):
        first.step()
    state = {name: value.copy() for name, value in first.state().items()}
    second = make()
    second.restore(state)
    for _ in range(3):
        second.step()
    assert second.steps == 6
    for name, value in whole.state().items():
        np.testing.assert_allclose(second.state()[name], value, rtol=0, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(second.conserved(), whole.conserved(), rtol=0, atol=1e-11)
    other = Replicas(dimer(), calculator(potential), settings(ensemble), 3)
    with pytest.raises(ValueError, match="`replicas` was 2, now it is 3"):
        other.restore(state)


def test_a_thermostat_gives_the_canonical_distribution_of_the_kinetic_energy(potential):
    """Without forces the chain of rescalings alone: mean and variance of a gamma distribution."""
    from lrcalc.replicas.integrators import Bussi
    from lrcalc.replicas.moving import Matter, Moving

    count, atoms = 200, 5
    matter = Matter(
        torch.ones(count * atoms, 1).double(), torch.ones(count * atoms, 1).double(),
        torch.arange(count).repeat_interleave(atoms), count, atoms, 3 * atoms,
    )  # fmt: skip
    chosen = RunSettings("nvt", 0.5, 300.0, thermostat_time=1.0)
    generators = [np.random.default_rng(k) for k in range(count)]
    integrator = Bussi(matter, chosen, generators)
    place = torch.zeros(count * atoms, 3, dtype=torch.float64)
    at = Moving(place, place + 0.3, torch.zeros(count, 3, 3).double(), place[:count, 0], place)
    seen = []
    for step in range(60):
        at = integrator.step(at, lambda now: now)
        if step >= 20 and step % 4 == 0:  # two time constants apart
            seen.append(matter.kinetic(at.momenta).numpy() / (units.kB * 300.0))
    values, shape = np.concatenate(seen), 1.5 * atoms
    error = np.sqrt(shape / len(values))
    assert abs(values.mean() - shape) < 4.5 * error
    assert abs(values.var() / shape - 1.0) < 4.5 * np.sqrt(2.0 / len(values)) * 1.3
    # heat that was taken up is what the kinetic energy has grown by
    start = matter.kinetic(place + 0.3)
    gained = matter.kinetic(at.momenta) - start
    torch.testing.assert_close(integrator.transferred, gained, rtol=0, atol=1e-12)


def test_velocities_belong_to_the_current(potential):
    run = Replicas(dimer(), calculator(potential), settings("nvt"), 2)
    run.step()
    run.add(["current"])
    for frame in run.frames():
        alone = frame.copy()
        alone.calc = calculator(potential)
        expected = alone.calc.get_property("current", alone)
        np.testing.assert_allclose(frame.calc.results["current"], expected, rtol=0, atol=1e-12)


def test_what_cannot_be_accounted_for_is_refused(potential):
    with pytest.raises(ValueError, match="2 times the same run"):
        Replicas(with_velocities(), calculator(potential), settings("nve"), 2)
    Replicas(with_velocities(), calculator(potential), settings("nvt"), 2)
    ramp = Field("electric_field", Ramp((0.0, 0.0, 0.1), 100.0))
    with pytest.raises(ValueError, match=r"depends on time.*--engine ase"):
        Replicas(dimer(), calculator(potential, field=ramp), settings("nve"))
    atomic = random_potential(water_box(), level="u", charges="atomic")
    with pytest.raises(ValueError, match=r"atomic charges in a periodic cell.*--engine ase"):
        Replicas(dimer(), calculator(atomic, **E), settings("nve"))
    Replicas(dimer(pbc=False), calculator(atomic, **E), settings("nve"))
    with pytest.raises(ValueError, match="`count` is 0"):
        Replicas(dimer(), calculator(potential), settings("nve"), 0)


def test_results_that_are_no_numbers_are_refused(potential):
    run = Replicas(dimer(), calculator(potential), settings("nve"), 2)
    run.look()
    run.results["energy"][1] = torch.nan
    with pytest.raises(ValueError, match="structure 1: the model returned NaN"):
        run.frames()


def test_exprel_is_scipys():
    x = torch.tensor([-2.0, -1e-5, -1e-12, 0.0, 3e-10, 1e-7, 0.7], dtype=torch.float64)
    np.testing.assert_allclose(exprel(x).numpy(), scipys_exprel(x.numpy()), rtol=1e-14)
