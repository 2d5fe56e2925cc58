"""The commands about information, from files to files."""

import json

import numpy as np
import pytest
import torch
from ase.io import read, write

from lrcalc.checkpoint import load, read_tensors, save
from lrcalc.cli import main
from tests.conftest import random_potential
from tests.information.test_reference import shaken


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("data.xyz", shaken(12, 0.1))
    run = shaken(5, 0.1, seed=1)
    run[3].positions[7] += 0.8
    write("run.xyz", run)
    return tmp_path


def test_entropy(folder, capsys):
    assert main(["entropy", "data.xyz", "run.xyz", "--bandwidth", "0.05", "--json", "e.json"]) == 0
    told = json.loads((folder / "e.json").read_text())["sets"]
    assert told["all files"]["environments"] == 17 * 32
    assert 0 < told["data.xyz"]["entropy_nats"] <= np.log(12 * 32)
    assert main(["entropy", "data.xyz", "--bandwidth", "0.0001"]) == 0
    assert "all environments differ" in capsys.readouterr().out
    assert main(["entropy", "data.xyz", "--components", "--neighbours", "8"]) == 0


def test_extrapolation_beside_data_and_a_model(folder, capsys):
    assert main(["extrapolation", "run.xyz", "--reference", "data.xyz", "-o", "x"]) == 0
    assert "first frame outside = 3" in capsys.readouterr().out
    save(random_potential(shaken(1, 0.1)[0]), "model.pt")
    assert main(["extrapolation", "run.xyz", "--reference", "model.pt"]) == 2
    assert "lrcalc reference model.pt" in capsys.readouterr().err
    assert main(["reference", "model.pt", "--data", "data.xyz", "-o", "known.pt"]) == 0
    assert main(["extrapolation", "run.xyz", "--reference", "known.pt", "-o", "y"]) == 0
    assert "first frame outside = 3" in capsys.readouterr().out
    assert main(["extrapolation", "run.xyz", "--reference", "known.pt", "--cutoff", "4"]) == 2
    assert "`--cutoff` is 4.0" in capsys.readouterr().err


def test_reference_leaves_weights_and_card_as_they_are(folder):
    save(random_potential(shaken(1, 0.1)[0]), "model.pt")
    assert main(["reference", "model.pt", "--data", "data.xyz", "-o", "known.pt"]) == 0
    before, after = read_tensors("model.pt"), read_tensors("known.pt")
    assert set(after) - set(before) == {"environments"}
    assert before["metadata"] == after["metadata"]
    for name, tensor in before["state"].items():
        assert torch.equal(tensor, after["state"][name])
    potential = load("known.pt")
    save(potential, "again.pt")
    assert load("again.pt").environments["h"] == potential.environments["h"]


def test_select(folder, capsys):
    assert main(["select", "run.xyz", "--keep", "3", "-o", "s"]) == 0
    frames = read("s.xyz", ":")
    rows = [r for r in (folder / "s-selection.csv").read_text().splitlines() if r[:1].isdigit()]
    assert len(frames) == 3
    assert 3 in [int(row.split(",")[1]) for row in rows[:2]]  # the odd one
    assert main(["select", "run.xyz", "--keep", "2", "--reference", "data.xyz", "-o", "b"]) == 0
    assert np.abs(read("b.xyz", 0).positions - read("run.xyz", 3).positions).max() < 1e-6
    assert main(["select", "run.xyz", "--keep", "9"]) == 2
    assert "`keep` is 9" in capsys.readouterr().err
    assert main(["select", "run.xyz", "--keep", "2", "-o", "run"]) == 2
    assert "would replace" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["0", "-1", "-7.5", "1e-300", "-1e-300", "1e6"])
def test_any_limit_that_is_a_number_has_a_picture(folder, limit):
    """δH may be as low as -ln N, and so may what a run is to be held to."""
    words = ["extrapolation", "run.xyz", "--reference", "data.xyz", "--limit", limit, "-o", "x"]
    assert main(words) == 0
    told = json.loads((folder / "x-extrapolation.json").read_text())
    assert told["frames_outside"]["value"] == (0 if float(limit) > 1e5 else 5)
    assert (folder / "x-extrapolation.png").stat().st_size > 1000


@pytest.mark.parametrize(("words", "message"), [
    (["entropy", "none.xyz"], "none.xyz"),
    (["entropy", "data.xyz", "--bandwidth", "0"], "`--bandwidth` is 0"),
    (["entropy", "data.xyz", "--bandwidth", "nan"], "`--bandwidth` is nan"),
    (["entropy", "data.xyz", "--neighbours", "0"], "`--neighbours` is 0"),
    (["entropy", "data.xyz", "-k", "0"], "`k` is 0"),
    (["select", "data.xyz", "--keep", "2", "--bandwidth", "0"], "`h` is 0"),
    (["extrapolation", "run.xyz", "--reference", "water", "--bandwidth", "0"],
     "`--bandwidth` is 0"),
    (["extrapolation", "run.xyz", "--reference", "water", "--score", "features", "-k", "0"],
     "`--nearest` is of δH"),
    (["entropy", "data.xyz", "-k", "1"], "`k` is 1"),
    (["entropy", "data.xyz", "--frames", "40:"], "no such frames"),
    (["extrapolation", "run.xyz", "--reference", "silver.xyz"], "unknown elements: Cu in"),
    (["extrapolation", "run.xyz", "--reference", "data.xyz", "known.pt"], "beside others"),
])  # fmt: skip
def test_refusals(folder, capsys, words, message):
    write("silver.xyz", shaken(4, 0.1, symbol="Ag"))
    assert main(words) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert not told.out
