"""What a calculator must return, worked out beside it from the documented rules.

Each answer is that of a fresh evaluator for this structure on the branch that was followed, in the
field of the time when it was computed. Every (structure, field) is evaluated once and remembered.
"""

import copy

import numpy as np
import torch
from hypothesis import strategies as st

from lrcalc import Evaluator
from lrcalc.fields import KINDS as HELD
from lrcalc.models.requests import check_request
from lrcalc.system import as_frames
from tests.conftest import random_potential
from tests.sample_structures import TRICLINIC, water_box

SMALL = {"channels": 2, "hidden": 4, "cutoff": 3.0}
WATER = water_box(n=1)
MODELS = {
    "local": random_potential(WATER, level="uiu", **SMALL),
    "atomic": random_potential(WATER, level="u", charges="atomic", **SMALL),
}
NAMES = [
    "energy", "free_energy", "forces", "stress", "dipole", "polarization",
    "born_effective_charges", "polarizability", "charges", "current", "energy", "forces",
    "dipole", "born_effective_charges",
]  # fmt: skip
ALSO = [(), ("dipole",), ("born_effective_charges", "charges")]
E, D, V = (0.02, -0.01, 0.03), (1e-3, 0.0, 2e-3), (0.1, 0.2, -0.1)


def ramp(time):
    return 0.01 * time, 0.0, 0.02


def step(time):
    """The same at all times but one, and nothing at time 3."""
    return {2.0: (0.0, 0.0, 0.05), 3.0: None}.get(time, (0.0, 0.03, 0.0))


FIELDS = [(None, None), ("electric_field", E), ("electric_displacement", D),
          ("reduced_field", V), ("electric_field", ramp), ("reduced_field", step)]  # fmt: skip

# -- structures: few enough that each is evaluated once ----------------------------------------

RNG = np.random.default_rng(5)
SITES = [0.0, 0.05, 0.1]
DIRECTION = RNG.normal(size=(3, 3))
TURNED = WATER.positions[::-1] @ np.diag([1, -1, 1]) + 2.0


def place(atoms, *, site=0, turned=False, shift=(0, 0), scale=1.0, open_=False):
    """Put atoms where a few numbers say; ``shift``: of the first atom, and of which vector."""
    atoms.set_cell(scale * TRICLINIC)
    atoms.pbc = not open_
    base = TURNED if turned else WATER.positions
    atoms.positions = base + SITES[site] * DIRECTION
    atoms.positions[0] += shift[0] * np.asarray(atoms.cell)[shift[1]]


# -- weights that are changed in place ---------------------------------------------------------

FIRST = {name: copy.deepcopy(model.state_dict()) for name, model in MODELS.items()}
WEIGHTS = ["first", "trained", "single"]
WRITTEN = dict.fromkeys(MODELS, "first")
TIMES = dict.fromkeys(MODELS, 0)
"""How often each was written: the same weights again, by way of others, are not recognised."""


def give_weights(model, which):
    """Bring a model's weights into one of a few states, by the ways in which people do it."""
    if WRITTEN[model] == which:
        return
    potential = MODELS[model]
    potential.double().load_state_dict(FIRST[model])
    if which == "trained":
        weights = list(potential.parameters())
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        torch.optim.SGD(weights, lr=1e-3).step()
        potential.zero_grad()
    elif which == "single":
        potential.float()
    WRITTEN[model] = which
    TIMES[model] += 1


def written(potential):
    """State of the weights of one of the models."""
    return next(WRITTEN[name] for name, model in MODELS.items() if model is potential)


# -- the remembered truth ----------------------------------------------------------------------

MEMORY = {}


def numbers_of(atoms):
    return (
        tuple(atoms.numbers), tuple(atoms.pbc), atoms.info.get("charge", 0),
        *(tuple(np.round(x, 9).ravel()) for x in
          (atoms.positions, np.asarray(atoms.cell), atoms.get_velocities())),
    )  # fmt: skip


def truth(potential, atoms, held, asr):
    """Everything that this structure can have, from an evaluator made for it alone."""
    key = (id(potential), written(potential), numbers_of(atoms), held, asr)
    if key not in MEMORY:
        evaluator = Evaluator(potential, asr_projection=asr, allow_net_charge=True)
        for name, value in zip(HELD, held, strict=True):
            setattr(evaluator, name, value)
        wanted = (set(NAMES) | {"electric_field"}) - {"free_energy"}
        if not atoms.pbc.all():
            wanted -= {"stress", "polarization"}
        if potential is MODELS["atomic"]:
            wanted -= {"polarizability"} | ({"stress"} if any(held) else set())
        (result,) = evaluator([atoms], wanted)
        MEMORY[key] = result, evaluator.charge_forces, evaluator.sum_rule_residual
    return copy.deepcopy(MEMORY[key])


class Remembering(Evaluator):
    """An evaluator that refuses what the real one refuses and remembers what it computes."""

    def __call__(self, structures, properties):
        self.charge_forces, self.sum_rule_residual = None, float("nan")
        field = self.field
        check_request(self.potential, [as_frames(a) for a in structures], set(properties),
                      held=set() if field is None else {field.kind},
                      allow_net_charge=self.allow_net_charge)  # fmt: skip
        for atoms in structures:
            if not np.isfinite(atoms.positions).all():
                return super().__call__(structures, properties)
        values = tuple(field.value if field and field.kind == k else None for k in HELD)
        (atoms,) = structures
        result, forces, residual = truth(self.potential, atoms, values, self.asr_projection)
        if "forces" in properties or "stress" in properties:
            self.charge_forces = forces
        if "born_effective_charges" in properties:
            self.sum_rule_residual = residual
        return [{name: result[name] for name in properties}]


