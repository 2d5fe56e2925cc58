"""Options of the i-PI commands: refused in one line that names them, never without effect."""

import pytest

from lrcalc import load, save
from lrcalc.cli import main
from lrcalc.commands._ipi_options import OPTIONS
from lrcalc.commands._naming import flag, translate
from lrcalc.commands.ipi_input import add_input_arguments
from tests.ipi.helpers import address, environment, waters


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a structure, and files of other kinds."""
    waters().write(tmp_path / "water.extxyz")
    (tmp_path / "empty").touch()
    (tmp_path / "input.xml").write_text("<simulation><total_steps>3</total_steps></simulation>")
    model = load("water")
    model.metadata["nuclei"] = "quantum"
    save(model, tmp_path / "quantum.pt")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "RESTART").write_text(
        "<simulation><step>8</step><total_steps>8</total_steps></simulation>"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


BASE = ["--structure", "water.extxyz", "--workdir", "run"]
REFUSED = [
    ("ipi-run", "give one of"),
    ("ipi-run --kind nve", "needs `--structure`"),
    ("ipi-run no-such.xml", "does not exist"),
    ("ipi-input --kind efield BASE", "needs `--electric-field`"),
    ("ipi-input --kind pulse BASE", "needs `--amplitude`"),
    ("ipi-input --kind nve BASE --extras dipoles", "`--extras` has 'dipoles'"),
    ("ipi-input --kind nve BASE --checkpoint-stride 0", "`--checkpoint-stride` is 0"),
    ("ipi-input --kind nve BASE --stride 0", "`--stride` is 0"),
    ("ipi-input --kind nve BASE --steps 0", "`--steps` is 0"),
    ("ipi-input --kind nve BASE --restart-from gone", "`--restart-from` 'gone' is no file"),
    ("ipi-input --kind nve BASE --dtype float16", "`--dtype` is 'float16'"),
    ("ipi-input --kind nve BASE --epsilon-infinity 0.2", "`--epsilon-infinity` is '0.2'"),
    ("ipi-input --kind nve BASE --model nonsense", "no bundled model 'nonsense'"),
    ("ipi-input --kind nve BASE --model SiO2", "`--model` 'SiO2' knows O Si"),
    # without effect
    ("ipi-input --kind nve BASE --amplitude 0 0 0.1 --frequency 3400", "`--amplitude` is not used"),
    ("ipi-input --kind nve BASE --frequency 3400", "`--frequency` has no effect without"),
    ("ipi-input --kind nve BASE --peak 0", "`--peak` has no effect without"),
    ("ipi-input --kind nvt BASE --pressure 0.1", "`--pressure` is 0.1 GPa, but the cell"),
    ("ipi-input --kind nve BASE --restart-from done/RESTART --temperature 300", "`--temperature`"),
    ("ipi-input --kind nvt BASE --address here", "`--address` has no effect"),
    ("ipi-input --kind nvt BASE --port 31415", "`--port` has no effect"),
    ("ipi-input --kind nvt BASE --transport unix --port 31415", "`--port` has no effect"),
    ("ipi-run input.xml --steps 3 --temperature 300", "`--steps, --temperature` cannot be used"),
    ("ipi-run input.xml --structure water.extxyz", "`--structure` cannot be used with an input"),
    ("ipi-run input.xml --no-batch", "`--no-batch` cannot be used with an input"),
    ("ipi-run input.xml --clients 2", "`--clients` has no effect"),
    ("ipi-run --resume done --temperature 900", "`--temperature` cannot be used with --resume"),
    ("ipi-run --resume done --steps 9 --model water", "`--model` cannot be used with --resume"),
    ("ipi --unix --port 5", "`--port` has no effect with `--unix`"),
    # a pulse that would never end
    ("ipi-input --kind pulse BASE --amplitude 0 0 0.3 --width 5", "`--peak` is 0 fs but must be"),
    ("ipi-input --kind pulse BASE --amplitude 0 0 0.3 --peak 9", "without `--width` the field"),
    # sockets, counts, files
    ("ipi-input --kind nve BASE --transport inet --port 99999", "`--port` is 99999"),
    ("ipi --inet --port 99999", "`--port` is 99999"),
    ("ipi --unix --wait nan", "`--wait` is nan"),
    ("ipi --unix --threads 0", "`--threads` is 0"),
    ("ipi-run --kind nve BASE --transport unix --clients -1", "`--clients` is -1"),
    ("ipi-run --resume done", "is at step 8, and 8 is its own total"),
    ("ipi-run --resume done --steps 7", "is at step 8, and 7 is what `--steps` asks for"),
    ("ipi-run --resume done --steps -5", "`--steps` is -5"),
    ("ipi-run --kind nve BASE --model gone.pt", "`--model` 'gone.pt' does not exist in"),
    ("ipi-run --kind nve BASE --device cuda:99", "`--device` is 'cuda:99'"),
    ("ipi-input --kind nve --structure water.extxyz --workdir empty", "`--workdir` is 'empty'"),
    ("ipi-input --kind nve --structure empty", "`--structure` 'empty' cannot be read"),
    ("ipi-input --kind nve --structure gone.xyz", "`--structure` 'gone.xyz' does not exist"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[text for text, _ in REFUSED])
def test_refusals_are_one_line(folder, capsys, command, message):
    words = [part for word in command.split() for part in (BASE if word == "BASE" else [word])]
    assert main(words) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1
    assert not (folder / "run").exists()


def test_a_template_is_not_an_option_of_an_input(folder, capsys):
    """It is the start itself; the option was read and thrown away."""
    with pytest.raises(SystemExit):
        main(["ipi-input", "--kind", "nve", *BASE, "--template", "x.xyz"])
    assert "--template" in capsys.readouterr().err


def test_errors_of_the_operating_system_name_the_file(folder, capsys):
    below_a_file = ["--structure", "water.extxyz", "--workdir", "empty/run"]
    assert main(["ipi-input", "--kind", "nve", *below_a_file]) == 2
    assert capsys.readouterr().err == "lrcalc ipi-input: empty/run: Not a directory\n"


def test_translation():
    assert translate("`restart` and `outputs.checkpoint`", OPTIONS) == (
        "`--restart-from` and `--checkpoint-stride`"
    )
    assert translate("`template` of `x`", OPTIONS) == "`template` of `x`"
    assert translate("`template`", {"template": flag("template")}) == "`--template`"


def test_every_translation_is_an_option():
    import argparse

    parser = argparse.ArgumentParser()
    add_input_arguments(parser)
    known = {"--kind", "--structure", *parser._option_string_actions}
    assert set(OPTIONS.values()) <= known


def test_help_says_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["ipi-input", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "K (default 300)", "GPa (npt only; default 0.0001)", "default 31415",
        "positions (default 20",
        "velocities (default 0", "default 100)", "extras (1 or more; default 1)", "default 1000",
        "tau, the time constant in fs", "[nvt, 32 beads, 0.25 fs, tau 1000 fs]",
        "three widths let the field rise",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "trpmd", "--beads", "4"], ["classical nuclei only; with 4 beads"]),
        (
            ["--kind", "npt", "--pressure", "0.1"],
            ["0.1 GPa are 1000 bar; 0.1 MPa would be 0.0001", "'water' is not made for"],
        ),
        (["--kind", "npt"], ["'water' is not made for constant pressure"]),
        (["--kind", "nvt", "--ensemble", "npt"], ["'water' is not made for constant pressure"]),
        (
            ["--kind", "pimd", "--ensemble", "npt", "--beads", "2"],
            ["classical nuclei only; with 2 beads", "not made for constant pressure"],
        ),
        (["--kind", "nvt"], []),
        (["--kind", "npt", "--ensemble", "nvt"], []),
        (["--kind", "pimd", "--model", "quantum.pt"], []),
        (["--kind", "npt", "--model", "gone.pt"], ["'gone.pt' is not on this machine"]),
        (["--kind", "nvt", "--device", "cuda:7"], []),  # of another machine, perhaps
    ],
)
def test_warnings(folder, capsys, options, said):
    assert main(["ipi-input", *BASE, *options]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said)
    for line, part in zip(lines, said, strict=True):
        assert line.startswith("warning: ")
        assert part in line


@pytest.mark.timeout(60)
def test_a_run_without_clients_says_what_it_waits_for(folder):
    """`--clients 0` waited without a word."""
    import subprocess
    import sys

    name = address()
    run = subprocess.Popen(
        [sys.executable, "-m", "lrcalc.cli", "ipi-run", "--kind", "nve", *BASE, "--quiet",
         "--transport", "unix", "--address", name, "--clients", "0"],
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert run.stderr.readline() == "waiting for clients:\n"
        assert run.stderr.readline() == f"  lrcalc ipi --unix --address {name}\n"
    finally:
        run.terminate()
        run.wait(30)
        run.stderr.close()
