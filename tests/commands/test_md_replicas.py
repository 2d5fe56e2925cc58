"""`lrcalc md --engine torch`: the files of any run, of one replica or several at once."""

import numpy as np
import pytest

from lrcalc import cli
from lrcalc.replicas.run import Replicas
from lrcalc.trajectory import read_extxyz
from tests.replicas.test_run import dimer, with_velocities

FLOAT64 = ["--dtype", "float64"]


def command(folder, *extra, out="run", structure=None):
    folder.mkdir(exist_ok=True)
    path = folder / "start.xyz"
    (structure or dimer()).write(path)
    return cli.main(["md", "water", str(path), "--out", str(folder / out), "--every", "2", *extra])


def table(path):
    return np.genfromtxt(path, delimiter=",", names=True, deletechars="")


def content(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "start.xyz"}


@pytest.mark.parametrize(
    "options",
    [
        ["--ensemble", "nve", "--born-every", "2", "--polarizability-every", "1"],
        ["--ensemble", "nvt", "--field", "0", "0", "0.02", "--current-every", "1"],
        ["--ensemble", "npt", "--pressure", "0.3", "--voltage", "0.1", "0", "0.2"],
    ],
)
def test_same_files_as_the_other_engine(tmp_path, options):
    for name, engine in (("ase", []), ("torch", ["--engine", "torch", "--traj"])):
        assert command(tmp_path / name, "--steps", "6", *FLOAT64, *options, *engine) == 0
    ours, theirs = (table(tmp_path / name / "run.csv") for name in ("torch", "ase"))
    assert ours.dtype.names == theirs.dtype.names
    assert len(ours) == len(theirs) == 4
    for column in ours.dtype.names:
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-7, atol=1e-8)
    one, other = (read_extxyz(tmp_path / name / "run.xyz") for name in ("torch", "ase"))
    for a, b in zip(one, other, strict=True):
        assert a.info == b.info
        assert set(a.arrays) == set(b.arrays)
        np.testing.assert_allclose(a.positions, b.positions, atol=2e-8)
        np.testing.assert_allclose(a.get_momenta(), b.get_momenta(), atol=2e-7)
        found, expected = a.calc.results, b.calc.results
        assert set(expected) - {"free_energy"} == set(found) - {"free_energy"}
        for what in set(expected) & set(found):
            np.testing.assert_allclose(found[what], expected[what], atol=2e-7, err_msg=what)
    assert (tmp_path / "torch" / "run.png").stat().st_size > 1000
    assert (tmp_path / "torch" / "run.traj").exists()


def test_each_replica_has_the_files_of_its_seed(tmp_path):
    options = ["--steps", "4", "--ensemble", "nvt", *FLOAT64]
    assert command(tmp_path, *options, "--engine", "torch", "--replicas", "3") == 0
    made = {p.name for p in tmp_path.iterdir()}
    each = {f"run-{k}{end}" for k in (1, 2, 3) for end in (".xyz", ".csv")}
    assert made == {"start.xyz", "run.npz", "run.png", *each}
    for k in (1, 2, 3):
        assert command(tmp_path / "alone", *options, "--seed", str(k - 1), out=f"a{k}") == 0
        ours, alone = table(tmp_path / f"run-{k}.csv"), table(tmp_path / "alone" / f"a{k}.csv")
        for column in ours.dtype.names:
            np.testing.assert_allclose(ours[column], alone[column], rtol=1e-8, atol=1e-8)
        assert [a.info["step"] for a in read_extxyz(tmp_path / f"run-{k}.xyz")] == [0, 2, 4]
    temperatures = {float(table(tmp_path / f"run-{k}.csv")["temperature_K"][0]) for k in (1, 2, 3)}
    assert len(temperatures) == 3


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_killed_and_continued_command_is_the_whole_one(tmp_path, monkeypatch, ensemble, capsys):
    options = ["--steps", "8", "--ensemble", ensemble, "--engine", "torch", "--replicas", "2",
               "--voltage", "0", "0", "1", *FLOAT64]  # fmt: skip
    assert command(tmp_path / "whole", *options) == 0
    step = Replicas.step
    for last in (1, 5):

        def until(run, also, last=last):
            if run.steps == last:
                raise KeyboardInterrupt
            step(run, also)

        monkeypatch.setattr(Replicas, "step", until)
        assert command(tmp_path / "parts", *options) == 130
    monkeypatch.setattr(Replicas, "step", step)
    assert command(tmp_path / "parts", *options) == 0
    assert "continuing" in capsys.readouterr().out
    for k in (1, 2):
        whole, parts = (
            np.loadtxt(tmp_path / name / f"run-{k}.csv", delimiter=",", skiprows=1)
            for name in ("whole", "parts")
        )
        np.testing.assert_allclose(parts, whole, rtol=1e-8, atol=1e-8)
        frames = [read_extxyz(tmp_path / name / f"run-{k}.xyz") for name in ("whole", "parts")]
        assert [a.info["step"] for a in frames[1]] == [0, 2, 4, 6, 8]
        for a, b in zip(*frames, strict=True):
            np.testing.assert_allclose(a.positions, b.positions, atol=2e-8)


def test_another_run_is_not_continued(tmp_path, capsys):
    engine = ["--engine", "torch"]
    assert command(tmp_path, "--steps", "2", *engine, "--replicas", "2") == 0
    before = content(tmp_path)
    for more, named in (
        ([*engine, "--replicas", "3"], "`replicas` was 2, now it is 3"),
        ([], "`engine` was torch"),
        ([*engine, "--replicas", "2", "--seed", "7"], "`seed` was 0, now it is 7"),
    ):
        assert command(tmp_path, "--steps", "4", *more) == 2
        assert named in capsys.readouterr().err
        assert content(tmp_path) == before
    (tmp_path / "run-2.xyz").unlink()
    assert command(tmp_path, "--steps", "4", *engine, "--replicas", "2") == 2
    assert "run-2.xyz is missing" in capsys.readouterr().err
    assert command(tmp_path, "--steps", "2", *engine, "--replicas", "2", "--restart") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--replicas", "2"], "say --engine torch"),
        (["--engine", "torch", "--replicas", "0"], "`--replicas` is 0"),
        (["--engine", "torch", "--watch"], "needs --engine ase"),
        (["--engine", "torch", "--field", "0", "0", "1", "--ramp", "5"], "depends on time"),
        (["--engine", "torchsim"], "TorchSimModel"),
        (["--engine", "torch", "--device", "nowhere"], "torch cannot use it here"),
    ],
)
def test_what_an_engine_cannot_do_is_named_and_leaves_no_files(tmp_path, capsys, options, message):
    assert command(tmp_path, "--steps", "2", *options) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["start.xyz"]


def test_equal_replicas_are_refused(tmp_path, capsys):
    options = ["--steps", "2", "--engine", "torch", "--replicas", "2"]
    assert command(tmp_path, *options, structure=with_velocities()) == 2
    assert "2 times the same run" in capsys.readouterr().err
