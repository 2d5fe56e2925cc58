"""Induced charges, dipoles and pair flow: closed forms, dense algebra, derivatives."""

import pytest
import torch

from lrcalc.electrostatics import Ewald, Geometry, Sites, Source, electrostatic_energy
from lrcalc.electrostatics.kernels import smeared_coulomb
from lrcalc.electrostatics.operator import apply, bind
from lrcalc.electrostatics.response import induce
from lrcalc.multipoles import Multipoles, PairResponse
from tests.electrostatics.test_energy import CELL, energy_and_forces, system

D = torch.float64


def polarizability(r, cell, m, **options):
    """-∂²𝓕/∂E∂E of the induced part, by automatic differentiation."""
    geometry = Geometry(r, cell, torch.zeros(len(r), dtype=torch.long), 1, None)
    plan = Ewald(accuracy=1e-10).plan(geometry, m, with_field=True)
    inside = bind(plan.groups, r, cell)
    _, sites = apply(inside, Source(m.charge), 1)
    field = torch.zeros(3, dtype=D, requires_grad=True)
    felt = Sites(sites.potential - r @ field, sites.field + field)
    result = induce(inside, m, felt, **options)
    (dipole,) = torch.autograd.grad(-result.energy.sum(), field, create_graph=True)
    rows = [torch.autograd.grad(x, field, retain_graph=True)[0] for x in dipole]
    return result, dipole.detach(), torch.stack(rows)


def test_two_polarizable_dipoles():
    # along the axis each dipole helps the other, across it hinders (Applequist, Carl, Fung,
    # J. Am. Chem. Soc. 94, 2952 (1972)), here with the smeared dipole tensor
    distance, alpha = 1.7, 0.04
    r = torch.tensor([[0, 0, 0], [0, 0, distance]], dtype=D)
    m = Multipoles(torch.zeros(2, dtype=D), polarizability=torch.full((2,), alpha, dtype=D))
    _, b1, b2 = smeared_coulomb(torch.tensor(distance**2, dtype=D), 1.0, 2)
    along, across = float(b2 * distance**2 - b1), float(-b1)
    assert along > 0 > across
    _, _, found = polarizability(r, None, m, iterations=None)
    expected = torch.tensor([1 / (1 - alpha * t) for t in (across, across, along)], dtype=D)
    torch.testing.assert_close(found, torch.diag(2 * alpha * expected), rtol=1e-9, atol=1e-12)
    _, _, linear = polarizability(r, None, m, iterations=0)
    torch.testing.assert_close(linear, 2 * alpha * torch.eye(3, dtype=D), rtol=1e-12, atol=1e-14)
    _, _, once = polarizability(r, None, m, iterations=1)
    first = torch.tensor([1 + alpha * t for t in (across, across, along)], dtype=D)
    torch.testing.assert_close(once, torch.diag(2 * alpha * first), rtol=1e-10, atol=1e-14)


def test_catastrophe_is_named():
    r = torch.tensor([[0, 0, 0], [0, 0, 1.0]], dtype=D)
    m = Multipoles(torch.tensor([1.0, 0.0], dtype=D), polarizability=torch.ones(2, dtype=D))
    with pytest.raises(ValueError, match="polarization catastrophe"):
        electrostatic_energy(r, None, m, smearing=0.4, iterations=None)
    with pytest.raises(ValueError, match="did not converge"):
        electrostatic_energy(
            r,
            None,
            m._replace(polarizability=torch.full((2,), 0.02, dtype=D)),
            smearing=0.7,
            iterations=None,
            maximum_iterations=0,
        )


def eight_charges(alpha, dtype=D):
    r = 6.0 * torch.rand(8, 3, dtype=D, generator=torch.Generator().manual_seed(0))
    charge = torch.tensor([1.0, -1.0] * 4, dtype=dtype)
    cell = 6.0 * torch.eye(3, dtype=dtype)
    return r.to(dtype), cell, Multipoles(charge, polarizability=torch.full_like(charge, alpha))


