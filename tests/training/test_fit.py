"""Training: refuses bad data, is deterministic, resumes, learns."""

import csv
import gzip

import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lrcalc import load
from lrcalc.cli import main
from lrcalc.training.data import (
    collate,
    make_frames,
    read_structures,
    reference_energies,
)
from lrcalc.training.fit import fit, oriented
from lrcalc.training.loop import learning_rate
from lrcalc.training.loss import residuals
from lrcalc.training.settings import TrainingSettings
from tests.conftest import random_potential
from tests.sample_structures import water_box
from tests.training.labelled import labelled

SMALL = {"channels": 4, "hidden": 8, "cutoff": 3.0, "level": "q"}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "water.xyz"
    write(path, labelled(stress=True), format="extxyz")
    return path


def test_reads_back_what_was_written(data):
    structures = read_structures(data)
    frames = make_frames(structures, data, 3.0)
    reference = labelled(stress=True)
    assert len(frames) == len(reference)
    assert frames[2].energy == pytest.approx(reference[2].get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(frames[2].forces, reference[2].get_forces(), atol=1e-7)
    np.testing.assert_allclose(
        frames[2].stress, reference[2].get_stress(voigt=False), rtol=1e-6, atol=1e-8
    )


def test_compressed_files_read_like_plain_ones(data, tmp_path):
    packed = tmp_path / "packed.xyz.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    for a, b in zip(read_structures(data), read_structures(packed), strict=True):
        assert a == b
        np.testing.assert_array_equal(a.get_forces(), b.get_forces())
    packed.write_bytes(gzip.compress(data.read_bytes())[:-20])
    with pytest.raises(ValueError, match="could not be read"):
        read_structures(packed)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data file"):
        read_structures(tmp_path / "nothing.xyz")
    empty = tmp_path / "empty.xyz"
    empty.write_text("")
    with pytest.raises(ValueError, match=r"holds no structures|could not be read"):
        read_structures(empty)
    garbage = tmp_path / "garbage.xyz"
    garbage.write_text("3\nhello\nH 0 0\n")
    with pytest.raises(ValueError, match="could not be read as extended xyz"):
        read_structures(garbage)


def test_reference_energies_solve_the_composition():
    structures = labelled(4)
    for k, atoms in enumerate(structures):
        del atoms[[atom.index for atom in atoms if atom.symbol == "H"][: k + 1]]
        energy = -13.6 * (atoms.numbers == 1).sum() - 430.0 * (atoms.numbers == 8).sum()
        forces = np.zeros((len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    frames = make_frames(structures, "file.xyz", 3.0)
    solution = reference_energies(frames, (1, 8))
    np.testing.assert_allclose(solution, [-13.6, -430.0], rtol=1e-9)


def test_model_residuals_are_the_labels_of_a_zero_model():
    frames = make_frames(labelled(2, stress=True), "file.xyz", 4.0)
    potential = random_potential(water_box(), level="sr")
    potential.readout.weight.zero_()
    raw = residuals(potential, collate(frames), torch.zeros(1), training=False, stress=True)
    errors = {name: x.detach() for name, x in raw.items()}
    np.testing.assert_allclose(errors["forces"], torch.cat([f.forces for f in frames]))
    np.testing.assert_allclose(errors["energy"], [f.energy / 9 for f in frames])
    np.testing.assert_allclose(errors["stress"], torch.stack([f.stress for f in frames]))


def test_learning_rate_warms_up_and_falls():
    rates = [learning_rate(k, 1000, 1.0) for k in (0, 49, 50, 525, 1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[1] == rates[2] == pytest.approx(1.0)
    assert rates[3] == pytest.approx(0.505, abs=1e-3)
    assert rates[4] == pytest.approx(0.01)


def test_training_learns_and_repeats_itself(tmp_path):
    frames = make_frames(labelled(8), "file.xyz", 3.0)
    settings = TrainingSettings(epochs=12, batch_size=2, learning_rate=1e-2)
    rows = {}
    for run in ("a", "b"):
        rows[run] = []
        fit(
            frames[:6], frames[6:], SMALL, settings, tmp_path / f"{run}.pt", report=rows[run].append
        )
    a, b = ([r["train_forces"] for r in rows[k]] for k in "ab")
    assert a == b
    # forces of the random teacher are learned, not only remembered from the start
    assert a[-1] < 0.5 * a[0]


def test_a_model_never_comes_out_worse_than_it_went_in(tmp_path):
    """Steps that are far too long: what was given is given back, and the file has it."""
    frames = make_frames(labelled(8), "file.xyz", 3.0)
    settings = TrainingSettings(epochs=6, batch_size=2, learning_rate=1e-2)
    made = fit(frames[:6], frames[6:], SMALL, settings, tmp_path / "made.pt").double()
    rough = settings._replace(epochs=2, learning_rate=0.3, ema=0.0)
    again = fit(frames[:6], frames[6:], made.config, rough, tmp_path / "new.pt", start=made)
    for name, value in made.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
        assert torch.equal(load(tmp_path / "new.pt").state_dict()[name], value), name
    better = settings._replace(learning_rate=1e-3)
    again = fit(frames[:6], frames[6:], made.config, better, tmp_path / "better.pt", start=made)
    assert again.metadata["errors"]["valid_forces"] < made.metadata["errors"]["valid_forces"]


def test_killed_run_resumes_to_the_same_model(tmp_path):
    frames = make_frames(labelled(4), "file.xyz", 3.0)
    settings = TrainingSettings(epochs=5, batch_size=2)
    fit(frames[:3], frames[3:], SMALL, settings, tmp_path / "whole.pt")

    def kill(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(frames[:3], frames[3:], SMALL, settings, tmp_path / "parts.pt", report=kill)
    seen = []
    fit(frames[:3], frames[3:], SMALL, settings, tmp_path / "parts.pt", report=seen.append)
    assert [row["epoch"] for row in seen] == [3, 4, 5]
    whole, parts = load(tmp_path / "whole.pt"), load(tmp_path / "parts.pt")
    for (name, one), two in zip(
        whole.state_dict().items(), parts.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    with pytest.raises(ValueError, match="another run: `channels` was 4, now 5; give the same"):
        fit(frames[:3], frames[3:], {**SMALL, "channels": 5}, settings, tmp_path / "parts.pt")


def test_offset_between_files_is_taken_up(tmp_path):
    frames = make_frames(labelled(6), "a.xyz", 3.0, 0)
    other = make_frames(labelled(6, offset=0.9), "b.xyz", 3.0, 1)
    settings = TrainingSettings(epochs=15, batch_size=4, learning_rate=1e-2)
    fit(frames[:5] + other, frames[5:], SMALL, settings, tmp_path / "m.pt")
    state = torch.load(tmp_path / "m.state.pt", weights_only=True)
    assert float(state["progress"]["shifts"][0]) == 0.0
    # 0.9 eV over 9 atoms, after so few epochs to a tenth
    assert float(state["progress"]["shifts"][1]) == pytest.approx(0.1, rel=0.1)


def test_command_trains_and_info_and_evaluate_read_it(data, tmp_path, capsys):
    out = tmp_path / "model.pt"
    command = ["train", "--train", str(data), "--out", str(out), "--epochs", "2", "--cutoff", "3",
               "--channels", "4", "--hidden", "8", "--level", "u", "--valid-every", "3",
               "--test-every", "4", "--epsilon-infinity", "1.78", "--licence", "MIT",
               "--transfer-hops", "2"]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr()
    assert "4 training, 1 validation" not in said.err
    config = load(out).config
    assert (config["transfer_hops"], config["transfer_decay"]) == (2, [0.8, 2.5])
    assert "\ncharges: local (some training structures are periodic" in said.out
    with out.with_suffix(".csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [int(float(row["epoch"])) for row in table] == [1, 2]
    assert out.with_suffix(".png").stat().st_size > 5000
    assert main(["info", str(out)]) == 0
    card = capsys.readouterr().out
    assert "H, O" in card
    assert "MIT" in card
    assert "u, local charges" in card
    assert main(["evaluate", str(out), str(data), "--json", str(tmp_path / "e.json")]) == 0
    text = capsys.readouterr().out
    assert "not trained on: 2" in text
    assert "trained on" in text
    assert main(["evaluate", str(out), str(data), "--frames", "90:"]) == 2
    assert main(["evaluate", str(out), str(data), "--frames", "x"]) == 2


def test_ions_fix_the_sign_wherever_they_stand_in_the_data():
    structures = labelled(5)
    potential = random_potential(structures[0], level="u")
    flipped = []
    for charge in (0.0, 1.0):
        structures[4].info["charge"] = charge
        frames = make_frames(structures, "ions.xyz", potential.cutoff)
        for _ in range(2):  # one of the two has the sign that chemistry does not expect
            with torch.no_grad():
                potential.readout.weight.neg_()
                potential.readout.species_charge.neg_()
            turned = oriented(potential, frames, "cpu")
            same = torch.equal(turned.readout.weight, potential.readout.weight)
            flipped.append((charge, not same, turned.metadata["sign"]))
    neutral, ions = flipped[:2], flipped[2:]
    assert neutral[0][1] != neutral[1][1]
    assert all(not turned and "total charges" in sign for _, turned, sign in ions)


def test_the_card_keeps_the_total_charges_of_the_training_frames(tmp_path, capsys):
    """Of a model that goes on from another, both's; of one that does not say, none."""
    structures = labelled(6)
    for k, charge in ((0, 1.0), (1, -1.0), (5, 7.0)):  # the last one validates
        structures[k].info["charge"] = charge
    frames = make_frames(structures, "ions.xyz", 3.0)
    how, out = TrainingSettings(epochs=1), tmp_path / "m.pt"
    made = fit(frames[:5], frames[5:], SMALL, how, out)
    assert made.metadata["total_charges"] == [-1.0, 0.0, 1.0]
    assert load(out).metadata["total_charges"] == [-1.0, 0.0, 1.0]
    assert main(["info", str(out)]) == 0
    assert "-1, 0, +1 e (of the frames it was trained on)" in capsys.readouterr().out
    more = fit(frames[5:], frames[:1], made.config, how, tmp_path / "n.pt", start=made)
    assert more.metadata["total_charges"] == [-1.0, 0.0, 1.0, 7.0]
    del made.metadata["total_charges"]
    more = fit(frames[5:], frames[:1], made.config, how, tmp_path / "o.pt", start=made)
    assert "total_charges" not in more.metadata
