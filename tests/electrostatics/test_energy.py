"""Energies, forces and fields of all multipole orders against references and exact limits."""

import json
from math import pi, sqrt
from pathlib import Path

import pytest
import torch

from lrcalc.electrostatics import electrostatic_energy
from lrcalc.multipoles import Multipoles
from lrcalc.testing import check_electrostatics
from lrcalc.units import COULOMB

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "multipole_ewald.json").read_text()
)["cases"]
CELL = torch.tensor([[6.0, 0, 0], [1.2, 5.5, 0], [-0.8, 0.7, 6.5]], dtype=torch.float64)
LEVELS = ("q", "u", "uQ", "uiq", "uiu", "uiqiu", "uQiqiu")


def tensor(values):
    return None if values is None else torch.tensor(values, dtype=torch.float64)


def traceless(matrix):
    matrix = 0.5 * (matrix + matrix.transpose(1, 2))
    trace = matrix.diagonal(dim1=1, dim2=2).mean(1)
    return matrix - trace[:, None, None] * torch.eye(3, dtype=matrix.dtype)


def system(level, atoms=6, seed=1):
    """Random atoms in CELL with the multipoles of a named level; α is a tensor at uQiqiu."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    r = torch.rand(atoms, 3, generator=generator, dtype=torch.float64) @ CELL
    q = random(atoms)
    q = q - q.mean()
    u, quadrupole = 0.3 * random(atoms, 3), 0.2 * traceless(random(atoms, 3, 3))
    kappa, alpha = 0.02 * random(atoms).square(), 0.05 * random(atoms).square()
    if level == "uQiqiu":
        root = 0.2 * random(atoms, 3, 3)
        alpha = root @ root.transpose(1, 2)
    m = Multipoles(
        q,
        u if "u" in level else None,
        quadrupole if "Q" in level else None,
        kappa if "iq" in level else None,
        alpha if "iu" in level else None,
    )
    return r, m


def energy_and_forces(r, cell, m, **options):
    x = r.clone().requires_grad_()
    result = electrostatic_energy(x, cell, m, **options)
    forces = -torch.autograd.grad(result.energy.sum(), x)[0]
    detached = (y.detach() if isinstance(y, torch.Tensor) else y for y in result)
    return type(result)(*detached), forces


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case["name"])
@pytest.mark.parametrize("method", ["auto", "mesh"])
def test_reference_numbers(case, method):
    if case["cell"] is None and method == "mesh":
        method = "open"
    m = Multipoles(
        tensor(case["charges"]),
        tensor(case.get("dipoles")),
        tensor(case.get("quadrupoles")),
        tensor(case.get("capacitances")),
        tensor(case.get("polarizabilities")),
    )
    result, forces = energy_and_forces(
        tensor(case["positions"]),
        tensor(case["cell"]),
        m,
        smearing=case["sigma"],
        k_cutoff=case["k_cutoff"],
        remove_self_interaction=case["remove_self_interaction"],
        method=method,
        accuracy=1e-9,
    )
    # 1e-6: the reference's 1/(2 ε0) = 90.4756 is rounded at 4.4e-7
    assert float(result.energy) == pytest.approx(case["energy"], rel=1e-6)
    reference = tensor(case["forces"])
    torch.testing.assert_close(forces, reference, rtol=1e-6, atol=1e-6 * reference.abs().max())
    for name, found in (
        ("induced_charges", result.induced_charge),
        ("induced_dipoles", result.induced_dipole),
    ):
        if name in case:
            expected = tensor(case[name])
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * expected.abs().max())


@pytest.mark.parametrize("method", ["direct", "mesh", "open", "slab"])
@pytest.mark.parametrize("level", ["q", "u", "uQ", "uiq", "uiu", "uQiqiu"])
def test_derivatives(level, method):
    r, m = system(level)
    options = {"method": method, "smearing": 0.9, "k_cutoff": 4.0, "accuracy": 1e-4}
    if method == "slab":
        options |= {"pbc": torch.tensor([True, False, True])}
    check_electrostatics(r, None if method == "open" else CELL, m, **options)


@pytest.mark.parametrize("method", ["direct", "mesh"])
def test_six_stresses(method):
    r, m = system("uQiqiu")
    eye = torch.eye(3, dtype=torch.float64)

    def energy(strain):
        moved = eye + 0.5 * (strain + strain.T)
        return electrostatic_energy(
            r @ moved, CELL @ moved, m, k_cutoff=3.5, method=method, accuracy=1e-4
        ).energy.sum()

    zero = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    (stress,) = torch.autograd.grad(energy(zero), zero)
    h = 1e-4
    with torch.no_grad():
        for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
            unit = torch.zeros(3, 3, dtype=torch.float64)
            unit[a, b] = 1.0
            near, far = (energy(s * unit) - energy(-s * unit) for s in (h, 2 * h))
            slope = float((8 * near - far) / (12 * h))
            assert float(stress[a, b]) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_field_is_minus_gradient_of_potential():
    # a probe without multipoles feels potential and field but does not disturb
    r, m = system("uQ")
    zero = torch.zeros(1, dtype=torch.float64)
    with_probe = Multipoles(
        torch.cat([m.charge, zero]),
        torch.cat([m.dipole, zero.expand(1, 3)]),
        torch.cat([m.quadrupole, zero.expand(1, 3, 3)]),
    )
    for method, cell in (("direct", CELL), ("mesh", CELL), ("open", None)):
        probe = torch.tensor([[0.3, 1.1, 2.2]], dtype=torch.float64, requires_grad=True)
        result = electrostatic_energy(
            torch.cat([r, probe]), cell, with_probe, method=method, with_field=True
        )
        (gradient,) = torch.autograd.grad(result.potential[-1], probe)
        torch.testing.assert_close(result.field[-1], -gradient[0], rtol=1e-9, atol=1e-9)


# ---- exact limits ---------------------------------------------------------------------------

FCC = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
# Madelung constants at the nearest-neighbour distance: Crandall and Buhler, J. Phys. A 20, 5497
# (1987) for NaCl, CsCl, ZnS; CaF2 is 2 ZnS + CsCl, 5.0387849, Sakamoto, J. Chem. Phys. 28, 164
# (1958).
MADELUNG = {
    "NaCl primitive": (FCC, [[0, 0, 0], [1, 1, 1]], [1, -1], 1.0, 1.747564594633),
    "NaCl cubic": (
        [[2, 0, 0], [0, 2, 0], [0, 0, 2]],
        [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [1] * 4 + [-1] * 4,
        1.0,
        4 * 1.747564594633,
    ),
    "CsCl": (
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
        [1, -1],
        sqrt(3) / 2,
        1.762674773071,
    ),
    "ZnS": (FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [1, -1], sqrt(3) / 2, 1.638055053389),
    "CaF2": (
        FCC,
        [[0, 0, 0], [0.5, 0.5, 0.5], [1.5, 1.5, 1.5]],
        [2, -1, -1],
        sqrt(3) / 2,
        5.038784879849,
    ),
}


@pytest.mark.parametrize("name", MADELUNG)
def test_madelung(name):
    cell, r, q, distance, constant = MADELUNG[name]
    # erf(d/(√2 σ)) = 1 to 1e-13 at σ = d/7.5: neighbours see point charges
    result = electrostatic_energy(
        tensor(r), tensor(cell), Multipoles(tensor(q)), smearing=distance / 7.5, accuracy=1e-13
    )
    assert float(result.energy) * distance / COULOMB == pytest.approx(-constant, rel=1e-11)


@pytest.mark.parametrize("periodic", [True, False])
def test_shrinking_clusters_become_multipoles(periodic):
    r = torch.tensor([[0.2, 0.1, 0.3], [2.0, 1.5, 2.9]], dtype=torch.float64)
    cell = CELL if periodic else None
    q = torch.tensor([0.4, -0.4], dtype=torch.float64)
    axis = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    other = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)  # normal to the axis
    u = torch.stack([0 * axis, axis])
    matrix = torch.outer(axis, other) + torch.outer(other, axis)
    quadrupole = torch.stack([0 * matrix, matrix])
    # only the interaction of the two sites: what the cluster does to itself diverges and is
    # taken off by leaving site 1 out
    options = {"smearing": 0.8, "accuracy": 1e-14}

    def interaction(second, charges):
        def energy(x, c):
            return float(electrostatic_energy(x, cell, Multipoles(c), **options).energy)

        both = energy(torch.cat([r[:1], second]), torch.cat([q[:1], charges]))
        return both - energy(second, charges) - energy(r[:1], q[:1])

    def exact(**parts):
        m = Multipoles(torch.stack([q[0], 0 * q[0]]), **parts)
        alone = Multipoles(0 * q, **parts)
        first = Multipoles(q[:1])
        energies = [
            electrostatic_energy(x, cell, y, **options).energy
            for x, y in ((r, m), (r, alone), (r[:1], first))
        ]
        return float(energies[0] - energies[1] - energies[2])

    for expected, corners, signs in (
        (exact(dipole=u), [axis, -axis], [0.5, -0.5]),
        # Q = Σ c x x: four charges at ±(a + b)/2 and ±(a - b)/2
        (
            exact(quadrupole=quadrupole),
            [axis + other, -axis - other, axis - other, other - axis],
            [0.25, 0.25, -0.25, -0.25],
        ),
    ):
        order = 1 if len(signs) == 2 else 2
        errors = []
        for h in (0.02, 0.01):
            places = r[1] + h * torch.stack(corners)
            factor = 1.0 / h**order * (1.0 if order == 1 else 2.0)
            # dipole Σ c x = axis; quadrupole Σ c x x / 2 acts as ½ Q:∇∇ with Q = matrix
            strengths = torch.tensor(signs, dtype=torch.float64) * factor
            strengths = strengths * (1.0 if order == 1 else 0.5)
            errors.append(interaction(places, strengths) - expected)
        assert abs(errors[1]) < 2e-3 * abs(expected)
        # second order in the size of the cluster
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.02)


def test_open_is_the_limit_of_a_large_box():
    r, m = system("uQ")
    r = r - r.mean(0)
    isolated = float(electrostatic_energy(r, None, m).energy)
    moment = (m.charge[:, None] * r).sum(0) + m.dipole.sum(0)
    for length in (30.0, 45.0):
        box = length * torch.eye(3, dtype=torch.float64)
        periodic = float(electrostatic_energy(r, box, m, method="mesh").energy)
        # tin-foil surroundings lower the energy by 2π k_C M²/3V (Makov and Payne, Phys. Rev. B
        # 51, 4014 (1995)); what remains falls as L⁻⁵
        lowered = -2.0 * pi * COULOMB * float(moment.square().sum()) / (3.0 * length**3)
        assert periodic - isolated == pytest.approx(lowered, rel=0.03)


def test_slab_is_the_limit_of_a_large_vacuum():
    r, m = system("uQ")
    square = torch.diag(torch.tensor([6.0, 5.5, 1.0], dtype=torch.float64))
    pbc = torch.tensor([True, True, False])
    slab, slab_forces = energy_and_forces(r, square, m, pbc=pbc, accuracy=1e-10)
    box = square.clone()
    box[2, 2] = 40.0
    periodic, forces = energy_and_forces(r, box, m, accuracy=1e-10)
    moment = float((m.charge * r[:, 2]).sum() + m.dipole[:, 2].sum())
    # Yeh and Berkowitz, J. Chem. Phys. 111, 3155 (1999)
    correction = 2.0 * pi * COULOMB * moment**2 / float(box.det())
    assert float(slab.energy) == pytest.approx(float(periodic.energy) + correction, rel=1e-8)
    field = -4.0 * pi * COULOMB * moment / float(box.det())
    forces[:, 2] += field * m.charge
    torch.testing.assert_close(slab_forces, forces, rtol=1e-7, atol=1e-7)


def test_charged_slabs_repel_like_plates():
    # two sheets of charge far apart: force q²/(2 ε0 A) whatever the distance
    r = torch.tensor([[0.0, 0, 0], [0.4, 0.3, 12.0]], dtype=torch.float64)
    cell = torch.diag(torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64))
    pbc = torch.tensor([True, True, False])
    m = Multipoles(torch.ones(2, dtype=torch.float64))
    _, forces = energy_and_forces(r, cell, m, pbc=pbc, accuracy=1e-10)
    assert float(forces[1, 2]) == pytest.approx(2.0 * pi * COULOMB / 12.0, rel=1e-6)


# ---- methods against one another ---------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_mesh_reaches_the_accuracy_asked_for(level):
    r, m = system(level, atoms=24)
    for accuracy in (1e-3, 1e-5, 1e-8):
        options = {"accuracy": accuracy, "smearing": 1.0}
        exact, forces = energy_and_forces(r, CELL, m, method="direct", **options)
        found, mesh_forces = energy_and_forces(r, CELL, m, method="mesh", **options)
        assert (mesh_forces - forces).norm() < accuracy * forces.norm()
        assert abs(found.energy - exact.energy) < accuracy * abs(exact.energy)


@pytest.mark.parametrize("method", ["direct", "mesh", "slab", "open", "mixed"])
def test_batch_equals_single(method):
    parts = [system("uQiqiu", atoms, seed) for atoms, seed in ((5, 1), (3, 2), (6, 3))]
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    batch = torch.tensor([0] * 5 + [1] * 3 + [2] * 6)[order]
    r = torch.cat([x for x, _ in parts])[order]
    m = Multipoles(*(torch.cat(x)[order] for x in zip(*(y[:5] for _, y in parts), strict=True)))
    cell = torch.stack([CELL, 1.3 * CELL, CELL.flip(0)])
    pbc = {
        "slab": [[True, True, False]] * 3,
        "open": [[False] * 3] * 3,
        "mixed": [[True, True, True], [False] * 3, [True, False, True]],
    }
    pbc = torch.tensor(pbc.get(method, [[True] * 3] * 3))
    options = {"method": "auto" if method == "mixed" else method, "accuracy": 1e-11}
    together = electrostatic_energy(r, cell, m, batch=batch, pbc=pbc, **options)
    for s in range(3):
        mine = batch == s
        one = Multipoles(*(x[mine] for x in m[:5]))
        alone = electrostatic_energy(r[mine], cell[s], one, pbc=pbc[s], **options)
        torch.testing.assert_close(together.energy[s], alone.energy[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            together.induced_dipole[mine], alone.induced_dipole, rtol=1e-8, atol=1e-9
        )


def test_energy_knows_neither_wrapping_nor_cell_shape_nor_handedness():
    r, m = system("uQiqiu")
    reference = float(electrostatic_energy(r, CELL, m, k_cutoff=3.0).energy)
    shifts = torch.tensor([[1, 0, -2], [0, 3, 0], [0, 0, 0]] * 2, dtype=torch.float64) @ CELL
    sheared = torch.stack([CELL[0], CELL[1] + CELL[0], CELL[2] - CELL[1]])
    for positions, cell in ((r + shifts, CELL), (r, sheared), (r, CELL[[1, 0, 2]])):
        found = float(electrostatic_energy(positions, cell, m, k_cutoff=3.0).energy)
        assert found == pytest.approx(reference, rel=1e-10)
    double = torch.cat([CELL[:1] * 2, CELL[1:]])
    twice = Multipoles(*(torch.cat([x, x]) for x in m[:5]))
    found = electrostatic_energy(torch.cat([r, r + CELL[0]]), double, twice, k_cutoff=3.0)
    assert float(found.energy) == pytest.approx(2 * reference, rel=1e-10)


def test_long_open_sum_in_blocks(monkeypatch):
    r, m = system("uQiqiu", atoms=12)
    whole, forces = energy_and_forces(r, None, m)
    monkeypatch.setattr("lrcalc.electrostatics.open.BLOCK_PAIRS", 40)
    parts, block_forces = energy_and_forces(r, None, m)
    torch.testing.assert_close(parts.energy, whole.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block_forces, forces, rtol=1e-10, atol=1e-10)


def test_sorted_atoms_on_the_mesh(monkeypatch):
    r, m = system("uQiqiu", atoms=12)
    options = {"method": "mesh", "accuracy": 1e-4}
    plain, forces = energy_and_forces(r, CELL, m, **options)
    monkeypatch.setattr("lrcalc.electrostatics.mesh.SORT_ABOVE", 4)
    ordered, found = energy_and_forces(r, CELL, m, **options)
    torch.testing.assert_close(ordered.induced_dipole, plain.induced_dipole, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found, forces, rtol=1e-9, atol=1e-9)


def test_overlapping_sites_are_finite():
    # q² v(0) = q² k_C √(2/π)/σ for two charges on top of one another
    r = torch.zeros(2, 3, dtype=torch.float64)
    m = Multipoles(torch.ones(2, dtype=torch.float64))
    result, forces = energy_and_forces(r, None, m, smearing=0.7)
    assert float(result.energy) == pytest.approx(COULOMB * sqrt(2 / pi) / 0.7, rel=1e-12)
    assert float(forces.abs().max()) == 0.0


@pytest.mark.parametrize("method", ["direct", "mesh", "open"])
def test_single_precision(method):
    r, m = system("uQiqiu", atoms=20)
    cell = None if method == "open" else CELL
    exact, forces = energy_and_forces(r, cell, m, method=method, k_cutoff=3.0)
    single = Multipoles(*(x.float() for x in m[:5]))
    cell = None if cell is None else cell.float()
    found, rough = energy_and_forces(r.float(), cell, single, method=method, k_cutoff=3.0)
    # single precision, and sums with cancellation
    assert float(found.energy) == pytest.approx(float(exact.energy), rel=2e-5)
    assert (rough.double() - forces).norm() < 2e-5 * forces.norm()


def test_energy_without_response_costs_no_potential():
    r, m = system("uQ")
    assert electrostatic_energy(r, CELL, m).potential is None


@pytest.mark.parametrize("method", ["direct", "mesh", "open", "slab"])
@pytest.mark.parametrize("iterations", [0, 1, None])
def test_atomic_energies_add_up(method, iterations):
    r, m = system("uQiqiu")
    cell = None if method == "open" else CELL
    options = {"method": method, "with_field": True, "iterations": iterations, "tolerance": 1e-12}
    options |= {"pbc": [True, True, False]} if method == "slab" else {}
    result = electrostatic_energy(r, cell, m, **options)
    assert float(result.atomic_energy.sum()) == pytest.approx(float(result.energy), rel=1e-9)


@pytest.mark.long
def test_ten_thousand_atoms():
    # the mesh at a size where the direct sum takes minutes: forces add up to nothing, and a
    # uniform shift by half a mesh cell changes neither energy nor forces beyond the accuracy
    repeats = 12
    r, m = system("uQiqiu")
    shifts = torch.cartesian_prod(*[torch.arange(repeats, dtype=torch.float64)] * 3) @ CELL
    many = (r[None] + shifts[:, None]).reshape(-1, 3)
    parts = Multipoles(*(x.repeat(repeats**3, *[1] * (x.dim() - 1)) for x in m[:5]))
    one, forces = energy_and_forces(r, CELL, m, method="direct")
    all_, found = energy_and_forces(many, repeats * CELL, parts, method="mesh")
    assert float(all_.energy) == pytest.approx(repeats**3 * float(one.energy), rel=1e-5)
    assert (found.reshape(-1, 6, 3) - forces).norm() < 1e-5 * repeats**1.5 * forces.norm()
