"""Whether data determine charges: the report, its words, and where they are said."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.io import write

from lrcalc import load
from lrcalc.checkpoint import save
from lrcalc.cli import main
from lrcalc.commands._cards import remarks_of_response
from lrcalc.evaluator import Evaluator
from lrcalc.models.card import charges_lines, electric_notes
from lrcalc.run_conditions import RunConditions
from lrcalc.training.born_order import describe_transposed
from lrcalc.training.data import make_frames
from lrcalc.training.electrical import read_labelled
from lrcalc.training.identifiability import (
    Identifiability,
    identifiability,
    long_range_frames,
    mean_born,
)
from lrcalc.training.settings import TrainingSettings
from tests.conftest import random_potential
from tests.training.sets import frames_of


def report(**changes):
    given = {"share": 0.1, "rest": 0.24, "error": 0.02, "born": {"Na": 1.0, "Cl": -1.0},
             "spread": {}, "members": 0, "labels": ("energy", "forces")}  # fmt: skip
    return Identifiability(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "determined"),
        ({"rest": 0.01}, "not determined"),
        ({"rest": 0.03}, "uncertain"),
        ({"rest": 0.03, "members": 2, "spread": {"Na": 0.01, "Cl": 0.01}}, "determined"),
        ({"rest": float("nan")}, "unknown"),
        ({"members": 3, "spread": {"Na": 0.4, "Cl": 0.4}}, "not determined"),
        ({"members": 3, "spread": {"Na": 0.2, "Cl": 0.2}}, "determined"),
        ({"rest": 0.03, "members": 3, "spread": {"Na": 0.2, "Cl": 0.2}}, "uncertain"),
        ({"members": 3, "spread": {"Na": 0.01, "Cl": 0.02}}, "determined"),
        ({"rest": 0.01, "labels": ("energy", "forces", "born")}, "labels"),
        ({"rest": 0.01, "labels": ("energy", "forces", "polarizability")}, "not determined"),
    ],
)
def test_the_verdict(changes, verdict):
    found = report(**changes)
    assert found.verdict == verdict
    card = {"identifiability": found.card()}
    (first, *_) = charges_lines(card)
    assert ("charges are not determined by these data" in first) == (verdict == "not determined")
    told = bool(electric_notes(card))
    assert told == (verdict == "not determined" or found.members > 0)


def test_it_says_how_far_off_charges_may_be():
    """Error over twice the rest, since long-range forces go with the square of the charges."""
    (line,) = charges_lines({"identifiability": report(rest=0.03).card()})
    assert "charges off by 33 % would hardly show" in line
    (line,) = charges_lines({"identifiability": report().card()})
    assert "charges off by 4.2 % would hardly show" in line
    (line,) = charges_lines({"identifiability": report(rest=0.01).card()})
    assert "hardly show" not in line  # there they may be anything


def test_an_ensemble_gives_intensities_an_error():
    card = {"identifiability": report(members=2, spread={"Na": 0.05, "Cl": 0.05}).card()}
    assert "Na +1.000 ± 0.050" in charges_lines(card)[1]
    assert "intensities to 10 %" in charges_lines(card)[1]


def test_a_card_without_permittivity_is_told_unless_one_is_given():
    card = {"epsilon_infinity": 1.0, "epsilon_infinity_from": "not given"}
    assert "states no ε_∞: 1 is used" in electric_notes(card)[0]
    assert electric_notes(card, 1.78) == []
    assert electric_notes({"epsilon_infinity": 1.78}) == []


def test_the_long_range_part_is_what_energies_differ_by_without_it():
    """Its forces are central differences of its energy, which the readout's parts leave."""
    structures = frames_of("crystal", 2)
    model = random_potential(structures[0], level="u", cutoff=3.0)
    frames = make_frames(structures, "f.xyz", 3.0)
    (made, _), total, error = long_range_frames(model, frames, "cpu")
    assert total > 0
    assert error > 0
    values = []
    for sign in (1, -1):
        moved = structures[0].copy()
        moved.calc = structures[0].calc
        moved.positions[1, 2] += sign * 1e-5
        (other,), _, _ = long_range_frames(model, make_frames([moved], "f.xyz", 3.0), "cpu")
        values.append(other.energy)
    assert float(made.forces[1, 2]) == pytest.approx(-(values[0] - values[1]) / 2e-5, rel=1e-5)


