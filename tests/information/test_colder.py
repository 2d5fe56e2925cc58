"""Crystals at rest and colder ones belong to what hot frames are of."""

import numpy as np
from ase.build import bulk, molecule

from lrcalc.information.colder import colder, mean_structure
from lrcalc.information.reference import make_reference
from tests.information.test_reference import shaken


def test_mean_of_wrapped_frames_is_the_crystal():
    frames = shaken(200, 0.1)
    for k, atoms in enumerate(frames):
        atoms.positions += 0.3 * k  # drifts as a whole, and is wrapped
        atoms.wrap()
    crystal = mean_structure(frames)
    ideal = bulk("Cu", cubic=True, a=3.6) * 2
    found = crystal.get_all_distances(mic=True)
    assert np.abs(found - ideal.get_all_distances(mic=True)).max() < 0.06
    half = colder(frames[:2], crystal)
    size = [np.std(a.get_all_distances(mic=True) - found) for a in (*half, frames[0])]
    assert size[0] < size[1] < size[2]


def test_what_is_no_crystal_has_no_mean():
    assert mean_structure(shaken(20, 1.2)) is None
    assert mean_structure(shaken(3, 0.1)) is None
    assert mean_structure([molecule("H2O")] * 5) is None
    assert mean_structure([*shaken(5, 0.1), bulk("Cu")]) is None


def test_colder_runs_are_inside():
    reference = make_reference(shaken(40, 0.1))
    for amplitude in (0.0, 0.03, 0.06):
        assert not reference.scores(shaken(1, amplitude, seed=5)[0]).outside.any(), amplitude
