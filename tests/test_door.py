"""The door: the same again passes without a look, what has changed is asked again."""

import numpy as np
import pytest

from lrcalc import Evaluator, Field
from tests.adapters.toy import toy_maceles
from tests.conftest import random_potential
from tests.sample_structures import water_box

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
