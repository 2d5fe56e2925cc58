"""In a field: dipoles and polarizability surfaces in C++ against torch and finite differences."""

import numpy as np
import pytest
import torch

from lrcalc import Evaluator
from lrcalc.models import compiled_moment, compiled_surface
from lrcalc.models.backbone import Features
from lrcalc.models.dipole import permanent_dipole
from lrcalc.models.fused_moment import Handed
from lrcalc.models.surface import PolarizabilitySurface
from tests.conftest import random_potential
from tests.models.compiler import needs_compiler
from tests.property_cases import errors
from tests.sample_structures import cluster, water_box

pytestmark = needs_compiler
TYPES = [(torch.float64, 1e-13), (torch.float32, 5e-6)]
SIZES = {"usual": (2, 16, 8, 32), "odd": (3, 7, 5, 3), "one": (1, 1, 1, 1)}
"""Species, scalars, channels, width of the hidden layer."""


def same(one, two, tolerance):
    scale = float(two.detach().abs().max()) or 1.0
    assert float((one - two).detach().abs().max()) <= tolerance * scale


def moment_case(dtype, structures, has_dipole=True):
    """Forty pairs of nine atoms, of which thirty hand charge on; two of these come twice."""
    make = torch.Generator().manual_seed(2)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=make)

    amount = random(30)
    i = torch.sort(torch.randint(0, 9, (40,), generator=make)).values
    rows = torch.randperm(40, generator=make)[:30].sort().values
    rows[-2:], amount[-2:], amount[0] = rows[0], 0.0, 0.0
    leaves = [x.to(dtype).requires_grad_() for x in (random(40, 3), amount)]
    leaves.append(random(9, 3).requires_grad_())
    leaves.append(random(9, 3).to(dtype).requires_grad_() if has_dipole else None)
    batch = torch.arange(9) * structures // 9
    return leaves, Handed(rows, i, batch, structures, random(9).to(dtype))


@pytest.mark.parametrize("has_dipole", [True, False])
@pytest.mark.parametrize("structures", [1, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_dipoles(dtype, tolerance, structures, has_dipole):
    leaves, handed = moment_case(dtype, structures, has_dipole)
    expected = permanent_dipole(*leaves, handed)
    found = compiled_moment.compiled_moment(*leaves, handed)
    assert found.dtype == torch.float64
    same(found, expected, tolerance)
    wanted = [x for x in leaves if x is not None]
    way = torch.randn_like(found)
    for one, two in zip(
        *(torch.autograd.grad((x * way).sum(), wanted) for x in (found, expected)), strict=True
    ):
        assert one.dtype == two.dtype
        same(one, two, tolerance)


def test_a_dipole_by_hand():
    """A charge of 1 e at x = 2 Å, 0.5 e that went 3 Å to its centre, along -y, and a dipole."""
    vectors = torch.tensor([[9.0, 9.0, 9.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    positions = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]], dtype=torch.float64)
    dipole = torch.tensor([[0.0, 0.0, 0.25], [0.0, 0.0, 0.0]], dtype=torch.float64)
    rows, i, batch = torch.tensor([1]), torch.tensor([0, 1]), torch.tensor([0, 0])
    kept, amount = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.5]).double()
    handed = Handed(rows, i, batch, 1, kept)
    found = compiled_moment.compiled_moment(vectors, amount, positions, dipole, handed)
    assert found.tolist() == [[2.0, -1.5, 0.25]]


def surface_case(dtype, size, atoms=21):
    torch.manual_seed(3)
    n_species, scalars, channels, hidden = SIZES[size]
    surface = PolarizabilitySurface(n_species, scalars, channels, hidden).double()
    with torch.no_grad():
        surface.constant.copy_(torch.linspace(0.5, 1.5, n_species))
        surface.unit.fill_(0.7)
        surface.layer2 *= 10.0
    features = Features(
        torch.randn(atoms, scalars, dtype=dtype).requires_grad_(),
        torch.zeros(atoms, 0, 3, dtype=dtype),
        torch.randn(atoms, channels, 5, dtype=dtype).requires_grad_(),
    )
    return surface.to(dtype), features, torch.randint(0, n_species, (atoms,))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_surfaces(dtype, tolerance, size):
    surface, features, species = surface_case(dtype, size)
    leaves = [features.scalars, features.tensors]
    for way in (torch.randn(21, 6), torch.randn(1, 6).expand(21, 6), torch.randn(6, 21).T):
        expected = surface.parts(features, species)
        found = compiled_surface.compiled_parts(surface, features, species)
        assert found.dtype == torch.float64
        same(found, expected, tolerance)
        slopes = [torch.autograd.grad(x, leaves, way.to(x.dtype)) for x in (found, expected)]
        for one, two in zip(*slopes, strict=True):
            same(one, two, tolerance)


def test_surface_by_finite_differences():
    surface, features, species = surface_case(torch.float64, "odd")
    weights = torch.randn(21, 6, dtype=torch.float64)
    way = [torch.randn_like(x) for x in (features.scalars, features.tensors)]

    def total(step):
        moved = Features(
            features.scalars + step * way[0], features.vectors, features.tensors + step * way[1]
        )
        return (weights * compiled_surface.compiled_parts(surface, moved, species)).sum()

    slopes = torch.autograd.grad(total(0.0), [features.scalars, features.tensors])
    found = sum(float((a * b).sum()) for a, b in zip(slopes, way, strict=True))
    with torch.no_grad():
        expected = float(total(1e-5) - total(-1e-5)) / 2e-5
    assert found == pytest.approx(expected, rel=1e-7)


