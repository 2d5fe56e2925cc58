"""One enthalpy: every electrical observable is its derivative (central differences, float64)."""

import itertools

import numpy as np
import pytest
import torch

from lrcalc import Evaluator, from_ase
from lrcalc.models.sign import fix_sign
from lrcalc.neighbors import build_pairs
from lrcalc.units import EPSILON_0
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

FIELD = np.array([0.11, -0.07, 0.16])
LEVELS = ["q", "u", "uQ", "uiq", "uiu", "uiqiu", "uQiqiu"]
STEP = 1e-4
SURFACE = " + surface"  # after a level: the model also has a polarizability surface


def evaluator_for(atoms, level="uQiqiu", charges="local", method="auto", **options):
    config = {k: options.pop(k) for k in ("anisotropic",) if k in options}
    if level.endswith(SURFACE):
        level = level.removesuffix(SURFACE)
        config["surface"] = 8
    potential = random_potential(atoms, level=level, charges=charges, accuracy=1e-9, **config)
    potential.ewald.method = method
    potential.metadata |= {"epsilon_infinity": 1.78, "susceptibility": 0.2}
    if potential.surface is not None:
        potential.surface.constant += 0.2
    return Evaluator(potential, dtype="float64", asr_projection=False, **options)


def ask(evaluator, atoms, *names):
    (result,) = evaluator([atoms], names)
    return result if len(names) > 1 else result[names[0]]


def moved(atoms, atom, axis, by):
    new = atoms.copy()
    new.positions[atom, axis] += by
    return new


def strained(atoms, a, b, by):
    new = atoms.copy()
    deform = np.eye(3)
    deform[a, b] += by / 2
    deform[b, a] += by / 2
    new.set_cell(atoms.cell @ deform, scale_atoms=True)
    return new


def shift(atoms, evaluator, atom, axis, name):
    """``name`` as a function of the displacement of one atom."""
    return lambda by: ask(evaluator, moved(atoms, atom, axis, by), name)


def difference(function, step=STEP):
    """Fourth-order central difference of an array-valued function of one number."""
    far = np.subtract(function(2 * step), function(-2 * step))
    near = np.subtract(function(step), function(-step))
    return (8 * near - far) / (12 * step)


SAMPLE = [(0, 0), (4, 1), (8, 2)]


def has_response(level):
    return level not in ("q", "u", "uQ")


@pytest.mark.parametrize("level", [*LEVELS, "u" + SURFACE, "uQiqiu" + SURFACE])
@pytest.mark.parametrize("boundary", ["periodic", "mesh", "slab", "open", "open atomic"])
def test_observables_are_derivatives_of_the_enthalpy(level, boundary):
    atoms = cluster() if "open" in boundary else water_box(n=3)
    if boundary == "slab":
        atoms.set_cell(np.diag([1, 1, 1.5]) @ atoms.cell)
        atoms.pbc = (True, True, False)
    charges = "atomic" if "atomic" in boundary else "local"
    method = "mesh" if boundary == "mesh" else "auto"
    evaluator = evaluator_for(
        atoms, level, charges, method, electric_field=FIELD, anisotropic="iu" in level
    )
    names = ["energy", "forces", "dipole", "born_effective_charges"]
    names += ["polarizability", "polarizability_derivative"] if has_response(level) else []
    here = ask(evaluator, atoms, *names)
    no_field = ask(
        evaluator_for(atoms, level, charges, method, anisotropic="iu" in level), atoms, *names
    )
    # a field must matter, or the tests below say nothing
    assert np.abs(here["forces"] - no_field["forces"]).max() > 1e-3

    def at_field(axis, by, name):
        evaluator.electric_field = FIELD + by * np.eye(3)[axis]
        value = ask(evaluator, atoms, name)
        evaluator.electric_field = FIELD
        return value

    for axis in range(3):
        slope = difference(lambda h, k=axis: at_field(k, h, "energy"))
        np.testing.assert_allclose(here["dipole"][axis], -slope, rtol=1e-6, atol=1e-7)
        if "polarizability" in here:
            slope = difference(lambda h, k=axis: at_field(k, h, "dipole"))
            np.testing.assert_allclose(here["polarizability"][axis], slope, rtol=1e-6, atol=1e-8)
    for atom, axis in SAMPLE:
        slope = difference(shift(atoms, evaluator, atom, axis, "energy"))
        np.testing.assert_allclose(here["forces"][atom, axis], -slope, rtol=1e-6, atol=1e-7)
        slope = difference(shift(atoms, evaluator, atom, axis, "dipole"))
        np.testing.assert_allclose(
            here["born_effective_charges"][atom, :, axis], slope, rtol=1e-6, atol=1e-7
        )
        if "polarizability" in here:
            slope = difference(shift(atoms, evaluator, atom, axis, "polarizability"))
            np.testing.assert_allclose(
                here["polarizability_derivative"][atom, axis], slope, rtol=1e-6, atol=1e-8
            )

    # mixed second derivative, the other way round: dF/dE is the Born tensor in that field
    for axis in range(3):
        slope = difference(lambda h, k=axis: at_field(k, h, "forces"))
        np.testing.assert_allclose(
            here["born_effective_charges"][:, axis], slope, rtol=1e-6, atol=1e-7
        )


