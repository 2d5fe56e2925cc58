"""`Ewald`: plans on the host that are remembered, evaluation that looks at no value, own sums."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

import lrcalc
from lrcalc.electrostatics import Ewald, Geometry, Sites, electrostatic_energy, remembered
from lrcalc.electrostatics import ewald as ewald_module
from lrcalc.electrostatics.direct import Direct
from lrcalc.electrostatics.kernels import smeared_coulomb
from lrcalc.electrostatics.operator import plan_groups
from lrcalc.multipoles import Multipoles, PairResponse
from lrcalc.testing import check_electrostatics
from tests.electrostatics.test_energy import CELL, energy_and_forces, system

D = torch.float64
PBC = {
    "direct": [[True] * 3] * 2,
    "mesh": [[True] * 3] * 2,
    "open": [[False] * 3] * 2,
    "slab": [[True, True, False], [False, True, True]],
    "mixed": [[True, True, False], [False] * 3],
}
SLAB_AND_MESH = [[True, True, False], [True] * 3]


def batch_of_two():
    """Two structures of 5 and 3 interleaved atoms with everything that sums and responses know."""
    r, m = system("uQiqiu", atoms=8)
    i, j = torch.tensor([0, 2, 1]), torch.tensor([4, 6, 5])
    pair = PairResponse(i, j, r[j] - r[i], torch.full((3,), 0.01, dtype=D))
    batch = torch.tensor([0, 1, 0, 0, 0, 1, 0, 1])
    return r, torch.stack([CELL, 1.1 * CELL]), m._replace(pair=pair), batch


def planned(method, pbc, iterations, cell_gradient):
    r, cell, m, batch = batch_of_two()
    ewald = Ewald(k_cutoff=3.0, accuracy=1e-3, method=method, iterations=iterations)
    cell = cell.requires_grad_(cell_gradient)
    geometry = Geometry(r, cell, batch, 2, torch.tensor(pbc))
    return ewald, ewald.plan(geometry, m, with_field=True), r, cell, m


def gradients(ewald, plan, r, cell, m):
    """Everything that is asked of the sums: values, first and second derivatives."""
    leaves = [r.requires_grad_(), m.charge.requires_grad_(), m.dipole.requires_grad_()]
    leaves += [cell] if cell.requires_grad else []
    result = ewald.evaluate(plan, r, cell, m)
    first = torch.autograd.grad(result.energy.sum(), leaves, create_graph=True, allow_unused=True)
    second = torch.autograd.grad(first[0].square().sum(), leaves, allow_unused=True)
    return [x.detach() for x in (*result[:7], *first, *second) if x is not None]


class NoLookAtValues(TorchDispatchMode):
    """Refuse what makes the host wait for a device, or a device for the host."""

    FORBIDDEN = (
        "_local_scalar_dense", "item", "nonzero", "nonzero_static", "masked_select", "unique",
        "_unique2", "bincount", "is_nonzero", "equal", "lift_fresh", "_linalg_check_errors",
        "_assert_async",
    )  # fmt: skip

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function._schema.name.split("::")[-1]
        assert name not in self.FORBIDDEN, f"{name} looks at values"
        if name in ("index", "index_put", "index_put_"):
            chosen = [x for x in arguments[1] if x is not None]
            assert all(x.dtype != torch.bool for x in chosen), "a mask picks elements by value"
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(("iterations", "cell_gradient"), [(0, True), (1, False)])
@pytest.mark.parametrize("boundary", PBC)
def test_evaluate_looks_at_no_value(boundary, iterations, cell_gradient):
    method = "auto" if boundary == "mixed" else boundary
    parts = planned(method, PBC[boundary], iterations, cell_gradient)
    expected = gradients(*parts)
    with NoLookAtValues():
        found = gradients(*parts)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_evaluate_runs_on_tensors_without_values():
    """Energies and forces; all other derivatives are looked at above, in a tenth of the time."""
    ewald, *parts = planned("mesh", SLAB_AND_MESH, 0, True)
    fake = FakeTensorMode()
    plan, r, cell, m = tree_map_only(
        torch.Tensor, lambda x: fake.from_tensor(x.detach()), tuple(parts)
    )
    with fake:
        r.requires_grad_()
        energy = ewald.evaluate(plan, r, cell, m).energy
        (slope,) = torch.autograd.grad(energy.sum(), r)
    assert energy.shape == (2,)
    assert slope.shape == r.shape


@pytest.mark.parametrize(
    ("limit", "value"),
    [("direct.BLOCK_BYTES", 100_000), ("open.BLOCK_PAIRS", 40), ("mesh.SORT_ABOVE", 4)],
)
def test_blocks_and_sorting_look_at_no_value(limit, value, monkeypatch):
    monkeypatch.setattr(f"lrcalc.electrostatics.{limit}", value)
    method = limit.split(".")[0]
    parts = planned(method, PBC[method], 0, True)
    with NoLookAtValues():
        gradients(*parts)


def test_the_forbidden_is_noticed():
    x = torch.ones(3)
    for look in (lambda: x.sum().item(), lambda: bool(x.any()), lambda: x[x > 0], x.nonzero,
                 lambda: torch.tensor(2.0), lambda: torch.linalg.inv(x[:1, None])):  # fmt: skip
        with pytest.raises(AssertionError), NoLookAtValues():
            look()


# ---- plans -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["direct", "mesh"])
def test_a_plan_is_remembered_while_cell_and_sizes_stay(method, monkeypatch):
    r, m = system("uQiqiu")
    made = []
    plan = ewald_module.plan_groups
    monkeypatch.setattr(ewald_module, "plan_groups", lambda *a: made.append(a) or plan(*a))
    ewald = Ewald(method=method, accuracy=1e-6)
    cell = CELL.clone()
    batch = torch.zeros(6, dtype=torch.long)

    def agrees(positions, box, parts, expected, **options):
        found = ewald(positions, box, parts, **options)
        exact = electrostatic_energy(positions, box, parts, method=method, accuracy=1e-6, **options)
        made.pop()  # of the other call
        assert len(made) == expected
        torch.testing.assert_close(found.energy, exact.energy, rtol=1e-12, atol=1e-12)

    agrees(r, cell, m, 1)
    agrees(r + 0.3, cell, m, 1)
    agrees(r, cell.clone(), m, 1, batch=batch)
    cell[0, 1] += 0.2  # written into by its owner
    agrees(r, cell, m, 2)
    agrees(r, cell, m._replace(quadrupole=None), 3)
    agrees(r, cell.clone().requires_grad_(), m, 4)
    agrees(r[:5], cell, Multipoles(m.charge[:5]), 5)
    agrees(r.float(), cell.float(), Multipoles(m.charge.float()), 6)
    agrees(r, torch.stack([cell] * 2), m, 7, batch=torch.tensor([0, 1] * 3))
    agrees(r, torch.stack([cell] * 2), m, 8, batch=torch.tensor([0, 0, 0, 1, 1, 1]))
    open_ = torch.tensor([[False] * 3, [True] * 3])
    agrees(r, torch.stack([cell] * 2), m, 9, batch=torch.tensor([0, 1] * 3), pbc=open_)


@pytest.mark.parametrize("pbc", [[[True, True, False]] * 2, [[False] * 3, [True, False, True]]])
def test_the_plan_of_a_slab_follows_its_thickness(pbc):
    r, m = system("uQ")
    ewald = Ewald(accuracy=1e-9)
    options = {"batch": torch.tensor([0, 1, 1, 0, 0, 1]), "pbc": torch.tensor(pbc)}
    cell = torch.stack([CELL] * 2)
    plans = []
    for stretch in (1.0, 1.001, 2.5, 1.0):
        positions = r * stretch
        found = ewald(positions, cell, m, **options)
        exact = electrostatic_energy(positions, cell, m, accuracy=1e-9, **options)
        assert found.energy.tolist() == exact.energy.tolist()
        plans.append(ewald._remembered)
    assert plans[0] is plans[1]
    assert plans[1] is not plans[2]


@pytest.mark.parametrize("method", ["direct", "mesh"])
def test_weights_of_a_plan_are_those_of_a_gradient_by_the_cell(method):
    r, m = system("uQ")
    ewald = Ewald(method=method)
    without = ewald(r, CELL, m).energy
    cell = CELL.clone().requires_grad_()
    energy = ewald(r, cell, m).energy
    assert float(energy.detach()) == float(without)
    assert torch.autograd.grad(energy.sum(), cell)[0].abs().max() > 0.1
    # plans made without gradients, or in inference mode, do not get in the way afterwards
    with torch.inference_mode():
        ewald(r, CELL, m)
    _, forces = energy_and_forces(r, CELL, m, method=method)
    x = r.clone().requires_grad_()
    (slope,) = torch.autograd.grad(ewald(x, CELL, m).energy.sum(), x)
    torch.testing.assert_close(slope, -forces, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("boundary", ["direct", "mesh", "slab", "mixed"])
def test_a_plan_made_without_gradients_hides_none(boundary):
    """Also where the cell wants one, and a plan is given by hand."""
    method = "auto" if boundary == "mixed" else boundary
    ewald, _, r, cell, m = planned(method, PBC[boundary], 0, True)
    batch, pbc = torch.tensor([0, 1, 0, 0, 0, 1, 0, 1]), torch.tensor(PBC[boundary])
    (exact,) = torch.autograd.grad(ewald(r, cell, m, batch=batch, pbc=pbc).energy.sum(), cell)
    with torch.no_grad():
        ewald(r, cell, m, batch=batch, pbc=pbc)
    (after,) = torch.autograd.grad(ewald(r, cell, m, batch=batch, pbc=pbc).energy.sum(), cell)
    plan = ewald.plan(Geometry(r, cell.detach(), batch, 2, pbc), m)
    (by_hand,) = torch.autograd.grad(ewald.evaluate(plan, r, cell, m).energy.sum(), cell)
    for found in (after, by_hand):
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)


def test_bad_settings_are_refused_when_made():
    for settings, named in (({"smearing": -1.0}, "smearing"), ({"iterations": 1.5}, "iterations")):
        with pytest.raises(ValueError, match=named):
            lrcalc.Ewald(**settings)
    assert lrcalc.Electrostatics is lrcalc.ElectrostaticsResult


# ---- a sum of one's own ------------------------------------------------------------------------


class Cluster:
    """The plain pair sum of charges in one open structure."""

    contains_self = False

    def plan(self, geometry):
        return ~torch.eye(len(geometry.positions), dtype=torch.bool)

    def still_holds(self, plan, positions):
        return True

    def evaluate(self, plan, positions, cell):
        r2 = (positions[:, None] - positions).square().sum(-1)
        matrix = smeared_coulomb(r2, 0.9, 0)[0] * plan

        def interaction(source, derivatives):
            potential = matrix @ source.charge
            energy = 0.5 * (source.charge * potential).sum(0, keepdim=True)
            return energy, Sites(potential) if derivatives >= 0 else None

        return interaction


def test_a_sum_of_ones_own():
    r, m = system("uiq")
    m = m._replace(dipole=None)
    for options in ({}, {"iterations": 3}, {"remove_self_interaction": False}):
        own, forces = energy_and_forces(r, None, m, method=Cluster(), smearing=0.9, **options)
        ours, expected = energy_and_forces(r, None, m, smearing=0.9, **options)
        torch.testing.assert_close(own.energy, ours.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(own.induced_charge, ours.induced_charge)
        torch.testing.assert_close(forces, expected, rtol=1e-11, atol=1e-12)


def test_a_sum_of_ones_own_is_checked():
    r, m = system("q")
    m = Multipoles(m.charge)
    errors = check_electrostatics(r, None, m, method=Cluster(), smearing=0.9)
    assert {"forces", "hessian", "potential"} < set(errors)
    assert "field" not in errors
    with pytest.raises(ValueError, match="takes no dipoles"):
        check_electrostatics(r, None, m._replace(dipole=0 * r), method=Cluster(), smearing=0.9)

    class Wrong(Cluster):
        def evaluate(self, plan, positions, cell):
            return super().evaluate(plan, 0.5 * (positions + positions.detach()), cell)

    with pytest.raises(ValueError, match="inconsistent.*forces"):
        check_electrostatics(r, None, m, method=Wrong(), smearing=0.9)


@pytest.mark.parametrize("boundary", ["direct", "mixed"])
def test_strength_is_that_of_the_interaction(boundary):
    """Of charges, energies; of a response too, which is the one of √strength times the moments."""
    r, cell, m, batch = batch_of_two()
    m = m._replace(pair=None, capacitance=None)
    scaled = Multipoles(
        *(0.7**0.5 * x for x in m[:3]),
        None,
        0.7 * m.polarizability,  # type: ignore[operator]
    )
    options = {"batch": batch, "pbc": torch.tensor(PBC[boundary])}
    for self_too in (True, False):
        plain = Ewald(k_cutoff=3.0, remove_self_interaction=not self_too)
        weak = Ewald(k_cutoff=3.0, remove_self_interaction=not self_too, strength=0.7)
        found, expected = weak(r, cell, m, **options), plain(r, cell, scaled, **options)
        torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            found.induced_dipole, expected.induced_dipole / 0.7**0.5, rtol=1e-12, atol=1e-12
        )
    with pytest.raises(ValueError, match="`strength` is 0"):
        Ewald(strength=0)


def test_a_plan_made_on_the_host_is_not_compared_with_a_device():
    """Each is remembered for its own: tensors of two devices cannot be compared (seen on a GPU)."""
    geometry = Geometry(torch.zeros(2, 3), 9 * torch.eye(3)[None], torch.zeros(2).long(), 1, None)
    there = torch.device("meta")
    on_host = geometry._replace(device=there)
    groups = plan_groups(geometry, "direct", _direct, 1.0, False, 1.0)
    known = remembered.remember(on_host, groups, groups)
    assert known.fits(on_host)
    tensors = {k: getattr(geometry, k).to(there) for k in ("positions", "cell", "batch")}
    assert not known.fits(geometry._replace(**tensors))


@pytest.mark.parametrize(
    "boundaries", [(3, 0), (2, 2), (2, 3)], ids=["box, molecule", "slabs", "mixed"]
)
def test_a_plan_for_a_device_is_asked_on_the_host_whether_it_still_holds(boundaries):
    """Indices and normals that are on a device cannot be used with positions on the host."""
    rng = np.random.default_rng(3)
    positions = torch.tensor(rng.uniform(0, 4, size=(10, 3)))
    pbc = torch.tensor([[k < n for k in range(3)] for n in boundaries])
    batch = torch.tensor([0, 1]).repeat_interleave(5)
    cell = 12.0 * torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    geometry = Geometry(positions, cell, batch, 2, pbc)._replace(device=torch.device("meta"))
    ewald, multipoles = Ewald(k_cutoff=3.0), Multipoles(torch.zeros(10, dtype=torch.float64))
    plan = ewald.plan(geometry, multipoles)
    assert all(group.batch.is_meta for group in plan.groups.groups)
    moved = geometry._replace(positions=positions + 0.0)
    assert ewald.plan(moved, multipoles).groups is plan.groups
    higher = positions * torch.tensor([1.0, 1.0, 1.5])
    again = ewald.plan(geometry._replace(positions=higher), multipoles)
    assert (again.groups is plan.groups) == (2 not in boundaries)


def _direct(kind, geometry):
    return Direct(1.0, 3.0)