def test_a_short_training_says_that_nothing_was_measured():
    structures = frames_of("crystal", 3)
    model = random_potential(structures[0], level="u", cutoff=3.0, channels=3, hidden=8).float()
    model.reference_energy = model.reference_energy.double()
    frames = make_frames(structures, "f.xyz", 3.0)
    found = identifiability(model, frames[:2], frames[2:], TrainingSettings(epochs=3))
    assert found.verdict == "unknown"
    assert np.isnan(found.rest)
    assert set(found.born) == {"Na", "Cl"}
    assert found.born["Na"] == pytest.approx(mean_born(model, frames[2:], "cpu")["Na"])
    short = random_potential(structures[0], level="sr", cutoff=3.0)
    assert identifiability(short, frames[:2], frames[2:], TrainingSettings()) is None


def test_the_imitation_has_no_prior_of_its_own(tmp_path, monkeypatch):
    """It would have to unlearn the repulsion of nuclei, and charges seem determined."""
    structures = frames_of("crystal", 2)
    frames = make_frames(structures, "f.xyz", 3.0)
    rests = []
    monkeypatch.setattr("lrcalc.training.identifiability.FEWEST_STEPS", 1)
    for prior in ("none", "zbl"):
        model = random_potential(structures[0], level="q", cutoff=3.0, prior=prior)
        settings = TrainingSettings(epochs=10, learning_rate=1e-9)
        found = identifiability(model, frames, frames, settings)
        rests.append((found.share > 0, found.rest))
    assert rests[0][0]
    assert rests[1][1] == pytest.approx(rests[0][1], rel=1e-4)


def test_a_missing_permittivity_is_said_of_polarizabilities(tmp_path):
    """By `raman`, unless the run was given one or a surface was taught."""
    (atoms,) = frames_of("crystal", 1)
    model = random_potential(atoms, level="uiu", cutoff=3.0, channels=3, hidden=8)
    model.metadata["epsilon_infinity_from"] = "not given"
    save(model.to(torch.float32), tmp_path / "m.pt")
    told = RunConditions(model=str(tmp_path / "m.pt"))
    run = SimpleNamespace(runs=[], conditions=told)
    (line,) = remarks_of_response(run)
    assert "polarizabilities by about ε_∞" in line
    run.conditions = told._replace(epsilon_infinity=1.78)
    assert remarks_of_response(run) == []
    model.metadata["polarizability"] = {"trained_on": []}
    save(model, tmp_path / "m.pt")
    run.conditions = told
    assert remarks_of_response(run) == []


def test_transposed_labels_are_told_by_energies_and_forces(monkeypatch):
    """A readout without labels is the judge; symmetric labels have no order."""
    (atoms,) = frames_of("water", 1)
    model = random_potential(atoms, level="u", cutoff=3.0, channels=3, hidden=8)
    model.metadata["epsilon_infinity"] = 1.0
    monkeypatch.setattr("lrcalc.training.born_order.retrained", lambda *_: model)
    frames = make_frames([atoms], "f.xyz", 3.0)
    born = Evaluator(model)([atoms], ["born_effective_charges"])[0]["born_effective_charges"]
    told = {}
    for name, value in (("right", born), ("wrong", born.swapaxes(1, 2)),
                        ("symmetric", born + born.swapaxes(1, 2))):  # fmt: skip
        given = atoms.copy()
        given.arrays["REF_born"] = value.reshape(-1, 9)
        labels = read_labelled([given], "f.xyz", 3.0, ["born"])
        told[name] = describe_transposed(model, frames, frames, labels, TrainingSettings())
    assert told["right"] == told["symmetric"] == []
    assert "only when transposed" in told["wrong"][0]


def test_commands_say_it(tmp_path, capsys):
    structures = frames_of("crystal", 2)
    model = random_potential(structures[0], level="u", cutoff=3.0, channels=3, hidden=8)
    model.metadata |= {"identifiability": report(rest=0.01).card(),
                       "epsilon_infinity_from": "not given"}  # fmt: skip
    save(model.to(torch.float32), tmp_path / "m.pt")
    write(tmp_path / "f.xyz", structures, format="extxyz")
    phrase = "charges are not determined by these data"
    assert main(["info", str(tmp_path / "m.pt")]) == 0
    assert phrase in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "m.pt"), str(tmp_path / "f.xyz")]) == 0
    out = capsys.readouterr().out
    assert phrase in out
    assert "states no ε_∞" in out
    assert load(tmp_path / "m.pt").metadata["identifiability"]["verdict"] == "not determined"


@pytest.fixture
def fitted(tmp_path):
    """Command that goes on from a model, whose card has been measured, with two labelled frames."""
    structures = frames_of("crystal", 4)
    for atoms in structures:
        sign = np.where(atoms.numbers == 11, 1.0, -1.0)
        atoms.arrays["REF_born"] = (1.1 * sign[:, None, None] * np.eye(3)).reshape(-1, 9)
    write(tmp_path / "f.xyz", structures, format="extxyz")
    model = random_potential(structures[0], level="u", cutoff=3.0, channels=3, hidden=8)
    model.metadata |= {"identifiability": report(rest=0.01).card(), "polarizability": {},
                       "errors_kept_out": {"born_R2": 0.99}}  # fmt: skip
    save(model.to(torch.float32), tmp_path / "m.pt")
    return ["fit-charges", str(tmp_path / "m.pt"), "--data", str(tmp_path / "f.xyz"), "-o",
            str(tmp_path / "n.pt"), "--valid-every", "4", "--epochs", "2"]  # fmt: skip


