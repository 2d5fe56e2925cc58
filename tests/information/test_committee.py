"""Committees: spreads, limits, the run's own model as a member, and what is no committee."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import write

from lrcalc import Evaluator
from lrcalc.checkpoint import save
from lrcalc.cli import main
from lrcalc.information.choosing import open_judge, usual_stride
from lrcalc.information.committee import Committee, charge_spread, force_spread
from lrcalc.structures import read_structure
from tests.conftest import random_potential
from tests.information.test_reference import shaken


def table(path):
    rows = [r for r in Path(path).read_text().splitlines() if not r.startswith("#")]
    return np.genfromtxt(rows, delimiter=",", names=True)


def salt(n, amplitude, seed=0):
    """Frames of two species, shaken."""
    frames = shaken(n, amplitude, seed)
    for atoms in frames:
        atoms.symbols[::2] = "Ag"
    return frames


def member(seed, **config):
    return random_potential(salt(1, 0.1)[0], seed=seed, **config)


def nearly(scale):
    """The model of seed 0 with weights a little off."""
    made = member(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight += scale * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return made


def committee(*potentials, own=False):
    members = [Evaluator(p, dtype="float64") for p in potentials]
    return Committee(members, [f"m{k}" for k in range(len(members))], members[0] if own else None)


def test_spreads_are_standard_deviations():
    rng = np.random.default_rng(0)
    forces, charges = rng.normal(size=(4, 7, 3)), 1.0 + 0.1 * rng.normal(size=(4, 7))
    plain = np.sqrt(sum(forces[:, :, k].var(axis=0, ddof=1) for k in range(3)))
    assert np.abs(force_spread(forces) - plain).max() < 1e-14
    two = np.linalg.norm(forces[0] - forces[1], axis=1) / np.sqrt(2)
    assert np.abs(force_spread(forces[:2]) - two).max() < 1e-14
    assert np.abs(charge_spread(charges) - charges.std(axis=0, ddof=1)).max() < 1e-14
    flipped = charges * np.array([1, -1, 1, -1])[:, None]  # the sign is free
    assert np.abs(charge_spread(flipped) - charge_spread(charges)).max() < 1e-14


def test_scores_are_of_the_members_forces_and_charges():
    potentials = [member(0), member(1), member(2)]
    found, atoms = committee(*potentials), salt(1, 0.1, seed=5)[0]
    scores = found.scores(atoms)
    made = [Evaluator(p, dtype="float64")([atoms], ["forces", "charges"])[0] for p in potentials]
    assert np.array_equal(scores.own, force_spread(np.array([m["forces"] for m in made])))
    assert np.array_equal(scores.around, charge_spread(np.array([m["charges"] for m in made])))
    assert not scores.outside.any()  # no limits yet
    assert found.with_limit(0.0).scores(atoms).outside.all()


def test_models_that_are_nearer_agree_better():
    atoms = salt(1, 0.1, seed=5)[0]
    near, far = (committee(member(0), nearly(s)).scores(atoms) for s in (1e-6, 1e-4))
    assert 30 < far.own.mean() / near.own.mean() < 300
    assert near.own.max() > 0


def test_limits_from_data_hold_for_other_frames_and_not_for_hotter_ones():
    found = committee(member(0), nearly(1e-3)).calibrated(salt(40, 0.1))
    same = np.concatenate([found.scores(a).outside for a in salt(10, 0.1, seed=1)])
    usual = np.concatenate([found.scores(a).usual for a in salt(10, 0.1, seed=1)])
    assert same.mean() <= 0.01
    assert 1 - usual.mean() < 0.04
    assert np.isfinite(found.limit_around)
    hot = salt(1, 0.5, seed=2)[0]
    assert found.scores(hot).outside.any()


def test_short_ranged_members_have_no_charges():
    found = committee(member(0, level="sr"), member(1, level="sr"))
    assert not found.needs_charges
    assert not found.scores(salt(1, 0.1)[0]).around.any()


def test_results_of_the_run_are_taken_and_its_field_is_held():
    potentials = [member(0), member(1)]
    found, atoms = committee(*potentials, own=True), salt(1, 0.1, seed=5)[0]
    found.own.electric_field = (0, 0, 0.05)
    results = {"forces": np.zeros((len(atoms), 3)), "charges": np.zeros(len(atoms))}
    taken = found.scores(atoms, results=results)
    other = Evaluator(potentials[1], dtype="float64", electric_field=(0, 0, 0.05))
    (result,) = other([atoms], ["forces"])
    plain = np.linalg.norm(result["forces"], axis=1) / np.sqrt(2)
    assert np.abs(taken.own - plain).max() < 1e-12
    assert np.abs(found.scores(atoms).own - taken.own).max() > 1e-3  # asked, where none are there


def test_what_is_no_committee():
    one = member(0)
    with pytest.raises(ValueError, match="has one model, 'm0'"):
        committee(one)
    with pytest.raises(ValueError, match="'m1' of the committee is the same model as 'm0'"):
        committee(one, member(0))
    with pytest.raises(ValueError, match="'m1' of the committee knows Cu, but 'm0' knows Cu, Ag"):
        committee(one, random_potential(shaken(1, 0.1)[0]))
    with pytest.raises(ValueError, match="'m1' of the committee has a cutoff of 3.5 Å"):
        committee(one, member(1, cutoff=3.5))
    with pytest.raises(ValueError, match="has no models"):
        committee()


def test_bad_structures_and_answers_name_the_member():
    found, atoms = committee(member(0), member(1)), salt(1, 0.1)[0]
    atoms.positions[3] = np.nan
    with pytest.raises(ValueError, match="m0 of the committee cannot judge frame 7.*NaN"):
        found.scores(atoms, "frame 7")
    broken = member(1)
    with torch.no_grad():
        next(broken.readout.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="m1 of the committee cannot judge atoms"):
        committee(member(0), broken).scores(salt(1, 0.1)[0])
    with pytest.raises(ValueError, match="has no frames"):
        committee(member(0), member(1)).calibrated([])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("data.xyz", salt(12, 0.1))
    run = salt(4, 0.1, seed=1)
    run[2].positions[1] = run[2].positions[0] + (1.2, 0.1, 0)
    write("run.xyz", run)
    for k, made in enumerate((member(0), nearly(1e-3), member(2, cutoff=3.5))):
        save(made, f"{k}.pt")
    return tmp_path


def test_extrapolation(folder, capsys):
    words = ["extrapolation", "run.xyz", "--committee", "0.pt", "1.pt"]
    assert main([*words, "--reference", "data.xyz"]) == 0
    out = capsys.readouterr().out
    assert "first frame outside = 2" in out
    assert "largest spread of forces = " in out
    made = table("run-extrapolation.csv")
    assert made["force_spread_max_eV_per_A"].argmax() == 2
    alike = ["extrapolation", "run.xyz", "--model", "0.pt", "--committee", "1.pt", "0.pt"]
    assert main([*alike, "--limit", "1e-9", "-o", "x"]) == 0
    again = table("x-extrapolation.csv")
    assert again["atoms_outside"].min() == 32
    assert np.allclose(again["force_spread_max_eV_per_A"], made["force_spread_max_eV_per_A"])


@pytest.mark.parametrize(("words", "message"), [
    (["--committee", "0.pt", "1.pt"], "has no limits"),
    (["--committee", "0.pt", "1.pt", "--reference", "0.pt"], "has no limits"),
    (["--committee", "0.pt", "--limit", "1"], "has one model"),
    (["--committee", "0.pt", "water", "--limit", "1"], "knows H, O"),
    (["--committee", "0.pt", "2.pt", "--limit", "1"], "has a cutoff of 3.5 Å"),
    (["--committee", "0.pt", "none.pt", "--limit", "1"], "none.pt"),
    (["--score", "committee", "--limit", "1"], "has no models"),
    (["--score", "features", "--committee", "0.pt"], "no effect on the score 'features'"),
    (["--committee", "0.pt", "1.pt", "--limit", "nan"], "`--limit` is nan"),
])  # fmt: skip
def test_refusals(folder, capsys, words, message):
    assert main(["extrapolation", "run.xyz", *words]) == 2
    assert message in capsys.readouterr().err


def test_looks_cost_less_than_a_twentieth():
    """Each further member costs a step a look."""
    for others in (1, 2, 3):
        assert others / usual_stride("committee", ["x"] * others) < 0.05
    assert open_judge("committee", [], committee=["water", "water-large"], limit=0.5).species


def test_the_two_models_of_water_agree_on_the_liquid_and_not_on_what_is_far_from_it():
    found = open_judge("committee", [], committee=["water", "water-large"], limit=0.15)
    water = read_structure("water64")
    near = found.scores(water)
    assert not near.outside.any()
    water.rattle(0.15, seed=1)
    far = found.scores(water)
    assert far.outside.mean() > 0.5
    assert far.own.mean() > 5 * near.own.mean()
