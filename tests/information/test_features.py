"""The feature distance: what it is, what it sees, its file and its refusals."""

import io

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from lrcalc.cli import main
from lrcalc.information.carried import carried
from lrcalc.information.choosing import features_of_model, open_judge
from lrcalc.information.feature_reference import make_features
from lrcalc.information.features import FeatureReference, backbone_features
from lrcalc.information.reference import BYTES
from tests.conftest import random_potential
from tests.information.test_committee import table
from tests.information.test_reference import auc, groups, shaken

assert groups  # a fixture


@pytest.fixture(scope="module")
def potential():
    return random_potential(shaken(1, 0.1)[0], cutoff=5.0)


@pytest.fixture(scope="module")
def copper(potential):
    return make_features(potential, shaken(60, 0.03))


def test_scores_are_the_formula(copper):
    """-ln Σ exp(-|y - x|²/2h²) of features on their axes and of their distance from these."""
    atoms = shaken(1, 0.035, seed=7)[0]
    found = backbone_features(copper.potential, atoms)
    scores = copper.scores(atoms)
    for x, h, space, got in zip(
        found, copper.h, copper.spaces[29], (scores.own, scores.around), strict=True
    ):
        for atom in (0, 13, 31):
            away = x[atom] - space.mean
            along = np.array([away @ axis for axis in space.axes])
            beside = np.linalg.norm(
                away - sum(a * e for a, e in zip(along, space.axes, strict=True))
            )
            place = [*(along / space.widths), (beside - space.beside[0]) / space.beside[1]]
            square = ((space.rows - np.array(place)) ** 2).sum(axis=1)
            assert abs(got[atom] + np.log(np.exp(-square / (2 * h**2)).sum())) < 1e-9


def test_means_are_over_atoms_and_neighbours(potential):
    atoms = shaken(1, 0.1, seed=3)[0]
    found = backbone_features(potential, atoms)
    images = (atoms * 3).get_positions().reshape(27, -1, 3)
    near = [
        np.linalg.norm(images - images[13, k], axis=2) < potential.cutoff for k in range(len(atoms))
    ]
    mean = np.array([(found.own * n[:, :, None]).sum(axis=(0, 1)) / n.sum() for n in near])
    assert np.abs(mean - found.around).max() < 1e-10


def test_invariant_under_rotation_order_and_the_box(copper):
    atoms = shaken(1, 0.035, seed=4)[0]
    scores = copper.scores(atoms)
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    order = np.random.default_rng(0).permutation(len(atoms))
    larger = copper.scores(atoms * (2, 1, 1))
    for n in range(2):
        assert np.abs(copper.scores(turned)[n] - scores[n]).max() < 1e-8
        assert np.abs(copper.scores(atoms[order])[n] - scores[n][order]).max() < 1e-8
        assert np.abs(larger[n][: len(atoms)] - scores[n]).max() < 1e-8


def test_frames_of_the_run_and_colder_ones_are_inside_hotter_ones_are_not(copper):
    same = [copper.scores(a) for a in shaken(20, 0.03, seed=1)]
    assert np.concatenate([s.outside for s in same]).mean() <= 0.01
    assert 0.002 < 1 - np.concatenate([s.usual for s in same]).mean() < 0.04
    assert not copper.scores(shaken(1, 0.0)[0]).outside.any()  # at rest
    assert not copper.scores(shaken(1, 0.012, seed=2)[0]).outside.any()
    assert copper.scores(shaken(1, 0.06, seed=2)[0]).outside.mean() > 0.9
    assert copper.scores(Atoms("Cu")).outside.all()


def test_means_see_what_is_small_and_everywhere(copper):
    """A lattice longer by half a per cent: within the noise of one atom, not of the mean."""

    def longer(seed):
        atoms = shaken(1, 0.03, seed=seed)[0]
        atoms.set_cell(1.005 * atoms.cell, scale_atoms=True)
        return copper.scores(atoms)

    inside, outside = ([f(s) for s in range(20, 28)] for f in (
        lambda s: copper.scores(shaken(1, 0.03, seed=s)[0]), longer))  # fmt: skip
    own, around = (
        auc(*(np.concatenate([s[n] for s in part]) for part in (inside, outside))) for n in range(2)
    )
    assert own < 0.6
    assert around > 0.99


def test_file(copper):
    buffer = io.BytesIO()
    torch.save(copper.content(), buffer)
    assert len(buffer.getvalue()) < 45_000
    buffer.seek(0)
    content = torch.load(buffer, weights_only=True)
    back = FeatureReference.of_content(content, copper.potential)
    atoms = shaken(1, 0.04, seed=5)[0]
    for one, other in zip(copper.scores(atoms), back.scores(atoms), strict=True):
        assert np.abs(one.astype(float) - other).max() < 1e-3  # widths in single precision