def test_what_was_measured_before_charges_were_fitted_is_measured_anew(fitted, tmp_path, capsys):
    """The new card had the verdict on the old charges, and errors that they had."""
    assert main(fitted) == 0
    said = capsys.readouterr().out
    assert "report on the charges" in said
    assert "charges are fixed by electrical labels (born)" in said
    assert "polarizability surface was fitted to features that change" in said
    card = load(tmp_path / "n.pt").metadata
    assert card["identifiability"]["verdict"] == "labels"
    assert "errors_kept_out" not in card
    assert "fit it anew" in card["charges_fitted"]["polarizability"]
    atoms = frames_of("crystal", 4)[3]  # which validates
    (found,) = Evaluator(str(tmp_path / "n.pt"))([atoms], ["born_effective_charges"])
    traces = found["born_effective_charges"].trace(axis1=1, axis2=2) / 3
    for number, symbol in ((11, "Na"), (17, "Cl")):
        mean = traces[atoms.numbers == number].mean()
        assert card["identifiability"]["born"][symbol] == pytest.approx(mean, abs=1e-4)
    assert load(tmp_path / "m.pt").metadata["identifiability"]["verdict"] == "not determined"


def test_a_charge_whose_energies_were_the_models_own_is_not_learned(fitted, tmp_path):
    structures = frames_of("ions", 12)  # charges 1, -1, -1, 1, by turns
    every = structures[0].copy()
    for k, atoms in enumerate(structures[1:4], 1):
        apart = atoms.copy()
        apart.positions += 20.0 * k
        every += apart
    model = random_potential(every, level="q", cutoff=3.0, charges="atomic", channels=3, hidden=8)
    for known, stripped, found in (([0.0], -1, [0.0, 1.0]), ([-1.0, 0.0], -1, [-1.0, 0.0, 1.0]),
                                   ([0.0], 7, [-1.0, 0.0, 1.0])):  # fmt: skip
        for atoms in (some := [a.copy() for a in structures]):
            atoms.info["REF_dipole"] = [0.0, 0.0, 0.3]
        for atoms, before in zip(some, structures, strict=True):
            if before.info["charge"] != stripped:
                atoms.calc = before.calc
        write(tmp_path / "ions.xyz", some, format="extxyz")
        model.metadata["total_charges"] = known
        save(model.to(torch.float32), tmp_path / "m.pt")
        (tmp_path / "n.state.pt").unlink(missing_ok=True)
        command = [*fitted, "--born-weight", "0", "--dipole-weight", "1", "--valid-every", "5"]
        command[command.index(str(tmp_path / "f.xyz"))] = str(tmp_path / "ions.xyz")
        assert main(command) == 0
        assert load(tmp_path / "n.pt").metadata["total_charges"] == found


def test_a_fit_that_is_stopped_leaves_no_verdict_on_other_charges(fitted, tmp_path, monkeypatch):
    def stopped(*args, **options):
        raise ValueError("stopped")

    monkeypatch.setattr("lrcalc.commands.fit_charges.report_charges", stopped)
    assert main(fitted) == 2
    assert not {"identifiability", "errors_kept_out"} & set(load(tmp_path / "n.pt").metadata)


@pytest.mark.long
def test_an_imitated_crystal_is_undetermined_and_a_labelled_one_is_not(tmp_path, capsys):
    """NaCl shaken by 0.03 Å, a few minutes: the words, and an ensemble of two."""
    from ase.build import bulk

    from tests.training.sets import label

    rng = np.random.default_rng(1)
    frames = []
    for _ in range(40):
        atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
        atoms.positions += rng.normal(scale=0.017, size=(8, 3))
        frames.append(label(atoms, stress=False))
    write(tmp_path / "f.xyz", frames, format="extxyz")
    options = ["--train", str(tmp_path / "f.xyz"), "--valid-every", "5", "--cutoff", "5",
               "--channels", "6", "--hidden", "16", "--epochs", "60", "--learning-rate", "0.005",
               "--epsilon-infinity", "2.5", "--ensemble", "2"]  # fmt: skip
    assert main(["train", *options, "--out", str(tmp_path / "m.pt")]) == 0
    out = capsys.readouterr().out
    assert "warning: charges are not determined by these data" in out
    assert "over 3 readouts" in out
