"""`lrcalc md`: what it writes, what it refuses, how it goes on."""

import warnings
from argparse import Namespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from ase import units
from ase.constraints import FixAtoms
from ase.io import read

from lrcalc import LRCalculator, cli, load, save
from lrcalc.analysis.currents import OF_DIPOLE, read_current
from lrcalc.analysis.intake import Reading
from lrcalc.commands._cards import remarks_of_dipoles, remarks_of_transport
from lrcalc.commands._md_files import hold
from lrcalc.commands._md_start import Start
from lrcalc.commands._md_start import make as make_run
from lrcalc.dynamics import Simulation
from lrcalc.trajectory import read_extxyz
from tests.test_dynamics import barium_titanate


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


def test_a_run_of_compiled_functions_is_the_same(tmp_path):
    """Begun with them and continued without: they are no part of what a run is."""
    for name, steps, options in (
        ("plain", "4", []), ("other", "2", ["--compile"]), ("other", "4", []),
    ):  # fmt: skip
        (tmp_path / name).mkdir(exist_ok=True)
        assert command(tmp_path / name, "--steps", steps, "--dtype", "float64", *options) == 0
    tables = [
        np.genfromtxt(tmp_path / name / "run.csv", delimiter=",", skip_header=1)
        for name in ("plain", "other")
    ]
    np.testing.assert_allclose(*tables, rtol=1e-9, atol=1e-9)


def test_command_writes_an_ase_trajectory(tmp_path):
    assert command(tmp_path, "--steps", "4", "--born-every", "1", "--traj") == 0
    frames = read(tmp_path / "run.traj", index=":")
    ours = read_extxyz(tmp_path / "run.xyz")
    assert len(frames) == len(ours) == 3
    for a, b in zip(frames, ours, strict=True):
        for name in ("energy", "forces", "dipole", "born_effective_charges"):
            np.testing.assert_allclose(a.calc.results[name], b.calc.results[name], err_msg=name)
        np.testing.assert_allclose(a.get_momenta(), b.get_momenta())


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "start.xyz"}


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_killed_and_continued_command_is_the_whole_one(tmp_path, monkeypatch, ensemble):
    """Also where the kill comes before the second frame."""
    options = ["--ensemble", ensemble, "--voltage", "0", "0", "1", "--cycle", "20",
               "--dtype", "float64"]  # fmt: skip
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert command(tmp_path / "whole", "--steps", "8", *options) == 0
    step = Simulation.step
    for last in (1, 5):

        def until(simulation, last=last):
            if simulation.steps == last:
                raise KeyboardInterrupt
            step(simulation)

        monkeypatch.setattr(Simulation, "step", until)
        assert command(tmp_path / "parts", "--steps", "8", *options) == 130
    monkeypatch.setattr(Simulation, "step", step)
    assert command(tmp_path / "parts", "--steps", "8", *options) == 0
    whole, parts = (
        np.loadtxt(tmp_path / name / "run.csv", delimiter=",", skiprows=1)
        for name in ("whole", "parts")
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-8, atol=1e-8)
    frames = [read_extxyz(tmp_path / name / "run.xyz") for name in ("whole", "parts")]
    assert [a.info["step"] for a in frames[1]] == [0, 2, 4, 6, 8]
    for a, b in zip(*frames, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=2e-8)


def test_steps_after_the_last_frame_are_kept(tmp_path, capsys):
    assert command(tmp_path, "--steps", "3") == 0
    assert command(tmp_path, "--steps", "4") == 0
    assert "at step 3" in capsys.readouterr().out
    assert [a.info["step"] for a in read_extxyz(tmp_path / "run.xyz")] == [0, 2, 4]


@pytest.mark.parametrize("ending", [".xyz", ".csv", ".png", ".traj"])
def test_files_of_others_are_not_replaced(tmp_path, capsys, ending):
    precious = tmp_path / f"run{ending}"
    precious.write_text("precious")
    assert command(tmp_path, "--steps", "2", "--traj") == 2
    assert f"run{ending} would be replaced" in capsys.readouterr().err
    assert content(tmp_path) == {precious.name: b"precious"}
    assert command(tmp_path, "--steps", "2", "--traj", "--restart") == 0
    assert precious.read_bytes() != b"precious"


@pytest.mark.parametrize("more", [[], ["--restart"]])
def test_two_runs_do_not_write_the_same_files(tmp_path, capsys, more):
    assert command(tmp_path, "--steps", "2") == 0
    before = content(tmp_path)
    with hold(tmp_path / "run.csv"):
        assert command(tmp_path, "--steps", "4", *more) == 2
    assert "another run is writing" in capsys.readouterr().err
    assert content(tmp_path) == before
    assert command(tmp_path, "--steps", "4", *more) == 0


