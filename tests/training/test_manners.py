"""What a training says and draws: frames left out, its curve, overfitting, parity, R²."""

import copy

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from matplotlib.figure import Figure

from lrcalc.model_errors import summarise
from lrcalc.training import pictures
from lrcalc.training.afterwards import predictions
from lrcalc.training.composition import composition_part
from lrcalc.training.data import make_frames
from lrcalc.training.fit import fit, seen_sample
from lrcalc.training.history import COLUMNS, describe_overfitting, read_history, write_history
from lrcalc.training.settings import TrainingSettings
from lrcalc.training.split import read_split
from lrcalc.training.state import average
from tests.conftest import random_potential
from tests.sample_structures import water_box
from tests.training.labelled import labelled

SMALL = {"channels": 4, "hidden": 8, "cutoff": 3.0, "level": "q"}


def dimer(force, pbc=False):
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], pbc=pbc)
    atoms.calc = SinglePointCalculator(atoms, energy=-30.0, forces=[[0, 0, force], [0, 0, -force]])
    return atoms


@pytest.fixture
def dimers(tmp_path):
    """Ten frames, of which number 4 has a large force."""
    write(tmp_path / "d.xyz", [dimer(70.0 if k == 4 else 0.1 * k) for k in range(10)])
    return str(tmp_path / "d.xyz")


def test_strong_forces_are_left_out_and_counted(dimers):
    split = read_split([dimers], [], 3.0, 2, 0, max_force=20.0)
    assert (len(split["training"]), len(split["validation"])) == (4, 5)
    (note,) = split["notes"]
    assert note.endswith(
        "1 of 10 frames left out for a force above 20 eV/Å (1 of training; first: frame 4)"
    )
    assert not read_split([dimers], [], 3.0, 2, 0)["notes"]
    with pytest.raises(ValueError, match="no training frames: .*larger --max-force"):
        read_split([dimers], [dimers], 3.0, 2, 0, frames=slice(4, 5), max_force=1.0)


def test_what_is_left_out_changes_no_part(dimers):
    whole = read_split([dimers], [], 3.0, 3, 4)
    less = read_split([dimers], [], 3.0, 3, 4, max_force=20.0)
    for part in ("training", "validation", "test"):
        kept = [f.energy for f in whole[part] if float(f.forces.abs().max()) < 20]
        assert kept == [f.energy for f in less[part]]


def test_frames_are_chosen_and_named_by_their_number_in_the_file(dimers, tmp_path):
    assert len(read_split([dimers], [], 3.0, 2, 0, frames=slice(0, 4))["training"]) == 2
    broken = [dimer(0.1, pbc=[0, 0, k == 7]) for k in range(10)]
    for atoms in broken:
        atoms.cell = [9, 9, 9]
    write(tmp_path / "b.xyz", broken)
    chosen = {"frames": slice(1, None, 3)}
    with pytest.raises(ValueError, match="frame 7 has pbc"):
        read_split([str(tmp_path / "b.xyz")], [], 3.0, 2, 0, **chosen)
    with pytest.raises(ValueError, match="--frames selects none of the 10 frames"):
        read_split([dimers], [], 3.0, 2, 0, frames=slice(90, None))


def test_few_frames_that_choose_the_epoch_are_told(dimers):
    def warned(**options):
        return [
            w for w in read_split([dimers], [], 3.0, **options)["warnings"] if "epoch that is" in w
        ]

    (two,) = warned(valid_every=5, test_every=0)
    assert two.startswith("2 frames choose the epoch that is kept")
    (one,) = warned(valid_every=9, test_every=0)
    assert one.startswith("one frame chooses")
    assert not warned(valid_every=2, test_every=0)


def test_the_average_is_the_one_of_before():
    """``lerp`` with a decay that grows with the steps, as torch's `AveragedModel` did it."""
    potential = random_potential(water_box(), level="q", channels=4, hidden=8)
    averaged = copy.deepcopy(potential)
    wanted = [p.clone() for p in potential.parameters()]
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 9):
        for p in potential.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
        average(averaged, potential, 0.6, step)
        decay = min(0.6, (1 + step) / (10 + step))
        for mean, p in zip(wanted, potential.parameters(), strict=True):
            mean.lerp_(p, 1 - decay)
    for mean, p in zip(wanted, averaged.parameters(), strict=True):
        torch.testing.assert_close(p, mean, rtol=1e-12, atol=1e-12)