@pytest.mark.parametrize("dtype", [torch.float32, D])
@pytest.mark.parametrize("iterations", [2, 5, 20, 50, 400])
def test_diverging_iterations_are_named(iterations, dtype):
    with pytest.raises(ValueError, match=r"diverges in structures \[0\].*polarization catastrophe"):
        electrostatic_energy(*eight_charges(10.0, dtype), iterations=iterations)


def test_the_diverging_structure_of_a_batch_is_named():
    (r, cell, weak), (_, _, strong) = eight_charges(0.01), eight_charges(10.0)
    both = Multipoles(
        torch.cat([weak.charge, strong.charge]),
        polarizability=torch.cat([weak.polarizability, strong.polarizability]),
    )
    batch = torch.arange(2).repeat_interleave(8)
    with pytest.raises(ValueError, match=r"structures \[1\]"):
        electrostatic_energy(torch.cat([r, r]), cell, both, batch=batch, iterations=5)


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_converging_iterations_are_not_refused(dtype):
    # also long after the corrections have become rounding noise, and with nothing to respond to
    for iterations in (2, 3, 10, 300):
        made = electrostatic_energy(*eight_charges(0.01, dtype), iterations=iterations)
        exact = electrostatic_energy(*eight_charges(0.01), iterations=None)
        assert float(made.energy) == pytest.approx(float(exact.energy), rel=1e-3)
    r, cell, m = eight_charges(0.01, dtype)
    still = electrostatic_energy(r, cell, m._replace(charge=0 * m.charge), iterations=3)
    assert float(still.energy) == 0.0


def test_response_that_overflows_is_named():
    r, cell, m = eight_charges(0.01, torch.float32)
    with pytest.raises(ValueError, match="not finite"):
        electrostatic_energy(r, cell, m._replace(charge=1e25 * m.charge), iterations=None)


