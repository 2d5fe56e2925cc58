import numpy as np
import pytest

from lrcalc import units
from lrcalc.analysis import conductivity, dielectric, infrared, raman, sum_frequency, vdos
from lrcalc.analysis.correlation import (
    Blocks,
    affordable_resolution,
    lags_for,
    spectrum,
    standard_error,
)
from lrcalc.analysis.dielectric import (
    kramers_kronig,
    optical_constants,
    permittivity_from_infrared,
    static_from_field,
)
from lrcalc.analysis.infrared import prefactor
from lrcalc.analysis.transport import ionic_current
from tests.analysis.signals import langevin, ornstein_uhlenbeck, velocity_correlation

T, V, DT = 300.0, 1000.0, 1.0
OSCILLATORS = ((400.0, 0.010, 0.5), (1600.0, 0.006, 0.8), (3000.0, 0.008, 1.0))


def signal(rng, frames):
    dipole, current = 0.0, 0.0
    for nu, damping, charge in OSCILLATORS:
        x, v = langevin(rng, frames, DT, nu, damping, T)
        dipole, current = dipole + charge * x, current + charge * v
    return dipole, current


def exact_line_shape(resolution=20.0):
    """The true correlation function through the same window: what the estimate tends to."""
    lags = lags_for(resolution, DT, "hann")
    time = DT * np.arange(lags)
    total = sum(
        3 * q**2 * velocity_correlation(time, nu, damping, T) for nu, damping, q in OSCILLATORS
    )
    blocks = Blocks(total[None, None], np.ones((1, lags)), 1, np.zeros(1))
    return spectrum(blocks, [1.0], DT, maximum=4500.0).value * prefactor(T, V)


def test_prefactor_in_practical_units():
    assert prefactor(T, V) * T * V == pytest.approx(2.334785e10, rel=1e-6)


def test_integrated_intensity_is_exact():
    """∫ n·α dν̃ = Σ q²/(4 ε0 c² m V) · 3/3, whatever the temperature and the damping."""
    _, current = signal(np.random.default_rng(0), 400_000)
    found = infrared(current=current, timestep=DT, volume=V, temperature=T, maximum=2e4)
    value, error = found.integrated()
    strength = sum(q**2 for *_, q in OSCILLATORS) / units.EV_PER_AMU_A2_FS2
    # C(0) = 3 q² kT/m; ∫ F dω = π C(0)/2; ν̃ = ω/(2πc)
    exact = strength / (4 * units.EPSILON_0 * units.SPEED_OF_LIGHT**2 * V) * 1e16
    assert exact == pytest.approx(value, abs=3 * error)
    assert error < 0.01 * exact
    for nu, _, charge in OSCILLATORS:
        value, error = found.integrated(nu - 390, nu + 390)
        # what lies outside the range and the other lines' tails, from the exact line shape
        grid = found.wavenumber[found.wavenumber <= 4500.0]
        inside = (grid >= nu - 390) & (grid <= nu + 390)
        part = np.trapezoid(exact_line_shape()[: len(grid)][inside], grid[inside])
        assert value == pytest.approx(part, abs=3 * error)
        alone = charge**2 / units.EV_PER_AMU_A2_FS2 / 4 / units.EPSILON_0 / V
        assert part == pytest.approx(alone / units.SPEED_OF_LIGHT**2 * 1e16, rel=0.10)


SEEDS = [40, pytest.param(100, marks=pytest.mark.long)]


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("source", ["dipole", "current"])
def test_line_shape_and_coverage(source, seeds):
    """Over many seeds the mean is the exact shape and one standard error covers 55 to 80 %."""
    exact = exact_line_shape()
    points = [np.argmin(np.abs(GRID - nu)) for nu, *_ in OSCILLATORS for nu in (nu - 30, nu)]
    hits, values = [], []
    for seed in range(seeds):
        dipole, current = signal(np.random.default_rng(seed), 24_000)
        data = {"dipole": dipole} if source == "dipole" else {"current": current}
        found = infrared(**data, timestep=DT, volume=V, temperature=T)
        hits.append(np.abs(found.n_alpha - exact)[points] < found.error[points])
        values.append(found.n_alpha)
    coverage = np.mean(hits)
    assert 0.55 <= coverage <= 0.80, coverage
    mean, error = np.mean(values, 0), np.std(values, 0) / np.sqrt(seeds)
    # 900 points, 4.5 errors: less than one in a hundred by chance
    assert (np.abs(mean - exact) < 4.5 * error + 1e-3 * exact.max()).all()


