"""Means, maxima and shares of bands: known moments, errors that cover, table and picture alike."""

import numpy as np
import pytest

from lrcalc import analysis, units
from lrcalc.analysis import plots
from lrcalc.analysis.bands import WATER_BANDS, band_table, bands, mean_wavenumber
from lrcalc.analysis.correlation import Blocks, lags_for, spectrum
from lrcalc.analysis.infrared import InfraredSpectrum
from tests.analysis.signals import langevin, velocity_correlation

NU = np.arange(0.0, 4500.0, 5.0)
STILL = np.zeros((2, len(NU)))
AT = {"volume": 700.0, "temperature": 300.0}


def gauss(centre, width, height=1.0):
    return height * np.exp(-0.5 * ((NU - centre) / width) ** 2)


def between(low, high):
    nu = NU
    return (nu >= low) & (nu <= high)


def spectrum_of(value, deviations=STILL, error=None):
    error = np.full(len(NU), 1e-6) if error is None else error
    return InfraredSpectrum(NU, value, error, deviations, {"resolution_cm1": 20.0})


@pytest.mark.parametrize("floor", [0.0, 3.0])
@pytest.mark.parametrize("slope", [0.0, 0.01, -0.01])
def test_known_moments(floor, slope):
    """Two lines of areas 2 : 1 at 600 and 780, on noise that is flat or slopes."""
    value = gauss(600.0, 25.0, 2.0) + gauss(780.0, 25.0) + floor + slope * (NU - 700.0)
    (band,) = bands(spectrum_of(value), {"pair": (400.0, 1000.0)})
    assert band.mean == pytest.approx(660.0, abs=0.1)
    assert band.mean_error == 0.0


def test_a_range_without_a_band_has_no_mean():
    value = 1.0 + 1e-3 * NU - 1e-7 * (NU - 2000.0) ** 2 * (NU < 2000.0)
    for low, high in ((500.0, 1500.0), (2500.0, 3500.0)):
        inside = between(low, high)
        moved = np.random.default_rng(0).normal(size=(8, inside.sum()))
        found = mean_wavenumber(NU[inside], value[inside], moved)
        assert np.isnan(found).all()


def test_error_of_the_mean_by_leaving_out_blocks():
    """Against the jackknife, which knows no formula for the mean."""
    rng = np.random.default_rng(3)
    inside = between(400.0, 1000.0)
    nu, shape = NU[inside], gauss(650.0, 60.0)[inside]
    blocks = shape * (1.0 + 0.1 * rng.normal(size=(5, 1))) + 0.02 * rng.normal(size=(5, len(nu)))
    value, deviations = blocks.mean(0), (blocks - blocks.mean(0)) / 5
    mean, error = mean_wavenumber(nu, value, deviations)
    still = np.zeros((2, len(nu)))
    left_out = [
        mean_wavenumber(nu, np.delete(blocks, b, axis=0).mean(0), still)[0] for b in range(5)
    ]
    jackknife = np.sqrt(4 / 5 * ((left_out - np.mean(left_out)) ** 2).sum())
    students_t = 1.1417  # 84.1 % point for four degrees of freedom
    assert error == pytest.approx(jackknife * students_t, rel=0.05)
    assert abs(mean - 650.0) < 4 * error


LINES = ((600.0, 250.0, 1.0), (1650.0, 90.0, 0.35), (3400.0, 300.0, 1.2))
"""Wavenumber, width, amplitude: as broad as those of water, seen for as long as in the demo."""
RANGES = {"libration": (400.0, 1000.0), "bend": (1500.0, 1800.0), "stretch": (2800.0, 4000.0),
          "nothing": (2100.0, 2600.0)}  # fmt: skip


def damping(width):
    return width * units.WAVENUMBER_TO_ANGULAR


def coverage(frames, seeds, resolution=60.0):
    """Name to (seeds, 3): mean, its error, and the mean of the exact windowed spectrum."""
    lags = lags_for(resolution, 1.0, "hann")
    parts = [
        3 * a**2 * velocity_correlation(np.arange(lags), nu, damping(w), 300.0)
        for nu, w, a in LINES
    ]
    exact = spectrum(
        Blocks(sum(parts)[None, None], np.ones((1, lags)), 1, np.zeros(1)), [1.0], 1.0, maximum=4500
    )
    still = np.zeros((2, len(exact.wavenumber)))
    truth = spectrum_of(exact.value)._replace(
        wavenumber=exact.wavenumber, deviations=still, error=still[0] + 1e-9
    )
    truth = {band.name: band.mean for band in bands(truth, RANGES)}
    found = {name: [] for name in RANGES}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = sum(a * langevin(rng, frames, 1.0, nu, damping(w), 300.0)[0] for nu, w, a in LINES)
        one = analysis.infrared(x, timestep=1.0, resolution=resolution, **AT)
        for band in bands(one, RANGES):
            found[band.name].append((band.mean, band.mean_error, truth[band.name]))
    return {name: np.array(rows) for name, rows in found.items()}