class Expected:
    """What a calculator must know, by the rules of its documentation."""

    def __init__(self, model):
        self.model, self.potential = model, MODELS[model]
        self.field = (None, None)
        self.time, self.also, self.asr, self.net = 0.0, (), True, True
        self.follow = True
        self.forget()

    def forget(self, *, branch=True):
        self.atoms, self.held, self.known = None, None, set()
        if branch:
            self.last, self.anchor, self.work, self.at = None, None, 0.0, None

    def held_now(self):
        name, value = self.field
        value = value(self.time) if callable(value) else value
        if name and value is None:
            raise ValueError("no field")
        return tuple(tuple(map(float, value)) if k == name else None for k in HELD)

    def is_of(self, atoms):
        """Same structure; velocities matter to the current alone."""
        if self.atoms is None:
            return False
        a, b = numbers_of(self.atoms), numbers_of(atoms)
        if a[:-1] == b[:-1] and a[-1] != b[-1]:
            self.known.discard("current")
            self.atoms = atoms.copy()
        return a[:-1] == b[:-1]

    def is_known(self, atoms, held=None):
        """Same structure, and no condition has changed since; the time alone does not count."""
        return self.is_of(atoms) and self.same_options() and held in (None, self.held)

    def options(self):
        return self.field, self.asr, self.net, TIMES[self.model]

    def same_options(self):
        return self.atoms is not None and self.under == self.options()

    def unwrap(self, atoms):
        """Positions on the branch: each atom at the image that is next to where it was."""
        positions = atoms.positions.copy()
        if not atoms.pbc.any():
            return positions, False
        if self.last is None:
            return positions, False
        if not (np.array_equal(self.last.numbers, atoms.numbers)
                and np.array_equal(self.last.pbc, atoms.pbc)):  # fmt: skip
            return positions, False
        cell = np.asarray(atoms.cell)
        anchor = np.linalg.solve(np.asarray(self.last.cell).T, self.anchor.T).T
        jump = np.rint(np.linalg.solve(cell.T, positions.T).T - anchor)
        unwrapped = positions - jump @ cell
        moved = np.linalg.norm(unwrapped - anchor @ cell, axis=1)
        return (unwrapped, True) if np.median(moved) < 0.5 else (positions, False)

    def compute(self, atoms, names):
        """Take a calculation into account; ValueError where it must be refused."""
        if not self.is_known(atoms):
            self.forget(branch=False)
        held = self.held_now()
        if not self.is_known(atoms, held):
            self.forget(branch=False)
        if not np.isfinite(atoms.positions).all():
            raise ValueError("NaN")
        names = set(names)
        if names & {"energy", "free_energy", "forces", "stress"}:
            names |= {"energy", "forces", *self.also}
        names.discard("free_energy")
        if any(held):
            names.add("electric_field")
        check_request(self.potential, [as_frames(atoms)], names,
                      held={k for k, v in zip(HELD, held, strict=True) if v},
                      allow_net_charge=self.net)  # fmt: skip
        positions, continued = self.unwrap(atoms)
        if not continued:
            self.work, self.at = (0.0 if self.last is not None else self.work), None
        if not atoms.pbc.any():
            self.last, self.work, self.at = None, 0.0, None
        else:
            self.last, self.anchor = atoms.copy(), positions
        self.atoms, self.held, self.followed = atoms.copy(), held, positions
        self.under = self.options()
        if "energy" in names:
            self.known.add("free_energy")
            forces = self.evaluated()[1]
            if forces is None:
                self.work, self.at = 0.0, None
            else:
                if self.at is not None:
                    self.work += 0.5 * ((forces + self.at[1]) * (positions - self.at[0])).sum()
                self.at = positions, forces
        self.known |= names

    def evaluated(self):
        seen = self.atoms.copy()
        if self.follow:
            seen.positions = self.followed
        return truth(self.potential, seen, self.held, self.asr)

    def value(self, name):
        result, _, _ = self.evaluated()
        if name in ("energy", "free_energy"):
            return result["energy"] - self.work
        if name == "stress":
            return result["stress"].reshape(9)[[0, 4, 8, 5, 2, 1]]
        return result[name]

    def check(self, calculator):
        """All that the calculator shows is of the last structure under its condition."""
        assert set(calculator.results) == self.known
        for name in self.known:
            close(calculator.results[name], self.value(name), name)
        residual = self.evaluated()[2] if "born_effective_charges" in self.known else np.nan
        close(calculator.sum_rule_residual, residual, "sum_rule_residual")
        close(calculator.charge_work, self.work, "charge_work")


def close(value, expected, name):
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-10, err_msg=name)


def some(*values):
    """A strategy; what comes first is drawn most."""
    return st.sampled_from([v for n, v in enumerate(values) for _ in range(len(values) - n)])


which = some(0, 0, 1, 0, 1, 2)
