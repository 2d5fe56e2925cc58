"""Steps in arrays of fixed shapes give what the ordinary path gives, whatever happens in a run."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from lrcalc import Evaluator
from lrcalc.captured.launch import NotCaptured
from lrcalc.captured.stage import Stage
from lrcalc.captured.steps import Steps
from lrcalc.electrostatics import Ewald
from tests.conftest import random_potential
from tests.electrostatics.test_ewald import NoLookAtValues
from tests.sample_structures import cluster, water_box

KINDS = {
    "periodic": lambda: [water_box(seed=2)],
    "cluster": lambda: [cluster()],
    "beads": lambda: [water_box(seed=2), water_box(seed=2)],
}
FIELDS = [
    {},
    {"electric_field": (0.0, 0.1, 0.05)},
    {"electric_displacement": (0.0, 0.001, 0.002)},
    {"reduced_field": (0.1, 0.2, 0.0)},
]


def potential_of(level="uiu", charges="local", **more):
    return random_potential(
        water_box(),
        level=level,
        charges=charges,
        prior="zbl",
        wall=[[1.7, 1.05], [1.05, 2.9]],
        transfer_cutoff=3.0,
        **more,
    )


def pair_of_evaluators(potential, **field):
    """One with arrays of fixed shapes, and one as ever."""
    made = [Evaluator(potential, dtype="float64", **field) for _ in range(2)]
    made[0].steps = Steps(torch.device("cpu"), launch=False, eager=True)
    made[0].capture = True
    return made


def compare(one, other, structures, names):
    found, expected = (evaluator(structures, names) for evaluator in (one, other))
    assert one.steps.reason is None, one.steps.reason
    for a, b in zip(found, expected, strict=True):
        assert set(a) == set(b)
        for name in names:
            scale = max(1e-3, float(np.abs(b[name]).max()))
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-10 * scale, err_msg=name)
    assert (one.charge_forces is None) == (other.charge_forces is None)
    if one.charge_forces is not None:
        np.testing.assert_allclose(one.charge_forces, other.charge_forces, atol=1e-11)
    np.testing.assert_allclose(one.sum_rule_residual, other.sum_rule_residual, atol=1e-11)


def move(structures, rng, size=0.015):
    for atoms in structures:
        atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)


@pytest.mark.parametrize("field", FIELDS, ids=lambda x: next(iter(x), "none"))
@pytest.mark.parametrize(
    ("level", "charges", "kind", "more"),
    [
        ("uiu", "local", "periodic", {}),
        ("uQiqiu", "local", "beads", {"layers": 2, "transfer_hops": 2}),
        ("u", "atomic", "periodic", {}),
        ("uQiqiu", "atomic", "cluster", {"anisotropic": True}),
        ("q", "local", "cluster", {}),
    ],
)
def test_a_run(level, charges, kind, more, field):
    closed = kind != "cluster"
    if field and "electric_field" not in field and not (closed and charges == "local"):
        pytest.skip("a condition of periodic structures with local charges")
    one, other = pair_of_evaluators(potential_of(level, charges, **more), **field)
    structures, rng = KINDS[kind](), np.random.default_rng(0)
    names = ["energy", "forces", "dipole", "born_effective_charges", "charges", "electric_field"]
    names += ["stress"] if closed and charges == "local" else []
    names += ["polarizability"] if "i" in level and "electric_displacement" not in field else []
    for step in range(6):
        move(structures, rng)
        if step == 3 and closed:
            for atoms in structures:
                atoms.set_cell(np.asarray(atoms.cell) * 1.01, scale_atoms=True)
        if step == 5 and field:
            ((name, value),) = field.items()
            for evaluator in (one, other):
                setattr(evaluator, name, 2.0 * np.array(value))
        compare(one, other, structures, names)
    # a cell that moves is another step than one that stands still; a field that changes is not
    assert one.steps.recorded == (2 if closed else 1)
    assert one.steps.stage.searches < 6


def test_new_candidates_before_a_pair_is_missed():
    one, other = pair_of_evaluators(potential_of("u"))
    structures, rng = [water_box(n=4, seed=2)], np.random.default_rng(1)
    for size in [0.05] * 3 + [0.3] * 2:
        for atoms in structures:
            atoms.positions += rng.uniform(-size, size, 3) + rng.uniform(
                -size / 6, size / 6, atoms.positions.shape
            )
        structures[0].positions[:3] += size
        compare(one, other, structures, ["energy", "forces"])
    assert one.steps.stage.searches > 1


def test_other_atoms_weights_and_properties():
    potential = potential_of("u")
    one, other = pair_of_evaluators(potential)
    structures = [water_box(seed=2)]
    compare(one, other, structures, ["energy", "forces"])
    compare(one, other, structures, ["energy", "forces", "dipole"])
    assert one.steps.recorded == 2
    with torch.no_grad():
        potential.readout.weight *= 1.1
    compare(one, other, structures, ["energy", "forces"])
    assert one.steps.recorded == 3
    for others in ([water_box(seed=3)], [water_box(seed=3, n=3)], [cluster()], structures):
        compare(one, other, others, ["energy", "forces"])


def test_atoms_of_a_denser_structure_find_room(monkeypatch):
    one, other = pair_of_evaluators(potential_of("u"))
    wide = water_box(cell=np.diag([40.0, 41.0, 42.0]), seed=3)
    compare(one, other, [wide], ["energy", "forces"])
    before = one.steps.stage.sizes
    dense = water_box(seed=3)
    compare(one, other, [dense], ["energy", "forces"])
    assert not before.hold(one.steps.stage.sizes)


def test_overlapping_atoms_are_named():
    one, _ = pair_of_evaluators(potential_of("u"))
    atoms = water_box(seed=2)
    one([atoms], ["energy"])
    atoms.positions[3] = atoms.positions[0] + 0.1
    with pytest.raises(ValueError, match="atoms 0 and 3 are"):
        one([atoms], ["energy"])


def test_only_what_comes_again_is_recorded():
    one, other = pair_of_evaluators(potential_of("u"))
    one.steps = Steps(torch.device("cpu"), launch=False)
    atoms = [water_box(seed=2)]
    one(atoms, ["energy"])
    assert one.steps.reason == "asked for the first time"
    compare(one, other, atoms, ["energy"])


@pytest.mark.parametrize(
    ("options", "pbc", "reason"),
    [
        ({"iterations": None, "level": "uiu"}, True, "iterated"),
        ({"level": "u"}, [True, True, False], "slabs"),
    ],
)
def test_what_cannot_be_recorded_is_evaluated_as_ever(options, pbc, reason):
    one, _ = pair_of_evaluators(potential_of(**options))
    (result,) = one([water_box(seed=2, pbc=pbc)], ["energy"])
    assert np.isfinite(result["energy"])
    assert reason in one.steps.reason


@pytest.mark.parametrize("level", ["u", "uQiqiu"])
@pytest.mark.parametrize("moving", [False, True])
def test_a_step_looks_at_no_value(level, moving, monkeypatch):
    """Once plans are made: a GPU would be waited for, and a recorded step would not be repeated."""
    one, other = pair_of_evaluators(potential_of(level, layers=2), electric_field=(0.0, 0.1, 0.0))
    structures, rng = [water_box(seed=2)], np.random.default_rng(0)
    names = ["energy", "forces", "stress", "dipole", "born_effective_charges"]
    names += ["polarizability"] if "i" in level else []

    def undispatched(owner, name):
        plain = getattr(owner, name)

        def call(*arguments, **keywords):
            with _disable_current_modes():
                return plain(*arguments, **keywords)

        monkeypatch.setattr(owner, name, call)

    from lrcalc.models.native import local

    one(structures, names)
    if moving:
        structures[0].set_cell(np.asarray(structures[0].cell) * 1.01, scale_atoms=True)
        one(structures, names)
    undispatched(Ewald, "plan")
    undispatched(local, "sort_by_species")
    compute = Steps._compute

    def watched(*arguments):
        with NoLookAtValues():
            return compute(*arguments)

    monkeypatch.setattr(Steps, "_compute", watched)
    before = one.steps.recorded
    move(structures, rng)
    compare(one, other, structures, names)
    assert one.steps.recorded == before
    assert isinstance(one.steps.stage, Stage)


class Faked:
    """A launch without a GPU: what was recorded, with an error if asked for."""

    def __init__(self, compute, pool, check, change=None):
        self.pool, self._compute, self._change = pool, compute, change
        wrong = check(compute().numpy(), self())
        if wrong is not None:
            raise NotCaptured(wrong)

    def __call__(self):
        out = self._compute().numpy().copy()
        if self._change is not None:
            self._change(out)
        return out


def with_launches(monkeypatch, make):
    """Evaluators as of `pair_of_evaluators`, the first with launches that are faked."""
    monkeypatch.setattr("lrcalc.captured.steps.Launch", make)
    one, other = pair_of_evaluators(potential_of("u"))
    one.steps = Steps(torch.device("cpu"), launch=True)
    return one, other


def twice(evaluator, names=("energy", "forces")):
    atoms = [water_box(seed=2)]
    return [evaluator(atoms, names)[0] for _ in range(3)][-1]


def test_a_launch_is_compared_with_the_step_and_the_ordinary_path(monkeypatch):
    asked = []
    monkeypatch.setattr(Steps, "confirm", lambda self, *what: asked.append(what))
    one, other = with_launches(monkeypatch, Faked)
    found, expected = twice(one), twice(other)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-10)
    ((request, values, ordinary),) = asked
    assert request.names == {"energy", "forces"}
    torch.testing.assert_close(values["forces"], ordinary["forces"])
    assert one.steps.reason is None


def test_a_launch_that_gives_something_else_is_not_used(monkeypatch):
    def wrong(out):
        out[4] += 0.01  # a force

    one, other = with_launches(monkeypatch, lambda *x: Faked(*x, change=wrong))
    found, expected = twice(one), twice(other)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-10)
    assert "forces differs" in one.steps.reason


@pytest.mark.filterwarnings("ignore:steps are not recorded")
def test_a_recorded_step_that_is_another_than_the_ordinary_path_is_not_used(monkeypatch):
    one, other = with_launches(monkeypatch, Faked)
    compute = Steps._compute

    def wrong(self, *what):
        out = compute(self, *what)
        out[4] += 0.01
        return out

    monkeypatch.setattr(Steps, "_compute", wrong)
    found, expected = twice(one), twice(other)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-10)
    assert "ordinary path: forces differs" in one.steps.reason


def test_whatever_breaks_is_left_to_the_ordinary_path_and_told_once(monkeypatch):
    def broken(self):
        raise OSError("no compiler")

    one, other = with_launches(monkeypatch, Faked)
    monkeypatch.setattr(Stage, "search", broken)
    with pytest.warns(UserWarning, match="OSError: no compiler") as told:
        found = twice(one)
    assert len(told) == 1
    np.testing.assert_allclose(found["forces"], twice(other)["forces"], atol=1e-10)
    assert one.steps.reason == "OSError: no compiler"
