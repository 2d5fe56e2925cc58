"""LRCalculator: ASE's rules, changing fields, the branch of the dipole."""

import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet

from lrcalc import LRCalculator
from lrcalc.calculator import STILL
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box


@pytest.fixture(scope="module")
def potential():
    return random_potential(water_box(n=3), level="uiu")


@pytest.fixture
def atoms(potential):
    structure = water_box(n=3)
    structure.calc = LRCalculator(potential)
    return structure


def count_calls(calculator):
    calls = []
    evaluator = calculator.evaluator

    def counting(structures, properties):
        calls.append(set(properties))
        return evaluator(structures, properties)

    class Counting:
        def __getattr__(self, name):
            return getattr(evaluator, name)

        def __call__(self, structures, properties):
            return counting(structures, properties)

    calculator.evaluator = Counting()
    return calls


def test_results_are_cached_by_the_rules_of_ase(atoms):
    calls = count_calls(atoms.calc)
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_potential_energy(force_consistent=True)
    assert calls == [{"energy", "forces"}]
    atoms.get_stress()
    assert len(calls) == 2
    atoms.get_dipole_moment()
    atoms.get_forces()
    assert len(calls) == 3
    assert "born_effective_charges" not in set().union(*calls)
    atoms.positions[0] += 0.01
    atoms.get_forces()
    assert len(calls) == 4
    atoms.set_cell(1.01 * atoms.cell)
    atoms.get_forces()
    assert len(calls) == 5
    atoms.calc.electric_field = (0, 0, 0.1)
    atoms.get_forces()
    assert len(calls) == 6


def test_shapes_and_orders(atoms):
    calc = atoms.calc
    full = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(
        atoms.get_stress(), full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], atol=1e-15
    )
    n = len(atoms)
    shapes = {
        "dipole": (3,), "polarization": (3,), "born_effective_charges": (n, 3, 3),
        "polarizability": (3, 3), "polarizability_derivative": (n, 3, 3, 3), "charges": (n,),
        "current": (3,), "free_energy": (),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert np.shape(calc.get_property(name, atoms)) == shape, name
        assert name in calc.implemented_properties
    np.testing.assert_allclose(
        calc.get_property("polarization", atoms) * atoms.get_volume(), atoms.get_dipole_moment()
    )


def test_field_changes_between_steps_and_is_reported(atoms):
    calc = atoms.calc
    plain = atoms.get_potential_energy()
    dipole = atoms.get_dipole_moment()
    calc.electric_field = (0, 0, 1e-6)
    energy = atoms.get_potential_energy()
    np.testing.assert_allclose(energy - plain, -1e-6 * dipole[2], rtol=1e-4)
    np.testing.assert_array_equal(calc.results["electric_field"], (0, 0, 1e-6))
    calc.electric_field = None
    assert atoms.get_potential_energy() == plain
    calc.electric_displacement = (0, 0, 1e-3)
    atoms.get_potential_energy()
    assert np.abs(calc.results["electric_field"]).max() > 1e-3


def test_charge_and_velocities_belong_to_the_state(potential):
    atoms = water_box(n=3)
    atoms.calc = LRCalculator(potential)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert abs(atoms.get_potential_energy() - neutral) > 1e-3
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    current = atoms.calc.get_property("current", atoms)
    atoms.set_momenta(-2 * atoms.get_momenta())
    np.testing.assert_allclose(atoms.calc.get_property("current", atoms), -2 * current, rtol=1e-9)
    with pytest.raises(ValueError, match="`also` is"):
        LRCalculator(potential, also=["current"])


def test_results_are_of_one_field(potential):
    """Energy and stress are asked for one after the other while the clock goes on."""
    atoms = water_box(n=3)

    def field(time):
        return 0, 0, 1e-3 * time

    atoms.calc = LRCalculator(potential, electric_field=field)
    first = atoms.get_potential_energy()
    atoms.calc.time = 100.0
    assert atoms.get_potential_energy() == first  # of the time it was computed at
    atoms.get_stress()
    steady = LRCalculator(potential, electric_field=field(100))
    np.testing.assert_allclose(
        atoms.calc.results["energy"], steady.get_potential_energy(atoms), rtol=1e-12
    )
    assert abs(atoms.calc.results["energy"] - first) > 1e-4


def test_a_clock_that_stands_still_is_noticed(potential):
    atoms = water_box(n=3)
    atoms.calc = LRCalculator(potential, electric_field=lambda time: (0, 0, 1e-3 * time))

    def walk():
        for _ in range(STILL + 1):
            atoms.positions += 1e-4
            atoms.get_potential_energy()

    with pytest.warns(UserWarning, match="must set `calculator.time`") as said:
        walk()
    assert [one.filename for one in said] == [__file__]
    atoms.calc.time += 1.0  # somebody sets it now: warnings are errors in these tests
    atoms.positions += 1e-4
    assert np.isfinite(atoms.get_potential_energy())


def test_what_the_calculator_hands_out_cannot_change_it(potential):
    calculator = LRCalculator(potential, electric_field=(0, 0, 0.1))
    with pytest.raises(ValueError, match="read-only"):
        calculator.electric_field[2] = 0.2


def test_a_refused_field_leaves_the_old_one(potential):
    calculator = LRCalculator(potential, electric_field=lambda time: (0, 0, time))
    with pytest.raises(ValueError, match="`electric_field` is 'abc'"):
        calculator.electric_field = "abc"
    assert calculator.varies


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda: (0, 0, 1), "cannot be called with the time"), (lambda time: None, "lack a `return`")],
)
def test_bad_functions_are_named(potential, function, message):
    with pytest.raises(ValueError, match=message):
        LRCalculator(potential, electric_field=function)