@pytest.mark.parametrize("held", ["electric_field", "reduced_field", "electric_displacement"])
@pytest.mark.parametrize("level", ["u", "uiu", "uQiqiu", "u" + SURFACE])
def test_stress_is_the_derivative_at_what_is_held(level, held):
    atoms = water_box(n=3)
    value = {"electric_field": FIELD, "reduced_field": 6 * FIELD,
             "electric_displacement": np.array([0.003, -0.002, 0.004])}[held]  # fmt: skip
    # the number of waves must not change with the strain: a converged sum does not notice
    evaluator = evaluator_for(atoms, level, **{held: value})
    stress = ask(evaluator, atoms, "stress", "energy")["stress"]
    plain = ask(evaluator_for(atoms, level), atoms, "stress")
    assert np.abs(stress - plain).max() > 1e-4
    for a, b in itertools.combinations_with_replacement(range(3), 2):
        slope = difference(lambda h, a=a, b=b: ask(evaluator, strained(atoms, a, b, h), "energy"))
        np.testing.assert_allclose(
            stress[a, b] * atoms.get_volume(), slope, rtol=1e-6, atol=1e-6, err_msg=f"{a}{b}"
        )


@pytest.mark.parametrize("level", ["u", "uQiqiu", "u" + SURFACE, "uQiqiu" + SURFACE])
def test_constant_displacement(level):
    atoms = water_box(n=3)
    displacement = np.array([0.003, -0.002, 0.004])
    evaluator = evaluator_for(atoms, level, electric_displacement=displacement)
    here = ask(evaluator, atoms, "energy", "forces", "dipole", "electric_field", "polarization")
    for atom, axis in SAMPLE:
        slope = difference(shift(atoms, evaluator, atom, axis, "energy"))
        np.testing.assert_allclose(here["forces"][atom, axis], -slope, rtol=1e-6, atol=1e-7)
    # D = ε0 E + P with all of P, and forces are those at the instantaneous field, of which a
    # surface knows nothing
    total = EPSILON_0 * here["electric_field"] + here["polarization"]
    np.testing.assert_allclose(total, displacement, rtol=1e-12, atol=1e-15)
    same = evaluator_for(atoms, level, electric_field=here["electric_field"])
    same.potential.surface = None
    np.testing.assert_allclose(ask(same, atoms, "forces"), here["forces"], rtol=1e-9, atol=1e-10)

    # dU/dD = V E
    def at(axis, by):
        evaluator.electric_displacement = displacement + by * np.eye(3)[axis]
        return ask(evaluator, atoms, "energy")

    for axis in range(3):
        slope = difference(lambda h, k=axis: at(k, h), step=1e-5)
        expected = atoms.get_volume() * here["electric_field"][axis]
        np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_reduced_field_is_a_voltage_along_each_vector():
    atoms = water_box(n=3)
    voltage = np.array([0.5, -0.3, 0.8])
    field = ask(evaluator_for(atoms, reduced_field=voltage), atoms, "electric_field")
    np.testing.assert_allclose(atoms.cell @ field, voltage, rtol=1e-12)
    one = ask(evaluator_for(atoms, reduced_field=voltage), atoms, "energy", "forces")
    two = ask(evaluator_for(atoms, electric_field=field), atoms, "energy", "forces")
    np.testing.assert_allclose(one["energy"], two["energy"], rtol=1e-12)
    np.testing.assert_allclose(one["forces"], two["forces"], rtol=1e-10, atol=1e-12)


