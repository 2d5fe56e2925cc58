"""Mesh and direct sum in C++ against torch: values, and derivatives up to the second."""

import shutil

import pytest
import torch

from lrcalc import Ewald, Multipoles
from lrcalc.compiler import COMPILERS
from lrcalc.electrostatics import compiled_direct, compiled_mesh

pytestmark = pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")

CELLS = [
    [[6.0, 0.0, 0.0], [1.0, 5.5, 0.0], [-0.7, 0.4, 7.0]],
    [[5.0, 0.0, 0.3], [1.0, 6.5, 0.0], [-0.7, 0.4, 6.0]],
]


def case(structures, level, dtype):
    """Positions, some of them outside of the cell, cells, batch, and what is on five atoms."""
    make = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=make).to(dtype)

    batch = torch.tensor([0, 0, 0, structures - 1, structures - 1])
    tensor = random(5, 3, 3)
    tensor = tensor + tensor.transpose(1, 2)
    trace = tensor.diagonal(dim1=1, dim2=2).mean(-1)
    tensor = tensor - torch.diag_embed(trace[:, None].expand(-1, 3))
    multipoles = Multipoles(
        random(5),
        random(5, 3) if level > 0 else None,
        tensor if level > 1 else None,
        polarizability=torch.full((5,), 0.05).to(tensor) if level > 2 else None,
    )
    return 4.0 * random(5, 3), torch.tensor(CELLS[:structures], dtype=dtype), multipoles, batch


def looked_at(positions, cell, multipoles, batch, *, method, compiled):
    """Energy, sites, first derivatives, and their own along some direction."""
    leaves = [x.detach().clone().requires_grad_() for x in (positions, cell, multipoles.charge)]
    multipoles = multipoles._replace(charge=leaves[2])
    found = Ewald(1.0, None, 1e-4, method)(
        leaves[0], leaves[1], multipoles, batch=batch, with_field=True, compiled=compiled
    )
    value = found.energy.sum() + (torch.linspace(0.3, 1, 5).to(positions) * found.potential).sum()
    first = torch.autograd.grad(value, leaves, create_graph=True)
    ways = [torch.linspace(1, 2, x.numel()).to(x).view_as(x) for x in first]
    total = sum((x * way).sum() for x, way in zip(first, ways, strict=True))
    second = torch.autograd.grad(total, leaves)
    return [x.detach() for x in (found.energy, found.potential, found.field, *first, *second)]


@pytest.fixture(params=["mesh", "direct"])
def method(request, monkeypatch):
    """A sum, whose functions in C++ must have been called where they were to be."""
    which = {"mesh": (compiled_mesh, "put"), "direct": (compiled_direct.WaveGrid, "put")}
    owner, name = which[request.param]
    calls, put = [], getattr(owner, name)

    def counted(*args):
        calls.append(1)
        return put(*args)

    monkeypatch.setattr(owner, name, counted)
    yield request.param
    assert calls


@pytest.mark.parametrize("structures", [1, 2])
@pytest.mark.parametrize(
    ("level", "dtype"),
    [(0, torch.float64), (1, torch.float64), (2, torch.float64), (3, torch.float64),
     (2, torch.float32)],
    ids=["charges", "dipoles", "quadrupoles", "response", "single"],
)  # fmt: skip
def test_energy_and_derivatives_are_those_of_torch(structures, level, dtype, method):
    given = case(structures, level, dtype)
    limit = 1e-11 if dtype == torch.float64 else 2e-4
    expected, found = (
        looked_at(*given, method=method, compiled=compiled) for compiled in (False, True)
    )
    for one, other in zip(expected, found, strict=True):
        assert float((one - other).abs().max()) < limit * float(one.abs().max())


def test_threads_do_not_change_a_number(method):
    given = case(2, 2, torch.float64)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(looked_at(*given, method=method, compiled=True)[0])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-13, atol=0.0)
