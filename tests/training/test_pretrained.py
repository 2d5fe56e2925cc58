"""Training on another backbone, from a file of one, and with one that is left as it is."""

import argparse
import hashlib

import pytest
import torch
from ase.io import write

from lrcalc import Potential, load
from lrcalc.checkpoint import save
from lrcalc.cli import main
from lrcalc.commands._backbone_options import parsed
from lrcalc.commands._train_start import chosen_rate
from lrcalc.models import backbone as backbones
from lrcalc.models.backbone import register_backbone
from lrcalc.models.options import MACE_DEFAULTS, WHOLE_MODELS
from tests.adapters.toy import toy_maceles
from tests.models.test_backbone import Radial
from tests.training.labelled import labelled

SMALL = ["--epochs", "1", "--valid-every", "2", "--level", "q", "--cutoff", "3"]
WIDTHS = ["--channels", "4", "--hidden", "8"]


@pytest.fixture
def command(tmp_path):
    write(tmp_path / "water.xyz", labelled(4), format="extxyz")
    return [
        "train",
        "--train",
        str(tmp_path / "water.xyz"),
        "--out",
        str(tmp_path / "m.pt"),
        *SMALL,
    ]


@pytest.fixture
def file(tmp_path):
    """A native model with random weights."""
    torch.manual_seed(1)
    path = tmp_path / "before.pt"
    save(Potential((1, 8), channels=4, hidden=8, cutoff=3.0), path)
    return path


def parameters(module):
    return {name: value.clone() for name, value in module.named_parameters()}


def test_a_frozen_backbone_stays_as_it_is_in_the_file(command, file, tmp_path, capsys):
    before = load(file)
    assert main([*command, "--backbone-file", str(file), "--freeze"]) == 0
    after = load(tmp_path / "m.pt")
    for name, value in parameters(before.backbone).items():
        assert torch.equal(after.backbone.get_parameter(name), value), name
    assert torch.equal(after.backbone.density_scale, before.backbone.density_scale)
    assert not torch.equal(after.readout.weight[:, :1], before.readout.weight[:, :1])
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    card = {"file": "before.pt", "sha256": sha256, "frozen": True}
    assert after.metadata["backbone_file"] == card
    assert "--backbone-file before.pt " in after.metadata["command"]
    assert "--freeze " in after.metadata["command"]
    # the same run goes on, and one with another file or thawed does not
    assert main([*command, "--backbone-file", str(file), "--freeze"]) == 0
    assert main([*command, "--backbone-file", str(file)]) == 2
    assert "`freeze` was True, now False" in capsys.readouterr().err
    torch.manual_seed(2)
    save(Potential((1, 8), channels=4, hidden=8, cutoff=3.0), file)
    assert main([*command, "--backbone-file", str(file), "--freeze"]) == 2
    assert f"`backbone_sha256` was {sha256}, now" in capsys.readouterr().err


def test_a_thawed_backbone_starts_from_the_file(command, file, tmp_path):
    rate = ["--learning-rate", "1e-7"]
    assert main([*command, "--backbone-file", str(file), *rate]) == 0
    after, before = load(tmp_path / "m.pt").backbone, load(file).backbone
    moved = {name: (after.get_parameter(name) - value).abs().max()
             for name, value in parameters(before).items()}  # fmt: skip
    assert 0 < max(moved.values()) < 1e-5


