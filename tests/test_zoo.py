"""What is bundled may be handed out; what may not is left out of the wheel, and said to be."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

from lrcalc import Evaluator, bundled, load, zoo

ROOT = Path(__file__).parents[1]
FENCE = ROOT / "models-unlicensed"


@pytest.mark.parametrize("name", zoo.UNLICENSED)
def test_a_model_without_a_licence_is_opted_into(name, monkeypatch):
    monkeypatch.delenv(zoo.OPT_IN, raising=False)
    assert name not in bundled()
    with pytest.raises(
        FileNotFoundError, match=f"{name}' is not installed.*no licence.*{zoo.OPT_IN}"
    ):
        load(name)
    assert load(FENCE / f"{name}.pt").metadata
    monkeypatch.setenv(zoo.OPT_IN, str(FENCE))
    assert name in bundled()
    assert load(name).metadata == load(FENCE / f"{name}.pt").metadata


def test_an_opt_in_that_leads_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv(zoo.OPT_IN, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="is not installed"):
        load(zoo.UNLICENSED[0])


def test_every_bundled_model_has_a_licence(monkeypatch):
    monkeypatch.delenv(zoo.OPT_IN, raising=False)
    for name in bundled():
        licence = load(name).metadata["licence"]
        assert any(known in licence for known in ("MIT", "CC BY", "CC0")), (name, licence)


def test_every_bundled_model_says_that_it_knows_neutral_structures_alone():
    for name in bundled():
        assert load(name).metadata["total_charges"] == [0.0], name
    atoms = molecule("H2O")
    atoms.info["charge"] = 1
    with pytest.warns(UserWarning, match="total charge \\+1 e, but the frames that the model was"):
        Evaluator("organic")([atoms], ["energy"])


@pytest.mark.parametrize("name", ["dipeptides", "organic", "superionic"])
def test_cards_of_models_that_learned_labels_say_so(name):
    """They spoke of the models that these went on from, which had seen none."""
    card = load(name).metadata
    assert card["identifiability"]["verdict"] == "labels"
    assert card["identifiability"]["labels"] == card["labels"]


@pytest.mark.long
def test_the_wheel_leaves_it_out(tmp_path):
    """Built of what git knows, away from the checkout."""
    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "-q", "-w", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {Path(name).stem for name in names if name.endswith(".pt")}
    assert inside == {*bundled(), *zoo.phase_models()}
    assert not [name for name in names if any(one in name for one in zoo.UNLICENSED)]
    assert "lrcalc/zoo/water64.xyz" in names


@pytest.mark.parametrize(("name", "forces"), [("dipeptides", 51.0), ("organic", 52.5)])
def test_molecules_kept_out(shared, name, forces):
    """What lrcalc/zoo/README.md says of the frames that the training has not seen."""
    frames = read(shared / "data/molecules/dipeptides_train.xyz.gz", ":")[5::10]
    found = Evaluator(name)([atoms.copy() for atoms in frames], ["forces", "dipole"])
    wrong = np.concatenate(
        [r["forces"] - a.get_forces() for r, a in zip(found, frames, strict=True)]
    )
    assert 1e3 * np.sqrt((wrong**2).mean()) < forces
    dipole = np.array([a.info["REF_dipole"] for a in frames])
    wrong = np.array([r["dipole"] for r in found]) - dipole
    assert 1 - (wrong**2).sum() / ((dipole - dipole.mean(0)) ** 2).sum() > 0.998


@pytest.mark.parametrize(("molecule_name", "debye"), [("H2O", 1.86), ("CH3CONH2", 3.70)])
def test_dipoles_of_molecules_that_organic_has_not_seen(molecule_name, debye):
    (result,) = Evaluator("organic")([molecule(molecule_name)], ["dipole"])
    assert np.linalg.norm(result["dipole"]) / 0.2081943 == pytest.approx(debye, rel=0.1)
