"""Atoms in none of the crystals that a model of phases knows."""

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.neighborlist import neighbor_list

from lrcalc import zoo
from lrcalc.cli import main
from lrcalc.information import phase_familiar
from lrcalc.information.phase_familiar import learn, noisy
from lrcalc.information.phase_labels import UNKNOWN, label
from lrcalc.information.phase_strangers import gas, nearest, packing, random_crystal, spread
from lrcalc.information.phases import load
from tests.information.test_phase_training import SMALL, crystals, made, named, train


def anywhere(edge, number, seed=1):
    """An ideal gas, one atom in 12 Å³."""
    positions = np.random.default_rng(seed).random((number, 3)) * edge
    return Atoms(f"Cu{number}", positions, cell=3 * [edge], pbc=True)


def closest(atoms, within):
    return min(neighbor_list("d", atoms, within), default=within)


def ice():
    return next(
        a for a in read(zoo.FOLDER / "phases" / "ice.xyz.gz", ":") if a.info["phase"] == "VIII"
    )


@pytest.mark.parametrize("make", [gas, packing, random_crystal])
def test_strangers_have_species_and_density_of_the_crystal(make):
    like, rng = crystals()[2], np.random.default_rng(1)
    found = make(like, 12.0, rng)
    assert found.pbc.all()
    assert set(found.symbols) <= set(like.symbols)
    density = len(like) / like.get_volume()
    assert len(found) / found.get_volume() == pytest.approx(density, rel=1e-9)
    heights = 1 / np.linalg.norm(np.linalg.inv(found.cell.array), axis=0)
    assert heights.min() >= 12.0 - 1e-6


def test_spheres_are_pushed_apart_and_random_crystals_are_no_heap():
    like, rng = bulk("Cu"), np.random.default_rng(1)
    length = like.get_volume() ** (1 / 3)
    loose = [closest(gas(like, 12.0, rng), 3.0) for _ in range(5)]
    packed = [closest(packing(like, 12.0, rng), 3.0) for _ in range(5)]
    assert np.mean(packed) > 4 * np.mean(loose)
    for _ in range(5):
        made = random_crystal(like, 8.0, np.random.default_rng(rng.integers(1000)))
        assert closest(made, 3.0) > 0.2 * length  # 0.75 before noise


def test_molecules_are_moved_apart_whole():
    like = ice()
    found = spread(like, 10.0, np.random.default_rng(2))
    assert len(found) / found.get_volume() < 0.8 * len(like) / like.get_volume()
    before, after = (np.sort(neighbor_list("d", a, {("O", "H"): 1.15})) for a in (like, found))
    assert len(after) == len(before) * len(found) / len(like)
    np.testing.assert_allclose([after.min(), after.max()], [before.min(), before.max()], atol=1e-6)


def test_nearest_is_that_of_the_lattice():
    assert nearest(bulk("Cu", a=3.6)) == pytest.approx(3.6 / 2**0.5)
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", a=3.6, cubic=True).repeat(6)
    atoms.info["nearest"] = nearest(atoms)
    moved = noisy(atoms, 0.1, rng)
    away = moved.get_scaled_positions() - atoms.get_scaled_positions()
    away = (away - np.rint(away)) @ atoms.cell.array
    assert away.std() == pytest.approx(0.1 * 3.6 / 2**0.5, rel=0.05)


@pytest.fixture(scope="module")
def learned():
    """A small model that learned it, with what it says of itself, and the model before."""
    before, _ = train(crystals(), made(rounds=2, width=8, smooth=2).float(), SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase_familiar, "STEPS", 300)
        patch.setattr(phase_familiar, "RATE", 0.02)
        model, _ = train(crystals(), made(rounds=2, width=8, smooth=2).float(), SMALL)
        return model, learn(model, crystals(), copies=12), before


def test_it_tells_a_gas_and_leaves_logits_as_they_were(learned):
    model, found, before = learned
    assert max(found.false.values()) < 0.05
    assert found.missed < 0.2
    atoms = bulk("Fe", "bcc", a=2.9).repeat(4)
    atoms.rattle(0.1, seed=1)
    known = label(model, atoms)
    assert (known.familiar > 0.5).mean() > 0.95
    np.testing.assert_array_equal(known.logits, label(before, atoms).logits)
    assert label(before, atoms).familiar is None
    with pytest.warns(UserWarning, match="more than 50 % of the atoms are in none of the crystals"):
        strange = label(model, anywhere(13.0, 200), length=2.22)
    assert strange.phase.count(UNKNOWN) > 190
    np.testing.assert_array_equal(strange.familiar < 0.5, np.array(strange.phase) == UNKNOWN)


