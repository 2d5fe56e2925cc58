"""H, D and δH: numbers of quests, the plain formula, exact limits, and what it refuses."""

import numpy as np
import pytest

from lrcalc.information.entropy import delta_entropy, diversity, entropy, log_density
from tests.information.test_descriptors import QUESTS


@pytest.mark.parametrize("h", [0.015, 0.07, 0.3])
def test_numbers_of_quests(h):
    x, y = QUESTS["water_published"][:45], QUESTS["water_published"][30:]
    assert abs(entropy(x, h) - QUESTS[f"entropy_{h}"]) < 1e-10
    assert abs(diversity(x, h) - QUESTS[f"diversity_{h}"]) < 1e-10
    theirs = QUESTS[f"delta_{h}"]
    finite = np.isfinite(theirs)  # theirs is infinite far out
    assert finite.sum() > 10
    assert np.abs(delta_entropy(y, x, h) - theirs)[finite].max() < 1e-10


def test_plain_formula_on_200_environments():
    rng = np.random.default_rng(0)
    x, y, h = rng.normal(size=(200, 63)), rng.normal(size=(50, 63)), 2.5
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(2) / (2 * h * h))
    other = np.exp(-((y[:, None] - x) ** 2).sum(2) / (2 * h * h))
    assert abs(entropy(x, h) + np.log(kernel.mean(1)).mean()) < 1e-12
    assert abs(diversity(x, h) - np.log((1 / kernel.sum(1)).sum())) < 1e-12
    assert np.abs(delta_entropy(y, x, h) + np.log(other.sum(1))).max() < 1e-11


def test_exact_limits():
    alike, apart = np.ones((7, 3)), 100.0 * np.eye(6)
    assert abs(entropy(alike, 0.1)) < 1e-14
    assert abs(diversity(alike, 0.1)) < 1e-14
    assert abs(entropy(apart, 0.1) - np.log(6)) < 1e-14
    assert abs(diversity(apart, 0.1) - np.log(6)) < 1e-14
    assert np.abs(delta_entropy(alike, alike, 0.1) + np.log(7)).max() < 1e-14


def test_far_out_it_is_the_square_of_the_distance():
    """Where the sum itself is zero in double precision."""
    x, y = np.zeros((1, 4)), np.full((1, 4), 5.0)
    assert abs(delta_entropy(y, x, 0.015)[0] - 100.0 / (2 * 0.015**2)) < 1e-6


def test_a_gaussian_sample_has_the_entropy_of_its_convolution():
    """H = -∫ p ln ∫ p K, for a normal p of width s: ½ ln(1 + s²/h²) + s²/2(s² + h²)."""
    s, h = 1.0, 0.5
    x = np.random.default_rng(1).normal(scale=s, size=(8000, 1))
    known = 0.5 * np.log((s * s + h * h) / (h * h)) + s * s / (2 * (s * s + h * h))
    assert abs(entropy(x, h) - known) < 0.02


def test_nearest_neighbours_bound_the_sum():
    rng = np.random.default_rng(2)
    x, y, h = rng.normal(size=(400, 5)), rng.normal(size=(60, 5)), 0.4
    exact = delta_entropy(y, x, h)
    few, many = (delta_entropy(y, x, h, neighbours=n) for n in (16, 400))
    assert np.abs(many - exact).max() < 1e-10
    assert (few > exact - 1e-12).all()
    assert (few < exact + np.log(400 / 16)).all()
    assert np.abs(few - exact).max() > 1e-3  # an approximation


def test_blocks_change_nothing(monkeypatch):
    x = np.random.default_rng(3).normal(size=(101, 4))
    whole = log_density(x, x, 0.5)
    monkeypatch.setattr("lrcalc.information.entropy.BLOCK", 1000)
    assert np.abs(log_density(x, x, 0.5) - whole).max() < 1e-13


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.empty((0, 3))}, "a reference is"),
        ({"y": np.empty((0, 3))}, "a set of environments is"),
        ({"y": np.ones((2, 4))}, "same k, cutoff"),
        ({"x": np.full((2, 3), np.nan)}, "NaN"),
        ({"h": 0.0}, "`h` is 0.0"),
        ({"h": np.nan}, "`h` is nan"),
        ({"neighbours": 0}, "`neighbours` is 0"),
    ],
)
def test_refusals(change, message):
    given = {"y": np.ones((2, 3)), "x": np.ones((2, 3)), "h": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        log_density(**given)