def test_unrelated_structures_do_not_share_a_branch(potential):
    """The enthalpy of a frame must not depend on the frames that were looked at before."""
    atoms = water_box(n=3)
    other = atoms.copy()
    other.positions = other.positions[::-1] @ np.diag([1, -1, 1]) + 0.3 * atoms.cell[0]
    other.wrap()
    calculator = LRCalculator(potential, electric_field=(0, 0, 0.1))
    alone = calculator.get_potential_energy(other)
    for structure in (atoms, other, atoms, other):
        again = calculator.get_potential_energy(structure)
    assert again == alone


def test_callable_field_is_taken_at_the_calculators_time(potential):
    atoms = water_box(n=3)
    atoms.calc = LRCalculator(potential, electric_field=lambda t: (0, 0, 0.01 * t))
    atoms.get_forces()
    np.testing.assert_array_equal(atoms.calc.results["electric_field"], 0.0)
    atoms.calc.time = 5.0
    atoms.positions[0] += 1e-3
    atoms.get_forces()
    np.testing.assert_allclose(atoms.calc.results["electric_field"], (0, 0, 0.05))


def test_a_callable_that_returns_nonsense_is_named(potential):
    with pytest.raises(ValueError, match="three finite numbers"):
        LRCalculator(potential, electric_field=lambda t: 0.1)


def test_dipole_and_enthalpy_stay_on_their_branch_when_atoms_are_wrapped(potential):
    atoms = water_box(n=3)
    atoms.calc = LRCalculator(potential, electric_field=(0.1, 0, 0.05))
    dipole, energy = atoms.get_dipole_moment(), atoms.get_potential_energy()
    atoms.positions[2] += atoms.cell[0] - atoms.cell[2]
    np.testing.assert_allclose(atoms.get_dipole_moment(), dipole, atol=1e-9)
    np.testing.assert_allclose(atoms.get_potential_energy(), energy, atol=1e-9)
    atoms.calc.reset_branch()
    quantum = atoms.calc.dipole_quantum(atoms)[atoms[2].symbol]
    expected = dipole + quantum[0] - quantum[2]
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected, atol=1e-9)
    assert np.abs(expected - dipole).max() > 0.1


