"""Dynamics in fields: conserved quantities, resuming."""

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.md.bussi import Bussi

from lrcalc import LRCalculator
from lrcalc.dynamics import RunSettings, Simulation
from lrcalc.fields import Chirp, Field, Pulse
from lrcalc.run_state import load_state, save_state


def barium_titanate():
    """One tetragonal cell (experimental positions), turned off its symmetry by the velocities."""
    a, c = 3.99, 4.04
    places = [(0, 0, 0), (0.5, 0.5, 0.515), (0.5, 0.5, -0.02), (0.5, 0, 0.485), (0, 0.5, 0.485)]
    return Atoms("BaTiO3", scaled_positions=places, cell=[a, a, c], pbc=True)


FIELD = (0.02, 0.0, 0.05)
AMPLITUDES = {
    "electric_field": np.array(FIELD),
    "electric_displacement": np.array([0.0, 0.005, 0.02]),
    "reduced_field": np.array([0.1, 0.0, 0.2]),
}
COURSES = {
    "constant": lambda amplitude: amplitude,
    "ramped": lambda amplitude: lambda t: min(t / 8, 1.0) * amplitude,  # constant from 8 fs on
    "cycled": lambda amplitude: lambda t: np.sin(t / 5) * amplitude,
}
CASES = {"no field": {}} | {
    f"{course} {name}": {name: shaped(amplitude)}
    for name, amplitude in AMPLITUDES.items()
    for course, shaped in COURSES.items()
}
"""Everything that can be held, with every course in time."""


def simulate(held, settings, steps, structure=None, model="BaTiO3"):
    atoms = barium_titanate() if structure is None else structure
    calculator = LRCalculator(model, dtype="float64", **held)
    simulation = Simulation(atoms, calculator, settings)
    values = [simulation.conserved()]
    for _ in range(steps):
        simulation.step()
        values.append(simulation.conserved())
    return simulation, np.array(values)


def mean_kicks(monkeypatch):
    """Bussi's noise at its mean: random kicks differ between two time steps, the drift must not."""
    monkeypatch.setattr(Bussi, "calculate_alpha", calculate_alpha)


def calculate_alpha(self, kinetic_energy):
    ratio = self.target_kinetic_energy / kinetic_energy
    return np.sqrt(self._exp_term + (1 - self._exp_term) * ratio)


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
@pytest.mark.parametrize("case", CASES)
def test_the_conserved_quantity_is_conserved(monkeypatch, case, ensemble):
    """Its error falls fourfold with half the step; leaving out the field's work would not."""
    mean_kicks(monkeypatch)
    errors = []
    for step in (1.0, 0.5):
        settings = RunSettings(ensemble, step, temperature=100.0, seed=3, barostat_time=300.0)
        simulation, values = simulate(CASES[case], settings, round(16 / step))
        errors.append(np.abs(values - values[0]).max())
    assert 3 < errors[0] / errors[1] < 5, errors
    assert errors[1] < 0.05 * simulation.atoms.get_kinetic_energy()


@pytest.mark.parametrize(
    ("kind", "course", "ensemble"),
    [("electric_field", Pulse(FIELD, 800.0, 8.0, 3.0), "nve"),
     ("reduced_field", Chirp((0.1, 0.0, 0.2), 200.0, 2000.0, 16.0), "npt")],
)  # fmt: skip
def test_energy_is_conserved_along_a_course(kind, course, ensemble):
    """With the work of the source, not small; the error falls fourfold with half a step."""
    errors = []
    for step in (1.0, 0.5):
        settings = RunSettings(ensemble, step, temperature=100.0, seed=3, barostat_time=300.0)
        simulation, values = simulate({"field": Field(kind, course)}, settings, round(16 / step))
        errors.append(np.abs(values - values[0]).max())
    assert 3 < errors[0] / errors[1] < 5, errors
    assert abs(simulation.field_work) > 20 * errors[1]
    assert simulation.conditions.value == course.amplitude


