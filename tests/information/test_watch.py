"""Runs that are watched: `lrcalc md --watch` and the driver of i-PI."""

import warnings

import numpy as np
import pytest

from lrcalc import cli
from lrcalc.information.guard import outside_told
from lrcalc.information.monitor import Monitor, electric_told
from lrcalc.information.reference import make_reference
from lrcalc.ipi.driver import Engine
from lrcalc.ipi.settings import format_parameters, make_settings
from lrcalc.structures import read_structure
from lrcalc.trajectory import read_extxyz
from lrcalc.units import BOHR
from tests.information.test_reference import shaken


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path):
    return np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))


def md(*words):
    return cli.main(["md", "water", "start.xyz", "--out", "run", "--every", "2", *words])


def test_md_writes_a_table_and_goes_on(folder):
    read_structure("water64").write("start.xyz")
    options = ["--watch", "--watch-every", "2"]
    assert md("--steps", "4", *options) == 0
    assert md("--steps", "8", *options) == 0
    table = rows("run-watch.csv")
    assert table["step"].tolist() == [0, 2, 4, 6, 8]
    assert not table["atoms_outside"].any()
    assert (table["dH_max_nats"] > table["dH_99_percent_nats"]).all()
    assert not (folder / "run-outside.xyz").exists()


def test_md_stops_where_the_structure_leaves(folder, capsys):
    water = read_structure("water64")
    water.positions[1] += 0.35 * (water.positions[1] - water.positions[0])  # a stretched bond
    water.write("start.xyz")
    assert md("--steps", "20", "--watch", "water", "--watch-action", "stop") == 3
    assert "stopped at step 0" in capsys.readouterr().err
    (frame,) = read_extxyz("run-outside.xyz")
    assert frame.info["step"] == 0
    assert frame.info["dH_max"] > 10
    assert np.abs(frame.positions - water.positions).max() < 1e-6


def test_md_saves_frames_to_be_computed(folder):
    read_structure("water64").write("start.xyz")
    limit = ["--watch-limit", "-1", "--watch-every", "2"]
    assert md("--steps", "6", "--watch", "--watch-action", "save", *limit) == 0
    assert [a.info["step"] for a in read_extxyz("run-outside.xyz")] == [0, 2, 4, 6]


def test_a_field_that_pulls_harder_than_any_force_is_told(folder, capsys):
    read_structure("water64").write("start.xyz")
    assert md("--steps", "2", "--watch", "--field", "0", "0", "9") == 0
    assert "the field pulls at a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--watch-every", "3"], "no effect without `--watch`"),
        (["--watch", "--watch-every", "0"], "`--watch-every` is 0"),
        (["--watch", "none.xyz"], "none.xyz"),
        (["--watch", "SiO2"], "has H, of which the reference"),
        (["--watch", "--watch-limit", "nan"], "`limit` is nan"),
    ],
)
def test_refusals(folder, capsys, words, message):
    read_structure("water64").write("start.xyz")
    assert md("--steps", "2", *words) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "run.xyz").exists()


def test_charges_beyond_those_of_training_are_told():
    reference = make_reference(shaken(20, 0.1))._replace(ranges={29: (-0.1, 0.1, 2.0)})
    numbers = np.full(4, 29)
    inside = {"charges": np.array([0.1, -0.15, 0.0, 0.19])}
    assert not electric_told(reference, numbers, inside, None)
    (told,) = electric_told(reference, numbers, {"charges": np.array([0, 0, 0, -0.5])}, None)
    assert "-0.5 e" in told
    born = {"born_effective_charges": np.tile(2.0 * np.eye(3), (4, 1, 1))}
    assert not electric_told(reference, numbers, born, (0, 0, 0.9))
    assert "2.2 eV/Å" in electric_told(reference, numbers, born, (0, 0, 1.1))[0]


def test_monitor_refuses_and_words_agree():
    reference = make_reference(shaken(20, 0.1))
    with pytest.raises(ValueError, match="`action` is 'run'"):
        Monitor(reference, "data", action="run")
    atoms = shaken(1, 0.1, seed=3)[0]
    assert outside_told(reference.scores(atoms), atoms.numbers, reference, "it") is None
    atoms.positions[2] += 0.8
    assert "outside of what it was trained on" in outside_told(
        reference.scores(atoms), atoms.numbers, reference, "it"
    )


def sent(engine, *structures):
    cells = [np.asarray(a.cell).T / BOHR for a in structures]
    return engine(cells, [a.positions / BOHR for a in structures])


def test_driver_looks_at_one_bead_after_the_other(folder, capsys):
    water = read_structure("water64")
    bad = water.copy()
    bad.positions[1] += 0.35 * (bad.positions[1] - bad.positions[0])
    settings = make_settings({"watch": "model", "watch_every": 2, "watch_action": "save"})
    engine = Engine(settings, water)
    for _ in range(4):  # looks at calls 0 and 2: beads 0 and 1
        sent(engine, water, bad)
    assert len(read_extxyz("outside.xyz")) == 1
    assert "call 2, bead 1" in capsys.readouterr().err


