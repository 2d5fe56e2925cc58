"""Work of the source of a field, and what of a run's condition is said."""

import numpy as np
import pytest

from lrcalc import LRCalculator
from lrcalc.dynamics import RunSettings, Simulation
from lrcalc.field_work import source
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

VOLTAGE = np.array([0.3, -0.2, 0.5])


@pytest.fixture(scope="module")
def crystal():
    """A triclinic cell and a model with response, whose dipole depends on the field."""
    atoms = water_box(n=2)
    return atoms, random_potential(atoms, level="uiu")


HELD = {
    "electric_field": np.array([0.05, -0.02, 0.08]),
    "electric_displacement": np.array([0.001, 0.002, -0.0015]),
    "reduced_field": VOLTAGE,
}


@pytest.mark.parametrize("name", HELD)
def test_the_slope_is_the_derivative_of_the_enthalpy(crystal, name):
    """By central differences, at fixed positions and cell."""
    atoms, potential = crystal

    def enthalpy(value):
        return LRCalculator(potential, **{name: value}).get_property("energy", atoms)

    here = source(LRCalculator(potential, **{name: HELD[name]}), atoms)
    np.testing.assert_array_equal(here.value, HELD[name])
    for axis, step in enumerate(1e-3 * np.abs(HELD[name]).max() * np.eye(3)):
        slope = (enthalpy(HELD[name] + step) - enthalpy(HELD[name] - step)) / (2 * step[axis])
        np.testing.assert_allclose(here.slope[axis], slope, rtol=1e-6, atol=1e-7)


def pressure_of_branches(potential, atoms, held):
    """Pressure (GPa) with the oxygens here, and a lattice vector on."""
    found = []
    for shift in (0, 1):
        moved = atoms.copy()
        moved.positions[atoms.numbers == 8] += shift * np.asarray(atoms.cell[2])
        calculator = LRCalculator(potential, **held)
        found.append(-np.trace(calculator.get_property("stress", moved)[:3] * np.eye(3)) / 3)
    return np.array(found) / 0.006241509


@pytest.mark.parametrize("name", HELD)
def test_only_a_voltage_has_a_pressure(name):
    """The same crystal, counted otherwise: BaTiO3, all O moved by one lattice vector."""
    from tests.test_dynamics import barium_titanate

    atoms = barium_titanate()
    held = {"electric_field": (0, 0, 0.1), "electric_displacement": (0, 0, 0.02),
            "reduced_field": (0, 0, 0.4)}[name]  # fmt: skip
    here, there = pressure_of_branches("BaTiO3", atoms, {name: held})
    if name == "reduced_field":
        np.testing.assert_allclose(here, there, atol=1e-3)
    else:
        assert abs(here - there) > 0.1
    settings = RunSettings("npt")
    calculator = LRCalculator("BaTiO3", **{name: held})
    if name == "reduced_field":
        Simulation(atoms, calculator, settings)
    else:
        with pytest.warns(UserWarning, match=r"changing cell.*--voltage"):
            Simulation(atoms, calculator, settings)


def drifts(atoms, model, steps, duration):
    """Largest change of the conserved quantity at each time step, and the last simulation."""
    errors = []
    for step in steps:
        calculator = LRCalculator(
            model, dtype="float64",
            electric_field=lambda t: np.sin(t / 10) * np.array([0.1, 0.2, 0.3]),
        )  # fmt: skip
        simulation = Simulation(atoms.copy(), calculator, RunSettings("nve", step, 300.0, seed=2))
        values = [simulation.conserved()]
        for _ in range(round(duration / step)):
            simulation.step()
            values.append(simulation.conserved())
        errors.append(np.abs(np.array(values) - values[0]).max())
    return errors, simulation


def test_the_work_on_atomic_charges_goes_on_after_a_stop():
    atoms = water_box(n=2)
    atoms.set_masses([1e4] * 6)
    potential = random_potential(atoms, charges="atomic", level="u")

    def new():
        held = {"electric_field": lambda t: t / 9 * np.array([0.1, 0.2, 0.3])}
        return Simulation(atoms.copy(), LRCalculator(potential, **held), RunSettings("nvt"))

    whole, first, second = new(), new(), new()
    for _ in range(6):
        whole.step()
    for _ in range(3):
        first.step()
    second.restore(first.state())
    for _ in range(3):
        second.step()
    np.testing.assert_allclose(second.atoms.positions, whole.atoms.positions, atol=1e-12)
    np.testing.assert_allclose(second.conserved(), whole.conserved(), atol=1e-9)
    assert whole.calculator.charge_work != 0.0


BOUNDARIES = [True, (True, True, False), False]


@pytest.mark.parametrize("pbc", BOUNDARIES)
def test_a_ramp_on_atomic_charges_counts_their_work_once(pbc):
    """They enter the energy of a periodic cell by the work they do, of an open one by a dipole."""
    atoms = cluster(n=2) if pbc is False else water_box(n=2, pbc=pbc)
    atoms.set_masses([1e4] * 6)  # a random potential is steep
    potential = random_potential(atoms, charges="atomic", level="u")
    potential.metadata["epsilon_infinity"] = 1.78  # a slab's normal couples otherwise
    errors, simulation = drifts(atoms, potential, (1.0, 0.5), 20)
    assert 3 < errors[0] / errors[1] < 5, errors
    assert errors[1] < 0.03 * abs(simulation.field_work)
    assert (simulation.calculator.charge_work == 0.0) == (pbc is False)


@pytest.mark.parametrize("pbc", BOUNDARIES)
def test_local_charges_conserve_at_every_boundary(pbc):
    atoms = cluster(n=2) if pbc is False else water_box(cell=8 * np.eye(3), n=3, pbc=pbc)
    errors, simulation = drifts(atoms, "water", (0.4, 0.2), 6)
    assert 3 < errors[0] / errors[1] < 5, errors
    assert errors[1] < 0.1 * abs(simulation.field_work)


@pytest.mark.parametrize(
    ("name", "ensemble", "message"),
    [
        ("electric_displacement", "nve", "no polarization to hold"),
        ("reduced_field", "nve", "no polarization to hold"),
        ("electric_field", "npt", "no stress in a field"),
    ],
)
def test_what_atomic_charges_cannot_have_is_refused(name, ensemble, message):
    atoms = water_box(n=2)
    potential = random_potential(atoms, charges="atomic", level="u")
    calculator = LRCalculator(potential, **{name: HELD[name]})
    simulation = Simulation(atoms, calculator, RunSettings(ensemble))
    with pytest.raises(ValueError, match=message):
        simulation.step()


def test_a_new_run_starts_at_time_zero(crystal):
    """Whatever its calculator computed before."""
    atoms, potential = crystal
    calculator = LRCalculator(potential, electric_field=lambda t: (0, 0, 0.1 * t))
    calculator.time = 2.0
    calculator.get_potential_energy(atoms)
    simulation = Simulation(atoms.copy(), calculator, RunSettings())
    without = LRCalculator(potential).get_potential_energy(atoms)
    start = simulation.conserved() - simulation.atoms.get_kinetic_energy()
    np.testing.assert_allclose(start, without, atol=1e-9)
