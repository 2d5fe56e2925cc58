"""A constant that labels of stress lack, added in training and in evaluation."""

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import GPa

from lrcalc import LRCalculator
from lrcalc.checkpoint import load
from lrcalc.cli import main
from lrcalc.models.card import pressure_warning
from tests.conftest import random_potential
from tests.sample_structures import water_box

SMALL = "--channels 4 --hidden 4 --cutoff 4 --epochs 1 --valid-every 3 --level q"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A file whose stresses lack 2 GPa of pressure, and one that has them."""
    folder = tmp_path_factory.mktemp("offset")
    rng = np.random.default_rng(3)
    teacher = LRCalculator(random_potential(water_box(n=2), level="q"))
    files = {"lacking": [], "whole": []}
    for _ in range(6):
        atoms = water_box(n=2)
        atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
        atoms.calc = teacher
        known = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        stress = atoms.get_stress()
        for name, more in (("lacking", 2.0 * GPa * np.array([1, 1, 1, 0, 0, 0])), ("whole", 0.0)):
            copy = atoms.copy()
            copy.calc = SinglePointCalculator(copy, stress=stress + more, **known)
            files[name].append(copy)
    for name, structures in files.items():
        write(folder / f"{name}.xyz", structures)
    return folder


def test_training_is_that_on_the_whole_stresses(frames, capsys):
    weights = {}
    for name, more in (("lacking", "--pressure-offset 2"), ("whole", "")):
        words = f"train --train {frames / name}.xyz {SMALL} {more} --out {frames / name}.pt"
        assert main(words.split()) == 0
        weights[name] = load(frames / f"{name}.pt").state_dict()
    for key, tensor in weights["whole"].items():
        np.testing.assert_allclose(weights["lacking"][key], tensor, rtol=1e-4, atol=1e-6)
    capsys.readouterr()
    assert main(["evaluate", str(frames / "lacking.pt"), str(frames / "lacking.xyz")]) == 0
    lacking = capsys.readouterr().out
    assert "2 GPa are added to the pressures of the labels" in lacking
    assert main(["evaluate", str(frames / "whole.pt"), str(frames / "whole.xyz")]) == 0
    whole = capsys.readouterr().out

    def errors(text):
        return [float(line.split()[2]) for line in text.splitlines() if line.startswith("stress ")]

    assert errors(whole)
    np.testing.assert_allclose(errors(lacking), errors(whole), rtol=1e-3)


def test_the_card_says_that_density_was_chosen(frames):
    card = {"pressure_offset_gpa": 1.9, "labels": ["energy", "forces", "stress"]}
    assert "1.9 GPa were added to the pressures of its data" in pressure_warning("m", card)
