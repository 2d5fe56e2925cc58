"""Training of phases: noisy crystals and their pairs, the loss, going on, the command."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.neighborlist import neighbor_list

from lrcalc.cli import main
from lrcalc.information.phase_backbone import Edges
from lrcalc.information.phase_batch import disorder, prepare
from lrcalc.information.phase_crystals import Plan, plan, room_numbers, stack
from lrcalc.information.phase_intake import measure
from lrcalc.information.phase_labels import label
from lrcalc.information.phase_pool import chances_of, make_kept
from lrcalc.information.phase_settings import Settings
from lrcalc.information.phase_step import draw_chance, new_chance, score_loss
from lrcalc.information.phase_training import Scores, train
from lrcalc.information.phases import PhaseModel, save


def named(atoms, phase):
    atoms.info["phase"] = phase
    return atoms


def crystals():
    salt = bulk("LiH", "rocksalt", a=4.1)
    return [
        named(bulk("Mg", "hcp", a=3.2, c=5.2), "hcp"),
        named(bulk("Fe", "bcc", a=2.9), "bcc"),
        named(salt, "salt"),
    ]


def made(species=(), **settings):
    torch.manual_seed(0)
    chosen = {"products": 4, "rounds": 1, "width": 8, "cutoff": 4.0 if species else 2.0} | settings
    return PhaseModel(["hcp", "bcc", "salt"], species, **chosen).double()


def batch(model, frames, rows, *, room=0, noise=0.1, strain=0.02):
    stacked = stack(frames, model)
    sizes = stacked.counts[[r for r in rows if r >= 0]].sum(0) + room
    at = Plan(*map(torch.from_numpy, plan(stacked, rows, sizes)))
    chance = new_chance(len(rows), stacked.positions.shape[1], stacked.positions)
    draw_chance(chance, torch.Generator().manual_seed(1))
    noise = torch.full((len(rows),), noise, dtype=torch.float64)
    noisy = disorder(stacked, at, noise, chance.xi, strain * chance.strain)
    return stacked, at, room_numbers(model, sizes), noisy, chance


@pytest.mark.parametrize("species", [(), (1, 3)])
@pytest.mark.parametrize("room", [0, 17])
def test_pairs_of_a_batch_are_those_of_ase(species, room):
    model = made(species, cutoff=1.7 if not species else 4.0)
    frames = crystals()[2:] * 2 if species else crystals()
    rows = [0, -1, 1] if species else [1, 0, -1, 2, 1]
    stacked, at, numbers, noisy, _ = batch(model, frames, rows, room=room)
    found = prepare(model, at, numbers, noisy.positions, noisy.cell)
    assert found.crowded == 0
    near = found.system.positions[found.pairs.j] - found.system.positions[found.pairs.i]
    distance = (near + found.offset).norm(dim=1).numpy()
    inside = distance < model.cutoff
    i, j = found.pairs.i.numpy()[inside], found.pairs.j.numpy()[inside]
    assert int(found.real.sum()) == len(found.real) - room * stacked.counts.shape[1]
    assert found.real.numpy()[i].all()
    count = 0
    for b, row in enumerate(rows):
        if row < 0:
            continue
        count += 1
        n = int(stacked.counts[row].sum())
        own = np.flatnonzero((found.owner.numpy() == b) & found.real.numpy())
        assert len(own) == n
        cell = noisy.cell[b].numpy()
        places = found.system.positions.numpy()[own] * float(found.length[b])
        ours = np.isin(i, own)
        expected = neighbor_list(
            "ijd", bulk("X", "sc", a=1.0).repeat((n, 1, 1)).__class__(
                numbers[own].numpy(), places, cell=cell, pbc=True
            ), model.cutoff * float(found.length[b]),
        )  # fmt: skip
        a = sorted(zip(own[expected[0]], own[expected[1]], expected[2], strict=True))
        d = distance[inside][ours] * float(found.length[b])
        c = sorted(zip(i[ours], j[ours], d, strict=True))
        np.testing.assert_allclose(np.array(c), np.array(a), atol=1e-9)
        atoms = bulk("X", "sc", a=1.0).__class__(
            numbers[own].numpy(), places, cell=cell, pbc=True
        )  # fmt: skip
        assert float(found.length[b]) == pytest.approx(measure(model, atoms).length, rel=1e-9)
    assert count == len([r for r in rows if r >= 0])


def test_noise_has_its_size_and_moves_no_crystal_as_a_whole():
    model = made()
    stacked, at, _, noisy, _ = batch(model, crystals(), [0, 1, 2, 0], noise=0.1, strain=0.0)
    moved = (noisy.positions - noisy.clean) / stacked.nearest[at.rows][:, None, None]
    assert moved.sum(1).abs().max() < 1e-10
    every = moved.reshape(-1, 3)[at.place]
    assert float(every.square().mean().sqrt()) == pytest.approx(0.1, rel=0.05)
    np.testing.assert_allclose(stacked.nearest.numpy(), [3.19, 2.511, 2.05], atol=0.01)


def test_dense_matrices_average_as_pairs_do():
    model = made()
    _, at, numbers, noisy, _ = batch(model, crystals(), [1, 0, -1, 2], room=9)
    found = prepare(model, at, numbers, noisy.positions, noisy.cell)
    x, n = found.system.positions, len(found.system.positions)
    vectors = x[found.pairs.j] - x[found.pairs.i] + found.offset
    edges = model.backbone.edges(found.pairs, vectors, n, square=found.square)
    values = torch.rand(n, 5).double()
    plain = edges._replace(square=None).average(values, n)
    assert plain.abs().mean() > 0.1
    real = found.real
    torch.testing.assert_close(edges.average(values, n)[real], plain[real])


def test_room_to_spare_changes_no_loss():
    model = made()
    torch.nn.init.normal_(model.energy[-1].weight)
    told = []
    for room in (0, 23):
        stacked, at, numbers, _, chance = batch(model, crystals(), [0, 1, 2], room=room)
        told.append(score_loss(model, stacked, at, numbers, chance, Settings())[0])
    torch.testing.assert_close(told[0], told[1], rtol=1e-9, atol=1e-12)


class Harmonic(PhaseModel):
    """log P̂ = -κ |r - r0|² / 2σ_s², of which everything is known."""

    kappa, clean = 0.0, None

    def energies(self, features):
        return -0.5 * self.kappa * (features - self.clean).square().sum(1) / self.sigma**2


@pytest.mark.parametrize("kappa", [0.0, 0.7, 1.0, 1.3])
def test_the_loss_of_a_harmonic_score_is_known(kappa, monkeypatch):
    """(1-κ)² σ²/(σ² + σ_0²), with the σ of this sample."""
    sigma, floor, rows = 0.1, 0.05, [0, 1, 2, 0, 1, 2, 0]
    toy = Harmonic(["hcp", "bcc", "salt"], cutoff=1.5, products=2, width=4).double()
    stacked, at, numbers, _, chance = batch(toy, [crystals()[1]] * 3, rows)
    noise = torch.full((len(rows),), sigma, dtype=torch.float64)
    noisy = disorder(stacked, at, noise, chance.xi, 0.0 * chance.strain)
    found = prepare(toy, at, numbers, noisy.positions, noisy.cell)
    toy.kappa = kappa
    toy.clean = noisy.clean.reshape(-1, 3)[at.place] / found.length[found.owner][:, None]
    monkeypatch.setattr(toy.backbone, "forward", lambda system, *_: system.positions)
    w = Settings(noise=(sigma, sigma * (1 + 1e-12)), floor=floor, strain=0.0, jitter=0.0)
    loss, _ = score_loss(toy, stacked, at, numbers, chance, w)
    moved = (noisy.positions - noisy.clean).reshape(-1, 3)[at.place]
    size = float(moved.square().mean()) / float(stacked.nearest[0]) ** 2
    assert size == pytest.approx(sigma**2, rel=0.1)
    expected = (1 - kappa) ** 2 * size / (sigma**2 + floor**2)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_full_seats_give_the_sums_of_any():
    one, two = torch.rand(12, 3), torch.rand(12, 2)
    i = torch.arange(4).repeat_interleave(3)
    edges = Edges(i, i, one, two, one[:, 0], 3, True)
    torch.testing.assert_close(edges.sum(one, two, 4), edges._replace(full=False).sum(one, two, 4))


def test_kept_crystals_have_the_chances_of_the_model():
    model = made().requires_grad_(False)
    stacked = stack(crystals(), model)
    settings = Settings(noise=(0.1, 0.1 * (1 + 1e-12)), strain=0.0, jitter=0.0)
    rng = torch.Generator().manual_seed(1)
    kept = make_kept(model, stacked, [0, 2], settings, rng)
    chance = new_chance(2, stacked.positions.shape[1], stacked.positions)
    draw_chance(chance, torch.Generator().manual_seed(1))
    at = Plan(*map(torch.from_numpy, plan(stacked, [0, 2])))
    noisy = disorder(stacked, at, torch.full((2,), 0.1).double(), chance.xi)
    for b, row in enumerate([0, 2]):
        n = int(stacked.counts[row].sum())
        atoms = Atoms(["X"] * n, noisy.positions[b, :n].numpy(), cell=noisy.cell[b].numpy())
        atoms.pbc, atoms.numbers[:] = True, 1
        found = label(model, atoms)
        np.testing.assert_allclose(
            chances_of(model, kept[b]).exp().amax(1).numpy(), found.probability, rtol=1e-6
        )


SMALL = Settings(steps=4, label_steps=6, batch_atoms=300, pool=8, label_crystals=3)


def test_a_training_learns_and_is_the_same_again():
    models = []
    for _ in range(2):
        settings = SMALL._replace(steps=20, label_steps=100, learning_rate=0.01, noise=(0.01, 0.1))
        model, curve = train(crystals(), made(width=16).float(), settings)
        models.append(model)
        assert curve["labels"][-1][2] < 0.5 * np.log(3)
        assert curve["score"][-1][2] < 0.9 * curve["score"][0][2]
    for one, two in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)  # rows of curves end by the clock


def test_a_training_goes_on_where_it_stopped(tmp_path):
    state = tmp_path / "s.pt"
    train(crystals(), made().float(), SMALL, state_file=state)
    longer = SMALL._replace(steps=7)
    model, curve = train(crystals(), made().float(), longer, state_file=state)
    assert curve["labels"][-1][0] == 6
    assert curve["score"][-1][0] == 7
    again, _ = train(crystals(), made().float(), longer, state_file=state)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"other learning_rate \(0\.003, now 0\.1\).*`--restart`"):
        train(crystals(), made().float(), SMALL._replace(learning_rate=0.1), state_file=state)
    with pytest.raises(ValueError, match=r"other lmax \(4, now 2\): .* take `--restart`"):
        train(crystals(), made(lmax=2).float(), SMALL, state_file=state)
    save(model, state)
    with pytest.raises(ValueError, match="not the state of a training of phases: .*`--restart`"):
        train(crystals(), made().float(), SMALL, state_file=state)


def test_batches_are_filled():
    model = made().float()
    stacked = stack(crystals(), model)
    state = SimpleNamespace(model=model, choice=np.random.default_rng(0), parts={"score": None})
    stepper = Scores(state, Settings(batch_atoms=1500), stacked, np.ones(3) / 3)
    places = [stepper.drawn()[1] for _ in range(20)]
    most = stepper.n_rows * stacked.positions.shape[1]
    assert {len(p) for p in places} == {1500}
    assert np.mean([(p < most).mean() for p in places]) > 0.85


def test_the_command_trains_and_what_it_writes_labels(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("crystals.xyz", crystals()[:2])
    common = "phases train --structures crystals.xyz --out m.pt --rounds 1 --width 4"
    common += " --familiar-copies 0"
    assert (
        main(f"{common} --steps 3 --label-steps 3 --batch-atoms 300 --validate-copies 1".split())
        == 0
    )
    assert "2 crystals of 2 phases" in capsys.readouterr().out
    assert {"m.pt", "m.csv", "m-validation.csv", "m-validation.png"} <= {
        p.name for p in tmp_path.iterdir()
    }
    hot = bulk("Cu", cubic=True).repeat(3)
    hot.rattle(0.1, seed=1)
    hot.info["time_fs"] = 2.0
    write("hot.xyz", [hot, hot])
    assert (
        main(
            [
                "phases",
                "label",
                "hot.xyz",
                "--model",
                "m.pt",
                "-o",
                "out.xyz",
                "--denoise-steps",
                "1",
            ]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "mean probability" in told
    assert "frames read after denoising" in told
    labelled = read("out.xyz", ":")
    assert len(labelled) == 2
    assert set(labelled[0].arrays["phase"]) <= {"hcp", "bcc"}
    assert labelled[0].arrays["logits"].shape == (108, 2)
    lines = [
        line for line in Path("out-phases.csv").read_text().splitlines() if not line.startswith("#")
    ]
    for row in csv.DictReader(lines):
        assert float(row["part_hcp"]) + float(row["part_bcc"]) == 1
        assert float(row["time_fs"]) == 2
        assert row["denoise_steps"] == "1"
    assert [atoms.info["denoise_steps"] for atoms in labelled] == [1, 1]
    assert json.loads(Path("out-phases.json").read_text())["settings"]["denoise_steps"] == 1
    assert (
        main(
            [
                "phases",
                "denoise",
                "hot.xyz",
                "--model",
                "m.pt",
                "--frames",
                "0",
                "--steps",
                "2",
                "-o",
                "d.xyz",
            ]
        )
        == 0
    )
    assert 1 <= len(read("d.xyz", ":")) <= 3


def test_frames_that_were_denoised_by_need_are_marked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("hot.xyz", [shaken_copper(0.05), shaken_copper(0.5), shaken_copper(0.5)])
    line = "phases label hot.xyz --model metals -o out"
    assert main(line.split()) == 0
    labelled = read("out.xyz", ":")
    assert [atoms.info["denoise_steps"] for atoms in labelled] == [0, 4, 4]
    assert json.loads(Path("out-phases.json").read_text())["settings"]["denoise_steps"] == "by need"
    # labelled anew by a model that does not know what is unknown: no column of the old one stays
    save(PhaseModel(["fcc", "bcc"], (), rounds=1, width=4), "bare.pt")
    line = "phases label out.xyz --model bare.pt --denoise-steps 0 -o anew"
    assert main(line.split()) == 0
    for atoms in read("anew.xyz", ":"):
        assert atoms.info["denoise_steps"] == 0
        assert "phase_familiar" not in atoms.arrays


def shaken_copper(amplitude):
    atoms = bulk("Cu", cubic=True).repeat(4)
    atoms.rattle(amplitude, seed=1)
    return atoms


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --structures c.xyz --out m.pth", "`--out` is 'm.pth' but must end in .pt"),
        ("train --structures c.xyz --out m.pt --noise 0.3 0.1", "must be 0 < LOW < HIGH < 1"),
        ("train --structures c.xyz --out m.pt --width 0", "`--width` is 0"),
        ("train --structures c.xyz --out m.pt --favour fcc=2", "`--favour` has 'fcc=2'"),
        ("train --structures c.xyz --out m.pt --favour bcc=inf", "`--favour` has 'bcc=inf'"),
        ("train --structures open.xyz --out m.pt", "is not periodic in all directions"),
        ("train --structures unnamed.xyz --out m.pt", "does not say its phase"),
        ("train --structures none.xyz --out m.pt", "does not exist"),
        ("label c.xyz --model nonsense", "no bundled model of phases 'nonsense'"),
        ("label c.xyz --model none.pt", "no model file none.pt"),
        ("label c.xyz --model c.pt --denoise-steps -1", "`--denoise-steps` is -1"),
    ],
)
def test_what_is_wrong_is_named(line, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("c.xyz", crystals()[:2])
    lone = crystals()[0]
    lone.pbc = False
    write("open.xyz", lone)
    write("unnamed.xyz", bulk("Cu"))
    assert main(["phases", *line.split()]) == 2
    assert message in capsys.readouterr().err