def test_few_blocks_have_honest_errors():
    """3 ps at the resolution that the commands choose, four blocks: Student's t widens the error.

    Blocks of 0.75 ps are not quite independent of lines that live for 0.1 to 0.17 ps.
    """
    frames = 3000
    resolution = affordable_resolution([frames], DT, "hann")
    exact = exact_line_shape(resolution)
    hits = []
    for seed in range(150):
        dipole, _ = signal(np.random.default_rng(seed), frames)
        found = infrared(dipole, timestep=DT, volume=V, temperature=T, resolution=resolution)
        grid = found.wavenumber
        points = [np.argmin(np.abs(grid - nu)) for nu, *_ in OSCILLATORS for nu in (nu - 30, nu)]
        hits.append(np.abs(found.n_alpha - exact)[points] < found.error[points])
    assert found.settings["blocks"] == 4
    assert 0.52 <= np.mean(hits) <= 0.80, np.mean(hits)


NOISE = np.random.default_rng(0).normal(size=(4000, 3))
GRID = infrared(NOISE, timestep=DT, volume=V, temperature=T).wavenumber


def test_dipole_and_current_agree():
    dipole, current = signal(np.random.default_rng(3), 60_000)
    a = infrared(dipole, timestep=DT, volume=V, temperature=T)
    b = infrared(current=current, timestep=DT, volume=V, temperature=T)
    assert np.allclose(a.n_alpha, b.n_alpha, atol=0.02 * b.n_alpha.max())


def test_axes_and_corrections():
    dipole, _ = signal(np.random.default_rng(4), 20_000)
    kwargs = {"timestep": DT, "volume": V, "temperature": T}
    parts = [infrared(dipole, axes=a, **kwargs).n_alpha for a in "xyz"]
    whole = infrared(dipole, **kwargs)
    assert np.allclose(np.mean(parts, 0), whole.n_alpha)
    x = whole.wavenumber * units.WAVENUMBER_TO_ANGULAR * units.HBAR / (units.BOLTZMANN * T)
    standard = infrared(dipole, quantum_correction="standard", **kwargs).n_alpha
    schofield = infrared(dipole, quantum_correction="schofield", **kwargs).n_alpha
    i = np.argmin(np.abs(whole.wavenumber - 1600))
    assert standard[i] / whole.n_alpha[i] == pytest.approx(2 / x[i] * np.tanh(x[i] / 2))
    assert schofield[i] / whole.n_alpha[i] == pytest.approx(2 * np.sinh(x[i] / 2) / x[i])


def test_raman_ratio_and_depolarisation():
    """Two oscillators, one isotropic and one purely anisotropic, with known strengths."""
    rng = np.random.default_rng(5)
    iso, _ = langevin(rng, 200_000, DT, 800.0, 0.01, T, 1)
    aniso, _ = langevin(rng, 200_000, DT, 2000.0, 0.01, T, 1)
    beta = np.array([[1.0, 0.3, 0.0], [0.3, -0.4, 0.2], [0.0, 0.2, -0.6]])
    tensor = 0.7 * iso[:, :, None] * np.eye(3) + aniso[:, :, None] * beta
    found = raman(tensor.reshape(-1, 9), timestep=DT, temperature=T, form="reduced", maximum=9000)
    gamma2 = 1.5 * (beta**2).sum()
    thermal = units.BOLTZMANN * T / units.EV_PER_AMU_A2_FS2
    # reduced form: ∫⟨Ȧ Ȧ⟩ cos, whose integral over ω is π⟨Ȧ²⟩/2
    unit = np.pi / 2 * thermal / units.WAVENUMBER_TO_ANGULAR
    for part, strength in (("isotropic", 0.49), ("anisotropic", gamma2)):
        value, error = found.integrated(part)
        assert value == pytest.approx(strength * unit, abs=3 * error + 0.01 * strength * unit)
    one, two = (np.argmin(np.abs(found.wavenumber - nu)) for nu in (800, 2000))
    assert found.depolarisation[one] < 0.01
    assert found.depolarisation[two] == pytest.approx(0.75, abs=0.005)
    ratio = found.integrated("vv", 1500, 2500)[0] / found.integrated("vv", 300, 1300)[0]
    assert ratio == pytest.approx(4 / 45 * gamma2 / 0.49, rel=0.10)


