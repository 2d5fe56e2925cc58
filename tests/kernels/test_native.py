"""Pair density and products in kernels, against e3nn, torch and finite differences."""

import pytest
import torch

from lrcalc.models.native.e3nn_import import o3
from lrcalc.models.native.fast import Kernels
from lrcalc.models.native.fused.density import Neighbours, neighbour_rows
from lrcalc.models.native.fused.products import described, mixed_rows
from lrcalc.models.native.local import LocalBackbone
from lrcalc.models.native.products import WIDTHS, sort_by_species
from lrcalc.models.radial import radial_basis
from tests.kernels import DEVICE, needs_kernels, same

pytestmark = needs_kernels
CUTOFF = 5.0
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}


def neighbourhood(dtype, n_species, seed=0):
    """Pairs of seven atoms, one of them alone, some pairs beyond the cutoff."""
    make = torch.Generator().manual_seed(seed)
    counts = torch.tensor([5, 0, 20, 17, 1, 33, 16])
    n, e = len(counts), int(counts.sum())
    vectors = 2.5 * torch.randn(e, 3, dtype=dtype, generator=make)
    vectors[3] *= 1e4
    at = Neighbours(
        torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        torch.randint(0, n, (e,), generator=make),
        torch.randint(0, n_species, (n,), generator=make),
        torch.randperm(n, generator=make),
    )
    centre = torch.repeat_interleave(torch.arange(n), counts).to(DEVICE)
    return vectors.to(DEVICE).requires_grad_(), Neighbours(*(x.to(DEVICE) for x in at)), centre


def rows_by_e3nn(vectors, at, centre, n_species, n_basis):
    distance = torch.linalg.vector_norm(vectors, dim=1)
    order = torch.arange(1, n_basis + 1, device=vectors.device)
    radial = radial_basis(distance, CUTOFF, n_basis) / order
    angular = o3.spherical_harmonics(
        [0, 1, 2, 3], vectors, normalize=True, normalization="component"
    )
    each = angular[:, :, None] * radial[:, None, :]
    rows = each.new_zeros(len(at.place), n_species, 16, n_basis)
    rows = rows.index_put((at.place[centre], at.species[at.j]), each, accumulate=True)
    return rows.permute(2, 0, 1, 3).flatten(2)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("n_species", "n_basis"), [(2, 8), (3, 8), (1, 5), (12, 8)])
def test_rows_are_those_of_e3nn(dtype, n_species, n_basis):
    vectors, at, centre = neighbourhood(dtype, n_species)
    assert int((torch.linalg.vector_norm(vectors, dim=1) > CUTOFF).sum()) > 5
    expected = rows_by_e3nn(vectors, at, centre, n_species, n_basis)
    found = neighbour_rows(vectors, at, CUTOFF, n_species, n_basis)
    assert same(found, expected, TOLERANCE[dtype])
    weight = torch.randn_like(expected)
    slopes = [torch.autograd.grad((x * weight).sum(), vectors)[0] for x in (found, expected)]
    assert same(*slopes, TOLERANCE[dtype])
    beyond = torch.linalg.vector_norm(vectors, dim=1) > CUTOFF
    assert float(slopes[0][beyond].abs().max()) == 0.0


def test_slope_of_rows_by_finite_differences():
    vectors, at, _ = neighbourhood(torch.float64, 2)
    way, step = torch.randn_like(vectors), 1e-5
    rows = neighbour_rows(vectors, at, CUTOFF, 2, 8)
    weight = torch.randn_like(rows)
    (slope,) = torch.autograd.grad((rows * weight).sum(), vectors)
    with torch.no_grad():
        ends = [neighbour_rows(vectors + s * way, at, CUTOFF, 2, 8) for s in (step, -step)]
        expected = ((ends[0] - ends[1]) * weight).sum() / (2 * step)
    assert float((slope * way).sum()) == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("channels", [32, 5])
@pytest.mark.parametrize("used", [("hidden",), ("hidden", "vectors", "tensors", "product")])
def test_products_are_those_of_torch(dtype, channels, used):
    torch.manual_seed(3)
    backbone = LocalBackbone((1, 8, 14), channels=channels).to(DEVICE, dtype).requires_grad_(False)
    for name, scale in backbone.named_buffers():
        if name.endswith("_scale"):
            scale.uniform_(0.5, 1.5)
    atoms = sort_by_species(torch.tensor([0, 1, 0, 0, 1, 0, 1], device=DEVICE), 3)
    rows = torch.randn(16, 7, 24, dtype=dtype, device=DEVICE).requires_grad_()
    weight = backbone.mixing()
    parts = zip(rows.split(atoms.counts, dim=1), weight.unbind(1), strict=True)
    density = torch.cat([torch.bmm(part, own) for part, own in parts], dim=1)
    expected = backbone.describe(density, atoms, calibrate=False)
    density = mixed_rows(rows, weight, atoms.counts)
    found = backbone.describe(density, atoms, calibrate=False, fast=Kernels())
    pairs = {}
    for name in ("hidden", "product"):
        pairs[name] = getattr(found, name), getattr(expected, name)
    by_ell = [x.split(WIDTHS) for x in (expected.density, expected.product)]
    for ell, name in ((1, "vectors"), (2, "tensors")):
        both = torch.cat([x[ell] for x in by_ell], dim=2).index_select(1, atoms.place)
        pairs[name] = found.features[ell - 1], both.permute(1, 2, 0)
    totals = [0.0, 0.0]
    for name, pair in pairs.items():
        assert same(*pair, TOLERANCE[dtype]), name
        if name in used:
            weight = torch.randn_like(pair[0])
            totals = [t + (weight * x).sum() for t, x in zip(totals, pair, strict=True)]
    slopes = [torch.autograd.grad(total, rows)[0] for total in totals]
    assert same(*slopes, 2 * TOLERANCE[dtype])


def test_second_derivatives_are_refused():
    vectors, at, _ = neighbourhood(torch.float64, 2)
    total = neighbour_rows(vectors, at, CUTOFF, 2, 8).sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(total, vectors, create_graph=True)
    density = torch.randn(16, 3, 4, dtype=torch.float64, device=DEVICE).requires_grad_()
    weights = [torch.randn(1, k * 4, 4).to(density) for k in (5, 4, 6, 4)]
    place = torch.arange(3, device=DEVICE)
    total = described(density, weights, place, [3]).invariants.sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(total, density, create_graph=True)


def test_no_atoms():
    vectors = torch.zeros(0, 3, dtype=torch.float64, device=DEVICE).requires_grad_()
    nobody = torch.zeros(0, dtype=torch.int64, device=DEVICE)
    at = Neighbours(torch.zeros(1, dtype=torch.int64, device=DEVICE), nobody, nobody, nobody)
    assert neighbour_rows(vectors, at, CUTOFF, 2, 8).shape == (16, 0, 16)
