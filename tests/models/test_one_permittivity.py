"""One dielectric constant in one enthalpy: forces, LO-TO, constant D, slabs (physics §2, §9)."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import read

from lrcalc import Evaluator, LRCalculator
from lrcalc.analysis import phonons as ph
from lrcalc.analysis.modes import longitudinal
from lrcalc.cli import main
from lrcalc.units import EPSILON_0, EV_PER_AMU_A2_FS2, WAVENUMBER_TO_ANGULAR
from tests.conftest import random_potential
from tests.models.permittive import (
    PATTERN,
    SURFACE,
    ask,
    crystal,
    difference,
    evaluator_for,
    permittivity,
)


def curvature(evaluator, atoms, pattern, step=5e-4):
    """Second derivative of the energy along a pattern (N, 3), fourth-order in the forces."""
    slopes = []
    for shift in (-2, -1, 1, 2):
        moved = atoms.copy()
        moved.positions += shift * step * pattern
        slopes.append(-float((ask(evaluator, moved, "forces") * pattern).sum()))
    return float(np.dot([1, -8, 8, -1], slopes)) / (12 * step)


def longitudinal_part(evaluator, atoms, pattern, counts=(6, 9, 12, 16)):
    """What a wave adds to the curvature for q → 0 along the first reciprocal vector, per cell.

    From supercells n x 1 x 1: cosines of the pattern with q = 2π/n, Richardson in q².
    """
    at_rest = curvature(evaluator, atoms, pattern)
    values = []
    for n in counts:
        phase = np.repeat(np.cos(2 * np.pi * np.arange(n) / n), len(atoms))
        wave = phase[:, None] * np.tile(pattern, (n, 1))
        values.append(2 * curvature(evaluator, atoms.repeat((n, 1, 1)), wave) / n - at_rest)
    q = np.array(counts, float) ** -2
    return float(np.linalg.solve(np.vander(q, increasing=True), values)[0])


def macroscopic_part(evaluator, atoms, pattern):
    """``(q̂·Z·u)²/(ε0 V q̂·ε·q̂)`` of the same pattern: the non-analytical term of phonons."""
    born = ask(evaluator, atoms, "born_effective_charges")
    q = np.linalg.inv(atoms.cell)[:, 0]
    q /= np.linalg.norm(q)
    charge = np.einsum("a,nab,nb->", q, born, pattern)
    return charge**2 / (EPSILON_0 * atoms.get_volume() * (q @ permittivity(evaluator, atoms) @ q))


@pytest.mark.parametrize("level", ["q", "u", "uQ", "u" + SURFACE])
def test_lo_to_is_what_supercells_of_the_models_own_forces_tend_to(level):
    atoms = crystal()
    evaluator = evaluator_for(atoms, level)
    np.testing.assert_allclose(permittivity(evaluator, atoms), 2.1 * np.eye(3), atol=1e-12)
    found = longitudinal_part(evaluator, atoms, PATTERN)
    expected = macroscopic_part(evaluator, atoms, PATTERN)
    assert expected > 0.05  # eV/Å², or there is nothing to compare
    assert found == pytest.approx(expected, rel=2e-3)


def test_a_response_that_is_not_iterated_screens_to_first_order():
    """The difference is (Z_i - a Z_p)², a quarter for half the response."""
    atoms = crystal()
    differences = []
    for response in (0.1, 0.05):
        evaluator = evaluator_for(atoms, "uiu", response)
        plain = evaluator.screening**2
        assert permittivity(evaluator, atoms).trace() / 3 > plain * (1 + 0.1 * response)
        found = longitudinal_part(evaluator, atoms, PATTERN)
        differences.append(macroscopic_part(evaluator, atoms, PATTERN) - found)
    bare = evaluator_for(atoms, "uiu", 0.0)
    left = macroscopic_part(bare, atoms, PATTERN) - longitudinal_part(bare, atoms, PATTERN)
    first, second = np.array(differences) - left
    assert first / second == pytest.approx(4.0, rel=0.15)


@pytest.mark.parametrize("level", ["u", "uiu", "u" + SURFACE, "uiu" + SURFACE])
def test_constant_displacement_adds_the_same_curvature(level):
    """U(D) at E = 0: its second derivative is that of E(R) plus Z·(ε0 V ε)⁻¹·Z, all directions."""
    atoms = crystal()
    evaluator = evaluator_for(atoms, level)
    at_rest = curvature(evaluator, atoms, PATTERN)
    result = ask(evaluator, atoms, "polarization", "born_effective_charges")
    moment = np.einsum("nab,nb->a", result["born_effective_charges"], PATTERN)
    epsilon = permittivity(evaluator, atoms)
    expected = moment @ np.linalg.solve(EPSILON_0 * atoms.get_volume() * epsilon, moment)
    held = evaluator_for(atoms, level, electric_displacement=result["polarization"])
    np.testing.assert_allclose(ask(held, atoms, "electric_field"), 0.0, atol=1e-12)
    assert curvature(held, atoms, PATTERN) - at_rest == pytest.approx(expected, rel=1e-6)

    # the dipole that a run at constant D records is what is left of Z·u when D does not follow
    def dipole(by):
        moved = atoms.copy()
        moved.positions += by * PATTERN
        return ask(held, moved, "dipole")

    slope = [difference(lambda h, a=a: dipole(h)[a]) for a in range(3)]
    np.testing.assert_allclose(slope, np.linalg.solve(epsilon, moment), rtol=1e-6)


@pytest.mark.parametrize("level", ["u", "uiu"])
def test_enthalpies_at_constant_d_and_constant_e_are_legendre_transforms(level):
    """U = H + V E·D - ½ V ε0 E², with the background that screens latent charges in H."""
    atoms = crystal()
    displacement = np.array([0.003, -0.002, 0.004])
    evaluator = evaluator_for(atoms, level, electric_displacement=displacement)
    here = ask(evaluator, atoms, "energy", "electric_field", "dipole")
    field, volume = here["electric_field"], atoms.get_volume()
    same = evaluator_for(atoms, level, electric_field=field)
    background = EPSILON_0 * volume * (evaluator.screening**2 - 1)
    there = ask(same, atoms, "energy", "dipole")
    enthalpy = there["energy"] - 0.5 * background * field @ field
    expected = enthalpy + volume * field @ (displacement - 0.5 * EPSILON_0 * field)
    assert here["energy"] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(here["dipole"], there["dipole"] + background * field, atol=1e-12)


def test_two_permittivities_stand_beside_each_other():
    atoms = crystal()
    evaluator = evaluator_for(atoms, "u" + SURFACE)
    alpha = ask(evaluator, atoms, "polarizability")
    optical = np.eye(3) + alpha / (EPSILON_0 * atoms.get_volume())
    np.testing.assert_allclose(evaluator.optical_permittivity(atoms), optical, rtol=1e-12)
    assert abs(optical.trace() / 3 - 2.1) > 0.05
    calc = LRCalculator(evaluator.potential, dtype="float64")
    np.testing.assert_allclose(calc.get_property("dielectric_tensor", atoms), 2.1 * np.eye(3))
    plain = evaluator_for(atoms, "uiu")
    np.testing.assert_allclose(plain.optical_permittivity(atoms), permittivity(plain, atoms))
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match="dielectric_tensor needs three periodic directions"):
        evaluator.enthalpy_permittivity(atoms)
    with pytest.raises(ValueError, match="short-ranged"):
        Evaluator(random_potential(crystal(), level="sr")).enthalpy_permittivity(crystal())


class Ionic(Calculator):
    """Springs with charges; ``dielectric_tensor`` and ``polarizability`` say different things."""

    implemented_properties = ("energy", "forces", "born_effective_charges")

    def __init__(self, **given):
        super().__init__()
        self.given = given
        self.implemented_properties = (*Ionic.implemented_properties, *given)

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        rest = atoms.get_scaled_positions().round(1) @ atoms.cell
        shift = (atoms.positions - rest) * [2.0, 2.1, 2.2]
        charge = np.where(atoms.numbers == 3, 1.0, -1.0)
        self.results = {
            "energy": 0.0, "forces": shift.mean(0) - shift,
            "born_effective_charges": charge[:, None, None] * np.eye(3), **self.given,
        }  # fmt: skip


def test_phonons_take_the_permittivity_of_the_forces_and_name_it():
    """ASE's dielectric_tensor, a polarizability only where there is none, an error without both."""
    atoms = Atoms("LiF", cell=4 * np.eye(3), scaled_positions=[[0, 0, 0], [0.5] * 3], pbc=True)
    alpha = 2.0 * EPSILON_0 * atoms.get_volume() * np.eye(3)
    both = ph.from_calculator(
        atoms, Ionic(dielectric_tensor=2.1 * np.eye(3), polarizability=alpha), relax=None
    )
    np.testing.assert_allclose(both.epsilon_infinity, 2.1 * np.eye(3), atol=1e-12)
    assert any("2.1 2.1 2.1: the calculator's dielectric_tensor" in n for n in both.notes)
    assert any("makes 3 3 3 for light" in n for n in both.notes)
    np.testing.assert_allclose(ph.solve(both).epsilon_optical, 3 * np.eye(3), atol=1e-12)
    one = ph.from_calculator(atoms, Ionic(polarizability=alpha), relax=None)
    np.testing.assert_allclose(one.epsilon_infinity, 3 * np.eye(3), atol=1e-12)
    assert one.epsilon_optical is None
    with pytest.raises(ValueError, match="LO-TO splitting needs ε_∞"):
        ph.from_calculator(atoms, Ionic(), relax=None)