def test_forces_in_a_field_are_one_pass_and_linear_in_born():
    atoms = water_box(n=3)
    small = 1e-5 * FIELD
    plain = evaluator_for(atoms, "uiu")
    born = ask(plain, atoms, "born_effective_charges")
    expected = ask(plain, atoms, "forces") + np.einsum("a,nab->nb", small, born)
    forces = ask(evaluator_for(atoms, "uiu", electric_field=small), atoms, "forces")
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("level", ["q", "u", "uiu"])
def test_atomic_charges_in_a_periodic_cell(level):
    """No enthalpy exists; the force is E·born, and it does not know the box."""
    atoms = water_box(n=3)
    field = FIELD if level != "uiu" else 1e-6 * FIELD
    plain = evaluator_for(atoms, level, "atomic")
    result = ask(plain, atoms, "born_effective_charges", "forces")
    evaluator = evaluator_for(atoms, level, "atomic", electric_field=field)
    forces = ask(evaluator, atoms, "forces")
    expected = result["forces"] + np.einsum("a,nab->nb", field, result["born_effective_charges"])
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-9)
    assert evaluator.charge_forces is not None
    wrapped = atoms.copy()
    wrapped.positions += np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) @ atoms.cell
    np.testing.assert_allclose(ask(evaluator, wrapped, "forces"), forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        ask(evaluator, wrapped, "energy"), ask(evaluator, atoms, "energy"), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("charges", ["local", "atomic"])
def test_born_charges_do_not_know_the_box(charges):
    atoms = water_box(n=3)
    level = "uQ" if charges == "atomic" else "uQiqiu"
    evaluator = evaluator_for(atoms, level, charges)
    born = ask(evaluator, atoms, "born_effective_charges")
    repeated = ask(evaluator, atoms.repeat((2, 2, 2)), "born_effective_charges")
    np.testing.assert_allclose(repeated, np.tile(born, (8, 1, 1)), rtol=0, atol=1e-6)
    rng = np.random.default_rng(1)
    other = atoms.copy()
    other.positions += rng.normal(size=3)
    other.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell
    other.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ atoms.cell)
    np.testing.assert_allclose(
        ask(evaluator, other, "born_effective_charges"), born, rtol=0, atol=1e-9
    )
    # the test would notice: levers reach beyond an atom's own charge
    local = np.einsum("n,ab->nab", ask(evaluator, atoms, "charges"), np.eye(3))
    assert np.abs(born - local).max() > 0.01


class TwoRounds(torch.nn.Module):
    """Local features, and those of the neighbours once more: a message-passing description."""

    layers = 2

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.cutoff, self.species = inner.cutoff, inner.species
        self.n_scalars, self.n_channels = inner.n_scalars, inner.n_channels

    def forward(self, system, pairs, vectors):
        features = self.inner(system, pairs, vectors)
        weight = (1 - (vectors.norm(dim=1) / self.cutoff).clamp(max=1) ** 2) ** 3
        message = weight[:, None] * features.scalars[pairs.j]
        heard = torch.zeros_like(features.scalars).index_add(0, pairs.i, message)
        return features._replace(scalars=features.scalars + torch.tanh(heard))


