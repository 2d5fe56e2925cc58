"""What stands in place of structures, descriptors or models is refused by name."""

import numpy as np
import pytest
from ase import Atoms

from lrcalc import Evaluator
from lrcalc.information.carried import carried
from lrcalc.information.choosing import open_judge
from lrcalc.information.committee import Committee
from lrcalc.information.descriptors import PUBLISHED, descriptors
from lrcalc.information.entropy import delta_entropy, diversity, entropy
from lrcalc.information.extrapolation import extrapolation
from lrcalc.information.feature_reference import make_features
from lrcalc.information.features import backbone_features
from lrcalc.information.intake import open_reference
from lrcalc.information.kept import kept_entropy
from lrcalc.information.reference import by_species, make_reference
from lrcalc.information.selection import select_frames
from tests.conftest import random_potential
from tests.information.test_reference import shaken

ONE = shaken(1, 0.1)[0]


@pytest.fixture(scope="module")
def copper():
    return make_reference([ONE])


@pytest.fixture(scope="module")
def model():
    return random_potential(ONE)


@pytest.fixture(scope="module")
def committee(model):
    return Committee([Evaluator(model), Evaluator(random_potential(ONE, seed=1))], ["a", "b"])


def test_one_structure_is_a_list_of_it(copper, model, committee):
    assert make_reference(ONE).h == copper.h
    assert make_reference(iter([ONE])).h == copper.h
    assert make_features(model, ONE).h == make_features(model, [ONE]).h
    assert committee.calibrated(ONE).limit == committee.calibrated([ONE]).limit
    assert kept_entropy(ONE, 1).whole == kept_entropy([ONE], 1).whole
    assert extrapolation(ONE, copper).largest == extrapolation([ONE], copper).largest


@pytest.mark.parametrize("bad", ["md.xyz", [ONE], None, ONE.positions])
def test_what_is_not_one_structure(bad, copper, model, committee):
    features = make_features(model, ONE)
    calls = [
        copper.scores, features.scores, committee.scores, descriptors,
        lambda x: backbone_features(model, x), lambda x: by_species(x, PUBLISHED, [29]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError, match="`atoms` is .* must be one structure"):
            call(bad)


@pytest.mark.parametrize("bad", ["md.xyz", None, [ONE, "md.xyz"]])
def test_what_are_no_structures(bad, copper, model, committee):
    calls = [
        make_reference, committee.calibrated, lambda x: make_features(model, x),
        lambda x: kept_entropy(x, 1), lambda x: carried(model, x),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError, match=r"`frames(\[1\])?` is .* must be .*structure"):
            call(bad)
    with pytest.raises(TypeError, match="`frame(s| 1 of the run)` is .* must be .*structure"):
        extrapolation(bad, copper)


@pytest.mark.parametrize("bad", ["md.xyz", ONE, [ONE], [ONE] * 4, {29: np.ones((2, 3))}])
def test_what_are_no_descriptors(bad):
    for call in (entropy, diversity, lambda x, h: delta_entropy(np.ones((2, 3)), x, h)):
        with pytest.raises(TypeError, match="`x` .* must be an array of descriptors"):
            call(bad, 0.1)
    with pytest.raises(TypeError, match="`y` .* must be an array of descriptors"):
        delta_entropy(bad, np.ones((2, 3)), 0.1)


@pytest.mark.parametrize("bad", ["md.xyz", ONE, [ONE] * 2])
def test_selection_wants_descriptors_by_species(bad):
    with pytest.raises(TypeError, match="`frames` .* must have a mapping"):
        select_frames(bad, 1, 0.1)


def test_names_of_models_are_not_models(model):
    for call in (lambda: make_features("water", [ONE]), lambda: backbone_features("water", ONE),
                 lambda: carried("water", [ONE])):  # fmt: skip
        with pytest.raises(TypeError, match="`potential` is 'water' but must be a model"):
            call()
    with pytest.raises(TypeError, match="`members` has 'water' but must be evaluators"):
        Committee(["water", "water-large"], ["a", "b"])
    with pytest.raises(TypeError, match="`members` has a .* but must be evaluators"):
        Committee([model, model], ["a", "b"])
    with pytest.raises(TypeError, match="`reference` is 'water' but must be a Reference"):
        extrapolation([ONE], "water")


def test_a_reference_by_one_name():
    assert open_reference("water").h == open_reference(["water"]).h
    assert open_judge("features", "water").h == open_judge("features", ["water"]).h


def test_a_bandwidth_that_is_none_is_refused_before_anything_is_computed(monkeypatch):
    for module in ("reference", "kept"):
        monkeypatch.setattr(f"lrcalc.information.{module}.by_species", None)
    for call in (lambda: make_reference([ONE], h=0), lambda: kept_entropy([ONE], 1, h=-1.0)):
        with pytest.raises(ValueError, match="`h` is .* positive bandwidth"):
            call()


def test_an_empty_structure_says_so(copper):
    with pytest.raises(ValueError, match="no atoms"):
        copper.scores(Atoms())
