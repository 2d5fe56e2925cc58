"""Results belong to one structure under one condition: single cases."""

import copy
import pickle

import numpy as np
import pytest
import torch

from lrcalc import LRCalculator
from tests.calculator_rules import DIRECTION, MODELS, TURNED, WATER, E, place, ramp, truth


@pytest.fixture
def pair():
    """Two structures of the same atoms, and what is right for each."""
    a, b = WATER.copy(), WATER.copy()
    place(b, site=2, scale=1.02)
    born = [truth(MODELS["local"], x, (None,) * 3, True)[0]["born_effective_charges"]
            for x in (a, b)]  # fmt: skip
    assert np.abs(born[0] - born[1]).max() > 1e-3
    return a, b, *born


def test_a_direct_calculation_forgets_the_structure_before(pair):
    """As many programs do; the Born charges were those of ``a``."""
    a, b, _, right = pair
    calculator = LRCalculator(MODELS["local"])
    calculator.get_property("born_effective_charges", a)
    calculator.calculate(b, ["energy", "forces"])
    assert "born_effective_charges" not in calculator.results
    assert np.isnan(calculator.sum_rule_residual)
    np.testing.assert_allclose(
        calculator.get_property("born_effective_charges", b), right, rtol=1e-9, atol=1e-10
    )
    # and a dictionary that somebody kept stays that of its structure
    kept = calculator.results
    calculator.calculate(a, ["energy"])
    assert kept is not calculator.results
    np.testing.assert_allclose(kept["born_effective_charges"], right, rtol=1e-9, atol=1e-10)


def test_one_calculator_for_several_structures(pair):
    a, b, first, second = pair
    a.calc = b.calc = LRCalculator(MODELS["local"])
    for _ in range(2):
        for atoms, right in ((a, first), (b, second)):
            atoms.get_potential_energy()
            np.testing.assert_allclose(
                atoms.calc.get_property("born_effective_charges", atoms), right, atol=1e-9
            )


def test_an_open_structure_in_between_starts_a_new_branch():
    atoms = WATER.copy()
    calculator = LRCalculator(MODELS["local"])
    before = calculator.get_property("dipole", atoms)
    atoms.positions[0] += atoms.cell[1]
    followed = calculator.get_property("dipole", atoms)
    np.testing.assert_allclose(followed, before, atol=1e-9)
    free = atoms.copy()
    free.pbc = False
    calculator.get_property("dipole", free)
    expected = truth(MODELS["local"], atoms, (None,) * 3, True)[0]["dipole"]
    np.testing.assert_allclose(calculator.get_property("dipole", atoms), expected, atol=1e-9)
    assert np.abs(expected - before).max() > 0.1


def test_a_failed_call_does_not_end_the_branch():
    """A NaN, or a cell without volume, once reset the branch or stopped with a LinAlgError."""
    atoms = WATER.copy()
    calculator = LRCalculator(MODELS["local"])
    before = calculator.get_property("dipole", atoms)
    broken, flat = atoms.copy(), atoms.copy()
    broken.positions[0, 0] = np.nan
    flat.cell[2] = flat.cell[0]
    for bad, message in ((broken, "NaN"), (flat, "volume")):
        with pytest.raises(ValueError, match=message):
            calculator.get_property("dipole", bad)
    atoms.positions[0] += atoms.cell[1]
    np.testing.assert_allclose(calculator.get_property("dipole", atoms), before, atol=1e-9)


def test_work_belongs_to_one_structure(pair):
    """Another molecule with as many atoms used to be credited with the work on the first."""
    a = pair[0]
    other = a.copy()
    other.positions = TURNED
    calculator = LRCalculator(MODELS["atomic"], electric_field=E)
    alone = calculator.get_potential_energy(other)
    calculator.get_potential_energy(a)
    assert calculator.charge_work == 0
    a.positions += 0.05 * DIRECTION
    calculator.get_potential_energy(a)
    assert abs(calculator.charge_work) > 1e-4
    np.testing.assert_allclose(calculator.get_potential_energy(other), alone, rtol=1e-12)


def test_wrapping_does_no_work():
    """Also where the branch of the dipole is not followed."""
    atoms = WATER.copy()
    calculator = LRCalculator(MODELS["atomic"], electric_field=E, follow_branch=False)
    start = calculator.get_potential_energy(atoms)
    atoms.positions[0] += atoms.cell[0]
    np.testing.assert_allclose(calculator.get_potential_energy(atoms), start, atol=1e-9)


def test_a_calculator_without_structure_says_so():
    calculator = LRCalculator(MODELS["local"])
    with pytest.raises(ValueError, match="no structure yet"):
        calculator.get_property("energy")
    calculator.get_property("energy", WATER)
    calculator.electric_field = E
    with pytest.raises(ValueError, match="no structure yet"):
        calculator.get_property("energy")


def test_what_cannot_be_set_is_named():
    """ASE's own ``set`` takes any word and does nothing with it."""
    calculator = LRCalculator(MODELS["local"])
    assert calculator.set(electric_field=E, time=1.0)
    np.testing.assert_array_equal(calculator.electric_field, E)
    with pytest.raises(ValueError, match="`epsilon_infinity` cannot be set"):
        calculator.set(epsilon_infinity=2.0)


