"""Frames with elements that a model does not know are counted, named, and refused first."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lrcalc import Evaluator
from lrcalc.cli import main
from lrcalc.structures.species import find_unknown, refuse_unknown

NAMES = ["H2O", "CH3OH", "H2O", "NaCl", "H2O2", "CH4", "H2O", "H2O"]
TOLD = "unknown elements: C in 2 (first: frame 1), Na in 1 (first: frame 3), Cl in 1"


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """Frames of which a model of water knows five of eight, labelled with whatever."""
    frames, rng = [molecule(name) for name in NAMES], np.random.default_rng(0)
    for atoms in frames:
        forces = rng.normal(size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=forces)
        atoms.info |= {"REF_dipole": [0.0, 0.0, 0.4], "polarizability": 1.4 * np.eye(3).ravel()}
    monkeypatch.chdir(tmp_path)
    write("mix.xyz", frames, format="extxyz")
    return frames


def test_all_files_are_told_of_at_once():
    some = [molecule(name) for name in NAMES]
    found = [find_unknown(enumerate(some), (1, 8), "a"), find_unknown([(7, some[5])], (1, 8), "b")]
    assert found[0].numbers == [1, 3, 5]
    assert found[0].frames == {"C": [1, 5], "Na": [3], "Cl": [3]}
    told = r"a: 3 of 8 frames have .*; b: 1 of 1 frames has .*\(first: frame 7\); .* H, O only"
    with pytest.raises(ValueError, match=told):
        refuse_unknown(found, (1, 8))
    known = (1, 6, 8, 11, 17)
    refuse_unknown([find_unknown(enumerate(some), known, "a"), find_unknown([], (), "c")], known)


@pytest.mark.parametrize(
    "command",
    [
        "evaluate water mix.xyz",
        "fit-charges water --data mix.xyz --dipole-weight 1 --born-weight 0 -o n.pt",
        "fit-polarizability --model water --data mix.xyz --unit A3 --out n.pt",
        "select mix.xyz --keep 2 --reference water",
        "extrapolation mix.xyz --reference water",
        "extrapolation mix.xyz --reference mix.xyz --score features --model water",
        "extrapolation mix.xyz --reference mix.xyz --score committee --committee water water-large",
        "wall water --data mix.xyz --every-frame -o n.pt",
        "reference water --data mix.xyz --every-frame -o n.pt",
    ],
)
def test_commands_refuse_them_before_anything_is_computed(command, mixed, capsys, monkeypatch):
    """Some of them went through the frames, or an epoch, until the first of these came."""

    def never(*args, **options):
        raise AssertionError("something was computed")

    monkeypatch.setattr("lrcalc.evaluator.Evaluator.__call__", never)
    monkeypatch.setattr("lrcalc.models.potential.Potential.forward", never)
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert TOLD in said
    assert "H, O only" in said


def test_evaluate_leaves_them_out_where_asked(mixed, capsys, tmp_path):
    """The errors are those of the rest, by hand."""
    import json

    options = ["--skip-unknown", "--json", "e.json", "--dtype", "float64"]
    assert main(["evaluate", "water", "mix.xyz", *options]) == 0
    assert f"note: left out: mix.xyz: 3 of 8 frames have {TOLD}" in capsys.readouterr().out
    report = json.loads((tmp_path / "e.json").read_text())
    assert report["left_out"] == [1, 3, 5]
    assert report["kept_out"]["frames"] == [0, 2, 4, 6, 7]
    rest = [mixed[k] for k in (0, 2, 4, 6, 7)]
    found = Evaluator("water", dtype="float64")([a.copy() for a in rest], ["forces"])
    wrong = [r["forces"] - a.get_forces() for r, a in zip(found, rest, strict=True)]
    rmse = np.sqrt((np.concatenate(wrong) ** 2).mean())
    assert report["kept_out"]["forces"]["rmse"] == pytest.approx(rmse, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", "--skip-unknown"),
        ("--frames 1::2 --skip-unknown", "3 of 4 frames"),  # one is left
        ("--frames 1 --skip-unknown", "1 of 1 frames has"),
    ],
)
def test_evaluate_says_the_way_out_that_there_is(options, words, mixed, capsys):
    done = main(["evaluate", "water", "mix.xyz", *options.split()])
    said = capsys.readouterr()
    assert done == (0 if "::" in options else 2)
    assert words in said.out + said.err
    if options == "--frames 1 --skip-unknown":  # nothing would be left
        assert "--skip-unknown" not in said.err