@pytest.mark.parametrize("spoil", [
    lambda c: c.pop("h"),
    lambda c: c["h"].pop(),
    lambda c: c["species"][29]["spaces"].pop(),
    lambda c: c["species"][29]["spaces"][0][4].fill_(float("nan")),
    lambda c: c["species"][29]["spaces"][0][0].resize_(3),
])  # fmt: skip
def test_damaged_content_is_refused(copper, spoil):
    content = copper.content()
    spoil(content)
    with pytest.raises(ValueError, match=r"cannot be read .*lrcalc reference"):
        FeatureReference.of_content(content, copper.potential)


def test_other_weights_are_refused_another_precision_is_not(copper):
    content = copper.content()
    other = random_potential(shaken(1, 0.1)[0], seed=1, cutoff=5.0)
    with pytest.raises(ValueError, match="other weights of the backbone"):
        FeatureReference.of_content(content, other)
    single = random_potential(shaken(1, 0.1)[0], dtype=torch.float32, cutoff=5.0)
    atoms = shaken(1, 0.03, seed=6)[0]
    close = FeatureReference.of_content(content, single).scores(atoms).own
    assert np.abs(close - copper.scores(atoms).own).max() < 1e-2


def test_model_carries_both_in_190_kB(potential):
    found = carried(potential, shaken(60, 0.1))
    buffer = io.BytesIO()
    torch.save(found.content, buffer)
    assert len(buffer.getvalue()) < 200_000
    assert found.reference.environments[29].nbytes / 4 < BYTES
    potential.environments = found.content
    assert features_of_model(potential).limit_around > 0
    potential.environments = found.reference.content()
    with pytest.raises(ValueError, match="carries no reference of its training features"):
        features_of_model(potential)


def test_bad_input(potential, copper):
    with pytest.raises(ValueError, match="has no frames"):
        make_features(potential, [])
    bad = shaken(5, 0.1)
    bad[3].positions[0] = np.nan
    with pytest.raises(ValueError, match="frame 3 of the reference has NaN"):
        make_features(potential, bad)
    with pytest.raises(ValueError, match="leave no room"):
        make_features(potential, shaken(5, 0.1), bytes_kept=1000)
    with pytest.raises(ValueError, match="has Ag, of which the reference"):
        copper.scores(bulk("Ag"))
    with pytest.raises(ValueError, match="unknown elements: Ag in 5"):
        make_features(potential, shaken(5, 0.1, symbol="Ag"))
    with pytest.raises(ValueError, match="no `model` is given"):
        open_judge("features", ["water64"])


def test_extrapolation_by_features_of_data_and_of_a_model(tmp_path, monkeypatch, capsys):
    from ase.io import write

    from lrcalc.checkpoint import save

    monkeypatch.chdir(tmp_path)
    write("data.xyz", shaken(12, 0.1))
    run = shaken(5, 0.1, seed=1)
    run[3].positions[7] += 0.8
    write("run.xyz", run)
    save(random_potential(run[0]), "model.pt")
    words = ["extrapolation", "run.xyz", "--score", "features"]
    assert main([*words, "--reference", "data.xyz", "--model", "model.pt", "-o", "x"]) == 0
    assert "first frame outside = 3" in capsys.readouterr().out
    assert main(["reference", "model.pt", "--data", "data.xyz", "-o", "known.pt"]) == 0
    assert main([*words, "--reference", "known.pt", "-o", "y"]) == 0
    assert "largest feature distance = " in capsys.readouterr().out
    one, other = (table(f"{k}-extrapolation.csv") for k in "xy")
    assert np.allclose(one["feature_max_nats"], other["feature_max_nats"], rtol=1e-4)
    for more, message in (
        (["--reference", "model.pt"], "carries no reference of its training features"),
        (["--reference", "data.xyz"], "no `model` is given"),
        (["--reference", "known.pt", "--bandwidth", "1"], "`--bandwidth` is of δH"),
        ([], "`--reference` is missing"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("name", ["water", "water-large"])
def test_classical_ice_and_beads_are_told_from_the_liquid(groups, name):
    from lrcalc import load

    frames = groups["classical_liq"]
    reference = make_features(load(name), frames[::2])
    inside = [reference.scores(a) for a in frames[1::8]]
    assert np.mean(np.concatenate([s.outside for s in inside])) <= 0.01
    for other, every in (("classical_ice", 1), ("quantum_liq", 80), ("quantum_ice", 80)):
        outside = [reference.scores(a) for a in groups[other][::every]]
        area = auc(*(np.concatenate([s.around for s in part]) for part in (inside, outside)))
        assert area >= 0.95