@pytest.mark.parametrize("seeds", SEEDS)
def test_raman_line_shape_and_coverage(seeds):
    """Over many seeds: mean shape exact, one error covers 55 to 80 % of points and integrals."""
    beta = np.array([[1.0, 0.3, 0.0], [0.3, -0.4, 0.2], [0.0, 0.2, -0.6]])
    lines = {
        "isotropic": (800.0, 0.010, 0.49),
        "anisotropic": (2000.0, 0.008, 1.5 * (beta**2).sum()),
    }
    time = DT * np.arange(lags_for(20.0, DT, "hann"))
    hits, values = [], {part: [] for part in lines}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        iso, aniso = (langevin(rng, 24_000, DT, *lines[part][:2], T, 1)[0] for part in lines)
        tensor = 0.7 * iso[:, :, None] * np.eye(3) + aniso[:, :, None] * beta
        found = raman(tensor.reshape(-1, 9), timestep=DT, temperature=T, form="reduced")
        for part, (nu, damping, strength) in lines.items():
            correlation = strength * velocity_correlation(time, nu, damping, T)
            blocks = Blocks(correlation[None, None], np.ones((1, len(time))), 1, np.zeros(1))
            exact = spectrum(blocks, [1.0], DT, maximum=4500.0).value[1:]
            value, shape = found.integrated(part), getattr(found, part)
            error = standard_error(found.deviations[part])
            points = [np.argmin(np.abs(found.wavenumber - x)) for x in (nu - 30, nu)]
            hits += list(np.abs(shape - exact)[points] < error[points])
            hits.append(abs(value[0] - np.trapezoid(exact, found.wavenumber)) < value[1])
            values[part].append(shape / exact.max())
            if seed == seeds - 1:
                mean = np.mean(values[part], 0)
                spread = np.std(values[part], 0) / np.sqrt(seeds)
                assert (np.abs(mean - exact / exact.max()) < 4.5 * spread + 1e-3).all()
    assert 0.55 <= np.mean(hits) <= 0.80, np.mean(hits)


def test_raman_forms():
    rng = np.random.default_rng(6)
    iso, _ = langevin(rng, 20_000, DT, 800.0, 0.01, T, 1)
    tensor = (iso[:, :, None] * np.eye(3)).reshape(-1, 9)
    forms = {
        f: raman(tensor, timestep=DT, temperature=T, form=f)
        for f in ("intensity", "susceptibility", "reduced")
    }
    nu = forms["reduced"].wavenumber
    omega = nu * units.WAVENUMBER_TO_ANGULAR
    x = units.HBAR * omega / (units.BOLTZMANN * T)
    assert np.allclose(forms["susceptibility"].vv * omega, forms["reduced"].vv)
    bose = forms["intensity"].vv * omega * -np.expm1(-x) / (1 - nu * 532e-7) ** 4
    scale = units.HBAR / (units.BOLTZMANN * T)
    assert np.allclose(bose, forms["reduced"].vv * scale)


