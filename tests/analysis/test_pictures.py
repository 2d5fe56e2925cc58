"""What a referee looks for in the pictures: bands whole, units, axes that show the physics."""

import numpy as np
import pytest

from lrcalc.analysis import conductivity, dielectric, plots, raman
from lrcalc.analysis.dielectric import optical_constants, optical_errors
from lrcalc.analysis.output import plus_minus
from tests.analysis.signals import ornstein_uhlenbeck

SIGNAL = ornstein_uhlenbeck(np.random.default_rng(0), 12_000, 0.99, 9)
CONDITIONS = {"timestep": 1.0, "volume": 700.0, "temperature": 300.0}


@pytest.fixture
def figures(monkeypatch):
    """Figures instead of files."""
    kept = []
    monkeypatch.setattr(plots, "save", lambda figure, path: kept.append(figure) or path)
    return kept


def bands(axis):
    return [one for one in axis.collections if one.get_paths()]


def test_dielectric_shows_relaxation_and_every_error(figures, tmp_path):
    found = dielectric(SIGNAL[:, :3] * 0.3, **CONDITIONS, epsilon_infinity=1.8, resolution=20.0)
    found.save(tmp_path / "o")
    top, bottom = figures[0].axes
    assert bottom.get_xscale() == "log"
    assert bottom.get_xlim()[0] == pytest.approx(found.wavenumber[1])
    assert (len(bands(top)), len(bands(bottom))) == (2, 3)
    header = (tmp_path / "o-dielectric.csv").read_text()
    assert "error_n,error_kappa,error_reflectivity" in header


def test_errors_of_optical_constants():
    """Central differences of each constant in the real and the imaginary part."""
    epsilon = np.array([2.0 + 0.3j, -4.0 + 1.5j, 30.0 + 20.0j])
    error = np.array([0.1 + 0.2j, 0.3 + 0.1j, 2.0 + 1.0j])
    step = 1e-5
    nu = np.ones(3)

    def parts(shift):
        light = optical_constants(nu, epsilon + shift)
        return np.array([light.refractive.real, light.refractive.imag, light.reflectivity])

    real = (parts(step) - parts(-step)) / (2 * step)
    imaginary = (parts(1j * step) - parts(-1j * step)) / (2 * step)
    expected = np.hypot(real * error.real, imaginary * error.imag)
    assert np.allclose(optical_errors(epsilon, error), expected, rtol=1e-6)


def test_both_polarisations_have_bands(figures, tmp_path):
    found = raman(SIGNAL, timestep=1.0, temperature=300.0)
    found.save(tmp_path / "o")
    axis = figures[0].axes[0]
    assert len(bands(axis)) == 2
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "VV ± one standard error",
        "VH ± one standard error",
    ]


@pytest.mark.parametrize("signed", [True, False])
def test_a_signed_spectrum_shows_its_whole_band(signed):
    nu = np.linspace(0, 4000, 401)
    value = np.sin(nu / 300)
    error = np.where(nu > 3900, 5.0, 0.1)
    figure = plots.spectrum_figure(nu, value, error, label="x", y_label="y", signed=signed)
    low, high = figure.axes[0].get_ylim()
    assert (low < (value - error).min()) == signed
    assert (high > (value + error).max()) == signed


def test_title_of_a_conductivity(figures, tmp_path):
    found = conductivity(SIGNAL[:, :3], **CONDITIONS)._replace(value=269.8, error=131.0)
    found.save(tmp_path / "o")
    assert figures[0].axes[0].get_title() == "σ = 270 ± 130 S/m (cepstral)"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (269.8, 131.0, "270 ± 130"),
        (78.34, 2.12, "78.3 ± 2.1"),
        (-270.0, 13.2, "-270 ± 13"),
        (2.159e8, 4.7e6, "(2.159 ± 0.047)·10^8"),
        (0.00012, 0.00003, "(1.20 ± 0.30)·10^-4"),
        (9.996, 0.0996, "9.996 ± 0.100"),
        (5.0, float("nan"), "5 ± nan"),
    ],
)
def test_value_and_error(value, error, text):
    assert plus_minus(value, error) == text


def named(axis):
    return [text.get_text() for text in axis.texts]


def test_marks_of_raman_lie_on_the_curve_shown(figures, tmp_path):
    found = raman(SIGNAL, timestep=1.0, temperature=300.0)
    low = np.exp(-(((found.wavenumber - 12.0) / 3.0) ** 2))
    found = found._replace(vv=low + 1e-3, vv_error=np.full_like(low, 1e-5))
    found.save(tmp_path / "o")
    assert named(figures[0].axes[0]) == []
