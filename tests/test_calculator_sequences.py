"""A calculator never returns another structure's result: random sequences of calls.

What is expected is worked out beside the calculator from the documented rules: each answer is that
of a fresh evaluator for this structure on the branch that was followed, in the field of the time
when it was computed. Every (structure, field) is evaluated once and remembered, for both sides:
what is tested is which of them the calculator returns.
"""

import contextlib
import copy
import pickle

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from lrcalc import LRCalculator
from lrcalc.fields import KINDS as HELD
from tests.calculator_rules import (
    ALSO,
    DIRECTION,
    FIELDS,
    MODELS,
    NAMES,
    WATER,
    WEIGHTS,
    E,
    Expected,
    Remembering,
    close,
    give_weights,
    place,
    some,
    which,
)
from tests.sequences import quick


class Calls(RuleBasedStateMachine):
    """Three structures, up to three calculators; changes and questions in any order.

    One rule draws both, so that a question often follows upon one change.
    """

    @initialize(model=some("local", "atomic"), field=st.sampled_from(FIELDS))
    def start(self, model, field):
        self.atoms = [WATER.copy() for _ in range(3)]
        place(self.atoms[1], turned=True)
        place(self.atoms[2], site=1)
        calculator = LRCalculator(MODELS[model], allow_net_charge=True)
        calculator.evaluator.__class__ = Remembering
        self.calculators, self.expected = [calculator], [Expected(model)]
        give_weights(model, "first")
        if field[0] and (model == "local" or field[0] == "electric_field"):
            setattr(calculator, *field)
            self.expected[0].field = field

    @rule(data=st.data())
    def turn(self, data):
        self.draw = data.draw
        for _ in range(self.draw(some(1, 0, 2))):
            self.call(CHANGES)
        self.call(QUESTIONS)

    def call(self, kinds):
        self.w = self.draw(which) % len(self.calculators)
        self.calculator, self.model = self.calculators[self.w], self.expected[self.w]
        self.structure = self.atoms[self.draw(which)]
        getattr(self, self.draw(st.sampled_from(kinds)))()

    # structures change in place

    def move(self):
        place(
            self.structure, site=self.draw(st.integers(0, 2)), turned=self.draw(some(False, True)),
            shift=(self.draw(st.integers(-1, 1)), self.draw(which)),
            scale=self.draw(some(1.0, 1.02)), open_=self.draw(some(False, False, False, True)),
        )  # fmt: skip

    def nudge(self):
        self.structure.positions[0, 0] += self.draw(st.sampled_from([-1e-3, 1e-3]))
        self.structure.positions = np.round(self.structure.positions, 3)

    def wrap_one_atom(self):
        atoms = self.structure
        if np.abs(atoms.positions).max() < 15:
            sign, a = self.draw(st.sampled_from([-1, 1])), self.draw(which)
            atoms.positions[self.draw(which)] += sign * np.asarray(atoms.cell)[a]

    def set_charge(self):
        self.structure.info.pop("charge", None)
        charge = self.draw(some(None, 1, 0, 1.0))
        if charge is not None:
            self.structure.info["charge"] = charge

    def swap_species(self):
        self.structure.numbers = self.structure.numbers[::-1]

    def set_velocities(self):
        heavy = self.draw(st.booleans())
        self.structure.set_masses([4.0, 5.0, 6.0] if heavy else None)
        self.structure.set_momenta(self.draw(st.sampled_from([0.0, 1.0, -2.0])) * DIRECTION)

    # conditions change

    def hold(self):
        name, value = self.draw(st.sampled_from(FIELDS))
        self.calculator.time = self.model.time = 0.0
        for other in HELD:
            setattr(self.calculator, other, None)
        if name and self.draw(st.booleans()):
            self.calculator.set(**{name: value})
        elif name:
            setattr(self.calculator, name, value)
        self.model.field = (name, value)
        self.model.forget(branch=False)

    def clock(self):
        self.calculator.time = self.model.time = self.draw(some(1.0, 2.0, 0.0, 3.0))
        self.calculator._unmoved = 0  # the warning about a clock that stands still: elsewhere

    def come_along(self):
        self.calculator.also = self.model.also = self.draw(some(*ALSO))

    def options_of_the_evaluator(self):
        """Also what is set past the calculator."""
        name, own = self.draw(some(("asr_projection", "asr"), ("allow_net_charge", "net")))
        value = not getattr(self.model, own)
        setattr(self.calculator.evaluator, name, value)
        setattr(self.model, own, value)

    def field_of_the_evaluator(self):
        if self.model.field[0] == "electric_field" and not callable(self.model.field[1]):
            value = self.draw(st.sampled_from([E, (0.0, 0.0, 0.01)]))
            if value != self.model.field[1]:
                self.calculator.evaluator.electric_field = value
                self.model.field = ("electric_field", value)

    def write_weights(self):
        """In place; all calculators share the potential."""
        give_weights(self.model.model, self.draw(some(*WEIGHTS)))

    def forget(self):
        kind = self.draw(st.sampled_from(["reset", "reset_branch", "follow", "work"]))
        if kind == "follow":
            self.calculator.follow_branch = self.model.follow = not self.model.follow
        elif kind == "work":
            self.calculator.charge_work = 0.25
        else:
            getattr(self.calculator, kind)()
        self.model.forget(branch=kind != "reset")
        if kind == "work":
            self.model.work = 0.25

    def another_calculator(self):
        twin = copy.deepcopy(self.model, {id(self.model.potential): self.model.potential})
        make = {
            "copy": copy.copy, "deepcopy": copy.deepcopy,
            "pickle": lambda c: pickle.loads(pickle.dumps(c)),
        }[self.draw(some("copy", "deepcopy", "pickle"))]  # fmt: skip
        other = make(self.calculator)
        # the parameters are the same: let it share the remembered truth
        other.evaluator.potential = twin.potential
        if other._conditions:
            other._conditions = other._now()
        place = self.draw(which) % (len(self.calculators) + 1)
        self.calculators[place : place + (len(self.calculators) == 3)] = [other]
        self.expected[place : place + (len(self.expected) == 3)] = [twin]

    # questions

    def is_known(self, name):
        return self.model.is_known(self.structure) and name in self.model.known

    def ask(self, question, names):
        """Put a question that needs a calculation; both must compute it or both must refuse."""
        try:
            self.model.compute(self.structure, names)
        except ValueError:
            with pytest.raises(ValueError):  # noqa: PT011
                question()
            assert set(self.calculator.results) == self.model.known
            return False, None
        return True, question()

    def get_property(self):
        atoms, name = self.structure, self.draw(st.sampled_from(NAMES))
        attached = self.draw(st.booleans()) and name in METHODS

        def question():
            if attached:
                atoms.calc = self.calculator
                return METHODS[name](atoms)
            return self.calculator.get_property(name, atoms)

        done, answer = (True, question()) if self.is_known(name) else self.ask(question, [name])
        if not done:
            return
        close(answer, self.model.value(name), name)
        self.model.check(self.calculator)
        if isinstance(answer, np.ndarray):
            answer += 7.0  # whoever gets an answer may do with it what he likes
            self.model.check(self.calculator)

    def calculate(self):
        names = self.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2))
        said = self.draw(st.sampled_from([(), ([],), (["positions"],)]))  # true or not
        atoms = self.structure
        if self.ask(lambda: self.calculator.calculate(atoms, names, *said), names)[0]:
            self.model.check(self.calculator)

    def without_structure(self):
        name = self.draw(st.sampled_from(NAMES))
        if self.model.same_options():
            self.structure = self.model.atoms.copy()
            known = name in self.model.known
            done, answer = (
                (True, self.calculator.get_property(name)) if known
                else self.ask(lambda: self.calculator.get_property(name), [name])
            )  # fmt: skip
            if done:
                close(answer, self.model.value(name), name)

    def without_calculation(self):
        name = self.draw(st.sampled_from(NAMES))
        known = self.is_known(name)
        answer = self.calculator.get_property(name, self.structure, allow_calculation=False)
        assert (answer is None) == (not known)
        if known:
            close(answer, self.model.value(name), name)
        elif not self.model.is_known(self.structure):
            self.model.forget(branch=False)

    def fails(self):
        """A calculation that fails leaves no result of another structure or condition."""
        atoms, names = self.structure.copy(), ["energy"]
        how = self.draw(st.sampled_from(["NaN", "charge", "name"]))
        if how == "NaN":
            atoms.positions[1, 1] = np.nan
        elif how == "charge":
            atoms.info["charge"] = "abc"
        else:
            names = ["energy", "magic"]
        with pytest.raises(ValueError):  # noqa: PT011
            self.calculator.calculate(atoms, names)
        with contextlib.suppress(ValueError):
            self.model.compute(atoms, names)
        assert set(self.calculator.results) == self.model.known

    def lock(self):
        for value in self.calculator.results.values():
            if isinstance(value, np.ndarray):
                with pytest.raises(ValueError, match="read-only"):
                    value += 1.0
        for name in HELD:
            if getattr(self.calculator, name) is not None:
                with pytest.raises(ValueError, match="read-only"):
                    getattr(self.calculator, name)[0] += 1.0

    def teardown(self):
        for calculator, expected in zip(
            getattr(self, "calculators", []), getattr(self, "expected", []), strict=True
        ):
            if expected.same_options():
                expected.check(calculator)
        for model in MODELS:
            give_weights(model, "first")


CHANGES = [
    "move", "nudge", "wrap_one_atom", "set_charge", "swap_species", "set_velocities",
    "hold", "clock", "clock", "come_along", "options_of_the_evaluator",
    "field_of_the_evaluator", "forget", "another_calculator", "write_weights",
]  # fmt: skip
QUESTIONS = [
    "get_property", "get_property", "get_property", "calculate", "calculate", "calculate",
    "without_structure", "without_calculation", "fails", "lock",
]  # fmt: skip

METHODS = {
    "energy": lambda a: a.get_potential_energy(),
    "free_energy": lambda a: a.get_potential_energy(force_consistent=True),
    "forces": lambda a: a.get_forces(),
    "stress": lambda a: a.get_stress(),
    "dipole": lambda a: a.get_dipole_moment(),
    "charges": lambda a: a.get_charges(),
}

QUICK = quick(max_examples=40, stateful_step_count=20)
LONG = settings(QUICK, max_examples=2000)


class TestCalls(Calls.TestCase):
    settings = QUICK


@pytest.mark.long
@pytest.mark.timeout(3600)
class TestManyCalls(Calls.TestCase):
    settings = LONG
