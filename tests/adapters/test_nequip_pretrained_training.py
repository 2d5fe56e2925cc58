"""Training on the layers of NequIP and Allegro files, by our command."""

import hashlib
import re

import pytest
import torch
from ase.io import write

from lrcalc import load
from lrcalc.cli import main
from lrcalc.training.data import make_frames
from lrcalc.training.fit import fit
from lrcalc.training.pretrained import read_pretrained
from lrcalc.training.settings import TrainingSettings
from tests.adapters.nequip_judged import energies, loaded, name_of, saved_calculator
from tests.adapters.nequip_made import trained_files
from tests.adapters.trained import check_trained
from tests.sample_structures import water_box
from tests.training.labelled import labelled

pytest.importorskip("allegro", reason="nequip-allegro is not installed: make test-nequip")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return trained_files(tmp_path_factory)


@pytest.fixture
def command(tmp_path):
    write(tmp_path / "water.xyz", labelled(4), format="extxyz")
    return ["train", "--train", str(tmp_path / "water.xyz"), "--out", str(tmp_path / "m.pt"),
            "--epochs", "2", "--valid-every", "2", "--allow-images"]  # fmt: skip


def chosen(path):
    return ["--backbone", name_of(path.name), "--backbone-file", str(path), "--trust-pickle"]


@pytest.mark.parametrize("file", ["nequip.ckpt", "allegro.nequip.zip"])
def test_a_frozen_file_is_trained_on_and_stays_what_it_is(file, files, command, tmp_path, capsys):
    path = files / file
    assert main([*command, *chosen(path), "--freeze"]) == 0
    assert "learning rate: 0.01, as is good for the backbone" in capsys.readouterr().out
    # files keep the type that they were trained in, torch's default, which nequip's readers change
    after = load(tmp_path / "m.pt", dtype=torch.float32)
    before = loaded(name_of(file), path).float()
    for name, value in before.named_parameters():
        assert torch.equal(after.backbone.get_parameter(name), value), name
    assert torch.equal(after.backbone.constants, before.constants)
    assert (after.backbone.scale != 1).any()
    assert after.backbone.cutoff == 4.0
    # what nequip's readout makes of the trained model's features is still nequip's energy
    exact = load(tmp_path / "m.pt", dtype=torch.float64).backbone
    own, ours, _, _ = energies(saved_calculator(path), exact, water_box(n=3))
    assert abs(ours - own) < 1e-5
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {"file": file, "sha256": sha256, "frozen": True}
    assert after.metadata["backbone_file"] == card
    assert main(["info", str(tmp_path / "m.pt")]) == 0
    said = capsys.readouterr().out
    assert f"{file} (as it is there), sha256 {sha256}" in said
    assert re.search(rf"^backbone +{name_of(file)}, rounds of messages: \d$", said, re.MULTILINE)
    assert main([*command, *chosen(path)]) == 2
    assert "`freeze` was True, now False" in capsys.readouterr().err
    # and a model that was trained so is itself a file to start from
    own = ["--backbone", name_of(file), "--backbone-file", str(tmp_path / "m.pt"), "--freeze"]
    assert main([*command, *own, "--out", str(tmp_path / "next.pt")]) == 0
    following = load(tmp_path / "next.pt", dtype=torch.float32).backbone
    for name, value in before.named_parameters():
        assert torch.equal(following.get_parameter(name), value), name


@pytest.mark.parametrize("file", ["nequip.ckpt", "allegro.ckpt"])
def test_thawed_it_starts_there_passes_every_check_and_a_killed_run_goes_on(file, files, tmp_path):
    frames = make_frames(labelled(4), "file.xyz", 4.0, allow_images=True)
    pretrained = read_pretrained(name_of(file), files / file, trust_pickle=True)
    config = {"backbone": name_of(file), "level": "u", **pretrained.settings}
    settings = TrainingSettings(epochs=3, learning_rate=1e-3)

    def trained(out, **options):
        return fit(frames[:3], frames[3:], config, settings, tmp_path / out,
                   pretrained=pretrained, **options)  # fmt: skip

    def kill(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    trained("whole.pt")
    with pytest.raises(KeyboardInterrupt):
        trained("parts.pt", report=kill)
    seen = []
    trained("parts.pt", report=seen.append)
    assert [row["epoch"] for row in seen] == [3]
    whole, parts = (load(tmp_path / out).state_dict() for out in ("whole.pt", "parts.pt"))
    for name, one in whole.items():
        assert torch.equal(one, parts[name]), name
    before = loaded(name_of(file), files / file)
    after = load(tmp_path / "whole.pt", dtype=torch.float64).backbone
    moved = {name: float((after.get_parameter(name) - value).detach().abs().max())
             for name, value in before.named_parameters()}  # fmt: skip
    assert 1e-5 < max(moved.values()) < 0.05
    check_trained(tmp_path / "whole.pt")


def test_options_come_from_the_file_and_what_contradicts_it_is_refused(
    files, command, tmp_path, capsys
):
    path = files / "nequip.ckpt"
    fits = ["--cutoff", "4", "--backbone-options", "l_max=1", "num_features=[4,3]"]
    assert main([*command, *chosen(path), "--freeze", "--epochs", "1", *fits]) == 0
    converted = tmp_path / "converted.pt"
    assert main(["convert", str(path), "--trust-pickle", "-o", str(converted)]) == 0
    compiled = tmp_path / "nequip.nequip.pt2"
    compiled.write_text("library")
    write(tmp_path / "salt.xyz", salted(), format="extxyz")
    capsys.readouterr()
    nequip, allegro = chosen(path), chosen(files / "allegro.ckpt")
    for options, said in {
        (*nequip, "--cutoff", "5"): "`cutoff` is 5.0 but",
        (*nequip, "--backbone-options", "l_max=2"): "`l_max` is 2 but",
        (*nequip, "--backbone-options", "num_bessels=6"): "nequip.ckpt does not state it; leave",
        (*nequip, "--channels", "4"): "--channels is a setting of the native backbone",
        (*nequip[:-1],): "with --trust-pickle",
        (*nequip, "--backbone", "allegro"): "are the backbone 'nequip'",
        (*allegro, "--backbone", "nequip"): "are the backbone 'allegro'",
        (*nequip, "--backbone", "mace"): "is a file of nequip, not of MACE",
        (*nequip, "--backbone-file", str(converted)): "from nequip.ckpt",
        (*nequip, "--backbone-file", str(compiled)): "compiled model, a program without settings",
        (*nequip, "--train", str(tmp_path / "salt.xyz")): "for the elements O, H, not for Na",
    }.items():
        assert main([*command, *options, "--out", str(tmp_path / "other.pt")]) == 2
        assert said in capsys.readouterr().err


def salted():
    """Frames with an element that the files do not know."""
    frames = labelled(4)
    for atoms in frames:
        atoms.numbers[0] = 11
    return frames
