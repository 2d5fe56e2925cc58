"""The door: the same again passes without a look, what has changed is asked again."""

import warnings

import numpy as np
import pytest

from lrcalc import Evaluator, Field, LRCalculator
from tests.adapters.toy import toy_maceles
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

FIELD = Field("electric_field", (0.0, 0.1, 0.05))


def small_potential(**options):
    return random_potential(water_box(n=2), level="uiu", channels=4, hidden=4, **options)


def nan_position(atoms, evaluator):
    atoms.positions[1, 2] = np.nan


def no_volume(atoms, evaluator):
    atoms.cell[2] = atoms.cell[1]


def charged(atoms, evaluator):
    atoms.info["charge"] = 1.0


def another_species(atoms, evaluator):
    atoms.numbers[0] = 9


def forgotten_species(atoms, evaluator):
    evaluator.potential.species = (8,)


def iterated_response(atoms, evaluator):
    evaluator.potential.config["iterations"] = 2


def short_ranged(atoms, evaluator):
    evaluator.potential.config["level"] = "sr"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_position, "NaN"), (no_volume, "spans no volume"), (charged, "net charge of 1 e"),
        (another_species, r"the structure has \[9\]"),
        (forgotten_species, r"the structure has \[1\]"),
        (iterated_response, "iterates its response"), (short_ranged, "short-ranged"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)  # fmt: skip
def test_what_changes_in_place_is_looked_at_again(change, message):
    atoms, evaluator = water_box(n=2), Evaluator(small_potential(), field=FIELD)
    for _ in range(2):
        evaluator([atoms], ["energy", "forces"])
    change(atoms, evaluator)
    with pytest.raises(ValueError, match=message):
        evaluator([atoms], ["energy", "forces"])


def test_a_potential_may_change_its_precision_between_calls():
    atoms, evaluator = water_box(n=2), Evaluator(small_potential(), field=FIELD)
    (double,) = evaluator([atoms], ["forces"])
    evaluator.potential.float()
    (single,) = evaluator([atoms], ["forces"])
    error = np.abs(single["forces"] - double["forces"]).max() / np.abs(double["forces"]).max()
    assert 0 < error < 1e-4


@pytest.mark.parametrize("bad", [[], [None], "atoms", "nan"])
def test_a_refused_call_leaves_no_charge_forces_of_the_call_before(bad):
    atoms = water_box(n=2)
    evaluator = Evaluator(small_potential(charges="atomic"), field=FIELD)
    evaluator([atoms], ["forces"])
    assert evaluator.charge_forces is not None
    nan = atoms.copy()
    nan.positions[0] = np.nan
    with pytest.raises(ValueError, match="structures|NaN"):
        evaluator({"atoms": atoms, "nan": [nan]}.get(bad, bad) if isinstance(bad, str) else bad,
                  ["forces"])  # fmt: skip
    assert evaluator.charge_forces is None


def test_a_charge_that_a_converted_model_does_not_hear_of_is_told_once():
    """Its energies are those of the file; a charge in them would be another model's."""
    atoms = water_box(n=2)
    evaluator = Evaluator(toy_maceles())
    (neutral,) = evaluator([atoms], ["energy"])
    atoms.info["charge"] = 1.0
    with pytest.warns(UserWarning, match="total charge 1 e, but energies and forces") as told:
        (ion,) = evaluator([atoms], ["energy"])
    assert len(told) == 1
    evaluator([atoms], ["energy", "forces"])  # a second warning would be an error
    assert ion["energy"] == neutral["energy"]


def of_charges(*known):
    """A model whose card says that its frames have these total charges."""
    potential = random_potential(cluster(n=2), level="u", channels=4, hidden=4)
    potential.metadata["total_charges"] = list(known)
    return potential


@pytest.mark.parametrize(
    ("known", "charge", "words"),
    [
        ((0.0,), 1.0, ["total charge +1 e", "trained on have 0 e alone", "not learned"]),
        ((-1.0, 1.0), 0.0, ["total charge 0 e", "have -1, +1 e alone", "charge="]),
    ],
)
def test_a_total_charge_that_no_training_frame_has_is_told_once(known, charge, words, recwarn):
    atoms = cluster(n=2)
    atoms.info["charge"] = charge
    atoms.calc = LRCalculator(of_charges(*known), dtype="float64")
    warnings.simplefilter("always")
    atoms.get_forces()
    atoms.info["charge"] = charge + 2.0  # another of them: it has been said
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    atoms.calc.get_property("dipole", atoms)
    (told,) = recwarn.list
    assert all(word in str(told.message) for word in ("total charge", *words))
    assert told.filename == __file__


@pytest.mark.parametrize(("known", "charge"), [((0.0, 1.0), 1.0), ((0.0,), 0.0), ((), 3.0)])
def test_total_charges_that_are_known_or_of_which_nobody_knows(known, charge, recwarn):
    atoms = cluster(n=2)
    atoms.info["charge"] = charge
    Evaluator(of_charges(*known))([atoms], ["energy"])
    assert not recwarn.list


def test_one_charge_among_many_structures_is_found():
    atoms = [cluster(n=2) for _ in range(4)]
    atoms[2].info["charge"] = -1.0
    with pytest.warns(UserWarning, match="total charge -1 e"):
        Evaluator(of_charges(0.0))(atoms, ["energy"])


ATOMIC = "forces E·born on them are no derivative of any energy"


def test_a_field_on_atomic_charges_in_a_cell_is_told_once(recwarn):
    """A relaxation or a run in it has no energy that the forces are derivatives of."""
    atoms = water_box(n=2)
    potential = small_potential(charges="atomic")
    atoms.calc = LRCalculator(potential, dtype="float64", field=FIELD)
    warnings.simplefilter("always")  # one from each call, if it came
    for _ in range(2):
        atoms.set_cell(1.01 * atoms.cell[:], scale_atoms=True)  # which is looked at again
        atoms.get_forces()
    (told,) = recwarn.list
    assert ATOMIC in str(told.message)
    assert "less their work" in str(told.message)


@pytest.mark.parametrize("what", ["local", "no field", "zero field", "open", "dipole alone"])
def test_a_field_whose_enthalpy_exists_is_not_told_of(what, recwarn):
    atoms = cluster(n=2) if what == "open" else water_box(n=2)
    potential = small_potential(charges="local" if what == "local" else "atomic")
    none = {"no field": None, "zero field": Field("electric_field", (0.0, 0.0, 0.0))}
    evaluator = Evaluator(potential, field=none.get(what, FIELD))
    evaluator([atoms], ["dipole"] if what == "dipole alone" else ["energy", "forces"])
    assert not recwarn.list


def test_the_forces_that_are_warned_of_are_no_derivative_of_the_energy():
    """By central differences, of an evaluator, which keeps no account of their work."""
    atoms, step = water_box(n=2), 1e-4
    evaluator = Evaluator(small_potential(charges="atomic"), field=FIELD)

    def energy(shift):
        moved = atoms.copy()
        moved.positions[0, 1] += shift
        return evaluator([moved], ["energy"])[0]["energy"]

    slope = (energy(step) - energy(-step)) / (2 * step)
    (found,) = evaluator([atoms], ["forces"])
    assert abs(found["forces"][0, 1] + slope) > 1e-3
    whole = found["forces"] - evaluator.charge_forces
    assert whole[0, 1] == pytest.approx(-slope, abs=1e-6)