@pytest.mark.parametrize("cell", [CELL, None], ids=["periodic", "open"])
def test_dense_solve(cell):
    # moments x = (δq, δu) minimise x·b + ½ x·K x + ½ x·χ⁻¹ x
    r, m = system("uiqiu")
    n = len(r)

    def quadratic(x):
        q, u = x[:n], x[n:].reshape(n, 3)
        return electrostatic_energy(r, cell, Multipoles(q, u), check=False).energy.sum()

    zero = torch.zeros(4 * n, dtype=D)
    interaction = torch.autograd.functional.hessian(quadratic, zero)
    inverse = torch.cat([1 / m.capacitance, (1 / m.polarizability).repeat_interleave(3)])
    made = electrostatic_energy(r, cell, m, iterations=None)
    drive = torch.cat([made.potential, -made.field.flatten()])
    x = torch.linalg.solve(interaction + torch.diag(inverse), -drive)
    torch.testing.assert_close(made.induced_charge, x[:n], rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(made.induced_dipole.flatten(), x[n:], rtol=1e-7, atol=1e-9)
    expected = float(made.permanent_energy) + 0.5 * float(drive @ x)
    assert float(made.energy) == pytest.approx(expected, rel=1e-9)
    assert made.solution.reason == "converged"
    assert float(made.solution.residual.max()) < 1e-10
    # the iterated response is the series of the same solution
    many = electrostatic_energy(r, cell, m, iterations=60)
    assert float(many.energy) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("iterations", [0, 1, 2, None])
def test_sign_of_the_response(iterations):
    # a positive charge at the origin: electrons are drawn towards it and screening lowers the
    # energy; a dipole points away from the charge, a capacitor near it turns negative
    r = torch.tensor([[0, 0, 0], [0, 0, 3.0]], dtype=D)
    q = torch.tensor([1.0, 0.0], dtype=D)
    m = Multipoles(
        q,
        capacitance=torch.tensor([0, 0.01], dtype=D),
        polarizability=torch.tensor([0, 0.1], dtype=D),
    )
    result = electrostatic_energy(r, None, m, iterations=iterations)
    assert float(result.induced_dipole[1, 2]) > 0
    assert float(result.induced_charge[1]) < 0
    assert float(result.energy) < float(result.permanent_energy) == 0.0


def pairs(r):
    first, second = torch.tensor([0, 1, 2, 4]), torch.tensor([2, 3, 5, 1])
    kappa = torch.tensor([0.01, 0.02, 0.005, 0.03], dtype=D)
    return PairResponse(first, second, r[second] - r[first], kappa)


def test_pair_response():
    r, m = system("u")
    m = m._replace(pair=pairs(r))
    result, dipole, found = polarizability(r, None, m, iterations=0)
    kappa, d = m.pair.capacitance, -m.pair.vector
    expected = torch.einsum("p,pa,pb->ab", kappa, d, d)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    # no external field: what flows is neutral and its dipole is that of the flow along edges
    flow = result.transfer.detach()
    torch.testing.assert_close(dipole, (flow[:, None] * d).sum(0), rtol=1e-11, atol=1e-13)
    assert float(result.charge.detach().sum()) == pytest.approx(0.0, abs=1e-14)
    made = electrostatic_energy(r, CELL, m, iterations=0)
    drop = made.potential[m.pair.i] - made.potential[m.pair.j]
    expected = -0.5 * float((kappa * drop.square()).sum())
    assert float(made.energy - made.permanent_energy) == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(made.transfer, -kappa * drop)


def test_dipole_is_the_derivative_of_the_energy_in_a_field():
    r, m = system("uiu")
    for iterations in (0, 2, None):
        result, dipole, _ = polarizability(r, None, m, iterations=iterations)
        torch.testing.assert_close(dipole, result.dipole.detach().sum(0), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", ["direct", "mesh"])
@pytest.mark.parametrize("iterations", [2, None])
def test_derivatives_through_the_response(iterations, method):
    r, m = system("uiqiu", atoms=4)
    m = m._replace(capacitance=0.3 * m.capacitance)
    direction = torch.randn(4, 3, dtype=D, generator=torch.Generator().manual_seed(0))
    options = {
        "iterations": iterations,
        "method": method,
        "k_cutoff": 3.5,
        "accuracy": 1e-4,
        "tolerance": 1e-13,
    }

    def forces(s):
        _, f = energy_and_forces(r + s * direction, CELL, m, **options)
        return f

    def energy(s):
        return electrostatic_energy(r + s * direction, CELL, m, **options).energy

    h = 1e-4
    slope = (8 * (energy(h) - energy(-h)) - energy(2 * h) + energy(-2 * h)) / (12 * h)
    assert float(-(forces(0.0) * direction).sum()) == pytest.approx(float(slope), rel=1e-6)
    x = r.clone().requires_grad_()
    result = electrostatic_energy(x, CELL, m, **options)
    (gradient,) = torch.autograd.grad(result.energy.sum(), x, create_graph=True)
    (product,) = torch.autograd.grad((gradient * direction).sum(), x, retain_graph=True)
    numeric = -(8 * (forces(h) - forces(-h)) - forces(2 * h) + forces(-2 * h)) / (12 * h)
    torch.testing.assert_close(product, numeric, rtol=1e-6, atol=1e-6 * float(numeric.abs().max()))
    # the induced dipole itself, whose derivative Born charges contain
    weight = torch.arange(12, dtype=D).reshape(4, 3)
    (slope,) = torch.autograd.grad((result.induced_dipole * weight).sum(), x)

    def moment(s):
        made = electrostatic_energy(r + s * direction, CELL, m, **options)
        return (made.induced_dipole * weight).sum()

    numeric = (8 * (moment(h) - moment(-h)) - moment(2 * h) + moment(-2 * h)) / (12 * h)
    assert float((slope * direction).sum()) == pytest.approx(float(numeric), rel=1e-6)


def test_batch_of_self_consistent_structures():
    one, m1 = system("uiqiu", atoms=4, seed=1)
    two, m2 = system("uiqiu", atoms=6, seed=2)
    m2 = m2._replace(polarizability=4 * m2.polarizability)  # takes more iterations
    both = Multipoles(
        *(None if x is None else torch.cat([x, y]) for x, y in zip(m1[:5], m2[:5], strict=True))
    )
    batch = torch.tensor([0] * 4 + [1] * 6)
    cell = torch.stack([CELL, CELL])
    together = electrostatic_energy(torch.cat([one, two]), cell, both, batch=batch, iterations=None)
    for s, (r, m) in enumerate(((one, m1), (two, m2))):
        alone = electrostatic_energy(r, CELL, m, iterations=None)
        assert float(together.energy[s]) == pytest.approx(float(alone.energy), rel=1e-9)
        torch.testing.assert_close(
            together.induced_dipole[batch == s], alone.induced_dipole, rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize("method", ["direct", "mesh", "open"])
@pytest.mark.parametrize("iterations", [0, 2, None])
def test_pair_response_of_a_batch_is_that_of_its_structures(method, iterations):
    """Flow between neighbours stays in its structure, whatever the order of atoms and sizes."""
    structures = []
    for seed, atoms in ((1, 6), (2, 7)):
        r, m = system("uiu", atoms=atoms, seed=seed)
        structures.append((r, m._replace(pair=pairs(r))))
    batch = torch.tensor([0] * 6 + [1] * 7)
    first, second = (m.pair for _, m in structures)
    shifted = PairResponse(
        torch.cat([first.i, second.i + 6]), torch.cat([first.j, second.j + 6]),
        torch.cat([first.vector, second.vector]),
        torch.cat([first.capacitance, second.capacitance]),
    )  # fmt: skip
    both = Multipoles(
        *(None if x is None else torch.cat([x, y])
          for x, y in zip(structures[0][1][:5], structures[1][1][:5], strict=True)),
        pair=shifted,
    )  # fmt: skip
    options = {"method": method, "iterations": iterations, "accuracy": 1e-10}
    options |= {"tolerance": 1e-12} if iterations is None else {}
    cells = None if method == "open" else torch.stack([CELL, 1.2 * CELL])
    positions = torch.cat([r for r, _ in structures])
    together = electrostatic_energy(positions, cells, both, batch=batch, **options)
    start = 0
    for s, (r, m) in enumerate(structures):
        cell = None if cells is None else cells[s]
        alone = electrostatic_energy(r, cell, m, **options)
        assert float(together.energy[s]) == pytest.approx(float(alone.energy[0]), rel=1e-9)
        torch.testing.assert_close(
            together.transfer[start : start + 4], alone.transfer, rtol=1e-7, atol=1e-10
        )
        assert alone.transfer.abs().max() > 1e-4
        start += 4


@pytest.mark.parametrize("iterations", [0, 2, None])
def test_forces_and_second_derivatives_of_the_pair_response(iterations):
    r, m = system("u")
    reference = pairs(r)
    options = {"iterations": iterations, "accuracy": 1e-10}
    options |= {"tolerance": 1e-13} if iterations is None else {}
    direction = torch.randn(r.shape, dtype=D, generator=torch.Generator().manual_seed(3))

    def energy(x):
        # arms and capacitances move with the atoms, as those of a model do
        arm = x[reference.j] - x[reference.i]
        pair = PairResponse(reference.i, reference.j, arm, 0.05 * torch.exp(-0.1 * (arm**2).sum(1)))
        return electrostatic_energy(x, CELL, m._replace(pair=pair), **options).energy.sum()

    def gradient(x, graph=False):
        x = x.detach().clone().requires_grad_()
        return x, torch.autograd.grad(energy(x), x, create_graph=graph)[0]

    h = 1e-4
    e = [float(energy(r + k * h * direction)) for k in (1, -1, 2, -2)]
    slope = (8 * (e[0] - e[1]) - (e[2] - e[3])) / (12 * h)
    x, g = gradient(r, graph=True)
    assert float((g.detach() * direction).sum()) == pytest.approx(slope, rel=1e-6)
    (product,) = torch.autograd.grad((g * direction).sum(), x)
    f = [gradient(r + k * h * direction)[1] for k in (1, -1, 2, -2)]
    numeric = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h)
    torch.testing.assert_close(product, numeric, rtol=1e-6, atol=1e-6 * float(numeric.abs().max()))