def test_a_state_of_an_older_lrcalc_is_resumed(tmp_path):
    """Its curve has fewer columns; nothing else of it differs."""
    frames = make_frames(labelled(4), "file.xyz", 3.0)
    out = tmp_path / "m.pt"
    settings = TrainingSettings(epochs=1, batch_size=2)
    fit(frames[:3], frames[3:], SMALL, settings, out)
    state = torch.load(out.with_suffix(".state.pt"), weights_only=True)
    state["progress"]["history"] = [row[:9] for row in state["progress"]["history"]]
    torch.save(state, out.with_suffix(".state.pt"))
    fit(frames[:3], frames[3:], SMALL, settings._replace(epochs=2), out)
    curve = read_history(out.with_suffix(".csv"))
    assert list(curve) == COLUMNS
    assert curve["seen_forces"][0] == curve["train_forces"][0]  # in place of what is not known
    assert np.isfinite(curve["seen_forces"]).all()
    assert curve["seen_forces"][1] != curve["train_forces"][1]


def test_the_sample_of_training_frames_is_small_and_spread():
    assert seen_sample(list(range(400)), 30) == [20 * k for k in range(20)]
    assert seen_sample(list(range(400)), 2) == [0, 200]
    assert seen_sample([5], 10) == [5]


def curve(tmp_path, valid, seen):
    rows = [[k + 1, 1e-3, 1, t, t, v, v, np.nan, 1, t, t]
            for k, (v, t) in enumerate(zip(valid, seen, strict=True))]  # fmt: skip
    write_history(rows, tmp_path / "m.csv")
    return read_history(tmp_path / "m.csv")


def test_overfitting_is_named_with_the_way_out(tmp_path):
    epoch = np.arange(1, 41)
    falls = 1.0 / epoch
    told = describe_overfitting(curve(tmp_path, 0.2 + 0.01 * np.abs(epoch - 20), falls))
    assert told.startswith(
        "overfitting: from epoch 20 on the error of forces rose from 210 to 385 "
    )
    assert "--weight-decay" in told
    assert describe_overfitting(curve(tmp_path, 0.1 + falls, falls)) is None
    # both rise: a learning rate that is too large, not overfitting
    rises = 0.2 + 0.01 * np.abs(epoch - 20)
    assert describe_overfitting(curve(tmp_path, rises, rises)) is None
    assert describe_overfitting(curve(tmp_path, [1.0, 2.0], [1.0, 0.5])) is None


def test_a_wild_first_epoch_does_not_squeeze_the_curve(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    wild = np.concatenate([[900.0], np.linspace(0.2, 0.1, 39)])
    curve(tmp_path, wild, wild)
    pictures.curve_picture(tmp_path / "m.pt")
    (figure,) = drawn
    for axis in figure.axes:
        assert axis.get_yscale() == "log"
        low, high = axis.get_ylim()
        assert low == pytest.approx(100 / 1.25)
        assert high == pytest.approx(1.25 * 200, rel=0.05)
        assert axis.get_title() == "first epochs: up to 9e+05"


def test_model_and_labels_of_frames_are_compared_beyond_the_composition():
    structures = labelled(3)
    potential = random_potential(structures[0], level="q", channels=4, hidden=8, cutoff=3.0)
    potential.reference_energy.copy_(torch.tensor([-20.0, -360.0]))  # H, O
    frames = make_frames(structures, "file.xyz", 3.0)
    values = predictions(potential, frames, "cpu")
    model, data = values["energy"]
    np.testing.assert_allclose(
        data, [(a.get_potential_energy() + 400.0 * 3) / 9 for a in structures], atol=1e-9
    )
    assert model.shape == (3,)
    np.testing.assert_array_equal(
        values["forces"][1], np.concatenate([a.get_forces() for a in structures])
    )


def test_r2_of_energies_is_that_of_what_the_composition_leaves():
    rng = np.random.default_rng(0)
    numbers = [np.repeat([1, 8], [2 * k + k % 2, k]) for k in rng.integers(1, 30, 40)]
    signal = rng.normal(size=40)
    energies = np.array([-13.6 * (z == 1).sum() - 430.0 * (z == 8).sum() for z in numbers]) + signal
    part = composition_part(energies, numbers)
    assert np.abs(part - (energies - signal)).max() < 1.5
    sizes = np.array([len(z) for z in numbers])
    knows_composition_only = summarise({"energy": (part / sizes, energies / sizes)}, numbers)
    assert abs(knows_composition_only["energy"].r2) < 0.1
    assert summarise({"energy": (part / sizes, energies / sizes)})["energy"].r2 > 0.99
    alone = summarise({"energy": (energies[:1] / sizes[0], energies[:1] / sizes[0])}, numbers[:1])
    assert np.isnan(alone["energy"].r2)
