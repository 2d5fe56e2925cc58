"""Evaluator and i-PI engine: an answer depends on this call's structures and fields alone.

Random sequences of calls, of changed fields and of failures; each answer is compared with that of
an evaluator that was made for it.
"""

import json

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from lrcalc import Evaluator
from lrcalc.fields import KINDS as HELD
from lrcalc.ipi import DriverSettings
from lrcalc.ipi.driver import Engine
from lrcalc.units import BOHR, HARTREE
from tests.conftest import random_potential
from tests.sample_structures import TRICLINIC, water_box
from tests.sequences import quick

SMALL = {"channels": 2, "hidden": 4, "cutoff": 3.0}
WATER = water_box(n=1)
MODELS = {
    "local": random_potential(WATER, level="uiu", **SMALL),
    "atomic": random_potential(WATER, level="u", charges="atomic", **SMALL),
}
NAMES = ["energy", "forces", "stress", "dipole", "born_effective_charges", "polarizability",
         "charges", "current", "electric_field"]  # fmt: skip
FIELDS = [
    {}, {"electric_field": (0.02, -0.01, 0.03)}, {"electric_field": (0.0, 0.0, -0.02)},
    {"electric_displacement": (1e-3, 0.0, 2e-3)}, {"reduced_field": (0.1, 0.2, -0.1)},
]  # fmt: skip


def structures():
    """A few of different sizes, boundaries, charges, and two of the same atoms."""
    one, two = WATER.copy(), WATER.copy()
    two.rattle(0.03, seed=1)
    two.set_momenta(np.random.default_rng(3).normal(size=(3, 3)))
    pair = water_box(n=2)
    free = WATER.copy()
    free.pbc = False
    charged = two.copy()
    charged.info["charge"] = 1
    return [one, two, pair, free, charged]


POOL = structures()
MEMORY = {}


def alone(model, index, held, names):
    """One structure, one call, one evaluator; None for what it refuses."""
    key = model, index, str(held), tuple(sorted(set(names)))
    if key not in MEMORY:
        evaluator = Evaluator(MODELS[model], allow_net_charge=True, **held)
        try:
            (result,) = evaluator([POOL[index]], names)
        except ValueError:
            MEMORY[key] = None
        else:
            MEMORY[key] = result, evaluator.charge_forces, evaluator.sum_rule_residual
    return MEMORY[key]


def close(value, expected, name):
    np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-10, err_msg=name)


class Batches(RuleBasedStateMachine):
    @initialize(model=st.sampled_from(sorted(MODELS)))
    def start(self, model):
        self.model, self.held, self.residual = model, {}, float("nan")
        self.evaluator = Evaluator(MODELS[model], allow_net_charge=True)

    @rule(
        field=st.sampled_from(FIELDS),
        change=st.booleans(),
        batch=st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=3),
        names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
        broken=st.sampled_from([False, False, True]),
    )
    def call(self, field, change, batch, names, broken):
        if change:
            for name in HELD:
                setattr(self.evaluator, name, None)
            for name, value in field.items():
                setattr(self.evaluator, name, value)
            self.held = field
        if broken:
            bad = POOL[batch[0]].copy()
            bad.positions[0] = np.nan
            with pytest.raises(ValueError):  # noqa: PT011
                self.evaluator([*(POOL[k] for k in batch), bad], names)
            assert self.evaluator.charge_forces is None
            close(self.evaluator.sum_rule_residual, self.residual, "sum_rule_residual")
        expected = [alone(self.model, k, self.held, names) for k in batch]
        if None in expected:
            with pytest.raises(ValueError):  # noqa: PT011
                self.evaluator([POOL[k] for k in batch], names)
            return
        answers = self.evaluator([POOL[k] for k in batch], names)
        for answer, (right, _, _) in zip(answers, expected, strict=True):
            assert set(answer) == set(names)
            for name in names:
                close(answer[name], right[name], name)
        forces = [f for _, f, _ in expected]
        if all(f is None for f in forces):
            assert self.evaluator.charge_forces is None
        else:
            rows = [np.zeros((len(POOL[k]), 3)) if f is None else f
                    for k, f in zip(batch, forces, strict=True)]  # fmt: skip
            close(self.evaluator.charge_forces, np.concatenate(rows), "charge_forces")
        if "born_effective_charges" in names:  # kept until they are asked for again
            self.residual = max(r for *_, r in expected)
        close(self.evaluator.sum_rule_residual, self.residual, "sum_rule_residual")
        for answer in answers:  # whoever gets an answer may do with it what he likes
            for value in answer.values():
                if isinstance(value, np.ndarray):
                    value += 7.0