def test_work_of_a_changing_field_is_not_small():
    simulation, _ = simulate(CASES["cycled electric_field"], RunSettings("nve", 1.0, 100.0), 40)
    assert abs(simulation.field_work) > 1e-2


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_same_run(tmp_path, case, ensemble):
    """Trajectory and conserved quantity, in the middle of a ramp too."""
    settings, held = RunSettings(ensemble, 1.0, temperature=200.0, seed=1), CASES[case]
    whole, values = simulate(held, settings, 8)
    half, _ = simulate(held, settings, 4)
    save_state(tmp_path / "state.npz", half.state())
    used = LRCalculator("BaTiO3", dtype="float64", **held)
    used.time = 3.0  # of an earlier run
    second = Simulation(barium_titanate(), used, settings)
    second.restore(load_state(tmp_path / "state.npz"))
    for _ in range(4):
        second.step()
    np.testing.assert_allclose(second.atoms.positions, whole.atoms.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(second.atoms.cell, whole.atoms.cell, rtol=0, atol=1e-10)
    np.testing.assert_allclose(second.conserved(), values[-1], rtol=0, atol=1e-9)
    assert second.steps == 8


CYCLED = {"reduced_field": lambda t: np.sin(2 * np.pi * t / 20) * np.array([0, 0, 1.0])}


def test_a_restored_run_is_on_the_branch_of_its_state():
    """An atom that has crossed the cell since the start was not wrapped."""
    state = Simulation(barium_titanate(), LRCalculator("BaTiO3"), RunSettings()).state()
    state["positions"][1] += state["cell"][2]
    dipoles = []
    for seen in (False, True):
        simulation = Simulation(barium_titanate(), LRCalculator("BaTiO3"), RunSettings())
        if seen:
            simulation.atoms.get_dipole_moment()
        simulation.restore(state)
        dipoles.append(simulation.atoms.get_dipole_moment())
    np.testing.assert_allclose(dipoles[1], dipoles[0], atol=1e-5)


def test_the_first_barostat_step_feels_the_field_of_its_time():
    """Only the momentum of the cell tells: half a step from the stress at the start."""
    kicks = []
    for field in (lambda t: (0, 0, 0.3 * (t > 0)), lambda t: (0, 0, 0.3)):
        atoms = barium_titanate()
        calculator = LRCalculator("BaTiO3", dtype="float64", reduced_field=field)
        simulation = Simulation(atoms, calculator, RunSettings("npt", 1e-6))
        simulation.step()
        kicks.append(simulation.integrator._p_eps)
    still = Simulation(barium_titanate(), LRCalculator("BaTiO3", dtype="float64"),
                       RunSettings("npt", 1e-6))  # fmt: skip
    still.step()
    np.testing.assert_allclose(kicks[0], 0.5 * (kicks[1] + still.integrator._p_eps), rtol=1e-5)


@pytest.mark.parametrize("held", [{}, CYCLED], ids=["no field", "cycled"])
@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_step_is_one_evaluation(monkeypatch, ensemble, held):
    simulation, _ = simulate(held, RunSettings(ensemble, 1.0), 1)
    calls = []
    evaluator = simulation.calculator.evaluator
    evaluate = type(evaluator).__call__
    monkeypatch.setattr(
        type(evaluator), "__call__", lambda *args: calls.append(args[2]) or evaluate(*args)
    )
    for _ in range(3):
        simulation.step()
    assert len(calls) == 3


OTHERS = {
    "numbers": (lambda a: a[[1, 0, 2, 3, 4]], {}, {}),
    "number of atoms": (lambda a: a[:4], {}, {}),
    "pbc": (lambda a: Atoms(a, pbc=(1, 1, 0)), {}, {}),
    "masses": (lambda a: a.set_masses([138, *a.get_masses()[1:]]) or a, {}, {}),
    "charge": (lambda a: a.info.update(charge=1.0) or a, {}, {}),
    "constraints": (lambda a: a.set_constraint(FixAtoms([0])) or a, {}, {}),
    "ensemble": (None, {"ensemble": "nvt"}, {}),
    "timestep": (None, {"timestep": 1.0}, {}),
    "temperature": (None, {"temperature": 200.0}, {}),
    "pressure": (None, {"pressure": 1.0}, {}),
    "thermostat_time": (None, {"thermostat_time": 50.0}, {}),
    "barostat_time": (None, {"barostat_time": 50.0}, {}),
    "seed": (None, {"seed": 1}, {}),
    "held": (None, {}, {"electric_field": (0, 0, 0.1)}),
    "epsilon_infinity": (None, {}, {"epsilon_infinity": 2.0}),
    "dtype": (None, {}, {"dtype": "float64"}),
    "asr_projection": (None, {}, {"asr_projection": False}),
    "model": (None, {}, {"model": "SiO2"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_run_is_refused(name):
    change, settings, options = OTHERS[name]
    first = Simulation(barium_titanate(), LRCalculator("BaTiO3"), RunSettings())
    atoms = barium_titanate() if change is None else change(barium_titanate())
    calculator = LRCalculator(**{"model": "BaTiO3", **options})
    second = Simulation(atoms, calculator, RunSettings(**settings))
    before = second.atoms.get_momenta()
    with pytest.raises(ValueError, match=f"`{name}.*was .*, now it is .*--restart"):
        second.restore(first.state())
    np.testing.assert_array_equal(second.atoms.get_momenta(), before)


def test_all_that_differs_is_named_and_nothing_else():
    first = Simulation(barium_titanate(), LRCalculator("BaTiO3"), RunSettings())
    second = Simulation(
        barium_titanate(),
        LRCalculator("BaTiO3", reduced_field=lambda t: (0, 0, t)),
        RunSettings("nvt", 1.0),
    )
    with pytest.raises(ValueError, match="of another run") as refusal:
        second.restore(first.state())
    text = str(refusal.value)
    assert text.count("was") == 3
    assert "`ensemble` was nve, now it is nvt; `timestep` was 0.5 fs, now it is 1.0 fs" in text
    assert "`held` was nothing, now it is reduced_field a function of time" in text


def spoil(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:300])
    elif how == "text":
        path.write_text("not a state")
    elif how == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif how == "flipped":
        momenta = load_state(path)["momenta"].tobytes()
        content = bytearray(path.read_bytes())
        content[content.index(momenta)] ^= 255
        path.write_bytes(bytes(content))
    else:
        np.savez(path, positions=np.zeros((5, 3)))


@pytest.mark.parametrize("how", ["cut", "text", "array", "flipped", "foreign"])
def test_a_damaged_state_is_named(tmp_path, how):
    simulation = Simulation(barium_titanate(), LRCalculator("BaTiO3"), RunSettings())
    save_state(tmp_path / "state.npz", simulation.state())
    spoil(tmp_path / "state.npz", how)
    with pytest.raises(ValueError, match="state.*--restart"):
        simulation.restore(load_state(tmp_path / "state.npz"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (RunSettings("nph"), "`ensemble`"),
        (RunSettings(timestep=0.0), "`timestep`"),
        (RunSettings("nvt", temperature=0.0), "`temperature`"),
        (RunSettings(temperature=-1.0), "`temperature`"),
        (RunSettings("npt", barostat_time=float("nan")), "`barostat_time`"),
        (RunSettings("nvt", thermostat_time=float("inf")), "`thermostat_time`.*finite"),
        (RunSettings("npt", pressure=float("nan")), "`pressure`"),
        (RunSettings(seed=-1), "`seed`"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Simulation(barium_titanate(), LRCalculator("BaTiO3"), settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.set_constraint(FixAtoms([0])), "constraints"),
        (lambda a: a.set_masses([0.0] * 5), "masses"),
        (lambda a: a.set_momenta([[np.nan] * 3] * 5), "velocities"),
        (lambda a: a.set_pbc((1, 1, 0)), "not periodic"),
        (lambda a: a.__delitem__(slice(None)), "no atoms"),
    ],
)
def test_structures_that_cannot_move_are_named(change, message):
    atoms = barium_titanate()
    change(atoms)
    with pytest.raises(ValueError, match=message):
        Simulation(atoms, LRCalculator("BaTiO3"), RunSettings("npt"))
