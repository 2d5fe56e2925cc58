"""Bad input is named on all ranks, and none of it hangs: every run here has a bounded time."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from lrcalc.checkpoint import load, save
from lrcalc.cli import main
from tests.lammps.running import ROOT, mpirun, needs_lammps, run_lammps

pytestmark = needs_lammps

BOX = """
units metal
atom_style atomic
region box block 0 9 0 9 0 9
create_box 2 box
mass 1 16
mass 2 1
create_atoms 1 single 1 1 1
create_atoms 2 single 1.9 1 1
create_atoms 2 single 0.8 1.9 1
"""
STYLE = "pair_style lrcalc water\n"
COEFF = "pair_coeff * * O H\n"

CASES = {
    "no model": (BOX + "pair_style lrcalc", "names no model"),
    "model that is not there": (BOX + "pair_style lrcalc no-such-model", "no-such-model"),
    "word": (BOX + "pair_style lrcalc water fields 0 0 1", "does not know 'fields'"),
    "short field": (BOX + "pair_style lrcalc water field 0 0", "'field' .* wants 3"),
    "two fields": (BOX + "pair_style lrcalc water field 0 0 0.1 dfield 0 0 1", "twice"),
    "charge that is no number": (BOX + "pair_style lrcalc water charge nan", "finite number"),
    "accuracy": (BOX + "pair_style lrcalc water accuracy inf", "finite number"),
    "coarse accuracy": (BOX + "pair_style lrcalc water accuracy 5", "5.0 but .*from 1e-14 to 0.1"),
    "fine accuracy": (BOX + "pair_style lrcalc water accuracy 0", "0.0 but must be"),
    "dtype": (BOX + "pair_style lrcalc water dtype half", "float32 or float64"),
    "device": (BOX + "pair_style lrcalc water device cuda:99", "torch cannot use"),
    "no element": (BOX + STYLE + "pair_coeff * * O Xx", "'Xx' is no chemical element"),
    "unknown species": (BOX + STYLE + "pair_coeff * * O Na", "Na, which the model does not know"),
    "too few elements": (BOX + STYLE + "pair_coeff * * O", "names 1 element.*2 atom types"),
    "one type": (BOX + STYLE + "pair_coeff 1 1 O H", r"must start with \* \*"),
    "newton": ("newton off\n" + BOX + STYLE + COEFF + "run 0", "newton on"),
    "units": (BOX.replace("metal", "real") + STYLE, "units metal"),
    "one direction": ("boundary p f f\n" + BOX + STYLE + COEFF + "run 0", "one periodic direction"),
    "D of a slab": (
        "boundary p p f\n" + BOX + "pair_style lrcalc water dfield 0 0 0.01\n" + COEFF + "run 0",
        "three periodic directions",
    ),
    "charge in a field": (
        BOX + "pair_style lrcalc water field 0 0 0.1 charge 1\n" + COEFF + "run 0", "net charge",
    ),
    "series of nothing": (BOX + "fix s all lrcalc 4 x.series\nrun 0", "pair_style lrcalc"),
    "another field in the same series": (
        BOX + STYLE + COEFF + "fix s all lrcalc 1 y.series\nrun 1\n"
        "pair_style lrcalc water field 0 0 0.1\n" + COEFF + "run 1",
        "y.series is of another run .field None, now .*0.1",
    ),
    "two series in a file": (
        BOX + STYLE + COEFF + "fix s all lrcalc 1 z.series\nrun 0\nfix t all lrcalc 2 ./z.series\n"
        "run 1",
        "z.series is the file of two fixes of this run",
    ),
    "a series after another in a file": (
        BOX + STYLE + COEFF + "fix s all lrcalc 1 u.series\nrun 1\nrun 1\nunfix s\n"
        "fix t all lrcalc 1 u.series\nrun 1\n" + "units none",
        "Units command after simulation box",
    ),
    "box below the cutoff, tiled": (  # bricks take any box: test_host.py
        "comm_style tiled\n" + BOX.replace("0 9 0 9 0 9", "0 5 0 5 0 5") + STYLE + COEFF
        + "balance 1 rcb",
        "cannot exceed periodic box length",
    ),
    "no stride": (BOX + STYLE + COEFF + "fix s all lrcalc 0 x.series", "every 0 steps"),
    "stress of atoms": (
        BOX + STYLE + COEFF + "compute s all stress/atom NULL\nfix a all ave/atom 1 1 1 c_s[1]\n"
        "run 0",
        "no virial of single atoms",
    ),
}  # fmt: skip
"""Name → input, and what every rank has to say."""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "cases.json").write_text(
        json.dumps({name: text for name, (text, _) in CASES.items()})
    )
    worker = ROOT / "tests/lammps/refusing.py"
    done = mpirun(2, worker, "cases.json", "out.json", cwd=folder, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_every_rank_says_what_is_wrong(said, name):
    assert len(said[name]) == 2
    for text in said[name]:
        assert re.search(CASES[name][1], text, re.DOTALL), text


CLOSE = BOX + "create_atoms 2 single 1.2 1 1\n"
MODEL_OF_NAN = "nan.pt"
SERIES = BOX + STYLE + COEFF + "fix s all lrcalc 1 s\n"


def model_of_nan(folder):
    potential = load("water")
    with torch.no_grad():
        next(potential.readout.parameters()).fill_(torch.nan)
    save(potential, folder / MODEL_OF_NAN)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (CLOSE + STYLE + COEFF + "run 0", r"0\.2\d* Å|0\.2\d* A"),
        (BOX + f"pair_style lrcalc {MODEL_OF_NAN}\n" + COEFF + "run 0", "(?i)nan|not finite"),
        (SERIES + "dump d all atom 1 s\nrun 1", "fix lrcalc: s is there and empty: a dump"),
        (SERIES + "restart 1 s s2\nrun 3", "fix lrcalc: s has .* bytes in step 2"),
    ],
    ids=["atoms closer than 0.3 Å", "NaN", "a dump in a series", "a restart in a series"],
)
def test_what_is_wrong_on_one_rank_ends_all(tmp_path, script, message, ranks):
    model_of_nan(tmp_path)
    done = run_lammps(tmp_path, script, ranks=ranks, timeout=60)
    assert done.returncode != 0
    assert re.search(message, done.stderr + done.stdout), done.stderr


def test_a_missing_compiler(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LRCALC_CACHE", str(tmp_path))
    assert main(["lammps-plugin", "build", "--compiler", "no-such-compiler"]) == 2
    assert "no-such-compiler not found" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert main(["lammps-plugin", "build"]) == 2
    said = capsys.readouterr().err
    assert "no C++ compiler: g++, c++, clang++ not found" in said
    assert "apt-get install g++" in said
    assert main(["lammps-plugin", "path"]) == 2
    assert "lrcalc lammps-plugin build" in capsys.readouterr().err
    script = tmp_path / "fails"
    script.write_text("#!/bin/sh\necho 'pair.h: no such thing' >&2\nexit 1\n")
    script.chmod(0o755)
    assert main(["lammps-plugin", "build", "--compiler", str(script)]) == 2
    assert "pair.h: no such thing" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.so"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bigbig"], "is no plugin of lrcalc for LAMMPS|for integers of"),
        (["--lammps-version", "20200101"], "compiled for LAMMPS 20200101, but this one is"),
    ],
)
def test_a_plugin_of_another_lammps(tmp_path, options, message):
    """A real one, compiled for other integers or another version."""
    files = distribution("lammps").files
    headers = next(Path(f.locate()).parent for f in files if f.name == "pair.h")
    plugin = tmp_path / "other.so"
    command = ["lammps-plugin", "build", "--headers", str(headers), "-o", str(plugin)]
    version = [] if "--lammps-version" in options else ["--lammps-version", "20250722"]
    assert main([*command, *options, *version]) == 0
    (tmp_path / "in.lmp").write_text(BOX + STYLE + COEFF + "run 0\n")
    run = ["-m", "lrcalc", "lammps", "-in", "in.lmp", "--plugin", str(plugin)]
    done = mpirun(2, *run, cwd=tmp_path, timeout=60)
    assert done.returncode != 0
    assert re.search(message, done.stderr), done.stderr


def test_without_the_extra(tmp_path):
    """`lrcalc lammps` says what to install; nothing of it is imported before."""
    (tmp_path / "in.lmp").write_text("run 0\n")
    for name in ("lammps", "mpi4py"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(
            f"raise ModuleNotFoundError('No module named {name}', name='{name}')"
        )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'broken'}:{ROOT}"}
    command = [sys.executable, "-m", "lrcalc", "lammps", "-in", "in.lmp"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 2
    assert "lrcalc[lammps]" in done.stderr
