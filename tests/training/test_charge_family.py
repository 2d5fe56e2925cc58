"""`--charges auto`: what the data ask for, said once and kept in the card."""

import pytest
from ase.io import write

from lrcalc.checkpoint import load
from lrcalc.cli import main
from lrcalc.training.charge_family import choose_charges
from lrcalc.training.data import make_frames
from tests.training.sets import frames_of


@pytest.mark.parametrize(
    ("matter", "family", "word"), [("ions", "atomic", "open"), ("all", "local", "periodic")]
)
def test_data_decide(matter, family, word):
    frames = make_frames(frames_of(matter, 8), "frames", 3.0, allow_images=True)
    found, reason = choose_charges("auto", frames, "u")
    assert (found, word in reason) == (family, True)
    assert choose_charges("auto", frames, "sr") == (family, None)
    for asked in ("local", "atomic"):
        assert choose_charges(asked, frames, "u") == (asked, None)


def test_the_choice_is_said_and_kept(tmp_path, capsys):
    data, out = tmp_path / "d.xyz", tmp_path / "m.pt"
    write(data, frames_of("molecules", 6), format="extxyz")
    command = ["train", "--train", str(data), "--out", str(out), "--valid-every", "6",
               "--epochs", "1", "--cutoff", "3", "--channels", "2", "--hidden", "4"]  # fmt: skip
    assert main(command) == 0
    assert capsys.readouterr().out.count("\ncharges: atomic (all training structures are open") == 1
    potential = load(out)
    assert potential.config["charges"] == "atomic"
    assert "training structures" in potential.metadata["charges_from"]


@pytest.mark.parametrize(("family", "why"), [("auto", "training structures are open"),
                                            ("atomic", "handed to nobody")])  # fmt: skip
def test_hops_of_atomic_charges_are_refused(family, why, tmp_path, capsys):
    """They were left out in silence, with --charges auto on molecules."""
    data = tmp_path / "d.xyz"
    write(data, frames_of("molecules", 6), format="extxyz")
    command = ["train", "--train", str(data), "--out", str(tmp_path / "m.pt"), "--valid-every", "6",
               "--cutoff", "3", "--charges", family, "--transfer-hops", "8"]  # fmt: skip
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "`--transfer-hops` is 8" in said
    assert why in said
    assert "give --charges local" in said
