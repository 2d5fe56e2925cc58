"""`predict`: the same as every caller's, with pairs from outside, and without a look at values."""

import numpy as np
import pytest
import torch

from lrcalc import Evaluator, Field, Property, from_ase, predict
from lrcalc.neighbors import Pairs, build_pairs
from lrcalc.prediction import Options, call_model
from lrcalc.properties import PROPERTIES
from tests.conftest import random_potential
from tests.electrostatics.test_ewald import NoLookAtValues
from tests.sample_structures import cluster, water_box

SMALL = {"channels": 4, "hidden": 4}
FIELDS = [None, Field("electric_field", (0.02, -0.01, 0.03)),
          Field("electric_displacement", (1e-3, 0.0, 2e-3)),
          Field("reduced_field", (0.1, 0.2, -0.1))]  # fmt: skip
NAMES = {
    "energy", "forces", "stress", "dipole", "polarization", "born_effective_charges",
    "polarizability", "polarizability_derivative", "charges", "current", "electric_field",
    "dielectric_tensor",
}  # fmt: skip


@pytest.fixture(scope="module")
def potential():
    return random_potential(water_box(n=2), level="uiu", **SMALL)


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_it_is_what_the_evaluator_says(potential, field):
    structures = [water_box(n=1), water_box(n=2)]
    evaluator = Evaluator(potential, field=field)
    expected = evaluator(structures, ["energy", "forces", "born_effective_charges", "stress"])
    system = from_ase(structures)
    far = build_pairs(system, potential.cutoff + 1.0)  # from outside: those too far say nothing
    found = predict(potential, system, far, field, expected[0])
    for name, values in found.items():
        right = [result[name] for result in expected]
        right = np.concatenate(right) if len(values) == len(system.numbers) else np.array(right)
        np.testing.assert_allclose(values, right, rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_between_model_and_results_nobody_looks_at_values(potential, field):
    """So that a GPU is not waited for; sums have their own such test. Excepted are levers of atomic
    charges, which search images, and the thickness of a slab under a surface."""
    system = from_ase([water_box(n=1), water_box(n=2)])
    pairs = build_pairs(system, potential.cutoff)
    options = Options(potential.screening, True, torch.ones_like(system.positions))
    prediction = call_model(potential, system, pairs, field, NAMES, options)
    with NoLookAtValues():
        found = prediction.results(NAMES)
    assert set(found) == NAMES


def test_it_can_be_differentiated_further_if_asked(potential):
    system = from_ase(cluster(n=1))
    parameter = potential.readout.weight
    parameter.requires_grad_()
    found = predict(potential, system, create_graph=True)
    (slope,) = torch.autograd.grad(found["forces"].square().sum(), parameter)
    assert slope.abs().max() > 0
    assert not predict(potential, system)["energy"].requires_grad
    parameter.requires_grad_(False)


def test_what_cannot_be_had_is_told(potential):
    system = from_ase(cluster(n=1))
    with pytest.raises(ValueError, match=r"unknown properties \['magic'\]; known: \['energy'"):
        predict(potential, system, properties="magic")
    with pytest.raises(ValueError, match="polarization needs three periodic directions"):
        predict(potential, system, properties="polarization")
    with pytest.raises(ValueError, match="the current needs them"):
        predict(potential, system, properties="current")
    with pytest.raises(ValueError, match="atomic numbers"):
        predict(potential, from_ase(cluster(n=1)[:0] + water_box(n=1)[:1])._replace(
            numbers=torch.tensor([3])))  # fmt: skip


def test_arguments_that_are_none_are_told_by_name(potential):
    system = from_ase(water_box(n=1))
    n = len(system.numbers)
    for wrong, arguments in (
        ("`model` is 'water'", ("water", system)),
        ("`system` is Atoms", (potential, water_box(n=1))),
        ("`pairs` is int", (potential, system, 3)),
        ("`field` is", (potential, system, None, (0, 0, 0.1))),
        ("`system.owned` is", (potential, system._replace(owned=torch.ones(n)))),
        ("`system.owned` is", (potential, system._replace(owned=torch.ones(n - 1).bool()))),
    ):
        with pytest.raises(ValueError, match=wrong):
            predict(*arguments)
    with pytest.raises(ValueError, match=rf"`velocities` is .*\({n}, 3\)"):
        predict(potential, system, properties="current", velocities=torch.zeros(n + 1, 3))


@pytest.mark.parametrize("compute", [lambda p: 1.0, lambda p: p.enthalpy.value])
def test_a_property_is_what_its_row_says(potential, monkeypatch, compute):
    row = Property("odd", "e", False, (3,), (), compute)
    monkeypatch.setitem(PROPERTIES, "odd", row)
    with pytest.raises(ValueError, match=r"property odd returned .* \(1, 3\)"):
        predict(potential, from_ase(water_box(n=1)), properties="odd")


@pytest.mark.parametrize("names", [("energy",), ("energy", "stress")])
def test_positions_that_want_a_gradient_get_one(potential, names):
    system = from_ase(water_box(n=1))
    forces = predict(potential, system, properties="forces")["forces"]
    positions = 1.0 * system.positions.requires_grad_()  # of somebody's graph
    values = predict(
        potential, system._replace(positions=positions), None, None, names, create_graph=True
    )
    (gradient,) = torch.autograd.grad(values["energy"].sum(), system.positions)
    torch.testing.assert_close(-gradient, forces)
    again = predict(potential, system, properties=("energy", "forces", "born_effective_charges"))
    assert not any(value.requires_grad for value in again.values())
    torch.testing.assert_close(again["forces"], forces)


def test_pairs_from_outside_are_checked_at_the_door(potential):
    """Backbones are promised sorted pairs: ours do without, those of others may not."""
    system = from_ase(water_box(n=1))
    pairs = build_pairs(system, potential.cutoff)
    turned = Pairs(*(x.flip(0) for x in pairs))
    with pytest.raises(ValueError, match="must be sorted.*torch.argsort"):
        predict(potential, system, turned)
    order = torch.argsort(turned.i, stable=True)
    found = predict(potential, system, Pairs(*(x[order] for x in turned)))
    expected = predict(potential, system, pairs)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="names atoms from 0 to 9.*from 0 to 2"):
        predict(potential, system, pairs._replace(j=torch.full_like(pairs.j, 9)))
    with pytest.raises(ValueError, match=r"must have i \(E,\)"):
        predict(potential, system, pairs._replace(shift=pairs.shift[1:]))