def test_one_field_is_exchanged_for_another_in_one_call():
    calculator = LRCalculator(MODELS["local"], electric_field=E)
    calculator.set(reduced_field=(0, 0, 0.1), electric_field=None)
    assert calculator.electric_field is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon_infinity", 3.0), ("asr_projection", False), ("allow_net_charge", True),
     ("dtype", "float32"), ("device", "cuda"), ("model", "water")],
)  # fmt: skip
def test_nothing_is_set_in_vain(name, value):
    calculator = LRCalculator(MODELS["local"])
    with pytest.raises(AttributeError, match=rf"`{name}` is fixed .*make another"):
        setattr(calculator, name, value)


def test_the_permittivity_of_an_evaluator_can_be_changed():
    """It was written into files and had no effect."""
    calculator = LRCalculator(MODELS["local"], electric_field=E)
    first = calculator.get_property("energy", WATER)
    calculator.evaluator.epsilon_infinity = 3.0
    right = LRCalculator(MODELS["local"], electric_field=E, epsilon_infinity=3.0)
    assert abs(first - right.get_property("energy", WATER)) > 1e-6
    assert calculator.get_property("energy", WATER) == right.get_property("energy", WATER)
    calculator.evaluator.epsilon_infinity = None
    assert calculator.get_property("energy", WATER) == first


def _charge_in_pairs(atoms, charge):
    atoms.info.setdefault("key_value_pairs", {})["charge"] = charge


def _charge_in_array(atoms, charge):
    atoms.info.setdefault("charge", np.array(0.0))[...] = charge


@pytest.mark.parametrize("change", [_charge_in_pairs, _charge_in_array])
def test_a_total_charge_that_is_changed_in_place(change):
    """Copies of a structure share what is in ``info``."""
    atoms, calculator = WATER.copy(), LRCalculator(MODELS["local"])
    for charge in (1, -1, 0):
        change(atoms, charge)
        right = LRCalculator(MODELS["local"]).get_property("energy", atoms)
        assert calculator.get_property("energy", atoms) == right


def _trained(potential):
    weights = [weight.requires_grad_() for weight in potential.parameters()]
    sum(weight.sum() for weight in weights).backward()
    torch.optim.Adam(weights, lr=0.01).step()


def _loaded(potential):
    potential.load_state_dict({k: 1.01 * v for k, v in potential.state_dict().items()})


def _replaced(potential):
    potential.readout.weight = torch.nn.Parameter(1.01 * potential.readout.weight)


@pytest.mark.parametrize("write", [_trained, _loaded, _replaced, torch.nn.Module.float])
def test_weights_that_are_changed_in_place(write):
    """The energy stayed that of the old ones until the structure moved."""
    calculator = LRCalculator(copy.deepcopy(MODELS["local"]))
    for _ in range(2):  # the second write is seen as the first was
        before = calculator.get_property("energy", WATER)
        write(calculator.evaluator.potential)
        copied = copy.deepcopy(calculator)
        right = LRCalculator(copy.deepcopy(calculator.evaluator.potential))
        right = right.get_property("energy", WATER)
        assert right != before or write is torch.nn.Module.float
        with torch.inference_mode():  # looking at weights must work there too
            calculator.check_state(WATER)
        assert calculator.get_property("energy", WATER) == right
        assert copied.get_property("energy", WATER) == right


def test_evaluations_leave_the_count_of_writes_alone():
    """Otherwise nothing that is known would ever be used again; copies keep it too."""
    calculator = LRCalculator("water")
    names = ["energy", "dipole", "born_effective_charges"]
    calculator.calculate(WATER, names)
    for twin in (calculator, copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        for name in names:
            assert twin.get_property(name, WATER, allow_calculation=False) is not None


def test_the_calculators_own_structure_may_be_moved():
    calculator = LRCalculator(MODELS["local"])
    calculator.get_property("energy", WATER)
    calculator.atoms.positions[0] += 0.05
    right = LRCalculator(MODELS["local"]).get_property("energy", calculator.atoms)
    assert calculator.get_property("energy") == right


def test_functions_of_time_in_pickles():
    """A function that has a name goes along; one that has none is refused by name."""
    calculator = LRCalculator(MODELS["local"], electric_field=ramp)
    again = pickle.loads(pickle.dumps(calculator))
    again.time = 2.0
    again.get_property("energy", WATER)
    np.testing.assert_allclose(again.electric_field, ramp(2.0))
    np.testing.assert_array_equal(calculator.electric_field, ramp(0.0))
    nameless = LRCalculator(MODELS["local"], electric_field=lambda time: (0, 0, time))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(nameless)
    twin = copy.deepcopy(nameless)
    twin.time = 1.0
    np.testing.assert_allclose(twin.get_property("electric_field", WATER), (0, 0, 1.0))


def test_conditions_are_told():
    calculator = LRCalculator(MODELS["local"], electric_field=E, epsilon_infinity=1.8)
    told = calculator.todict()
    assert told["electric_field"] == list(E)
    assert told["epsilon_infinity"] == 1.8
    calculator.electric_field = ramp
    assert calculator.todict()["electric_field"] == "function of time"