@pytest.mark.parametrize("more", [[], ["--restart"]])
@pytest.mark.parametrize("name", ["run.xyz", "link.xyz"])
def test_the_structure_file_is_never_replaced(tmp_path, capsys, name, more):
    structure = tmp_path / "run.xyz"
    barium_titanate().write(structure)
    (tmp_path / "link.xyz").symlink_to(structure)
    before = content(tmp_path)
    out = str(tmp_path / "run")
    assert cli.main(["md", "BaTiO3", str(tmp_path / name), "--out", out, *more]) == 2
    assert "is the structure file" in capsys.readouterr().err
    assert content(tmp_path) == before


def test_what_cannot_be_computed_leaves_no_files(tmp_path, capsys):
    assert command(tmp_path, "--polarizability-every", "1") == 2  # the model has none
    assert "polarizability" in capsys.readouterr().err
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--timestep", "0.5"], ["`timestep` was 1.0 fs, now it is 0.5 fs"]),
        (["--every", "1"], ["`every` was 2, now it is 1"]),
        (["--born-every", "3"], ["`born_every`"]),
        (["--field", "0", "0", "0.1"], ["`held`", "--ramp 5.0", "--field 0.0 0.0 0.1;"]),
        (["--field", "0", "0", "0.05", "--ramp", "6"], ["--ramp 5.0, now", "--ramp 6.0"]),
        (["--field", "0", "0", "0.05", "--cycle", "5"], ["--ramp 5.0, now", "--cycle 5.0"]),
        (["--voltage", "0", "0", "0.05", "--ramp", "5"], ["--field", "--voltage"]),
    ],
)
def test_another_run_is_not_continued(tmp_path, capsys, options, named):
    given = ["--field", "0", "0", "0.05", "--ramp", "5"]
    assert command(tmp_path, "--steps", "2", *given) == 0
    before = content(tmp_path)
    given = given if "--every" in options or options[0] in ("--timestep", "--born-every") else []
    assert command(tmp_path, "--steps", "4", *given, *options) == 2
    error = capsys.readouterr().err
    for part in (*named, "--restart", "--out"):
        assert part in error
    assert content(tmp_path) == before


def test_another_structure_is_not_continued(tmp_path, capsys):
    assert command(tmp_path, "--steps", "2") == 0
    moved = barium_titanate()
    moved.positions[1, 2] += 0.05
    moved.write(tmp_path / "moved.xyz")
    other = ["md", "BaTiO3", str(tmp_path / "moved.xyz"), "--out", str(tmp_path / "run"),
             "--timestep", "1", "--every", "2"]  # fmt: skip
    assert cli.main(other) == 2
    assert "`hash of the structure file`" in capsys.readouterr().err
    assert cli.main([*other, "--restart", "--steps", "2"]) == 0
    frames = read_extxyz(tmp_path / "run.xyz")
    np.testing.assert_allclose(frames[0].positions, moved.positions, atol=1e-7)


@pytest.mark.parametrize("ending", [".xyz", ".csv"])
def test_files_that_do_not_fit_the_state_are_refused(tmp_path, capsys, ending):
    assert command(tmp_path, "--steps", "4") == 0
    path = tmp_path / f"run{ending}"
    whole = path.read_bytes()
    for spoilt, named in ((whole[:100], "has 100 bytes but had"), (None, "is missing")):
        path.unlink()
        if spoilt is not None:
            path.write_bytes(spoilt)
        before = content(tmp_path)
        assert command(tmp_path, "--steps", "8") == 2
        error = capsys.readouterr().err
        assert named in error
        assert "--restart" in error
        assert content(tmp_path) == before
        path.write_bytes(whole)
    assert command(tmp_path, "--steps", "6") == 0
    assert b"\0" not in path.read_bytes()


