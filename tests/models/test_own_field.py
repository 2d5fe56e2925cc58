"""A model with an energy of its own in a field: a formula, so that all derivatives are known."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import nn

from lrcalc import Evaluator, LRCalculator, Potential, predict
from lrcalc.fields import DISPLACEMENT, Field
from lrcalc.models.backbone import Features
from lrcalc.models.own_field import in_field
from lrcalc.models.readout import Readings
from lrcalc.multipoles import Multipoles
from lrcalc.system import from_ase

FIELD = np.array([0.1, -0.2, 0.3])
CHARGE = {8: -0.8, 1: 0.4}
BEND = 0.7


class Formula(nn.Module):
    """E = Σ_i [½ k r² - q_i r_i·E - ½ a r_i² E² - b (r_i·E)³], summed over the atoms."""

    cutoff, layers, species, n_scalars, n_channels = 2.0, 1, (1, 8), 1, 0

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, system, pairs, vectors):
        r = system.positions
        field = torch.zeros(system.n_structures, 3, dtype=r.dtype)
        field = (field if system.field is None else system.field)[system.batch]
        charge = torch.tensor([CHARGE[int(z)] for z in system.numbers], dtype=r.dtype)
        along, square = (r * field).sum(1), r.square().sum(1)
        energy = 0.5 * self.weight * square - charge * along - BEND * along**3
        energy = energy - 0.5 * 0.2 * square * field.square().sum(1)
        nothing = energy.new_zeros(len(r), 0, 3), energy.new_zeros(len(r), 0, 5)
        return Features(torch.stack([energy, charge], 1), *nothing)


class Reads(nn.Module):
    level, charges, transfer_cutoff, own_field = "uiqiu", "atomic", 0.0, True

    def forward(self, features, species, system, pairs, vectors):
        energy, charge = features.scalars.unbind(1)
        return Readings(energy, Multipoles(charge), None, None)


@pytest.fixture
def potential():
    return Potential.compose(Formula(), Reads(), None)


def water():
    atoms = molecule("H2O")
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.mark.parametrize("field", [np.zeros(3), FIELD])
def test_derivatives_are_those_of_the_formula(potential, field):
    atoms = water()
    r, q = atoms.positions, np.array([CHARGE[z] for z in atoms.numbers])
    along, square, unit = r @ field, (r**2).sum(1), np.eye(3)
    evaluator = Evaluator(potential, electric_field=field if field.any() else None)
    names = [
        "energy", "forces", "dipole", "born_effective_charges", "polarizability",
        "polarizability_derivative", "charges", "electric_field",
    ]  # fmt: skip
    (found,) = evaluator([atoms], names)
    energy = (0.15 * square - q * along - BEND * along**3 - 0.1 * square * (field @ field)).sum()
    assert found["energy"] == pytest.approx(energy, abs=1e-12)
    forces = -0.3 * r + np.outer(q + 3 * BEND * along**2, field) + 0.2 * r * (field @ field)
    np.testing.assert_allclose(found["forces"], forces, atol=1e-12)
    dipole = ((q + 3 * BEND * along**2)[:, None] * r).sum(0) + 0.2 * square.sum() * field
    np.testing.assert_allclose(found["dipole"], dipole, atol=1e-12)
    alpha = np.einsum("i,ia,ib->ab", 6 * BEND * along, r, r) + 0.2 * square.sum() * unit
    np.testing.assert_allclose(found["polarizability"], alpha, atol=1e-12)
    slopes = (
        6 * BEND * np.einsum("d,ia,ib->idab", field, r, r)
        + 6 * BEND * np.einsum("i,ad,ib->idab", along, unit, r)
        + 6 * BEND * np.einsum("i,ia,bd->idab", along, r, unit)
        + 0.4 * np.einsum("id,ab->idab", r, unit)
    )
    np.testing.assert_allclose(found["polarizability_derivative"], slopes, atol=1e-12)
    born = (  # [atom, field, displacement]
        np.einsum("i,ab->iab", q + 3 * BEND * along**2, unit)
        + 6 * BEND * np.einsum("i,ia,b->iab", along, r, field)
        + 0.4 * np.einsum("a,ib->iab", field, r)
    )
    free = Evaluator(potential, electric_field=evaluator.electric_field, asr_projection=False)
    (raw,) = free([atoms], ["born_effective_charges"])
    np.testing.assert_allclose(raw["born_effective_charges"], born, atol=1e-12)
    np.testing.assert_allclose(found["charges"], q, atol=1e-15)
    np.testing.assert_allclose(found["electric_field"], field, atol=1e-15)


def test_the_current_is_that_of_the_dipole(potential):
    atoms, h = water(), 1e-3
    velocities = np.random.default_rng(0).normal(size=(3, 3))
    system = from_ase(atoms)
    current = predict(
        potential, system, properties="current", velocities=torch.as_tensor(velocities)
    )["current"]
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * h * velocities
        ends.append(Evaluator(potential)([moved], ["dipole"])[0]["dipole"])
    np.testing.assert_allclose(current[0], (ends[0] - ends[1]) / (2 * h), atol=1e-9)


def test_work_in_a_field_is_that_of_the_forces(potential):
    """No accumulated work: the energy in a field is whole, and forces are its derivatives."""
    atoms, h = water(), 1e-4
    atoms.calc = LRCalculator(potential, electric_field=FIELD)
    forces = atoms.get_forces()
    assert atoms.calc.evaluator.charge_forces is None
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 2] += sign * h
        moved.calc = LRCalculator(potential, electric_field=FIELD)
        ends.append(moved.get_potential_energy())
    assert forces[1, 2] == pytest.approx((ends[1] - ends[0]) / (2 * h), abs=1e-8)


def test_what_has_no_meaning_is_refused(potential):
    atoms = water()
    with pytest.raises(ValueError, match="`epsilon_infinity` scales latent charges"):
        Evaluator(potential, epsilon_infinity=1.78)([atoms], ["energy"])
    for name in ("quadrupole", "bec_as_published"):
        with pytest.raises(ValueError, match=f"{name} is made of latent charges"):
            Evaluator(potential)([atoms], [name])
    atoms.set_cell([5, 6, 7])
    atoms.pbc = True
    for name in ("dipole", "born_effective_charges", "dielectric_tensor"):
        with pytest.raises(ValueError, match="have no dipole .* set pbc=False"):
            Evaluator(potential)([atoms], [name])
    with pytest.raises(ValueError, match="charges induced on single atoms have no dipole"):
        Evaluator(potential, electric_field=FIELD)([atoms], ["energy"])
    with pytest.raises(ValueError, match="at a constant electric field, not at constant"):
        in_field(from_ase(atoms), Field(DISPLACEMENT, FIELD), 1.0)