def test_driver_stops(folder):
    water = read_structure("water64")
    bad = water.copy()
    bad.positions[1] += 0.35 * (bad.positions[1] - bad.positions[0])
    engine = Engine(make_settings({"watch": "model", "watch_action": "stop"}), water)
    with pytest.raises(ValueError, match=r"stopped by `watch`: call 0, bead 0"):
        sent(engine, bad)
    assert len(read_extxyz("outside.xyz")) == 1


def test_driver_warns_once_by_itself(folder):
    water = read_structure("water64")
    bad = water.copy()
    bad.positions[1] += 0.35 * (bad.positions[1] - bad.positions[0])
    engine = Engine(make_settings({}), water)
    with pytest.warns(UserWarning, match="outside of what the model"):
        sent(engine, bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sent(engine, bad)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"watch": "model", "watch_every": 0}, "`watch_every` is 0"),
        ({"watch": "model", "watch_action": "jump"}, "`watch_action` is 'jump'"),
        ({"watch_every": 5}, "no effect without `watch`"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        make_settings(values)


def test_md_by_features_of_its_own_model(folder):
    read_structure("water64").write("start.xyz")
    options = ["--watch", "--score", "features", "--watch-every", "2", "--watch-action", "stop"]
    assert md("--steps", "4", *options) == 0
    table = rows("run-watch.csv")
    assert table["step"].tolist() == [0, 2, 4]
    assert not table["atoms_outside"].any()
    assert (table["feature_max_nats"] > table["feature_99_percent_nats"]).all()


def test_md_by_features_stops_where_the_structure_leaves(folder, capsys):
    water = read_structure("water64")
    water.positions[1] += 0.35 * (water.positions[1] - water.positions[0])
    water.write("start.xyz")
    options = ["--watch", "--score", "features", "--watch-action", "stop"]
    assert md("--steps", "20", *options) == 3
    assert "feature distance up to" in capsys.readouterr().err
    (frame,) = read_extxyz("run-outside.xyz")
    assert frame.info["feature_max"] > 20
    assert "dH_max" not in frame.info


def test_md_by_a_committee_takes_the_forces_of_the_run(folder, capsys, monkeypatch):
    from lrcalc.evaluator import Evaluator

    asked = []
    call = Evaluator.__call__

    def counted(self, structures, properties):
        asked.append(self)
        return call(self, structures, properties)

    read_structure("water64").write("start.xyz")
    monkeypatch.setattr(Evaluator, "__call__", counted)
    options = ["--watch", "--committee", "water-large", "--watch-limit", "0.5"]
    assert md("--steps", "4", *options, "--watch-every", "2") == 0
    table = rows("run-watch.csv")
    assert table["step"].tolist() == [0, 2, 4]
    assert (table["force_spread_max_eV_per_A"] > 0.02).all()
    assert (table["charge_spread_max_e"] > 0).all()
    by = {}
    for evaluator in asked:
        by[evaluator] = by.get(evaluator, 0) + 1
    # the other is asked before the run and at 3 looks; the run's own for 5 structures, before the
    # run, and for charges at the first look
    assert sorted(by.values()) == [4, 7]
    assert md("--steps", "6", "--watch", "--watch-every", "2") == 2
    assert "run-watch.csv is of another score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score", "features"], "`--score` has no effect without `--watch`"),
        (["--watch", "--score", "committee", "--watch-limit", "1"], "has one model, 'water'"),
        (["--watch", "--committee", "water", "--watch-limit", "1"], "has one model, 'water'"),
        (["--watch", "--committee", "water-large"], "has no limits"),
        (["--watch", "--committee", "SiO2", "--watch-limit", "1"], "'SiO2' of the committee knows"),
        (["--watch", "SiO2", "--score", "features"], "has H, of which the reference"),
        (["--watch", "--score", "features", "--committee", "water"], "no effect on the score"),
    ],
)
def test_refusals_of_scores(folder, capsys, words, message):
    read_structure("water64").write("start.xyz")
    assert md("--steps", "2", *words) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "run.xyz").exists()


def test_driver_by_features_and_by_a_committee(folder):
    water = read_structure("water64")
    bad = water.copy()
    bad.positions[1] += 0.35 * (bad.positions[1] - bad.positions[0])
    stop = {"watch": "model", "watch_action": "stop"}
    engine = Engine(make_settings(stop | {"watch_score": "features", "watch_every": 1}), water)
    sent(engine, water)
    with pytest.raises(ValueError, match="feature distance up to"):
        sent(engine, bad)
    members = stop | {"watch_committee": "water-large", "watch_limit": "0.02"}
    settings = make_settings(members)
    assert settings.watch_score == "committee"
    assert "watch_committee: water-large" in format_parameters(settings)
    with pytest.raises(ValueError, match="'water', 'water-large' do not agree on atoms"):
        sent(Engine(settings, water), water)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"watch": "model", "watch_score": "luck"}, "`watch_score` is 'luck'"),
        ({"watch_score": "features"}, "`watch_score` has no effect without `watch`"),
        ({"watch": "model", "watch_score": "features", "watch_committee": "b"}, "has no effect on"),
        ({"watch": "model", "watch_limit": "nan"}, "`watch_limit` is 'nan'"),
    ],
)
def test_settings_of_scores_are_checked(values, message):
    with pytest.raises(ValueError, match=message):
        make_settings(values)
