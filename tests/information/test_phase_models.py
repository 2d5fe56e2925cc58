"""The bundled models of phases."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, hcp0001
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


def gas():
    positions = np.random.default_rng(4).random((600, 3)) * 19.0
    return Atoms("Cu600", positions, cell=3 * [19.0], pbc=True)


def film():
    slab = hcp0001("Mg", (5, 5, 4), vacuum=9.0)
    slab.rattle(0.1, seed=1)
    return slab


def water():
    return read(zoo.structure_file("water64"))


STRANGE = {"gas": (gas, 2.25), "film": (film, 2.86), "water": (water, None)}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_no_crystal_is_unknown_to_metals(name):
    make, length = STRANGE[name]
    with pytest.warns(UserWarning, match="are in none of the crystals that the model knows"):
        found = label(load("metals"), make(), length=length)
    assert found.phase.count("unknown") > 0.98 * len(found.phase)


def test_a_vacancy_and_the_inside_of_a_thick_film_are_known():
    copper = bulk("Cu", cubic=True).repeat(5)
    copper.rattle(0.12, seed=1)
    del copper[100]
    assert set(label(load("metals"), copper).phase) == {"fcc"}
    slab = fcc111("Cu", (5, 5, 16), vacuum=9.0)
    slab.rattle(0.1, seed=1)
    height = slab.positions[:, 2] - slab.positions[:, 2].mean()
    words = np.array(label(load("metals"), slab, length=2.28).phase)
    assert set(words[np.abs(height) < height.max() / 2]) == {"fcc"}
    assert set(words[np.abs(height) > height.max() - 0.7]) == {"unknown"}


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
        label(load("metals"), cluster, unknown=False)
    assert set(label(load("metals"), cluster, length=2.3, unknown=False).phase) == {"fcc"}