def test_debye_dielectric():
    """Exponential dipole correlation: Debye relaxation with known ε(0) and τ."""
    decay, dt = np.exp(-1 / 50.0), 10.0
    tau = 500.0
    scale = 2.0
    dipole = scale * ornstein_uhlenbeck(np.random.default_rng(7), 400_000, decay)
    found = dielectric(
        dipole,
        timestep=dt,
        volume=V,
        temperature=T,
        epsilon_infinity=1.78,
        resolution=4.0,
        mean="none",
    )
    step = scale**2 / (units.EPSILON_0 * V * units.BOLTZMANN * T)
    assert found.static == pytest.approx(1.78 + step, abs=3 * found.static_error)
    assert 0.002 * step < found.static_error < 0.05 * step
    omega = found.wavenumber * units.WAVENUMBER_TO_ANGULAR
    debye = 1.78 + step / (1 - 1j * omega * tau)
    use = (found.wavenumber > 8) & (found.wavenumber < 200)
    assert np.abs((found.epsilon - debye).imag[use]).max() < 0.06 * step
    assert np.abs((found.epsilon - debye).real[use]).max() < 0.06 * step
    assert found.epsilon.real[0] == pytest.approx(found.static, rel=0.02)


def test_kramers_kronig_of_a_lorentzian():
    nu = np.arange(0.0, 40000.0, 2.0)
    epsilon = 2.0 + 5e5 / (1000.0**2 - nu**2 - 1j * 50.0 * nu)
    real = kramers_kronig(nu, epsilon.imag, 2.0)
    assert np.abs(real - epsilon.real)[:5000].max() < 1e-2  # of 10, the peak
    light = optical_constants(nu, epsilon)
    assert np.allclose(light.refractive**2, epsilon)
    n_alpha = light.absorption * light.refractive.real
    again = permittivity_from_infrared(nu, n_alpha, 2.0, 2.0)
    assert np.abs(again - epsilon)[1:5000].max() < 1e-2
    with pytest.raises(ValueError, match="evenly"):
        kramers_kronig(nu**1.1, epsilon.imag, 2.0)


def test_finite_field_agrees_with_fluctuations():
    """A harmonic dipole: response to a field and fluctuation give the same ε."""
    force_constant, charge, field = 2.0, 1.5, 0.01
    forward = charge**2 * field / force_constant
    fluctuation = charge**2 * units.BOLTZMANN * T / force_constant
    linear = static_from_field(np.array([forward]), np.array([-forward]), field, V, 1.5)
    assert linear == pytest.approx(
        1.5 + fluctuation / (units.EPSILON_0 * V * units.BOLTZMANN * T), rel=1e-12
    )


def test_unit_mismatch_is_caught():
    dipole = 300.0 * ornstein_uhlenbeck(np.random.default_rng(8), 20_000, 0.9)
    kwargs = {"timestep": DT, "volume": V, "temperature": T, "epsilon_infinity": 1.0}
    with pytest.raises(ValueError, match="check the unit"):
        dielectric(dipole, **kwargs)
    with pytest.raises(ValueError, match="at least 1"):
        dielectric(dipole, **{**kwargs, "epsilon_infinity": 0.5})


def test_vdos_counts_every_degree_of_freedom():
    rng = np.random.default_rng(9)
    _, heavy = langevin(rng, 60_000, DT, 500.0, 0.01, T, 3, mass=16.0)
    _, light = langevin(rng, 60_000, DT, 3000.0, 0.01, T, 6, mass=1.0)
    velocities = np.hstack([heavy, light])
    found = vdos(
        velocities,
        masses=[16.0, 1.0, 1.0],
        species=["O", "H", "H"],
        timestep=DT,
        maximum=1.7e4,
    )
    assert np.trapezoid(found.total, found.wavenumber) == pytest.approx(9.0, rel=2e-3)
    assert np.trapezoid(found.parts["H"], found.wavenumber) == pytest.approx(6.0, rel=0.03)
    assert np.allclose(found.parts["x"] + found.parts["y"] + found.parts["z"], found.total)
    assert np.allclose(found.parts["H x"] + found.parts["O x"], found.parts["x"])
    kinetic = ((velocities**2).mean(0) * np.repeat([16.0, 1.0, 1.0], 3)).mean()
    direct = kinetic * units.EV_PER_AMU_A2_FS2 / units.BOLTZMANN
    assert found.temperature == pytest.approx(direct, rel=1e-9)
    assert abs(found.wavenumber[np.argmax(found.parts["O"])] - 500) < 15


