"""The evaluator: what it computes, and bad input named with its remedy."""

import numpy as np
import pytest
from ase import Atoms, units

from lrcalc import Evaluator
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

FIELD = (0.0, 0.1, 0.05)


@pytest.fixture(scope="module")
def potentials():
    atoms = water_box(n=3)
    made = {name: random_potential(atoms, level=name) for name in ("sr", "u", "uiu")}
    made["atomic"] = random_potential(atoms, level="u", charges="atomic")
    made["atomic uiq"] = random_potential(atoms, level="uiq", charges="atomic")
    made["scf"] = random_potential(atoms, level="uiu", iterations=2)
    return made


def test_only_what_is_asked_for_is_returned(potentials):
    (result,) = Evaluator(potentials["uiu"])([water_box(n=3)], ["dipole"])
    assert set(result) == {"dipole"}


def test_short_ranged_model_has_energy_forces_and_stress(potentials):
    (result,) = Evaluator(potentials["sr"])([water_box(n=3)], ["energy", "forces", "stress"])
    assert set(result) == {"energy", "forces", "stress"}


def test_projection_makes_born_charges_sum_to_the_charge_and_is_recorded(potentials):
    atoms = water_box(n=3)
    raw = Evaluator(potentials["atomic"], asr_projection=False)
    (one,) = raw([atoms], ["born_effective_charges"])
    evaluator = Evaluator(potentials["atomic"])
    (two,) = evaluator([atoms], ["born_effective_charges"])
    total = one["born_effective_charges"].sum(0)
    np.testing.assert_allclose(two["born_effective_charges"].sum(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(evaluator.sum_rule_residual, np.abs(total).max() / 9, rtol=1e-9)
    assert evaluator.sum_rule_residual > 1e-4


def test_local_charges_obey_the_sum_rule_without_projection(potentials):
    evaluator = Evaluator(potentials["u"], asr_projection=False)
    evaluator([water_box(n=3)], ["born_effective_charges"])
    assert evaluator.sum_rule_residual < 1e-12


def test_born_charges_do_not_change_when_stress_is_asked_too(potentials):
    evaluator = Evaluator(potentials["uiu"])
    (one,) = evaluator([water_box(n=3)], ["born_effective_charges", "stress", "forces"])
    (two,) = evaluator([water_box(n=3)], ["born_effective_charges"])
    np.testing.assert_allclose(*(r["born_effective_charges"] for r in (one, two)), atol=1e-12)


def test_screening_factor_scales_the_electrical_properties(potentials):
    names = ["dipole", "born_effective_charges", "charges"]
    (one,) = Evaluator(potentials["u"])([water_box(n=3)], names)
    (two,) = Evaluator(potentials["u"], epsilon_infinity=4.0)([water_box(n=3)], names)
    for name in names:
        np.testing.assert_allclose(two[name], 2 * one[name], rtol=1e-12, atol=1e-14)


BAD_VALUES = [0.1, (0.1, 0.2), np.eye(3), (0, 0, np.nan), "strong", (0, 0, 1j)]


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("value", BAD_VALUES[:-1])
@pytest.mark.parametrize("name", ["electric_field", "electric_displacement", "reduced_field"])
def test_a_field_is_three_finite_numbers(potentials, name, value):
    with pytest.raises(ValueError, match=f"(?s)`{name}` is .* three finite numbers"):
        Evaluator(potentials["u"], **{name: value})


def test_field_and_displacement_exclude_each_other(potentials):
    with pytest.raises(ValueError, match="exclude each other"):
        Evaluator(potentials["u"], electric_field=FIELD, electric_displacement=FIELD)
    evaluator = Evaluator(potentials["u"], electric_field=FIELD)
    with pytest.raises(ValueError, match="exclude each other"):
        evaluator.reduced_field = FIELD
    evaluator.electric_field = None
    evaluator.reduced_field = FIELD


@pytest.mark.parametrize("name", ["electric_displacement", "reduced_field"])
def test_displacement_needs_a_periodic_structure(potentials, name):
    with pytest.raises(ValueError, match="three periodic directions"):
        Evaluator(potentials["u"], **{name: FIELD})([cluster()], ["energy"])


@pytest.mark.parametrize("name", ["stress", "polarization"])
def test_open_structures_have_no_stress(potentials, name):
    with pytest.raises(ValueError, match="three periodic directions"):
        Evaluator(potentials["u"])([cluster()], [name])


def test_a_field_on_a_charged_cell_must_be_acknowledged(potentials):
    atoms = water_box(n=3)
    atoms.info["charge"] = 1
    with pytest.raises(ValueError, match="allow_net_charge"):
        Evaluator(potentials["u"], electric_field=FIELD)([atoms], ["energy"])
    Evaluator(potentials["u"])([atoms], ["energy"])
    ready = Evaluator(potentials["u"], electric_field=FIELD, allow_net_charge=True)
    (result,) = ready([atoms], ["forces"])
    np.testing.assert_allclose(result["forces"].sum(0), FIELD, atol=1e-9)  # it drifts


@pytest.mark.parametrize("epsilon", [0.5, -1.0, np.nan, np.inf])
def test_permittivity_is_at_least_that_of_vacuum(potentials, epsilon):
    with pytest.raises(ValueError, match="`epsilon_infinity` is .* at least 1"):
        Evaluator(potentials["u"], epsilon_infinity=epsilon)


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        ("u", "polarizability", "no response"),
        ("u", "polarizability_derivative", "no response"),
        ("sr", "dipole", "short-ranged"),
        ("sr", "born_effective_charges", "short-ranged"),
        ("scf", "polarizability", "linear response"),
        ("atomic uiq", "dipole", "no dipole in a periodic cell"),
        ("u", "enthalpy", "unknown properties"),
    ],
)
def test_what_a_model_cannot_have_is_named(potentials, model, name, message):
    with pytest.raises(ValueError, match=message):
        Evaluator(potentials[model])([water_box(n=3)], [name])