def test_modes_of_a_polar_crystal_without_a_surface(tmp_path, capsys):
    """The ε_∞ of the card, 4.84, for LO-TO and ε(ω); it was asked for as a polarizability."""
    a, c = 4.0, 4.03
    place = [[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0.0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    atoms = Atoms("BaTiO3", cell=[a, a, c], scaled_positions=place, pbc=True)
    atoms.write(tmp_path / "b.vasp")
    command = ["modes", str(tmp_path / "b.vasp"), "--model", "BaTiO3", "--no-relax"]
    assert main([*command, "--json", str(tmp_path / "b.json")]) == 0
    assert "ε_∞ 4.84 4.84 4.84: the calculator's dielectric_tensor" in capsys.readouterr().out
    summary = json.loads((tmp_path / "b.json").read_text())
    np.testing.assert_allclose(summary["epsilon_infinity"], 4.84 * np.eye(3), rtol=1e-12)


@pytest.mark.long
def test_lo_of_sio2_from_supercells_is_that_of_modes(shared):
    """The highest LO along c: 1x1xN supercells, q → 0, against NAC; 1216.2 cm⁻¹ in the cases."""
    atoms = read(shared / "data/phonons/quartz/POSCAR")
    calc = LRCalculator("SiO2", dtype="float64")
    phonons = ph.from_calculator(atoms, calc)
    modes = ph.solve(phonons)
    expected = longitudinal(modes, (0, 0, 1))[-1]
    one = phonons.phonopy.primitive
    cell = Atoms(one.symbols, cell=one.cell, scaled_positions=one.scaled_positions, pbc=True)
    squares, counts = [], (4, 6, 8)
    for n in counts:
        matrix = dynamical_matrix(cell, calc, n)
        squares.append(np.linalg.eigvalsh(matrix)[-1])
    q = np.array(counts, float) ** -2
    found = np.linalg.solve(np.vander(q, increasing=True), squares)[0]
    found = np.sqrt(found / EV_PER_AMU_A2_FS2) / WAVENUMBER_TO_ANGULAR
    print(f"LO along c: supercells {found:.2f}, modes {expected:.2f} cm⁻¹")
    assert found == pytest.approx(expected, abs=0.5)


def dynamical_matrix(cell, calc, n, step=0.005):
    """D(q) at q = c*/n from central differences of the forces of a 1 x 1 x n supercell."""
    big = cell.repeat((1, 1, n))
    big.calc = calc
    count = len(cell)
    phase = np.exp(2j * np.pi * np.arange(n) / n)
    mass = np.repeat(cell.get_masses(), 3)
    matrix = np.zeros((3 * count, 3 * count), complex)
    for k in range(3 * count):
        forces = []
        for sign in (1, -1):
            moved = big.copy()
            moved.positions[k // 3, k % 3] += sign * step
            moved.calc = calc
            forces.append(moved.get_forces())
        change = -(forces[0] - forces[1]) / (2 * step)
        matrix[:, k] = np.einsum("r,rkb->kb", phase.conj(), change.reshape(n, count, 3)).ravel()
    matrix /= np.sqrt(mass[:, None] * mass[None, :])
    return 0.5 * (matrix + matrix.conj().T)


@pytest.mark.parametrize("level", ["u", "uiu"])
def test_a_run_is_told_the_mean_permittivity_of_its_own_structure(level):
    atoms = crystal()
    evaluator = evaluator_for(atoms, level)
    expected = permittivity(evaluator, atoms).trace() / 3
    assert evaluator.mean_permittivity(atoms) == pytest.approx(expected, rel=1e-12)
    atoms.pbc = False
    assert evaluator.mean_permittivity(atoms) is None
