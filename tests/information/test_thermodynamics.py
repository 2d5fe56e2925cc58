"""Entropy differences where the answer is known: harmonic crystals, normal distributions."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from lrcalc.information.descriptors import Form
from lrcalc.information.reference import by_species
from lrcalc.information.thermodynamics import (
    entropy_difference,
    gaussian_entropy,
    harmonic_entropy,
    harmonic_frames,
)
from lrcalc.units import BOLTZMANN


@pytest.fixture(scope="module")
def copper():
    """Crystal at rest and its second derivatives, by central differences of ASE's EMT."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc, rest, step = EMT(), atoms.positions.copy(), 0.01
    rows = []
    for k in range(3 * len(atoms)):
        forces = []
        for sign in (1, -1):
            atoms.positions = rest
            atoms.positions.flat[k] += sign * step
            forces.append(atoms.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * step))
    atoms.positions, atoms.calc = rest, None
    return atoms, np.array(rows)


def frames(copper, temperature, count, form=None, seed=0):
    """Descriptors of drawn frames, or displacements of the atoms without a form."""
    atoms, hessian = copper
    found = []
    for positions in harmonic_frames(hessian, atoms.positions, temperature, count, seed=seed):
        moved = atoms.copy()
        moved.positions = positions
        away = {29: positions - atoms.positions}
        found.append(away if form is None else by_species(moved, form, [29]))
    return found


def test_drawn_frames_have_the_covariance_of_the_crystal(copper):
    atoms, hessian = copper
    drawn = harmonic_frames(hessian, atoms.positions, 300.0, 40_000) - atoms.positions
    found = np.cov(drawn.reshape(len(drawn), -1).T)
    known = BOLTZMANN * 300.0 * np.linalg.pinv(hessian, rcond=1e-5)
    assert np.abs(found - known).max() < 0.03 * known.max()


def test_displacements_give_the_classical_entropy_of_phonons(copper):
    """3/2 ln 2 per atom from 150 to 300 K, and what the bandwidth hides of it."""
    h, known = 0.02, 1.5 * np.log(2.0)
    found = entropy_difference(frames(copper, 150, 60), frames(copper, 300, 60, seed=1), h)
    assert found.saturation < 0.8
    variances = [np.var(np.concatenate([f[29] for f in frames(copper, T, 200)]), 0)
                 for T in (150, 300)]  # fmt: skip
    seen = gaussian_entropy(variances[1], h) - gaussian_entropy(variances[0], h)
    assert seen - 0.12 < found.value < seen + 0.05  # 1920 environments: H nears ln N from 150 K on
    assert seen < known
    assert gaussian_entropy(variances[1], 1e-4) - gaussian_entropy(variances[0], 1e-4) == (
        pytest.approx(known, abs=0.03)
    )
    assert gaussian_entropy(variances[1], 1.0) - gaussian_entropy(variances[0], 1.0) < 0.05


def test_phonons_themselves_say_the_same(copper):
    _, hessian = copper
    nu = np.sqrt(np.linalg.eigvalsh(hessian)[3:] / 63.546) * 521.47
    n = len(nu) / 3
    cold, hot = (harmonic_entropy(nu, T, classical=True) / n for T in (150, 300))
    assert hot - cold == pytest.approx(3 * np.log(2), abs=1e-12)  # half of it is of the momenta


@pytest.mark.parametrize("h", [0.015, 0.03])
def test_descriptors_of_a_harmonic_crystal_are_nearly_normal(copper, h):
    """So the formula predicts H and its change; what they are of the entropy depends on h."""
    form = Form(18, 5.0)
    sets = [frames(copper, T, 32, form, seed=int(T)) for T in (150, 300)]
    pools = [np.concatenate([f[29] for f in s]) for s in sets]
    known = [gaussian_entropy(np.linalg.eigvalsh(np.cov(x.T)), h) for x in pools]
    found = entropy_difference(*sets, h)
    assert found.first == pytest.approx(known[0], rel=0.06)
    assert abs(found.value - (known[1] - known[0])) < max(0.1 * found.value, 3 * found.error)


def test_no_difference_between_sets_of_one_temperature(copper):
    form = Form(12, 5.0)
    sets = [frames(copper, 300, 24, form, seed=s) for s in (1, 2)]
    found = entropy_difference(*sets, 0.015)
    assert 0 < found.error < 0.3
    assert abs(found.value) < 3 * found.error
    assert found.joule_per_mole_kelvin[0] == pytest.approx(8.314462618 * found.value)


def test_entropy_of_a_mode():
    one = harmonic_entropy(np.array([100.0]), 1.438776877 * 100.0)  # x = 1
    assert one == pytest.approx(1 / (np.e - 1) - np.log(1 - 1 / np.e), abs=1e-12)
    hot = [harmonic_entropy(np.array([10.0]), 5000.0, classical=c) for c in (True, False)]
    assert hot[0] == pytest.approx(hot[1], abs=1e-5)
    assert harmonic_entropy(np.array([1000.0]), 50.0) < 1e-9


def test_refusals(copper):
    atoms, hessian = copper
    with pytest.raises(ValueError, match="zero or imaginary"):
        harmonic_entropy(np.array([100.0, -3.0]), 300)
    with pytest.raises(ValueError, match="`temperature` is 0"):
        harmonic_entropy(np.array([100.0]), 0)
    with pytest.raises(ValueError, match="not stable"):
        harmonic_frames(-hessian, atoms.positions, 300, 1)
    with pytest.raises(ValueError, match="four are needed"):
        entropy_difference([{1: np.ones((2, 3))}] * 3, [{1: np.ones((2, 3))}] * 5, 0.1)
    with pytest.raises(ValueError, match="different species"):
        entropy_difference([{1: np.ones((2, 3))}] * 4, [{2: np.ones((2, 3))}] * 4, 0.1)
    frames = [atoms] * 4
    for bad in (frames, atoms, "md.xyz", [np.ones((3, 2))] * 4, {1: np.ones((2, 3))}):
        with pytest.raises(TypeError, match=r"`second` .* must have a mapping {atomic number"):
            entropy_difference([{1: np.ones((2, 3))}] * 4, bad, 0.1)
    with pytest.raises(TypeError, match="`first` has a Atoms"):
        entropy_difference(frames, frames, h=0.03)
    with pytest.raises(ValueError, match="negative"):
        gaussian_entropy(np.array([1.0, -1.0]), 0.1)
