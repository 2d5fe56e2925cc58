"""Velocities at the start, and the degrees of freedom that share the temperature."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.constraints import FixAtoms, FixBondLength, FixCartesian

from lrcalc import LRCalculator
from lrcalc.dynamics import RunSettings, Simulation
from lrcalc.velocities import draw_velocities
from tests.conftest import random_potential
from tests.sample_structures import water_box


@pytest.fixture(scope="module")
def model():
    return random_potential(water_box(n=2))


def start(model, change=lambda atoms: None, settings=None, held=None, **pbc):
    atoms = water_box(n=2, **pbc)
    change(atoms)
    calculator = LRCalculator(model, **(held or {}))
    return Simulation(atoms, calculator, settings or RunSettings("nvt"))


def drifting(atoms):
    momenta = np.random.default_rng(0).normal(size=(6, 3))
    atoms.set_momenta(momenta - momenta.mean(0) + 0.5)


def standing(atoms):
    """As a file has it: eight digits, which add up to nearly nothing."""
    momenta = np.random.default_rng(0).normal(size=(6, 3))
    atoms.set_momenta((momenta - momenta.mean(0)).round(8) + 1e-8)


@pytest.mark.parametrize(
    ("change", "degrees"),
    [
        (lambda a: None, 15),
        (standing, 15),
        (drifting, 18),
        (lambda a: a.set_constraint(FixAtoms([0])), 15),
        (lambda a: a.set_constraint([FixAtoms([0, 1]), FixAtoms([1])]), 12),
        (lambda a: a.set_constraint(FixCartesian([0, 2])), 12),
        (lambda a: a.set_constraint(FixAtoms(range(5))), 3),
    ],
)
def test_what_shares_the_temperature_is_counted(model, change, degrees):
    simulation = start(model, change)
    assert simulation.degrees_of_freedom == degrees
    assert simulation.integrator.ndof == degrees
    energy = simulation.atoms.get_kinetic_energy()
    np.testing.assert_allclose(simulation.temperature, 2 * energy / (degrees * units.kB))


def test_a_net_charge_in_a_field_is_pushed_as_a_whole(model):
    def charge(atoms):
        atoms.info["charge"] = 1.0

    assert start(model, charge, pbc=False).degrees_of_freedom == 15
    pushed = start(model, charge, held={"electric_field": (0, 0, 0.1)}, pbc=False)
    assert pushed.degrees_of_freedom == 18
    assert any("accelerates" in note for note in pushed.notes)


@pytest.mark.parametrize("fixed", [[], [0, 4]])
def test_bussi_samples_its_distribution(model, fixed):
    """Kinetic energy: mean f/2 k_BT and variance f/2 (k_BT)², with f as counted."""
    simulation = start(
        model,
        lambda a: a.set_constraint(FixAtoms(fixed)) or a.set_masses([2.014, *[16, 1] * 2, 1]),
        RunSettings("nvt", 1.0, 300.0, thermostat_time=1.0, seed=4),
    )
    energies = []
    for _ in range(20000):
        simulation.integrator.scale_velocities()
        energies.append(simulation.atoms.get_kinetic_energy())
    f, kt = 12 if fixed else 15, units.kB * 300.0
    np.testing.assert_allclose(np.mean(energies), f / 2 * kt, rtol=0.015)
    np.testing.assert_allclose(np.var(energies), f / 2 * kt**2, rtol=0.06)
    np.testing.assert_allclose(
        simulation.integrator.transferred_energy, energies[-1] - initial(simulation), atol=1e-9
    )


def initial(simulation):
    """Kinetic energy at the start of a simulation of the same seed."""
    atoms = simulation.atoms.copy()
    fixed = np.isin(range(6), [i for c in atoms.constraints for i in c.index])
    draw_velocities(atoms, 300.0, np.random.default_rng(4), fixed)
    return atoms.get_kinetic_energy()


def test_the_chain_of_npt_rests_at_the_temperature(model):
    """Its thermostat is at rest, on average, where the counted degrees have the temperature."""
    simulation = start(model, settings=RunSettings("npt", 1e-9, 300.0))
    atoms = simulation.atoms
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(300.0 / simulation.temperature))
    integrator = Simulation(atoms, simulation.calculator, simulation.settings).integrator
    integrator.step()
    rate = integrator._thermostat._p_eta[0] / integrator.dt
    assert abs(rate) < 1e-6 * 15 * units.kB * 300.0


def test_velocities_are_drawn_for_what_moves():
    """Each direction of each atom has k_BT, whatever its mass."""
    atoms = Atoms("HOBaTi" * 5000, positions=np.arange(60000).reshape(20000, 3))
    fixed = np.zeros(20000, dtype=bool)
    for hold in (False, True):
        fixed[:40:2] = hold
        draw_velocities(atoms, 300.0, np.random.default_rng(1), fixed)
        energies = atoms.get_momenta() ** 2 / atoms.get_masses()[:, None] / (units.kB * 300)
        for kind in range(4):
            moving = energies[kind::4][~fixed[kind::4]]
            np.testing.assert_allclose(moving.mean(0), 1.0, atol=0.06)
        assert (energies[fixed] == 0).all()
        assert (np.abs(atoms.get_momenta().sum(0)).max() < 1e-9) == (not hold)


def test_what_the_structure_says_of_velocities_is_said(model):
    assert start(model).notes == ["velocities drawn at 300 K"]
    zero = start(model, lambda a: a.set_momenta(np.zeros((6, 3))))
    assert zero.notes == ["velocities drawn at 300 K, because those of the structure are zero"]
    assert start(model, standing).notes == []
    (note,) = start(model, drifting).notes
    assert "moves as a whole" in note

    def held(atoms):
        atoms.set_momenta(np.ones((6, 3)))
        atoms.constraints = [FixAtoms([0])]

    simulation = start(model, held)
    assert simulation.notes == ["velocities of fixed atoms set to zero"]
    np.testing.assert_array_equal(simulation.atoms.get_momenta()[0], 0)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (FixBondLength(0, 1), "FixBondLength.*molecular dynamics"),
        (FixCartesian(0, (True, False, False)), "FixCartesian"),
        (FixAtoms(range(6)), "all atoms .* fixed"),
    ],
)
def test_other_constraints_are_refused_by_name(model, constraint, message):
    with pytest.raises(ValueError, match=message):
        start(model, lambda a: a.set_constraint(constraint))


@pytest.mark.long
@pytest.mark.parametrize(("ensemble", "fixed"), [("nvt", []), ("npt", []), ("nvt", [1])])
def test_each_atom_gets_its_share(ensemble, fixed):
    """Equipartition: ``(1 - m/M) 3/2 k_BT`` where the whole stands still, ``3/2 k_BT`` else.

    Counting the whole, as ASE does, would make five atoms 25 % too hot.
    """
    from tests.test_dynamics import barium_titanate

    atoms = barium_titanate()
    if fixed:
        atoms.set_constraint(FixAtoms(fixed))
    settings = RunSettings(ensemble, 2.0, 300.0, thermostat_time=20.0, barostat_time=200.0)
    simulation = Simulation(atoms, LRCalculator("BaTiO3"), settings)
    energies, volume = [], atoms.get_volume()
    for step in range(6000):
        simulation.step()
        if step > 500:
            energies.append((atoms.get_momenta() ** 2).sum(1) / (2 * atoms.get_masses()))
    assert ensemble == "npt" or atoms.get_volume() == volume
    share = np.mean(energies, axis=0) / (1.5 * units.kB * 300.0)
    mass = atoms.get_masses()
    expected = np.ones(5) if fixed else 1 - mass / mass.sum()
    expected[fixed] = 0.0
    np.testing.assert_allclose(share.sum(), expected.sum(), rtol=0.08)
    np.testing.assert_allclose(share, expected, atol=0.25)