def test_any_backbone_that_has_a_name_is_trained(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    register_backbone("radial", Radial, {"cutoff": 4.0, "width": 8})
    assert main([*command, "--backbone", "radial", "--backbone-options", "width=6"]) == 0
    config = load(tmp_path / "m.pt").config
    assert (config["backbone"], config["width"], config["cutoff"]) == ("radial", 6, 3.0)
    assert main([*command, "--backbone", "radial", "--channels", "4"]) == 2
    assert "--channels is a setting of the native backbone; 'radial' has" in capsys.readouterr().err
    for wrong, said in {
        "width": "wants key=value",
        "wide=3": "no 'wide'; it has: ['cutoff', 'width']",
        "width=big": "`width` is big but must be like 8",
    }.items():
        assert main([*command, "--backbone", "radial", "--backbone-options", wrong]) == 2
        assert said in capsys.readouterr().err


def test_settings_are_written_as_in_json():
    options = ["hidden_irreps=8x0e + 8x1o", "radial_MLP=[8, 8]", "avg_num_neighbors=30.5",
               "correlation=[2, 1]", "full_last=false", "cutoff=4"]  # fmt: skip
    assert parsed(options, MACE_DEFAULTS, "mace") == {
        "hidden_irreps": "8x0e + 8x1o", "radial_MLP": [8, 8], "avg_num_neighbors": 30.5,
        "correlation": [2, 1], "full_last": False, "cutoff": 4,
    }  # fmt: skip
    for wrong in ("full_last=1", "max_ell=2.5", "max_ell=true", "hidden_irreps=[1]"):
        with pytest.raises(ValueError, match="but must be like"):
            parsed([wrong], MACE_DEFAULTS, "mace")


def test_what_does_not_fit_is_refused_with_a_way_out(command, file, tmp_path, capsys):
    pickled = tmp_path / "theirs.model"
    torch.save(torch.nn.Linear(1, 1), pickled)
    carbon = tmp_path / "carbon.pt"
    save(Potential((1, 6), channels=4, hidden=8, cutoff=3.0), carbon)
    whole = toy_maceles()
    whole.metadata["source"] = "MACELES converted from of.model"
    converted = tmp_path / "converted.pt"
    save(whole, converted)
    for options, said in {
        ("--freeze",): "--freeze says what to do with a --backbone-file",
        ("--trust-pickle",): "--trust-pickle says what to do with a --backbone-file",
        ("--backbone", "maze"): "'mace' (pip install lrcalc[mace])",
        ("--backbone-file", "no.pt"): "no file no.pt",
        ("--backbone-file", str(pickled)): "is not a readable lrcalc file",
        ("--backbone-file", str(carbon)): "trained on the atomic numbers [1, 6]",
        ("--backbone-file", str(file), "--hidden", "9"): "`hidden` is 9 but",
        ("--backbone", "mace", "--backbone-file", str(file)): "is 'native', not 'mace'",
        ("--backbone", "mace", "--backbone-file", str(converted)): "of.model: give that file, with",
        ("--backbone", "mace", "--backbone-file", str(pickled)): "with --trust-pickle",
    }.items():
        assert main([*command, *options]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", WHOLE_MODELS)
def test_whole_models_of_others_are_refused_before_data_are_read(name, tmp_path, capsys):
    none = str(tmp_path / "none.xyz")
    assert (
        main(["train", "--train", none, "--out", str(tmp_path / "m.pt"), "--backbone", name]) == 2
    )
    said = capsys.readouterr().err
    assert f"`--backbone` is '{name}': a whole model" in said
    assert "those that can be trained are allegro, mace, native, nequip" in said


def test_what_is_ours_already_is_not_converted(file, tmp_path, capsys):
    assert main(["convert", str(file), "-o", str(tmp_path / "again.pt"), "--trust-pickle"]) == 2
    assert f"{file} has lrcalc's own format already: use it as it is" in capsys.readouterr().err
    assert not (tmp_path / "again.pt").exists()


def test_the_learning_rate_hangs_on_the_backbone_unless_it_is_given(command, tmp_path, capsys):
    for name, rate in {"native": 3e-3, "mace": 0.01, "nequip": 0.01, "allegro": 0.01}.items():
        args = argparse.Namespace(backbone=name, learning_rate=None)
        lines = chosen_rate(args)
        assert args.learning_rate == rate
        assert [line.startswith("learning rate: 0.01, ") for line in lines] == [True] * (
            rate > 3e-3
        )
        given = argparse.Namespace(backbone=name, learning_rate=0.02)
        assert chosen_rate(given) == []
        assert given.learning_rate == 0.02
    assert main([*command, *WIDTHS]) == 0
    assert "learning rate" not in capsys.readouterr().out
    assert "--learning-rate 0.003" in load(tmp_path / "m.pt").metadata["command"]