def test_conductivity_of_an_ornstein_uhlenbeck_current():
    decay, amplitude, dt = 0.95, 0.02, 2.0
    current = amplitude * ornstein_uhlenbeck(np.random.default_rng(10), 200_000, decay)
    found = conductivity(current, timestep=dt, volume=V, temperature=T, cutoff=2000.0)
    integral = 3 * amplitude**2 * dt * 0.5 * (1 + decay) / (1 - decay)
    exact = 1.859249e10 / (3 * T * V) * integral
    assert found.value == pytest.approx(exact, abs=2.5 * found.error)
    assert found.error < 0.05 * exact
    assert found.green_kubo == pytest.approx(exact, abs=3 * found.green_kubo_error)
    assert found.running[200] == pytest.approx(exact, rel=0.1)


def test_ionic_current():
    velocities = np.random.default_rng(11).normal(size=(5, 6))
    charges = np.array([1.0, -2.0])
    born = charges[:, None, None] * np.eye(3)
    assert np.allclose(ionic_current(velocities, charges), ionic_current(velocities, born))
    born[0, 0, 1] = 0.5  # the x current of a y velocity
    difference = ionic_current(velocities, born) - ionic_current(velocities, charges)
    assert np.allclose(difference[:, 0], 0.5 * velocities[:, 1])
    assert np.allclose(difference[:, 1:], 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sum_frequency_of_an_oscillator(sign):
    """Im χ is positive where dipole and polarizability grow together; known integral."""
    x, _ = langevin(np.random.default_rng(12), 200_000, DT, 3000.0, 0.01, T, 1)
    polarizability = np.zeros((len(x), 9))
    polarizability[:, 0] = sign * 0.4 * x[:, 0]
    dipole = np.zeros((len(x), 3))
    dipole[:, 2] = 0.3 * x[:, 0]
    found = sum_frequency(polarizability, dipole, timestep=DT, area=100.0, temperature=T)
    area = np.trapezoid(found.susceptibility.imag * found.wavenumber, found.wavenumber) * (
        units.WAVENUMBER_TO_ANGULAR**2
    )
    # ∫ω Im χ dω = (π/2) a m /(mass ε0 A)
    exact = sign * np.pi / 2 * 0.12 / units.EV_PER_AMU_A2_FS2 / (units.EPSILON_0 * 100.0)
    assert area == pytest.approx(exact, rel=0.06)
    below = np.argmin(np.abs(found.wavenumber - 2900))
    assert np.sign(found.susceptibility.real[below]) == sign
    with pytest.raises(ValueError, match="component"):
        sum_frequency(polarizability, dipole, timestep=DT, area=1.0, temperature=T, component="xx")
    with pytest.raises(ValueError, match="runs"):
        sum_frequency([polarizability] * 2, dipole, timestep=DT, area=1.0, temperature=T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep": -1.0}, "timestep"),
        ({"volume": 0.0}, "volume"),
        ({"temperature": float("nan")}, "temperature"),
        ({"resolution": 0.01}, "too short"),
        ({"quantum_correction": "magic"}, "quantum_correction"),
        ({"axes": "w"}, "axes"),
        ({"window": "square"}, "window"),
    ],
)
def test_bad_input(change, message):
    kwargs = {"timestep": DT, "volume": V, "temperature": T, **change}
    with pytest.raises(ValueError, match=message):
        infrared(np.random.default_rng(0).normal(size=(5000, 3)), **kwargs)


def test_needs_one_source():
    with pytest.raises(ValueError, match="exactly one"):
        infrared(timestep=DT, volume=V, temperature=T)
    with pytest.raises(ValueError, match="laser"):
        raman(np.ones((5000, 9)), timestep=DT, temperature=T, laser=-1.0)
    with pytest.raises(ValueError, match="form"):
        raman(np.ones((5000, 9)), timestep=DT, temperature=T, form="loud")
    with pytest.raises(ValueError, match="shape"):
        raman(np.ones((5000, 6)), timestep=DT, temperature=T)


def test_permittivity_where_the_resolution_is_coarser_than_the_spectrum():
    nu = np.linspace(0.0, 900.0, 10)
    found = permittivity_from_infrared(nu, np.linspace(0.0, 50.0, 10), 2.0, 1000.0)
    assert np.isfinite(found).all()
