"""The commands `ipi-input` and `ipi-run`: what they write, show, resume and refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lrcalc import save
from lrcalc.cli import main
from lrcalc.ipi import read_properties
from lrcalc.ipi.run import newest_checkpoint, read_plan, set_total_steps
from tests.conftest import random_potential
from tests.ipi.helpers import TOY, environment, toy_input, waters


@pytest.fixture
def structure(tmp_path):
    path = tmp_path / "water.extxyz"
    waters().write(path)
    return str(path)


@pytest.mark.timeout(120)
def test_run_then_resume_for_more_steps(tmp_path, structure, capfd):
    """Written, run with a model file and a progress bar, and continued beyond its first end."""
    save(random_potential(waters()), tmp_path / "model.pt")
    folder = tmp_path / "run"
    command = [
        "ipi-run", "--kind", "nvt", "--structure", structure, "--workdir", str(folder),
        "--steps", "4", "--timestep", "0.05", "--model", str(tmp_path / "model.pt"),
        "--max-force", "0", "--transport", "unix", "--address", f"c{tmp_path.name}", "--clients",
        "1",
    ]  # fmt: skip
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert "finished at step 4 of 4" in out
    assert "sim.dipole_0" in out
    assert "4 of 4 steps" in err
    # nothing left to do, then more of it
    assert main(["ipi-run", "--resume", str(folder), "--quiet"]) == 2
    assert "is at step 4, and 4 is its own total" in capfd.readouterr().err
    for steps, message in (("3", "step 4, and 3 is what `--steps` asks for"), ("-5", "is -5 but")):
        assert main(["ipi-run", "--resume", str(folder), "--steps", steps, "--quiet"]) == 2
        assert message in capfd.readouterr().err
    # nothing was changed by the refusals
    assert not (folder / "resume.xml").exists()
    assert main(["ipi-run", "--resume", str(folder), "--steps", "7", "--quiet"]) == 0
    assert "finished at step 7 of 7" in capfd.readouterr().out
    assert read_properties(folder / "sim.out").values["step"].tolist() == list(range(8))


def test_input_of_every_option(tmp_path, structure, capsys):
    command = [
        "ipi-input", "--kind", "pulse", "--structure", structure, "--workdir", str(tmp_path),
        "--amplitude", "0", "0", "0.2", "--frequency", "3400", "--peak", "25", "--width", "8",
        "--transport", "inet", "--port", "12345", "--seed", "7", "--model", "m.pt",
    ]  # fmt: skip
    assert main(command) == 0
    assert "m.pt' is not on this machine" in capsys.readouterr().err
    text = (tmp_path / "input.xml").read_text()
    for part in (
        "driven_dynamics", "3400", "<sigma units='femtosecond'> 8", "mode='inet'", "12345",
        "extras: dipole BEC", "<seed> 7", "model: m.pt", "EXIT",
    ):  # fmt: skip
        assert part in text
    assert read_plan(tmp_path / "input.xml").endpoints[0].port == 12345


def test_doubts_of_the_model_are_said_before_the_start(tmp_path, capsys):
    """Not in the log of i-PI alone: a charge that was not learned, a field on atomic charges."""
    ion, plain = waters(), waters()
    ion.info["charge"] = 1
    for name, atoms in (("ion", ion), ("plain", plain)):
        atoms.write(tmp_path / f"{name}.extxyz")
    save(random_potential(plain, charges="atomic", cutoff=3.0), tmp_path / "atomic.pt")
    not_learned, no_energy = "a structure has the total charge +1 e", "field is held on atomic"
    field = ["--kind", "efield", "--electric-field", "0", "0", "0.1"]
    atomic = ["--model", str(tmp_path / "atomic.pt")]
    for name, words, said in (
        ("ion", ["--kind", "nve", "--model", "water"], [not_learned]),
        ("plain", ["--kind", "nve", "--model", "water"], []),
        ("plain", ["--kind", "nve", *atomic], []),
        ("plain", [*field, *atomic], [no_energy]),
        ("plain", [*field, "--model", "water"], []),
    ):
        structure = ["--structure", str(tmp_path / f"{name}.extxyz")]
        command = ["ipi-input", *structure, "--workdir", str(tmp_path / "run"), *words]
        assert main(command) == 0
        lines = capsys.readouterr().err.splitlines()
        for told in (not_learned, no_energy):
            here = [line for line in lines if told in line]
            assert len(here) == (told in said)
            assert all(line.startswith("warning: ") for line in here)


@pytest.mark.timeout(120)
def test_atomic_charges_run_in_a_field(tmp_path, structure, capfd):
    """i-PI started and died at once: its driver was asked for a stress that there is not."""
    save(random_potential(waters(), charges="atomic", cutoff=3.0), tmp_path / "atomic.pt")
    command = [
        "ipi-run", "--kind", "efield", "--electric-field", "0", "0", "0.1", "--structure",
        structure, "--workdir", str(tmp_path / "run"), "--steps", "2", "--timestep", "0.05",
        "--model", str(tmp_path / "atomic.pt"), "--max-force", "0", "--quiet",
    ]  # fmt: skip
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert "finished at step 2 of 2" in out
    assert "warning: a field is held on atomic charges" in err
    assert main([*command, "--ensemble", "npt"]) == 2
    assert "`--ensemble` is npt, whose barostat" in capfd.readouterr().err


def test_how_to_run_is_said(tmp_path, structure, capsys):
    command = ["ipi-input", "--structure", structure, "--workdir", str(tmp_path)]
    assert main([*command, "--kind", "nve"]) == 0
    assert f"lrcalc ipi-run {tmp_path}/input.xml" in capsys.readouterr().out
    assert main([*command, "--kind", "nve", "--transport", "inet"]) == 0
    assert "lrcalc ipi --inet --address localhost --port 31415" in capsys.readouterr().out
    quantum = ["--kind", "te-pigs", "--model", "water", "--transport", "unix"]
    assert main([*command, *quantum]) == 0
    out = capsys.readouterr().out
    assert "lrcalc ipi --unix --address lrcalc\n" in out
    assert "lrcalc ipi --unix --address lrcalc-centroid\n" in out


def test_newest_state_is_resumed(tmp_path):
    """A RESTART of long ago does not win over a later checkpoint; a broken file does not count."""
    template = (
        "<simulation><output prefix='sim'/><step>{}</step>"
        "<total_steps> 9 </total_steps></simulation>"
    )
    (tmp_path / "RESTART").write_text(template.format(3))
    (tmp_path / "sim.checkpoint").write_text(template.format(7))
    assert newest_checkpoint(tmp_path).name == "sim.checkpoint"
    # a RESTART of a longer run that was here before
    (tmp_path / "RESTART").write_text(template.format(9))
    os.utime(tmp_path / "RESTART", (0, 0))
    assert newest_checkpoint(tmp_path).name == "sim.checkpoint"
    # what a killed i-PI was about to put in its place, whole and later
    (tmp_path / ".sim.12815.tmp.checkpoint").write_text(template.format(8))
    assert newest_checkpoint(tmp_path).name == "sim.checkpoint"
    (tmp_path / "sim.checkpoint").write_text(template.format(8)[:40])
    assert newest_checkpoint(tmp_path).name == "RESTART"
    set_total_steps(tmp_path / "RESTART", 50)
    assert read_plan(tmp_path / "RESTART").total_steps == 50
    (tmp_path / "RESTART").unlink()
    with pytest.raises(FileNotFoundError, match="no RESTART"):
        newest_checkpoint(tmp_path)


@pytest.mark.timeout(60)
def test_plain_ipi_and_its_own_driver(tmp_path):
    """The `i-pi` script runs our input, and `i-pi-py_driver -m custom` our PES file."""
    scripts = Path(sys.executable).parent
    assert (scripts / "i-pi").exists()
    folder = tmp_path / "direct"
    toy_input(folder, "nve", steps=3)
    subprocess.run(
        [sys.executable, str(scripts / "i-pi"), "input.xml"],
        cwd=folder, env=environment(), check=True, timeout=40, capture_output=True,
    )  # fmt: skip
    values = read_properties(folder / "sim.out").values
    assert values["step"].tolist() == [0, 1, 2, 3]
    from lrcalc.ipi import Transport

    transport = Transport("unix", f"p{tmp_path.name}", batch=False)
    folder = tmp_path / "driver"
    toy_input(folder, "nve", transport, steps=3)
    server = subprocess.Popen(
        [sys.executable, str(scripts / "i-pi"), "input.xml"],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        socket_file = Path(f"/tmp/ipi_{transport.address}")
        for _ in range(200):
            if socket_file.exists():
                break
            server_ended = server.poll() is not None
            assert not server_ended
            __import__("time").sleep(0.1)
        subprocess.run(
            [
                sys.executable, str(scripts / "i-pi-py_driver"), "-u", "-a", transport.address,
                "-m", "custom", "-P", str(TOY),
                "-o", f"template={folder / 'init.xyz'},extras=dipole",
            ],
            env=environment(), check=True, timeout=40, capture_output=True,
        )  # fmt: skip
        assert server.wait(20) == 0
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()
    again = read_properties(folder / "sim.out").values
    np.testing.assert_allclose(again["potential"], values["potential"], rtol=1e-10)
    line = (folder / "sim.dipole_0").read_text().splitlines()[1]
    assert len(json.loads("[" + ",".join(line.split()) + "]")) == 3