def check_coverage(found):
    for name in ("libration", "bend", "stretch"):
        known = found[name][~np.isnan(found[name][:, 0])]
        assert len(known) > 0.75 * len(found[name])
        value, error, truth = known.T
        assert 0.5 < np.mean(np.abs(value - truth) < error) < 0.87, name
        assert 0.6 < np.sqrt(np.mean(error**2)) / value.std() < 1.7, name
    assert np.isnan(found["nothing"][:, 0]).mean() > 0.9


def test_means_are_covered_by_their_errors():
    """5 ps, as in the demo; the share that is covered is known to a twelfth."""
    check_coverage(coverage(5000, 40))


@pytest.mark.long
@pytest.mark.parametrize("frames", [3000, 20_000])
def test_means_are_covered_by_their_errors_long(frames):
    check_coverage(coverage(frames, 100))


def line(seed, frames=8000):
    signal = langevin(np.random.default_rng(seed), frames, 4.0, 600.0, 0.01, 300.0)[0]
    return analysis.infrared(signal, timestep=4.0, resolution=40.0, maximum=3000.0, **AT)


def test_bands_have_errors_of_place_and_share():
    """The place of a damped oscillator's maximum and the share of its band, over seeds."""
    found = [bands(line(seed), {"line": (450.0, 750.0, "600")})[0] for seed in range(40)]
    for value, error in (
        np.array([[one.maximum, one.maximum_error] for one in found]).T,
        np.array([[one.share, one.share_error] for one in found]).T,
    ):
        # the scatter of forty runs is known to an eighth
        assert 0.6 < np.sqrt(np.mean(error**2)) / value.std() < 1.7
        assert np.mean(np.abs(value - value.mean()) < error) > 0.5


def test_bands_of_noise_are_left_out():
    rng = np.random.default_rng(1)
    scatter = 0.02 * rng.normal(size=(20, len(NU)))
    noisy = spectrum_of(gauss(600.0, 42.0) + scatter.sum(0), scatter, error=np.full(len(NU), 0.09))
    ranges = {"line": (450.0, 750.0, "600"), "nothing": (1500.0, 2500.0, "none")}
    assert [band.name for band in bands(noisy, ranges)] == ["line", "nothing"]
    (kept,) = bands(noisy, ranges, noise=False)
    assert kept.name == "line"
    assert kept.clear
    assert kept.maximum == pytest.approx(600.0, abs=4 * kept.maximum_error + 5.0)
    assert kept.mean == pytest.approx(600.0, abs=4 * kept.mean_error)


def test_a_band_without_a_maximum_of_its_own():
    """A slope over the whole range: the highest point is at its edge, and that is what is said."""
    rows = band_table(spectrum_of(NU), {"slope": (200.0, 400.0, "none")}).splitlines()
    assert "edge of range" in rows[1]
    assert " - " in rows[1]


def test_a_band_beside_the_range_does_not_hide_the_maximum_inside():
    """Two lines, the stronger just outside the range: the weaker one is the answer."""
    curve = gauss(390.0, 42.0, 2.0) + gauss(650.0, 42.0)
    (band,) = bands(spectrum_of(curve), {"libration": (400.0, 1000.0, "614")})
    assert abs(band.maximum - 650.0) <= NU[1]
    inside = between(400.0, 1000.0)
    assert curve[inside].max() > 1.5 * band.height  # the highest point is at the edge


def written_beside(axis):
    return [text.get_text() for text in axis.texts]


def test_the_picture_names_what_the_table_names(monkeypatch, tmp_path):
    """Means of the bands that stand out; a band lost in its noise is named nowhere."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure) or path)
    curve = 1e3 * (gauss(650.0, 80.0) + gauss(2100.0, 60.0, 0.1) + gauss(3400.0, 150.0, 3.0))
    curve += 200.0
    lost = np.zeros((8, len(NU)))
    lost[::2], lost[1::2] = 60 * gauss(2150.0, 80.0), -60 * gauss(2150.0, 80.0)
    found = spectrum_of(curve, lost, error=0.04 * curve + 5.0)
    found.save(tmp_path / "o", ranges=WATER_BANDS)
    marks = written_beside(figures[0].axes[0])
    assert [float(mark) for mark in marks] == pytest.approx([650.0, 3400.0], abs=10.0)
    table = band_table(found, WATER_BANDS, noise=False).splitlines()
    assert [row.split()[1] for row in table[1:]] == marks
    assert "combination" in band_table(found, WATER_BANDS)
    # without a table of bands the peaks are named, and the same ones printed
    found.save(tmp_path / "p")
    printed = [row.split()[0] for row in found.table().splitlines()[1:]]
    assert written_beside(figures[1].axes[0]) == printed


def test_a_shoulder_is_no_peak_where_its_error_is_small_by_chance():
    error = np.full(len(NU), 0.3)
    error[np.argmin(np.abs(NU - 3055.0))] = 0.001
    found = spectrum_of(gauss(3055.0, 30.0, 0.5) + gauss(3400.0, 100.0, 3.0), error=error)
    assert [peak.wavenumber for peak in found.peaks] == [3400.0]