def test_born_charges_of_a_message_passing_model():
    """Images made explicit: the box does not matter, and one round gives what pairs give."""
    atoms = water_box(n=3)
    evaluator = evaluator_for(atoms, "u", "atomic")
    one_round = ask(evaluator, atoms, "born_effective_charges")
    evaluator.potential.backbone.layers = 2  # more images than needed
    np.testing.assert_allclose(
        ask(evaluator, atoms, "born_effective_charges"), one_round, rtol=0, atol=1e-10
    )
    evaluator.potential.backbone.layers = 1
    evaluator.potential.backbone = TwoRounds(evaluator.potential.backbone)
    born = ask(evaluator, atoms, "born_effective_charges")
    assert np.abs(born - one_round).max() > 1e-2
    repeated = ask(evaluator, atoms.repeat((2, 1, 1)), "born_effective_charges")
    np.testing.assert_allclose(repeated, np.tile(born, (2, 1, 1)), rtol=0, atol=1e-9)
    other = atoms.copy()
    other.positions += np.random.default_rng(1).integers(-2, 3, (len(atoms), 3)) @ atoms.cell
    np.testing.assert_allclose(
        ask(evaluator, other, "born_effective_charges"), born, rtol=0, atol=1e-9
    )
    # pairs alone would miss what arrives in the second round
    evaluator.potential.backbone.__class__.layers = 1
    try:
        wrong = ask(evaluator, atoms, "born_effective_charges")
    finally:
        evaluator.potential.backbone.__class__.layers = 2
    assert np.abs(wrong - born).max() > 1e-3
    # a box in which nothing sees its image: the derivative of the dipole of the open cluster
    apart = cluster(n=2)
    boxed = apart.copy()
    boxed.set_cell(60 * np.eye(3))
    boxed.pbc = True
    neutral = evaluator_for(apart, "q", "atomic")
    neutral.potential.backbone = TwoRounds(neutral.potential.backbone)
    exact, images = (ask(neutral, a, "born_effective_charges") for a in (apart, boxed))
    # what moving an atom adds to the total sits at the atom itself, its counter-charge in the mean
    arm = apart.positions.mean(0) - apart.positions
    total = np.einsum("na,nb->nab", arm, total_charge_gradient(neutral, apart))
    np.testing.assert_allclose(exact + total, images, rtol=0, atol=1e-8)


def total_charge_gradient(evaluator, atoms):
    """∂ Σ q_i /∂r before charges are made neutral, by central differences, (N, 3)."""

    def total(atom, axis, by):
        evaluation = evaluator.evaluate([moved(atoms, atom, axis, by)])
        return float(evaluation.terms.readout.bare_charge.sum()) * evaluator.screening

    return np.array([
        [difference(lambda h, i=i, b=b: total(i, b, h)) for b in range(3)]
        for i in range(len(atoms))
    ])  # fmt: skip


@pytest.mark.parametrize("charges", ["local", "atomic"])
@pytest.mark.parametrize("level", ["u", "uQiqiu"])
def test_sum_rules_of_a_molecule(level, charges):
    """Translation leaves the dipole; rotation turns it: Σ born (θ × r) = θ × M."""
    atoms = cluster()
    evaluator = evaluator_for(atoms, level, charges)
    result = ask(evaluator, atoms, "born_effective_charges", "dipole")
    born = result["born_effective_charges"]
    if charges == "local" or "iq" not in level:
        np.testing.assert_allclose(born.sum(0), 0.0, atol=1e-9)
    for axis in np.eye(3):
        turned = np.einsum("nab,nb->a", born, np.cross(axis, atoms.positions))
        np.testing.assert_allclose(turned, np.cross(axis, result["dipole"]), rtol=0, atol=1e-6)
    assert np.linalg.norm(result["dipole"]) > 1e-3


