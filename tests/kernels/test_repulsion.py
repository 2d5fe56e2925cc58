"""Prior and wall in a kernel, against torch and finite differences."""

import pytest
import torch

from lrcalc.models.fused_repulsion import fused_repulsion
from lrcalc.models.prior import build_prior
from lrcalc.models.repulsion import by_torch
from lrcalc.models.wall import build_wall
from lrcalc.neighbors import Pairs
from tests.kernels import DEVICE, needs_kernels, same

pytestmark = needs_kernels
WALL = [[1.7, 1.05, 0.0], [1.05, 2.9, 1.2], [0.0, 1.2, 2.0]]
CONTACTS = [[True, False, True], [False, True, True], [True, True, False]]
PARTS = {
    "prior": (None, False), "prior of contacts and wall": (CONTACTS, True), "wall": (..., True),
}  # fmt: skip
COUNTS = (3, 0, 90, 64, 1, 17)


def case(name, dtype):
    """Parts, species, pairs and vectors of atoms with few pairs, many and none."""
    between, has_wall = PARTS[name]
    prior = None if between is ... else build_prior("zbl", (1, 6, 8), 4.0, between)
    wall = build_wall(WALL, (1, 6, 8)) if has_wall else None
    parts = tuple(None if x is None else x.to(DEVICE, dtype) for x in (prior, wall))
    make = torch.Generator().manual_seed(4)
    rows = sum(COUNTS)
    i = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
    j = torch.randint(0, len(COUNTS), (rows,), generator=make)
    vectors = 1.6 * torch.randn(rows, 3, dtype=torch.float64, generator=make)
    vectors[7] *= 0.05 / vectors[7].norm()
    vectors[::9] *= 100.0
    species = torch.tensor([0, 2, 1, 0, 2, 1])
    tensors = [x.to(DEVICE) for x in (species, i, j, torch.zeros(rows, 3, dtype=torch.int64))]
    leaf = vectors.to(DEVICE, dtype).requires_grad_()
    return parts, tensors[0], Pairs(*tensors[1:]), leaf


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 5e-6)])
def test_energies_and_gradients_are_those_of_torch(name, dtype, tolerance):
    parts, species, pairs, vectors = case(name, dtype)
    expected = by_torch(*parts, species, pairs, vectors)
    found = fused_repulsion(parts, species, pairs, vectors)
    assert found.dtype == torch.float64
    assert float(expected.detach().max()) > 1.0
    assert same(found, expected, tolerance)
    way = torch.linspace(-1, 2, len(species), dtype=torch.float64, device=DEVICE)
    slopes = [torch.autograd.grad((x * way).sum(), vectors)[0] for x in (found, expected)]
    assert same(*slopes, tolerance)


@pytest.mark.parametrize("name", PARTS)
def test_slope_by_finite_differences(name):
    parts, species, pairs, vectors = case(name, torch.float64)
    vectors = vectors.detach()
    near = vectors.norm(dim=1, keepdim=True) < 0.8  # steep: differences say nothing there
    vectors = torch.where(near, 2.0 * vectors / vectors.norm(dim=1, keepdim=True), vectors)
    leaf = vectors.clone().requires_grad_()
    (slope,) = torch.autograd.grad(fused_repulsion(parts, species, pairs, leaf).sum(), leaf)
    way, step = torch.randn_like(vectors), 1e-6
    ends = [fused_repulsion(parts, species, pairs, vectors + s * way).sum() for s in (step, -step)]
    expected = float(ends[0] - ends[1]) / (2 * step)
    assert float((slope * way).sum()) == pytest.approx(expected, rel=1e-6)


def test_what_is_no_number_is_not_left_out():
    parts, species, pairs, vectors = case("prior of contacts and wall", torch.float64)
    bad = vectors.detach().clone()
    bad[5] = torch.nan
    found = fused_repulsion(parts, species, pairs, bad)
    assert torch.isnan(found).nonzero().flatten().tolist() == [int(pairs.i[5])]


def test_second_derivatives_are_refused():
    parts, species, pairs, vectors = case("wall", torch.float64)
    total = fused_repulsion(parts, species, pairs, vectors).sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(total, vectors, create_graph=True)