def test_fields_that_a_model_cannot_feel(potentials):
    atoms = water_box(n=3)
    with pytest.raises(ValueError, match="short-ranged"):
        Evaluator(potentials["sr"], electric_field=FIELD)([atoms], ["energy"])
    with pytest.raises(ValueError, match="no stress in a field"):
        Evaluator(potentials["atomic"], electric_field=FIELD)([atoms], ["stress"])
    with pytest.raises(ValueError, match="no polarization to hold"):
        Evaluator(potentials["atomic"], electric_displacement=FIELD)([atoms], ["energy"])


@pytest.mark.parametrize("charge", [None, "abc", np.nan, [1, 2], 1e6])
def test_a_charge_is_one_number(potentials, charge):
    atoms = water_box(n=1)
    atoms.info["charge"] = charge
    with pytest.raises(ValueError, match=r"info\['charge'\]"):
        Evaluator(potentials["u"])([atoms], ["energy"])


def test_bad_structures_and_arguments(potentials):
    evaluator = Evaluator(potentials["u"])
    nan = water_box(n=3)
    nan.positions[4, 1] = np.nan
    flat = water_box(n=3)
    flat.cell[2] = flat.cell[0]
    close = water_box(n=3)
    close.positions[0] = close.positions[1] + 0.1
    cases = [
        (nan, "NaN"), (flat, "volume"), (close, "overlapping"), (Atoms(), "no atoms"),
        (Atoms("Xe", positions=[[0, 0, 0]]), "atomic numbers"),
        (Atoms("X", positions=[[0, 0, 0]]), "atomic number 0"),
    ]  # fmt: skip
    for atoms, message in cases:
        with pytest.raises(ValueError, match=message):
            evaluator([atoms], ["energy"])
    with pytest.raises(ValueError, match="empty"):
        evaluator([], ["energy"])
    with pytest.raises(ValueError, match="one Atoms object"):
        evaluator(water_box(n=3), ["energy"])
    with pytest.raises(ValueError, match=r"structures\[0\]"):
        evaluator([water_box(n=3)[0]], ["energy"])
    assert set(evaluator(iter([water_box(n=3)]), "energy")[0]) == {"energy"}
    with pytest.raises(ValueError, match="`model` is None"):
        Evaluator(None)
    with pytest.raises(ValueError, match="`epsilon_infinity` is '1.78'"):
        Evaluator(potentials["u"], epsilon_infinity="1.78")
    with pytest.raises(ValueError, match="`dtype`"):
        Evaluator(potentials["u"], dtype="float16")
    with pytest.raises(ValueError, match="`device`"):
        Evaluator(potentials["u"], device="abacus")


def test_atom_alone_has_its_constant_charge(potentials):
    atoms = Atoms("O", positions=[[0, 0, 0]])
    names = ["energy", "forces", "dipole", "born_effective_charges", "charges"]
    (result,) = Evaluator(potentials["uiu"])([atoms], names)
    np.testing.assert_allclose(result["forces"], 0.0, atol=1e-12)
    np.testing.assert_allclose(result["dipole"], 0.0, atol=1e-12)
    np.testing.assert_allclose(result["charges"], 0.0, atol=1e-12)


@pytest.mark.parametrize("pbc", [True, (True, True, False)])
@pytest.mark.parametrize("charge", [0.0, 1.0])
def test_a_field_on_atomic_charges_pushes_with_the_total_charge(pbc, charge):
    """``F(E) - F(0) = E·born`` with Born charges that sum to the charge: no net force on none."""
    atoms = water_box(n=3, pbc=pbc)
    atoms.set_momenta(np.random.default_rng(3).normal(size=(9, 3)))
    potential = random_potential(atoms, level="u", charges="atomic")
    atoms.info["charge"] = charge
    if charge and not all(atoms.pbc):
        return  # a charged slab has no dipole
    names = ["forces", "born_effective_charges", "current"]
    options = {"electric_field": FIELD, "allow_net_charge": True}
    (driven,) = Evaluator(potential, dtype="float64", **options)([atoms], names)
    (free,) = Evaluator(potential, dtype="float64")([atoms], names[:2])
    push = driven["forces"] - free["forces"]
    born = free["born_effective_charges"]
    np.testing.assert_allclose(push, np.einsum("a,nab->nb", FIELD, born), atol=1e-9)
    np.testing.assert_allclose(push.sum(0), charge * np.array(FIELD), atol=1e-9)
    current = np.einsum("nab,nb->a", born, atoms.get_velocities() * units.fs)
    np.testing.assert_allclose(driven["current"], current, atol=1e-9)
