"""Spectra in absolute units by hand: numpy.fft, SI units, CODATA constants, no code of lrcalc.

The same definition (linear correlation of forward differences, Hann window, trapezoid, the factor
of the difference divided out), written down again from the formulas.
"""

import numpy as np
import pytest
from scipy import constants as si

from lrcalc.analysis import infrared, raman, vdos

FRAMES, DT, T, V, RESOLUTION = 6000, 2.0, 310.0, 850.0, 40.0
ANGSTROM, FEMTOSECOND = 1e-10, 1e-15


def series(columns, seed):
    """Smooth noise with lines near 300, 1200 and 2800 cm⁻¹, made by a filter in Fourier space."""
    rng = np.random.default_rng(seed)
    nu = np.fft.rfftfreq(FRAMES, DT * FEMTOSECOND) / (si.c * 100)
    shape = sum(a / (1 + ((nu - c) / 40) ** 2) for a, c in ((1.0, 300), (0.5, 1200), (0.7, 2800)))
    noise = np.fft.rfft(rng.normal(size=(FRAMES, columns)), axis=0)
    return np.fft.irfft(noise * shape[:, None], FRAMES, axis=0)


def correlation(x, lags):
    """Linear autocorrelation (lags, columns) by numpy.fft with zeros behind."""
    x = x - x.mean(0)
    power = np.abs(np.fft.rfft(x, 2 * len(x), axis=0)) ** 2
    return np.fft.irfft(power, axis=0)[:lags] / (len(x) - np.arange(lags))[:, None]


def cosine_integral(c, nu, spacing):
    """∫ w(t) C(t) cos(2πcν̃t) dt by the trapezoid rule, with Hann's window; spacing in s."""
    k = np.arange(len(c))
    weight = np.cos(np.pi * k / (2 * len(c))) ** 2
    weight[0] *= 0.5
    phase = 2 * np.pi * si.c * 100 * np.outer(nu, k) * spacing
    return spacing * np.cos(phase) @ (weight * c)


def undo_difference(nu, spacing):
    x = np.pi * si.c * 100 * nu * spacing
    return np.where(x > 0, x / np.sin(np.where(x > 0, x, 1.0)), 1.0) ** 2


def test_infrared():
    dipole = 0.3 * series(3, 0)  # e Å
    found = infrared(
        dipole, timestep=DT, volume=V, temperature=T, resolution=RESOLUTION, maximum=4000.0
    )
    spacing = DT * FEMTOSECOND
    current = np.diff(dipole * si.e * ANGSTROM, axis=0) / spacing  # C m/s
    c = correlation(current, found.settings["lags"]).sum(1)
    integral = cosine_integral(c, found.wavenumber, spacing)
    integral *= undo_difference(found.wavenumber, spacing)
    volume = V * ANGSTROM**3
    per_metre = integral / (3 * si.c * volume * si.epsilon_0 * si.k * T)
    assert np.allclose(found.n_alpha, per_metre / 100, rtol=1e-6, atol=1e-9 * per_metre.max())


@pytest.mark.parametrize("form", ["reduced", "susceptibility", "intensity"])
def test_raman(form):
    """Isotropic and anisotropic parts, VV and VH of a full tensor, up to one common unit."""
    tensor = series(9, 1).reshape(-1, 3, 3)
    tensor = tensor + tensor.transpose(0, 2, 1)
    found = raman(
        tensor.reshape(-1, 9), timestep=DT, temperature=T, resolution=RESOLUTION, form=form,
        maximum=4000.0, laser=633.0,
    )  # fmt: skip
    nu, spacing = found.wavenumber, DT * FEMTOSECOND
    rate = np.diff(tensor, axis=0) / DT
    mean = np.trace(rate, axis1=1, axis2=2) / 3
    beta = rate - mean[:, None, None] * np.eye(3)
    lags = found.settings["lags"]
    iso = correlation(mean[:, None], lags)[:, 0]
    # ⟨β:β⟩ over all nine elements
    aniso = 1.5 * correlation(beta.reshape(-1, 9), lags).sum(1)
    x = si.h * si.c * 100 * nu / (si.k * T)
    omega = 2 * np.pi * si.c * 100 * nu * FEMTOSECOND
    factor = {
        "reduced": 1.0,
        "susceptibility": 1 / omega,
        "intensity": (1 - nu * 633e-7) ** 4 * x / (1 - np.exp(-x)) / omega**2,
    }[form]
    parts = [
        cosine_integral(c, nu, spacing) / FEMTOSECOND * undo_difference(nu, spacing) * factor
        for c in (iso, aniso)
    ]
    expected = {
        "isotropic": parts[0],
        "anisotropic": parts[1],
        "vv": parts[0] + 4 / 45 * parts[1],
        "vh": parts[1] / 15,
    }
    for name, value in expected.items():
        assert np.allclose(getattr(found, name), value, rtol=1e-6, atol=1e-9 * value.max()), name


def test_density_of_states():
    """Of two kinds of atom, scaled so that all of it is 3N, and the temperature in kelvin."""
    masses = np.array([16.0, 1.0])
    velocities = 0.01 * series(6, 2)  # Å/fs
    found = vdos(
        velocities, masses=masses, species=["O", "H"], timestep=DT, resolution=RESOLUTION,
        maximum=1e5,
    )  # fmt: skip
    lags = found.settings["lags"]
    power = np.abs(np.fft.rfft(velocities, 2 * FRAMES, axis=0)) ** 2
    c = np.fft.irfft(power, axis=0)[:lags] / (FRAMES - np.arange(lags))[:, None]
    kilogram = np.repeat(masses, 3) * si.atomic_mass
    weighted = c * kilogram * (ANGSTROM / FEMTOSECOND) ** 2  # J
    start = weighted[0].sum()
    assert found.temperature == pytest.approx(start / (6 * si.k), rel=1e-6)
    per_second = cosine_integral(weighted.sum(1), found.wavenumber, DT * FEMTOSECOND)
    # g(ν̃) dν̃: ∫ (2/π) F(ω) dω = C(0), dω = 2πc dν̃
    expected = 6 * (2 / np.pi) * per_second / start * 2 * np.pi * si.c * 100
    assert np.allclose(found.total, expected, rtol=1e-6, atol=1e-9 * expected.max())
    assert np.trapezoid(found.total, found.wavenumber) == pytest.approx(6.0, rel=2e-3)
    hydrogen = cosine_integral(weighted[:, 3:].sum(1), found.wavenumber, DT * FEMTOSECOND)
    assert np.allclose(found.parts["H"], 6 * 4 * si.c * 100 * hydrogen / start, rtol=1e-6,
                       atol=1e-9 * expected.max())  # fmt: skip
