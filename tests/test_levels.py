"""`lrcalc benchmark levels`: what it trains, on what it measures, and what it writes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from ase.io import write

from lrcalc.checkpoint import load
from lrcalc.cli import main
from lrcalc.hashing import structure_hash
from lrcalc.levels.report import describe
from lrcalc.levels.trainings import Entrant, Measured, entrants, over_seeds, train_one
from lrcalc.training.data import make_frames, read_structures
from tests.training.known_answer import labelled_cluster

LEVELS = ["--levels", "sr", "q", "uiu", "--seeds", "2", "--epochs", "2", "--channels", "4",
          "--hidden", "8", "--cutoff", "3.5"]  # fmt: skip


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    path = tmp_path_factory.mktemp("levels") / "clusters.xyz"
    frames = [labelled_cluster(seed, 2) for seed in range(12)]
    write(path, frames, format="extxyz")
    return path


@pytest.fixture(scope="module")
def done(clusters):
    """A run, and what its command line was."""
    line = ["benchmark", "levels", "--train", str(clusters), "--test-every", "4", "--valid-every",
            "4", *LEVELS, "-o", str(clusters.parent / "compared")]  # fmt: skip
    assert main(line) == 0
    return line


def rows(done):
    with Path(f"{done[-1]}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_level_and_seed_is_a_model_of_its_own(done, clusters):
    found = [(r["level"], r["charges"], r["seed"]) for r in rows(done)]
    kinds = [("sr", "none"), ("q", "atomic"), ("uiu", "atomic")]  # open structures
    assert found == [(*kind, seed) for kind in kinds for seed in "01"]
    folder = clusters.parent / "compared-models"
    weights = [load(p).readout.weight.sum().item() for p in sorted(folder.glob("uiu-atomic-*.pt"))
               if "state" not in p.name]  # fmt: skip
    assert len(set(weights)) == 2


def test_frames_that_are_measured_were_seen_by_no_training(done, clusters):
    structures = read_structures(clusters)
    card = load(clusters.parent / "compared-models" / "q-atomic-seed0.pt").metadata
    unseen = [k for k, a in enumerate(structures) if structure_hash(a) not in card["trained_on"]]
    assert unseen == [2, 6, 10]


def test_errors_are_those_of_evaluate(done, clusters):
    """Of the kept-out frames alone."""
    model = clusters.parent / "compared-models" / "uiu-atomic-seed1.pt"
    out = clusters.parent / "errors.json"
    assert main(["evaluate", str(model), str(clusters), "--json", str(out)]) == 0
    kept = json.loads(out.read_text())["kept_out"]
    row = rows(done)[-1]
    right = {"forces": 1e3 * kept["forces"]["rmse"], "born": kept["born"]["r2"],
             "energy": 1e3 * kept["energy_shifted"]["rmse"], "dipole": kept["dipole"]["r2"],
             "born_mae": kept["born"]["mae"]}  # fmt: skip
    for name, value in right.items():
        assert float(row[name]) == pytest.approx(value, rel=1e-5), name
    assert rows(done)[0]["born"] == ""  # a short-ranged model has none


def test_files_say_how_it_was_done(done):
    content = json.loads(Path(f"{done[-1]}.json").read_text())
    assert content["settings"]["epochs"] == 2
    assert content["settings"]["tests"] == 3
    assert len(content["models"]) == 6
    assert Path(f"{done[-1]}.png").read_bytes().startswith(b"\x89PNG")


def test_run_again_it_trains_nothing_and_says_the_same(done, capsys):
    before = rows(done)
    capsys.readouterr()
    assert main(done) == 0
    again = rows(done)
    for one, other in zip(before, again, strict=True):
        one.pop("call"), other.pop("call")
        assert one == other  # the minutes of the training too
    assert "uiu, atomic" in capsys.readouterr().out


def test_of_some_frames_every_kth_is_kept_out(done, clusters):
    line = [*done[:-1], f"{done[-1]}-some", "--frames", "::2"]
    line[line.index("--epochs") + 1] = "1"
    for option in ("--seeds", "--test-every", "--valid-every"):
        line[line.index(option) + 1] = "1" if option == "--seeds" else "3"
    line[line.index("sr") : line.index("--seeds")] = ["sr"]
    assert main(line) == 0
    card = load(Path(f"{done[-1]}-some-models/sr-seed0.pt")).metadata
    used = [k for k, a in enumerate(read_structures(clusters))
            if structure_hash(a) in card["trained_on"]]  # fmt: skip
    assert used == [0, 4, 6, 10]  # of 0, 2, 4, …, 10 the second and fifth are kept out
    settings = json.loads(Path(f"{done[-1]}-some.json").read_text())["settings"]
    assert (settings["frames"], settings["tests"], settings["index"]) == (3, 2, "::2")


def test_stopped_halfway_it_leaves_one_seed_of_every_level(done, monkeypatch):
    made = []

    def train(entrant, *args, **kwargs):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(entrant)
        return train_one(entrant, *args, **kwargs)

    monkeypatch.setattr("lrcalc.levels.trainings.train_one", train)
    line = [*done[:-1], f"{done[-1]}-stopped"]
    line[line.index("--epochs") + 1] = "1"
    assert main(line) == 130
    found = [(r["level"], r["seed"]) for r in rows(line)]
    assert found == [("sr", "0"), ("q", "0"), ("uiu", "0")]


def test_other_settings_are_another_benchmark(done, capsys):
    other = [*done]
    other[other.index("--channels") + 1] = "5"
    assert main(other) == 2
    assert "`channels` was 4, now 5" in capsys.readouterr().err


def test_short_ranged_models_have_no_family_of_charges(clusters):
    frames = make_frames(read_structures(clusters)[:1], clusters, 3.0)
    found = entrants(["sr", "u"], ["auto", "local", "atomic"], 1, frames)
    assert found == [Entrant("sr", "none", 0), Entrant("u", "atomic", 0), Entrant("u", "local", 0)]


def test_error_bars_are_those_of_the_mean():
    values = [1.0, 2.0, 6.0]
    made = [Measured(Entrant("u", "local", k), {"forces": v}) for k, v in enumerate(values)]
    mean, error, n = over_seeds(made)["u, local"]["forces"]
    assert (mean, n) == (3.0, 3)
    assert error == pytest.approx(np.std(values, ddof=1) / 3**0.5)
    assert "3.0 ± 1.5" in describe(made)
    assert "±" not in describe(made[:1])


@pytest.mark.parametrize(("change", "said"), [
    ({"--test-every": "0"}, "no frames to measure on: give --test FILES or --test-every K"),
    ({"--seeds": "0"}, "`--seeds` is 0 but must be at least 1"),
    ({"--epochs": "0"}, "`--epochs` is 0 but must be at least 1"),
])  # fmt: skip
def test_what_cannot_be_done_is_said(done, capsys, change, said):
    line = [*done[:-1], done[-1] + "-other"]
    for option, value in change.items():
        line[line.index(option) + 1] = value
    assert main(line) == 2
    assert said in capsys.readouterr().err


def test_test_files_with_other_elements_are_refused(done, clusters, tmp_path, capsys):
    foreign = labelled_cluster(3, 2)
    foreign.numbers[0] = 16
    write(tmp_path / "foreign.xyz", foreign, format="extxyz")
    line = [*done[:-1], str(tmp_path / "x"), "--test", str(tmp_path / "foreign.xyz")]
    assert main(line) == 2
    assert "the test frames have S, which no training frame has" in capsys.readouterr().err