def test_weights_that_change_are_noticed():
    surface, features, species = surface_case(torch.float64, "usual")
    for _ in range(2):
        found = compiled_surface.compiled_parts(surface, features, species)
        same(found, surface.parts(features, species), 1e-13)
        with torch.no_grad():
            surface.layer1 *= 1.1
            surface.constant += 0.3
            surface.unit *= 2.0


def test_threads_change_no_bit(monkeypatch):
    surface, features, species = surface_case(torch.float32, "usual", atoms=100)
    out = []
    for count in (1, 3):
        monkeypatch.setattr(compiled_surface, "threads", lambda count=count: count)
        found = compiled_surface.compiled_parts(surface, features, species)
        (slope,) = torch.autograd.grad(found.sum(), features.scalars)
        out.append((found, slope))
    assert all(torch.equal(a, b) for a, b in zip(*out, strict=True))


def test_what_is_no_number_stays_none():
    surface, features, species = surface_case(torch.float32, "usual")
    with torch.no_grad():
        features.scalars[4, 0] = torch.nan
    found = compiled_surface.compiled_parts(surface, features, species)
    assert torch.isnan(found).any(1).nonzero().flatten().tolist() == [4]
    leaves, handed = moment_case(torch.float32, 3)
    with torch.no_grad():
        leaves[1][7] = torch.nan
    found = compiled_moment.compiled_moment(*leaves, handed)
    own = int(handed.batch[handed.i[handed.rows[7]]])
    assert torch.isnan(found).any(1).nonzero().flatten().tolist() == [own]


def test_second_derivatives_are_refused():
    surface, features, species = surface_case(torch.float64, "odd")
    leaves, handed = moment_case(torch.float64, 1)
    for values, leaf in (
        (compiled_surface.compiled_parts(surface, features, species), features.scalars),
        (compiled_moment.compiled_moment(*leaves, handed), leaves[0]),
    ):
        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.grad(values.square().sum(), leaf, create_graph=True)


FIELDS = {
    "E": {"electric_field": (0.0, 0.1, 0.05)}, "D": {"electric_displacement": (0.0, 1e-3, 2e-3)},
    "voltage": {"reduced_field": (0.1, 0.2, 0.0)},
}  # fmt: skip
STRUCTURES = {
    "crystal": lambda: [water_box(seed=2)],
    "batch": lambda: [water_box(seed=2), water_box(seed=2)],
    "molecule": lambda: [cluster()],
}


# constant D and voltage want three periodic directions
TOGETHER = [(f, k) for f in FIELDS for k in STRUCTURES if f == "E" or k != "molecule"]


@pytest.mark.parametrize("level", ["q", "u", "uQiqiu"])
@pytest.mark.parametrize(("field", "kind"), TOGETHER)
def test_whole_models(monkeypatch, field, kind, level):
    """With a surface: enthalpy, forces, stress, dipole and its derivatives are those of torch."""
    called = []
    for owner in (compiled_moment._Moment, compiled_surface._Parts):
        known = owner.apply
        monkeypatch.setattr(
            owner, "apply", lambda *x, known=known, owner=owner: called.append(owner) or known(*x)
        )
    potential = random_potential(water_box(), level=level, transfer_cutoff=3.0)
    potential.add_surface(8)
    names = ["energy", "forces", "dipole", "born_effective_charges", "polarizability"]
    names += [] if kind == "molecule" else ["stress"]
    structures = STRUCTURES[kind]()
    expected = Evaluator(potential, **FIELDS[field])(structures, names)
    found = Evaluator(potential, compile=True, **FIELDS[field])(structures, names)
    assert {compiled_moment._Moment, compiled_surface._Parts} <= set(called)
    wrong = errors(found, expected, names)
    assert max(wrong.values()) < 1e-10, wrong


def test_forces_and_stress_are_derivatives_of_the_enthalpy():
    potential = random_potential(water_box(), level="u", transfer_cutoff=3.0)
    torch.manual_seed(0)
    potential.add_surface(8)
    evaluator = Evaluator(potential, compile=True, electric_field=(0.0, 0.3, 0.2))
    atoms = water_box(seed=2)
    (result,) = evaluator([atoms], ["energy", "forces", "stress"])
    rng, step = np.random.default_rng(0), 2e-5  # of 1e-4 the cubic term is 1e-5 of the slope
    way = rng.normal(size=atoms.positions.shape)
    energies = []
    for s in (step, -step):
        moved = atoms.copy()
        moved.positions += s * way
        energies.append(evaluator([moved], ["energy"])[0]["energy"])
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(-float((result["forces"] * way).sum()), rel=1e-6)
    strain = rng.normal(size=(3, 3))
    strain = 0.5 * (strain + strain.T)
    energies = []
    for s in (step, -step):
        moved = atoms.copy()
        moved.set_cell(atoms.cell @ (np.eye(3) + s * strain), scale_atoms=True)
        energies.append(evaluator([moved], ["energy"])[0]["energy"])
    slope = (energies[0] - energies[1]) / (2 * step)
    stress = np.asarray(result["stress"])
    assert slope == pytest.approx(atoms.get_volume() * float((stress * strain).sum()), rel=2e-6)
