"""The repulsion that is there before anything is learned."""

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc import Potential, from_ase, predict
from lrcalc.checkpoint import load, save
from lrcalc.neighbors import build_pairs
from tests.conftest import random_potential
from tests.sample_structures import water_box


def repulsion(potential, atoms):
    system = from_ase(atoms)
    return potential.prior_energy(system, build_pairs(system, potential.cutoff))


def test_energies_are_those_of_the_book():
    """ZBL of two oxygens, by hand: 921.4 eV Å/r times φ, the envelope nearly 1 at 0.5 Å."""
    potential = Potential([8], prior="zbl", cutoff=5.0)
    x = 0.5 / (0.8854 * 0.529177210903 / (2 * 8**0.23))
    parts = zip(
        (0.18175, 0.50986, 0.28022, 0.02817), (3.1998, 0.94229, 0.4029, 0.20162), strict=True
    )
    by_hand = 64 * 14.3996454784 / 0.5 * sum(c * np.exp(-d * x) for c, d in parts)
    found = float(repulsion(potential, Atoms("O2", [[0, 0, 0], [0.3, 0, 0.4]])))
    assert found == pytest.approx(by_hand, rel=1e-4)


def test_two_atoms_repel_the_more_the_closer_they_are():
    """Monotonic and smooth; at 0.5 Å and less it is more than any chemistry."""
    potential = Potential([1, 8], prior="zbl")
    for pair in ("H2", "OH", "O2"):
        rows = [
            float(repulsion(potential, Atoms(pair, [[0, 0, 0], [r, 0, 0]])))
            for r in np.arange(0.31, 5.2, 0.05)
        ]
        slopes = np.diff(rows)
        assert (slopes <= 0).all()
        assert (slopes[:80] < 0).all()
        assert (np.diff(slopes)[:60] > 0).all()
        assert rows[-1] == 0
    assert float(repulsion(potential, Atoms("O2", [[0, 0, 0], [1.2, 0, 0]]))) > 10


def test_forces_and_stress_are_its_derivatives():
    box = water_box(n=2)
    box.set_cell(np.array(box.cell) @ np.array([[1, 0.1, 0], [0, 1, 0.05], [0.02, 0, 1]]))
    potential = random_potential(box, level="q", prior="zbl")
    names = ["energy", "forces", "stress"]
    found = predict(potential, from_ase(box), properties=names)
    step = 1e-5
    for atom, axis in ((0, 0), (1, 1), (4, 2)):
        values = []
        for sign in (1, -1):
            moved = box.copy()
            moved.positions[atom, axis] += sign * step
            values.append(float(predict(potential, from_ase(moved))["energy"]))
        slope = (values[1] - values[0]) / (2 * step)
        assert slope == pytest.approx(float(found["forces"][atom, axis]), rel=1e-6)
    values = []
    for sign in (1, -1):
        strained = box.copy()
        strained.set_cell(
            np.array(box.cell) @ (np.eye(3) + sign * step * np.eye(3)), scale_atoms=True
        )
        values.append(float(predict(potential, from_ase(strained))["energy"]))
    trace = (values[0] - values[1]) / (2 * step) / box.get_volume()
    assert trace == pytest.approx(float(found["stress"][0].trace()), rel=1e-5)


def test_it_is_in_the_file_where_it_was_asked_for(tmp_path):
    box = water_box(n=2)
    for prior in ("zbl", "none"):
        potential = random_potential(box, level="q", prior=prior)
        save(potential, tmp_path / "m.pt")
        again = load(tmp_path / "m.pt").double()
        assert (again.prior is None) == (prior == "none")
        assert ("prior" in again.config) == (prior != "none")
        energies = [predict(p, from_ase(box))["energy"] for p in (potential, again)]
        torch.testing.assert_close(*energies, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="`prior` is 'wall' but must be one of"):
        Potential([1], prior="wall")
