import numpy as np
import pytest

from lrcalc.analysis.cepstral import cepstral_zero
from lrcalc.analysis.correlation import (
    MAXIMUM_BLOCKS,
    WINDOWS,
    Correlator,
    Series,
    correlate,
    lags_for,
    window_width,
)
from lrcalc.units import SPEED_OF_LIGHT
from tests.analysis.signals import ornstein_uhlenbeck


def direct(x, lags, i, j):
    return np.array([(x[: len(x) - k, i] * x[k:, j]).mean() for k in range(lags)])


@pytest.mark.parametrize("mean", ["none", "trajectory", "all"])
def test_equals_the_direct_sum(mean):
    x = np.random.default_rng(0).normal(size=(3000, 2)) + 2.0
    blocks = correlate(x, 40, pairs=[(0, 0), (0, 1)], mean=mean)
    centred = x if mean == "none" else x - x.mean(0)
    expected = [direct(centred, 40, 0, 0), direct(centred, 40, 0, 1)]
    assert np.allclose(blocks.correlation, expected, rtol=0, atol=1e-12)


def test_chunks_do_not_matter():
    x = np.random.default_rng(1).normal(size=(5000, 3))
    whole = correlate(x, 33)
    parts = Series(lambda: iter(np.array_split(x, 71)), 3)
    assert np.allclose(correlate(parts, 33).raw, whole.raw, atol=1e-9)


def test_several_runs_are_independent():
    """No product joins the end of one run to the start of the next."""
    x = np.random.default_rng(2).normal(size=(2000, 1))
    a, b = x[:700], x[700:]
    found = correlate([a, b], 20, mean="none").correlation[0]
    expected = [
        ((a[: 700 - k, 0] @ a[k:, 0]) + (b[: 1300 - k, 0] @ b[k:, 0])) / (2000 - 2 * k)
        for k in range(20)
    ]
    assert np.allclose(found, expected, atol=1e-12)


def test_groups_add_up():
    x = np.random.default_rng(3).normal(size=(800, 4))
    alone = correlate(x, 10, mean="none").correlation
    grouped = correlate(x, 10, mean="none", groups=[0, 1, 0, 1]).correlation
    assert np.allclose(grouped, [alone[0] + alone[2], alone[1] + alone[3]])


def test_memory_does_not_grow():
    correlator = Correlator(1, 16)
    rng = np.random.default_rng(4)
    for _ in range(40):
        correlator.update(rng.normal(size=(5000, 1)))
        assert len(correlator.done) <= MAXIMUM_BLOCKS
        assert correlator.waiting_frames < 20000
    correlator.finish()
    blocks = correlator.result()
    assert blocks.frames == 200000
    assert blocks.products.sum(0)[0] == 200000


def test_known_ar1_and_why_not_circular():
    """A slow drift that is cut off: the linear estimate is unbiased, the circular one is not."""
    rng = np.random.default_rng(5)
    decay, frames, lags = 0.98, 400, 150
    linear, circular = [], []
    for _ in range(3000):
        x = ornstein_uhlenbeck(rng, frames, decay, 1)
        linear.append(correlate(x, lags, mean="none").correlation[0])
        power = np.abs(np.fft.rfft(x[:, 0])) ** 2
        circular.append(np.fft.irfft(power, frames)[:lags] / frames)
    exact = decay ** np.arange(lags)
    error = np.std(linear, 0) / np.sqrt(3000)
    assert np.abs(np.mean(linear, 0) - exact).max() < 4 * error.max()
    # exact circular mean: (1 - k/N) rho^k + (k/N) rho^(N-k)
    k = np.arange(lags)
    wrapped = (1 - k / frames) * exact + k / frames * decay ** (frames - k)
    assert np.abs(np.mean(circular, 0) - wrapped).max() < 4 * error.max()
    assert np.abs(wrapped - exact).max() > 4.5 * error.max()


@pytest.mark.parametrize("name", list(WINDOWS))
def test_window_width(name):
    """Half height of the transform lies at half the width, by brute force."""
    u = np.linspace(0, 1, 20001)
    w = WINDOWS[name](u)
    f = window_width(name) / 2
    height = np.trapezoid(w * np.cos(2 * np.pi * f * u), u) / np.trapezoid(w, u)
    assert abs(height - 0.5) < 1e-4
    lags = lags_for(10.0, 0.5, name)
    assert lags * 0.5 == pytest.approx(window_width(name) / (SPEED_OF_LIGHT * 1e-7), abs=0.5)


def test_cepstral_error_is_right():
    """Zero-frequency limit of AR(1): (1 + a)/(1 - a)/2 per column; coverage of one error."""
    rng = np.random.default_rng(6)
    decay = 0.9
    exact = 3 * 0.5 * (1 + decay) / (1 - decay)
    inside, ratios = 0, []
    for _ in range(100):
        found = cepstral_zero(ornstein_uhlenbeck(rng, 8192, decay), 1.0, cutoff=4000.0)
        inside += abs(found.value - exact) < found.error
        ratios.append(found.value / exact)
    assert 55 <= inside <= 80
    assert abs(np.mean(ratios) - 1) < 0.03  # three errors of the mean


@pytest.mark.parametrize(
    ("frames", "kwargs", "message"),
    [
        (np.ones((30, 1)), {"lags": 20}, "too short"),
        (np.full((90, 1), np.nan), {"lags": 20}, "NaN"),
        (np.ones(90), {"lags": 20}, "shape"),
        (np.ones((90, 1)), {"lags": 20, "mean": "some"}, "`mean`"),
        (np.ones((90, 2)), {"lags": 20, "columns": 3}, "shape"),
    ],
)
def test_bad_input(frames, kwargs, message):
    with pytest.raises(ValueError, match=message):
        correlate(frames, **kwargs)


def test_bad_settings():
    with pytest.raises(ValueError, match="window"):
        lags_for(10.0, 1.0, "square")
    with pytest.raises(ValueError, match="resolution"):
        lags_for(0.0, 1.0, "hann")
    with pytest.raises(ValueError, match="timestep"):
        lags_for(10.0, float("nan"), "hann")
    with pytest.raises(ValueError, match="cutoff"):
        cepstral_zero(np.random.default_rng(0).normal(size=(1000, 1)), 1.0, cutoff=1.0)