@pytest.mark.parametrize("charges", ["local", "atomic"])
def test_charged_molecule_sums_to_its_charge(charges):
    """An ion of charge Q feels Q E, whatever screens the latent charges."""
    atoms = cluster()
    atoms.info["charge"] = -2.0
    evaluator = evaluator_for(atoms, "u", charges)
    assert evaluator.screening > 1.1
    born, charge = (ask(evaluator, atoms, n) for n in ("born_effective_charges", "charges"))
    np.testing.assert_allclose(born.sum(0), -2.0 * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(charge.sum(), -2.0, atol=1e-6)
    assert evaluator.sum_rule_residual < 1e-6
    driven = evaluator_for(atoms, "u", charges, electric_field=FIELD)
    pull = ask(driven, atoms, "forces").sum(0)
    np.testing.assert_allclose(pull, -2.0 * FIELD, atol=1e-6)


def test_energies_of_ions_stay_as_trained_when_the_susceptibility_becomes_known():
    atoms = water_box(n=3)
    atoms.info["charge"] = 1.0
    potential = random_potential(atoms, level="uiu")
    potential.metadata["epsilon_infinity"] = 1.78
    before = ask(Evaluator(potential, dtype="float64"), atoms, "energy")
    system = from_ase(atoms)
    fix_sign(potential, system, build_pairs(system, potential.cutoff))
    assert potential.metadata["susceptibility"] > 0.01
    after = ask(Evaluator(potential, dtype="float64"), atoms, "energy")
    np.testing.assert_allclose(after, before, rtol=1e-12)


@pytest.mark.parametrize("boundary", ["periodic", "open", "atomic"])
def test_current_is_born_times_velocity(boundary):
    from ase.units import fs

    atoms = cluster() if boundary == "open" else water_box(n=3)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    charges, level = ("atomic", "u") if boundary == "atomic" else ("local", "uQiqiu")
    evaluator = evaluator_for(atoms, level, charges)
    result = ask(evaluator, atoms, "current", "born_effective_charges", "forces")
    expected = np.einsum("nab,nb->a", result["born_effective_charges"], atoms.get_velocities() * fs)
    np.testing.assert_allclose(result["current"], expected, rtol=1e-9, atol=1e-12)
    assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("held", [{"electric_field": FIELD},
                                  {"electric_displacement": [0.003, -0.002, 0.004]}])  # fmt: skip
@pytest.mark.parametrize("level", ["u" + SURFACE, "uQiqiu"])
def test_current_in_a_field_is_that_of_the_dipole(level, held):
    from ase.units import fs

    atoms = water_box(n=3)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    evaluator = evaluator_for(atoms, level, **held)
    current = ask(evaluator, atoms, "current")

    def dipole(time):
        later = atoms.copy()
        later.positions += atoms.get_velocities() * fs * time
        return ask(evaluator, later, "dipole")

    np.testing.assert_allclose(current, difference(dipole, 1e-2), rtol=1e-6, atol=1e-7)
    born = ask(evaluator_for(atoms, level), atoms, "born_effective_charges")
    without = np.einsum("nab,nb->a", born, atoms.get_velocities() * fs)
    assert np.abs(current - without).max() > 1e-5  # the field does matter


def test_batch_of_mixed_boundaries_is_its_structures():
    structures = [water_box(n=3), cluster(), water_box(n=2, seed=5)]
    for charges, level in (("local", "uQiqiu"), ("atomic", "u")):
        evaluator = evaluator_for(structures[0], level, charges, electric_field=FIELD)
        names = ["energy", "forces", "dipole", "born_effective_charges", "charges"]
        names += ["polarizability"] if charges == "local" else []
        together = evaluator(structures, names)
        for atoms, result in zip(structures, together, strict=True):
            single = ask(evaluator, atoms, *names)
            for name in names:
                np.testing.assert_allclose(
                    result[name], single[name], rtol=1e-9, atol=1e-9, err_msg=name
                )


def test_open_equals_a_large_box():
    atoms = cluster(n=2)
    boxed = atoms.copy()
    boxed.set_cell(60 * np.eye(3))
    boxed.pbc = True
    names = ("dipole", "born_effective_charges", "polarizability")
    potential = random_potential(atoms, level="uQiqiu", k_cutoff=4.5)
    evaluator = Evaluator(potential, dtype="float64")
    open_, periodic = ask(evaluator, atoms, *names), ask(evaluator, boxed, *names)
    for name in names:  # what is left is dipole-dipole between images, ~ α M / L³
        scale = np.abs(open_[name]).max()
        np.testing.assert_allclose(
            periodic[name], open_[name], rtol=0, atol=3e-4 * scale, err_msg=name
        )


@pytest.mark.parametrize("level", ["u", "uiu", "uiqiu"])
def test_screening_factor_knows_the_susceptibility_of_the_model(level):
    """ε_r (1 + χ) = ε_∞, with χ noted when the model is made."""
    atoms = water_box(n=3)
    potential = random_potential(atoms, level=level)
    potential.metadata["epsilon_infinity"] = 1.78
    system = from_ase(atoms)
    fix_sign(potential, system, build_pairs(system, potential.cutoff))
    evaluator = Evaluator(potential)
    electronic = evaluator.screening**2
    if level != "u":
        alpha = ask(evaluator, atoms, "polarizability").trace() / 3
        electronic += alpha / (EPSILON_0 * atoms.get_volume())
        assert potential.metadata["susceptibility"] > 0.01
    np.testing.assert_allclose(electronic, 1.78, rtol=1e-6)
