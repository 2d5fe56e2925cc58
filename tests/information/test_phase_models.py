"""The bundled models of phases."""

import numpy as np
import pytest
from ase.build import bulk
from ase.cluster import Octahedron
from ase.io import read

from lrcalc import zoo
from lrcalc.information.phase_labels import denoise, label
from lrcalc.information.phases import load, model_path
from lrcalc.structures import read_structures

FOLDER = zoo.FOLDER / "phases"


def test_they_are_small_and_free():
    assert zoo.phase_models() == ["ice", "metals"]
    for name in zoo.phase_models():
        assert model_path(name).stat().st_size < 3e6
        assert load(name).metadata["licence"] == "MIT"


@pytest.mark.parametrize(("name", "file"), [("metals", "metals.xyz"), ("ice", "ice.xyz.gz")])
def test_every_perfect_crystal_has_its_phase(name, file):
    model = load(name)
    crystals = {atoms.info["phase"]: atoms for atoms in read_structures(FOLDER / file)}
    assert set(crystals) == set(model.phases)
    for phase, atoms in crystals.items():
        assert set(label(model, atoms).phase) == {phase}


NOISE = 0.1

CRYSTALS = {
    "fcc": bulk("Cu", "fcc", a=3.6, cubic=True).repeat(4),
    "bcc": bulk("Fe", "bcc", a=2.87, cubic=True).repeat(5),
    "hcp": bulk("Mg", "hcp", a=3.2, c=5.2).repeat((5, 5, 3)),
}


@pytest.mark.parametrize("phase", CRYSTALS)
def test_noise_of_a_tenth_is_read_and_taken_away(phase):
    perfect = CRYSTALS[phase]
    nearest = {"fcc": 3.6 / 2**0.5, "bcc": 2.87 * 0.75**0.5, "hcp": 3.19}[phase]
    noise = np.random.default_rng(3).normal(size=(len(perfect), 3)) * NOISE * nearest
    hot = perfect.copy()
    hot.positions += noise - noise.mean(0)
    model = load("metals")
    right = np.mean([name == phase for name in label(model, hot).phase])
    assert right >= 0.98
    steps = list(denoise(model, hot, steps=3))
    assert (np.diff([s.log_probability for s in steps]) > 0).all()
    away = steps[-1].positions - perfect.positions
    away -= away.mean(0)
    assert np.sqrt((away**2).mean()) / nearest < 0.015


def test_all_species_are_one_to_metals():
    alloy = bulk("NaCl", "cesiumchloride", a=3.0).repeat(2)
    assert set(label(load("metals"), alloy).phase) == {"bcc"}


def test_ice_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="has atoms of Cu, the model knows only H, O"):
        label(load("ice"), bulk("Cu"))


def test_liquid_water_is_liquid():
    water = read(zoo.structure_file("water64"))
    found = label(load("ice"), water)
    assert np.mean([name == "liquid" for name in found.phase]) > 0.95


def test_a_cluster_that_is_half_surface_is_told_of_and_right_with_a_length():
    cluster = Octahedron("Cu", 7, 2)
    with pytest.warns(UserWarning, match=r"near a surface or a void.*give `length`, about 2\.3 Å"):
        label(load("metals"), cluster)
    assert set(label(load("metals"), cluster, length=2.3).phase) == {"fcc"}
