"""Spreading and gathering in kernels, against the torch code and the direct sum."""

import pytest
import torch

from lrcalc.electrostatics.ewald import Ewald
from lrcalc.multipoles import Multipoles
from tests.kernels import DEVICE, needs_kernels, same, torch_only  # noqa: F401

pytestmark = needs_kernels
CELLS = [
    [[6.0, 0.0, 0.0], [1.0, 5.5, 0.0], [-0.7, 0.4, 7.0]],
    [[5.0, 0.0, 0.3], [1.0, 6.5, 0.0], [-0.7, 0.4, 6.0]],
]


def case(structures, level, dtype=torch.float64):
    """Positions, cells and what is on three atoms."""
    make = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=make).to(DEVICE, dtype)

    batch = torch.tensor([0, 0, structures - 1], device=DEVICE)
    cell = torch.tensor(CELLS[:structures], dtype=dtype, device=DEVICE)
    tensor = random(3, 3, 3)
    tensor = tensor + tensor.transpose(1, 2)
    trace = tensor.diagonal(dim1=1, dim2=2).mean(-1)
    tensor = tensor - torch.diag_embed(trace[:, None].expand(-1, 3))
    multipoles = Multipoles(
        random(3),
        random(3, 3) if level > 0 else None,
        tensor if level > 1 else None,
        polarizability=torch.full((3,), 0.05).to(tensor) if level > 2 else None,
    )
    return 4.0 * random(3, 3), cell, multipoles, batch


def derivatives(positions, cell, multipoles, batch, *, twice):
    """Energy, sites, gradients, and their gradients along some direction."""
    leaves = [x.detach().clone().requires_grad_() for x in (positions, cell, multipoles.charge)]
    multipoles = multipoles._replace(charge=leaves[2])
    found = Ewald(1.0, None, 1e-4, "mesh")(
        leaves[0], leaves[1], multipoles, batch=batch, with_field=True
    )
    value = found.energy.sum() + (torch.linspace(0.3, 1, 3).to(positions) * found.potential).sum()
    first = torch.autograd.grad(value, leaves, create_graph=twice)
    out = [found.energy, found.potential, found.field, *first]
    if twice:
        ways = [torch.linspace(1, 2, x.numel()).to(x).view_as(x) for x in first]
        total = sum((x * way).sum() for x, way in zip(first, ways, strict=True))
        out += torch.autograd.grad(total, leaves)
    return out


@pytest.mark.parametrize("structures", [1, 2])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_energy_and_derivatives_are_those_of_torch(structures, level, torch_only):  # noqa: F811
    given = case(structures, level)
    expected = torch_only(derivatives, *given, twice=False)
    for found, known in zip(derivatives(*given, twice=False), expected, strict=True):
        assert same(found, known, 1e-12)


def test_second_derivatives_are_those_of_torch(torch_only):  # noqa: F811
    given = case(1, 1)
    expected = torch_only(derivatives, *given, twice=True)
    for found, known in zip(derivatives(*given, twice=True), expected, strict=True):
        assert same(found, known, 1e-12)


def test_energy_is_that_of_the_direct_sum():
    positions, cell, multipoles, batch = case(2, 2)
    energies = [
        Ewald(1.0, 4.0, 1e-6, method)(positions, cell, multipoles, batch=batch).energy
        for method in ("mesh", "direct")
    ]
    assert same(*energies, 1e-5)


def test_single_precision(torch_only):  # noqa: F811
    given = case(1, 1, torch.float32)
    expected = torch_only(derivatives, *given, twice=False)
    for found, known in zip(derivatives(*given, twice=False), expected, strict=True):
        assert same(found, known, 1e-5)
