"""Dynamics in fields: conserved quantities, resuming, the command."""

import numpy as np
import pytest
from ase import Atoms

from lrcalc import LRCalculator, cli
from lrcalc.dynamics import Settings, Simulation, load_state, save_state
from lrcalc.trajectory import read_extxyz


def barium_titanate():
    """One tetragonal cell (experimental positions), turned off its symmetry by the velocities."""
    a, c = 3.99, 4.04
    places = [(0, 0, 0), (0.5, 0.5, 0.515), (0.5, 0.5, -0.02), (0.5, 0, 0.485), (0, 0.5, 0.485)]
    return Atoms("BaTiO3", scaled_positions=places, cell=[a, a, c], pbc=True)


FIELD = (0.02, 0.0, 0.05)
CASES = {
    "no field": {},
    "constant E": {"electric_field": FIELD},
    "constant D": {"electric_displacement": (0.0, 0.0, 0.02)},
    "voltage": {"reduced_field": (0.1, 0.0, 0.2)},
    "cycled E": {"electric_field": lambda t: np.sin(t / 20) * np.array(FIELD)},
    "ramped D": {"electric_displacement": lambda t: t / 40 * np.array([0, 0, 0.02])},
    "ramped voltage": {"reduced_field": lambda t: t / 40 * np.array([0.1, 0, 0.2])},
}


def simulate(held, settings, steps, structure=None):
    atoms = barium_titanate() if structure is None else structure
    calculator = LRCalculator("BaTiO3", dtype="float64", **held)
    simulation = Simulation(atoms, calculator, settings)
    values = [simulation.conserved()]
    for _ in range(steps):
        simulation.step()
        values.append(simulation.conserved())
    return simulation, np.array(values)


STEADY = {name: held for name, held in CASES.items() if "ed " not in name}
"""While the cell moves too, the work of a changing field is not followed."""


@pytest.mark.parametrize(
    ("case", "ensemble"),
    [(c, e) for c in CASES for e in ("nve", "nvt")] + [(c, "npt") for c in STEADY],
)
def test_the_conserved_quantity_is_conserved(case, ensemble):
    """Its error falls fourfold with half the step; leaving out the field's work would not."""
    errors = []
    for step in (1.0, 0.5):
        settings = Settings(ensemble, step, temperature=100.0, seed=3, barostat_time=300.0)
        simulation, values = simulate(CASES[case], settings, round(40 / step))
        errors.append(np.abs(values - values[0]).max())
    if ensemble == "nvt":  # random kicks differ between the two runs
        assert errors[1] < 1e-3, errors
    else:
        assert 2.5 < errors[0] / errors[1] < 6, errors
    kinetic = simulation.atoms.get_kinetic_energy()
    assert errors[1] < 0.05 * kinetic


def test_work_of_a_changing_field_is_not_small():
    simulation, _ = simulate(CASES["cycled E"], Settings("nve", 1.0, 100.0), 40)
    assert abs(simulation.field_work) > 1e-2


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_a_resumed_run_is_the_same_run(tmp_path, ensemble):
    settings = Settings(ensemble, 1.0, temperature=200.0, seed=1)
    held = {"electric_field": FIELD}
    whole, values = simulate(held, settings, 12)
    half, _ = simulate(held, settings, 6)
    save_state(tmp_path / "state.npz", half.state())
    second = Simulation(
        barium_titanate(), LRCalculator("BaTiO3", dtype="float64", **held), settings
    )
    second.restore(load_state(tmp_path / "state.npz"))
    for _ in range(6):
        second.step()
    np.testing.assert_allclose(second.atoms.positions, whole.atoms.positions, rtol=0, atol=1e-9)
    np.testing.assert_allclose(second.atoms.cell, whole.atoms.cell, rtol=0, atol=1e-9)
    if ensemble != "npt":
        np.testing.assert_allclose(second.conserved(), values[-1], rtol=0, atol=1e-8)
    assert second.steps == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings("nph"), "`ensemble`"),
        (Settings(timestep=0.0), "`timestep`"),
        (Settings("nvt", temperature=0.0), "`temperature`"),
        (Settings(temperature=-1.0), "`temperature`"),
        (Settings("npt", barostat_time=float("nan")), "`barostat_time`"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Simulation(barium_titanate(), LRCalculator("BaTiO3"), settings)


def command(tmp_path, *extra):
    structure = tmp_path / "start.xyz"
    barium_titanate().write(structure)
    return cli.main(["md", "BaTiO3", str(structure), "--out", str(tmp_path / "run"),
                     "--timestep", "1", "--every", "2", *extra])  # fmt: skip


def test_command_writes_resumes_and_does_not_repeat_frames(tmp_path, capsys):
    options = ["--field", "0", "0", "0.05", "--ramp", "5", "--born-every", "2", "--ensemble", "nvt"]
    assert command(tmp_path, "--steps", "4", *options) == 0
    with (tmp_path / "run.csv").open("a") as file:
        file.write("a line of a run that was killed")
    assert command(tmp_path, "--steps", "8", *options) == 0
    assert "continuing" in capsys.readouterr().out
    frames = read_extxyz(tmp_path / "run.xyz")
    assert [a.info["step"] for a in frames] == [0, 2, 4, 6, 8]
    assert ["born_effective_charges" in a.calc.results for a in frames][:3] == [True, False, True]
    np.testing.assert_allclose(frames[-1].calc.results["electric_field"], (0, 0, 0.05))
    table = np.genfromtxt(tmp_path / "run.csv", delimiter=",", names=True)
    assert np.isfinite(table["conserved_eV"]).all()
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_command_writes_an_ase_trajectory(tmp_path):
    from ase.io import read

    assert command(tmp_path, "--steps", "4", "--born-every", "1", "--traj") == 0
    frames = read(tmp_path / "run.traj", index=":")
    ours = read_extxyz(tmp_path / "run.xyz")
    assert len(frames) == len(ours) == 3
    for a, b in zip(frames, ours, strict=True):
        for name in ("energy", "forces", "dipole", "born_effective_charges"):
            np.testing.assert_allclose(a.calc.results[name], b.calc.results[name], err_msg=name)
        np.testing.assert_allclose(a.get_momenta(), b.get_momenta())


def test_command_names_bad_input(tmp_path, capsys):
    assert command(tmp_path, "--ramp", "5") == 2
    assert "--ramp and --cycle need" in capsys.readouterr().err
    assert command(tmp_path, "--field", "0", "0", "1", "--cycle", "-3") == 2
    assert "must be positive" in capsys.readouterr().err
    assert cli.main(["md", "BaTiO3", str(tmp_path / "none.xyz")]) == 2