def test_labels_of_the_start_are_not_in_every_frame(tmp_path):
    """They held for one frame only: neither an earlier run's Born charges nor training labels."""
    start = barium_titanate()
    start.set_constraint(FixAtoms([0]))
    start.set_tags(range(5))
    start.arrays["born"] = np.ones((5, 9))
    start.arrays["REF_forces"] = np.ones((5, 3))
    start.info |= {"polarizability": np.ones(9), "REF_energy": 1.0, "charge": 0.0}
    start.write(tmp_path / "labelled.xyz", columns=["symbols", "positions", "tags", "born",
                                                    "REF_forces", "move_mask"])  # fmt: skip
    out = str(tmp_path / "run")
    options = ["--out", out, "--steps", "1", "--every", "1"]
    assert cli.main(["md", "BaTiO3", str(tmp_path / "labelled.xyz"), *options]) == 0
    for frame in read(f"{out}.xyz", index=":"):
        assert set(frame.arrays) == {"numbers", "positions", "momenta", "tags"}
        assert set(frame.info) == {"step", "time_fs", "charge", "run_conditions"}
        np.testing.assert_array_equal(frame.constraints[0].index, [0])
        np.testing.assert_allclose(frame.get_momenta()[0], 0)


def test_the_current_of_a_frame_is_that_of_its_own_velocities(tmp_path, capsys):
    """Born charges times velocities, also for atomic charges, whose dipole is no spectrum."""
    from lrcalc.models.potential import Potential

    torch.manual_seed(1)
    atomic = Potential((8, 22, 56), level="q", charges="atomic", channels=4, hidden=8, cutoff=4.0)
    save(atomic, tmp_path / "atomic.pt")
    for model in ("BaTiO3", str(tmp_path / "atomic.pt")):
        out = str(tmp_path / "run")
        barium_titanate().write(tmp_path / "start.xyz")
        line = ["md", model, str(tmp_path / "start.xyz"), "--out", out, "--every", "1", "--restart",
                "--steps", "4", "--dtype", "float64", "--current-every", "2"]  # fmt: skip
        assert cli.main([*line, "--born-every", "1"]) == 0
        frames = read_extxyz(f"{out}.xyz")
        have = ["current" in a.calc.results for a in frames]
        assert have == [True, False, True, False, True]
        for frame in frames[::2]:
            born = frame.calc.results["born_effective_charges"]
            expected = np.einsum("iab,ib->a", born, frame.get_velocities() * units.fs)
            assert np.abs(expected).max() > 1e-5
            np.testing.assert_allclose(frame.calc.results["current"], expected, atol=1e-6)
    assert "lrcalc md --current-every 1" not in capsys.readouterr().err  # it was given
    at = line.index("--current-every")
    assert cli.main([*line[:at], *line[at + 2 :]]) == 0
    assert "lrcalc md --current-every 1" in capsys.readouterr().err
    line[line.index("--current-every") + 1] = "1"
    assert cli.main([*line[: line.index("--steps")], "--steps", "90", *line[-4:]]) == 0
    options = ["--from-current", "--resolution", "2000", "-o", str(tmp_path / "right")]
    assert cli.main(["ir", f"{out}.xyz", *options]) == 0
    assert "dipole in a periodic cell is not" not in capsys.readouterr().out
    data = read_current([f"{out}.xyz"], Reading(no_progress=True), charges=None, from_dipole=True)
    assert OF_DIPOLE in data.notes  # what a conductivity is made of
    assert "dipole in a periodic cell is not" in remarks_of_dipoles(data)[0]
    assert remarks_of_transport(data) == []  # atomic charges carry no constant


def test_conductivity_says_what_the_current_of_local_charges_can_carry(
    tmp_path, capsys, monkeypatch
):
    """The constants that it names are those by which the dipole jumps (`dipole_quantum`)."""
    barium_titanate().write(tmp_path / "start.xyz")
    out = str(tmp_path / "run")
    line = ["md", "BaTiO3", str(tmp_path / "start.xyz"), "--out", out, "--every", "1", "--steps",
            "80", "--current-every", "1"]  # fmt: skip
    assert cli.main(line) == 0
    capsys.readouterr()
    monkeypatch.setattr("lrcalc.analysis.transport.SHORTEST", 10.0)  # it is no number that is asked
    found = ["conductivity", f"{out}.xyz", "--segment", "64", "--resolution", "2000"]
    assert cli.main([*found, "-o", str(tmp_path / "sigma")]) == 0
    said = capsys.readouterr().out
    atoms = barium_titanate()
    jumps = LRCalculator("BaTiO3").dipole_quantum(atoms)
    o, ti, ba = (jumps[s][2, 2] / atoms.cell[2, 2] for s in ("O", "Ti", "Ba"))
    assert f"against O, {ti - o:+.2g} e (Ti), {ba - o:+.2g} e (Ba), where" in said