def test_an_atom_that_has_gone_round_the_cell_has_carried_its_constant(potential):
    """∮ born·dr of local charges, whatever the Born charge was on the way."""
    atoms = water_box(n=2)
    atoms.calc = LRCalculator(potential, dtype="float64")
    jump = atoms.calc.dipole_quantum(atoms)["H"][2]
    hydrogen = atoms.get_chemical_symbols().index("H")
    others = np.delete(atoms.get_scaled_positions(), hydrogen, axis=0)
    line = _lane(others)
    n, carried, seen = 96, np.zeros(3), []
    for k in range(n):  # periodic: the trapezoidal rule is exact to all orders
        atoms.positions[hydrogen] = np.array([*line, k / n]) @ atoms.cell.array
        born = atoms.calc.get_property("born_effective_charges", atoms)[hydrogen]
        carried += born @ atoms.cell.array[2] / n
        seen.append(born[2, 2])
    np.testing.assert_allclose(carried, jump, atol=2e-3 * np.abs(jump).max() + 1e-4)
    assert np.ptp(seen) > 0.1


def _lane(others):
    """Where along the third axis there is most room, in scaled coordinates."""
    grid = np.stack(np.meshgrid(*[np.arange(20) / 20] * 2), axis=-1).reshape(-1, 1, 2)
    apart = np.abs((grid - others[None, :, :2] + 0.5) % 1 - 0.5)
    return grid[np.linalg.norm(apart, axis=2).min(1).argmax(), 0]


def test_work_of_a_field_on_atomic_charges(potential):
    """Without an enthalpy the energy is minus the accumulated work of E·born."""
    atoms = water_box(n=3)
    field = np.array([0.05, -0.1, 0.02])
    model = random_potential(atoms, level="u", charges="atomic")
    plain = LRCalculator(model)
    atoms.calc = LRCalculator(model, electric_field=field)
    start = atoms.get_potential_energy() - plain.get_potential_energy(atoms)
    rng = np.random.default_rng(0)
    work = 0.0
    for _ in range(3):
        before = atoms.get_forces() - plain.get_forces(atoms)
        step = 1e-3 * rng.normal(size=(len(atoms), 3))
        atoms.positions += step
        after = atoms.get_forces() - plain.get_forces(atoms)
        work += 0.5 * ((before + after) * step).sum()
    change = atoms.get_potential_energy() - plain.get_potential_energy(atoms) - start
    # the dipoles' part is a true energy, the charges' part the trapezoidal sum of this loop
    np.testing.assert_allclose(change, -work, rtol=1e-4)


@pytest.mark.parametrize("held", [{}, {"electric_field": (0, 0, 0.02)},
                                  {"electric_displacement": (0, 0, 1e-4)}])  # fmt: skip
def test_dynamics_conserves_energy(held):
    """Halving the step quarters the error: what is integrated is a gradient."""
    atoms = cluster(n=2)
    atoms.positions *= 1.3
    atoms.set_cell(12 * np.eye(3))
    atoms.pbc = True
    potential = random_potential(atoms, level="uiu")
    potential.readout.weight.mul_(0.05)  # random forces tear a structure apart
    errors = []
    for step in (0.1, 0.05):
        trial = atoms.copy()
        trial.calc = LRCalculator(potential, **held)
        velocities = np.random.default_rng(0).normal(size=(len(trial), 3))
        trial.set_velocities(0.01 * velocities / np.sqrt(trial.get_masses())[:, None])
        start = trial.get_total_energy()
        dynamics = VelocityVerlet(trial, timestep=step * units.fs)
        energies = []
        dynamics.attach(lambda a=trial, e=energies, s=start: e.append(a.get_total_energy() - s))
        dynamics.run(round(2 / step))
        errors.append(np.abs(energies).max())
    assert 3.3 < errors[0] / errors[1] < 4.7, errors


def test_what_also_names_comes_with_the_forces():
    atoms = water_box(n=3)
    calculator = LRCalculator(random_potential(atoms, level="u"), also=("dipole",))
    atoms.calc = calculator
    atoms.get_forces()
    assert set(calculator.results) == {"energy", "free_energy", "forces", "dipole"}
    expected = calculator.results["dipole"].copy()
    calculator.also = ()
    atoms.positions += 0.0
    calculator.reset()
    atoms.get_potential_energy()
    assert "dipole" not in calculator.results
    np.testing.assert_array_equal(atoms.get_dipole_moment(), expected)
    for bad in ("dipole", ["dipoles"]):
        with pytest.raises(ValueError, match="`also` is"):
            calculator.also = bad