def test_the_best_phase_is_named_where_that_is_asked_for(learned):
    model, atoms = learned[0], anywhere(13.0, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = label(model, atoms, unknown=False, length=2.22)
    assert UNKNOWN not in found.phase
    best = [model.phases[c] for c in found.logits.argmax(1)]
    assert found.phase == best


def test_steps_of_denoising_do_not_make_a_gas_familiar(learned):
    model, atoms = learned[0], anywhere(13.0, 200)
    with pytest.warns(UserWarning, match="none of the crystals"):
        found = label(model, atoms, steps=2, length=2.22)
    np.testing.assert_array_equal(
        found.familiar, label(model, atoms, unknown=False, length=2.22).familiar
    )


def test_a_limit_is_where_the_worst_noise_has_its_share(learned, monkeypatch):
    model = learned[0]
    monkeypatch.setattr(phase_familiar, "FALSE", 0.25)
    levels = []
    rng = np.random.default_rng(3)
    for noise in (0.0, 0.2):
        atoms = bulk("Fe", "bcc", a=2.9).repeat(6)
        atoms.info = {"phase": "bcc", "nearest": nearest(atoms)}
        levels.append([phase_familiar.kept_of(model, noisy(atoms, noise, rng), rng)])
    last = model.familiar[-1].bias.clone()
    phase_familiar._set_limit(model, levels)
    outside = [
        float((phase_familiar._outputs(model, kept)[0] < 0).float().mean()) for kept in levels
    ]
    assert max(outside) == pytest.approx(0.25, abs=0.01)
    model.familiar[-1].bias.copy_(last)


def test_commands_learn_it_and_write_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(phase_familiar, "STEPS", 60)
    write("c.xyz", crystals()[:2])
    line = "phases train --structures c.xyz --rounds 1 --width 4 --steps 3 --label-steps 3"
    rest = "--batch-atoms 300 --validate-copies 1 --out m.pt"
    assert main(f"{line} {rest} --familiar-copies 0".split()) == 0
    plain = load("m.pt")
    assert plain.familiar is None
    words = "phases familiar --model m.pt --structures c.xyz --copies 1 --out n.pt"
    assert main(words.split()) == 0
    assert "of structures that are none of them" in capsys.readouterr().out
    found = load("n.pt")
    assert set(found.metadata["familiar"]["unknown_of_known"]) == {
        "0",
        "0.05",
        "0.1",
        "0.15",
        "0.2",
    }
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0)
    write("gas.xyz", [anywhere(13.0, 200), anywhere(13.0, 200, 2)])
    line = "phases label gas.xyz --model n.pt --length 2.22 -o out"
    with pytest.warns(UserWarning, match="none of the crystals"):
        assert main(line.split()) == 0
    assert "part unknown" in capsys.readouterr().out
    labelled = read("out.xyz")
    unknown = labelled.arrays["phase"] == UNKNOWN
    np.testing.assert_array_equal(unknown, labelled.arrays["phase_familiar"] < 0.5)
    line = "phases label gas.xyz --model n.pt --length 2.22 -o all --no-unknown"
    assert main(line.split()) == 0
    assert "unknown" not in capsys.readouterr().out


def test_a_phase_must_not_be_called_unknown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    atoms = crystals()[0]
    atoms.info["phase"] = UNKNOWN
    write("c.xyz", atoms)
    assert main(["phases", "train", "--structures", "c.xyz", "--out", "m.pt"]) == 2
    assert "a phase of the structures is called 'unknown'" in capsys.readouterr().err
    line = "phases familiar --model metals --structures c.xyz --copies 0 --out m.pt"
    assert main(line.split()) == 2
    assert "`--copies` is 0 but must be at least 1" in capsys.readouterr().err


def test_crystals_of_another_model_are_refused():
    with pytest.raises(ValueError, match="structure 0 has the phase 'ice' .* none of the model's"):
        learn(made(), [named(bulk("Cu"), "ice")])
    with pytest.raises(ValueError, match="there are no crystals"):
        learn(made(), [])