FRAMES = [WATER.positions, WATER.positions + 0.05, POOL[1].positions]
CELLS = [TRICLINIC, 1.02 * TRICLINIC]
TRUTH = {}


def frame(n, cell):
    atoms = WATER.copy()
    atoms.set_cell(CELLS[cell])
    atoms.positions = FRAMES[n]
    return atoms


def message_of(n, cell, held):
    """Answers of a fresh evaluator, and the virial they mean (differences: test_ipi_model)."""
    key = n, cell, str(held)
    if key not in TRUTH:
        atoms = frame(n, cell)
        names = ["energy", "forces", "dipole", "stress", "electric_field"]
        (result,) = Evaluator(MODELS["local"], **held)([atoms], names)
        virial = -atoms.get_volume() * result["stress"]
        if "reduced_field" not in held:  # that one turns with the cell
            outer = np.outer(result["electric_field"], result["dipole"])
            virial = virial + 0.5 * (outer - outer.T)
        TRUTH[key] = result, virial
    return TRUTH[key]


class Driven(RuleBasedStateMachine):
    """What i-PI sees, whatever was sent before, and whatever field is set in between."""

    @initialize()
    def start(self):
        self.template = WATER.copy()
        self.held = {}
        options = DriverSettings(max_force=0.0, extras=("dipole",), atoms_per_call=6)
        self.engine = Engine(options, self.template, Evaluator(MODELS["local"]))
        frames = [np.asarray(self.template.cell).T / BOHR], [self.template.positions / BOHR]
        self.engine(*frames)

    @rule(
        field=st.sampled_from(FIELDS),
        change=st.booleans(),
        batch=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=4),
        broken=st.sampled_from([False, False, True]),
        swap=st.sampled_from([False, False, True]),
    )
    def call(self, field, change, batch, broken, swap):
        if change:
            for name in HELD:
                setattr(self.engine.evaluator, name, None)
            for name, value in field.items():
                setattr(self.engine.evaluator, name, value)
            self.held = field
        if swap:  # whoever made the template goes on using it
            self.template.numbers = self.template.numbers[::-1]
            self.template.pbc = not self.template.pbc[0]
        if broken:
            with pytest.raises(ValueError, match="NaN"):
                self.engine([TRICLINIC.T / BOHR], [np.full((3, 3), np.nan)])
        sent = [frame(*k) for k in batch]
        messages = self.engine(
            [np.asarray(a.cell).T / BOHR for a in sent], [a.positions / BOHR for a in sent]
        )
        for (n, cell), got in zip(batch, messages, strict=True):
            right, virial = message_of(n, cell, self.held)
            close(got.potential * HARTREE, right["energy"], "energy")
            np.testing.assert_allclose(got.force * HARTREE / BOHR, right["forces"], atol=1e-8)
            np.testing.assert_allclose(got.virial * HARTREE, virial, atol=1e-8)
            dipole = np.array(json.loads(got.extras)["dipole"]) * BOHR
            np.testing.assert_allclose(dipole, right["dipole"], atol=1e-8)


QUICK = quick(max_examples=8, stateful_step_count=6)
LONG = settings(QUICK, max_examples=2000, stateful_step_count=6)


class TestBatches(Batches.TestCase):
    settings = QUICK


class TestDriven(Driven.TestCase):
    settings = QUICK


@pytest.mark.long
@pytest.mark.timeout(7200)
class TestManyBatches(Batches.TestCase):
    settings = LONG


@pytest.mark.long
@pytest.mark.timeout(7200)
class TestManyDriven(Driven.TestCase):
    settings = LONG