def test_a_run_from_before_there_were_currents_goes_on(tmp_path):
    assert command(tmp_path, "--steps", "2") == 0
    with np.load(tmp_path / "run.npz") as state:
        assert b"current_every" not in bytes(state["run"])
    assert command(tmp_path, "--steps", "4") == 0
    assert command(tmp_path, "--steps", "6", "--current-every", "1") == 2


def test_velocities_of_the_start_are_used(tmp_path):
    start = barium_titanate()
    start.set_momenta(np.random.default_rng(0).normal(size=(5, 3)))
    start.write(tmp_path / "moving.xyz")
    out = str(tmp_path / "run")
    structure = str(tmp_path / "moving.xyz")
    assert cli.main(["md", "BaTiO3", structure, "--out", out, "--steps", "1"]) == 0
    (frame,) = read_extxyz(f"{out}.xyz")
    np.testing.assert_allclose(frame.get_momenta(), start.get_momenta(), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--ramp 5", "--ramp and --cycle need"),
        ("--ramp 0", "--ramp and --cycle need"),
        ("--cycle 0", "--ramp and --cycle need"),
        ("--field 0 0 1 --ramp 0", "`--ramp` is 0 fs but must be positive"),
        ("--field 0 0 1 --ramp inf", "`--ramp` is inf fs but must be positive and finite"),
        ("--field 0 0 1 --cycle -3", "`--cycle` is -3 fs but must be positive"),
        ("--field 0 0 1 --voltage 0 0 1", "exclude each other"),
        ("--every 0", "`--every` must be at least 1"),
        ("--steps 0", "`--steps` and"),
        ("--born-every -1", "`--born-every` is -1"),
        ("--current-every -2", "`--current-every` is -2"),
        ("--polarizability-every -3", "`--polarizability-every` is -3"),
        ("--seed -1", "`seed` is -1"),
        ("--pressure 1", "`--pressure` is 1 GPa, but the cell is fixed in ensemble 'nve'"),
        ("--ensemble npt --pressure nan", "`pressure` is nan GPa"),
        ("--ensemble nvt --thermostat-time inf", "`thermostat_time` is inf fs but must be"),
        ("--out .", "`--out` is '.' but must end in a name"),
        ("--out ..", "`--out` is '..' but must end in a name"),
    ],
)
def test_bad_options_are_named(tmp_path, capsys, options, message):
    assert command(tmp_path, *options.split()) == 2
    assert message in capsys.readouterr().err
    assert content(tmp_path) == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.xyz", "hello", "could not be read as a structure"),
        ("bad.foo", "1", "could not be read as a structure"),
        ("empty.xyz", "", "could not be read as a structure"),
        ("zero.xyz", "0\n\n", "no atoms"),
        ("missing.xyz", None, "no structure file"),
    ],
)
def test_bad_structures_are_named(tmp_path, capsys, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    assert cli.main(["md", "BaTiO3", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command(tmp_path, "--out", str(tmp_path / "file" / "run")) == 2
    assert "give another folder" in capsys.readouterr().err
    (tmp_path / "run.xyz").mkdir()
    assert command(tmp_path, "--restart") == 2
    assert "is a folder" in capsys.readouterr().err


def test_what_packages_say_to_programmers_is_not_a_warning_of_ours(monkeypatch, capsys):
    def make(*_, **__):
        warnings.warn("for those who write packages", DeprecationWarning, stacklevel=1)
        warnings.warn("for users", UserWarning, stacklevel=1)

    monkeypatch.setattr("lrcalc.calculator.LRCalculator", make)
    options = Namespace(model="m", device="cpu", dtype="float32", epsilon_infinity=None, watch=None)
    options.compile = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as in any program
        start = Start(None, None, None, [], None, {})
        make_run(start, options, lambda calculator: MagicMock(), watch=True)
    assert capsys.readouterr().err == "warning: for users\n"


def test_constant_pressure_warns_where_the_card_does(tmp_path, capsys):
    from tests.sample_structures import water_box

    water_box(n=3).write(tmp_path / "box.xyz")
    model = load("water")
    model.metadata = {"labels": ["energy", "forces"]}
    save(model, tmp_path / "mine.pt")
    mine = str(tmp_path / "mine.pt")
    options = [str(tmp_path / "box.xyz"), "--steps", "1", "--out", str(tmp_path / "run")]
    assert cli.main(["md", mine, *options, "--ensemble", "npt"]) == 0
    assert "not made for constant pressure: it was trained without" in capsys.readouterr().err
    assert cli.main(["md", mine, *options, "--restart"]) == 0
    assert "warning" not in capsys.readouterr().err
