"""Weights of handing charge on in a kernel, against torch and finite differences."""

import pytest
import torch

from lrcalc.models.fused_transfers import Reach, fused_weights
from lrcalc.models.transfers import transfer_weights
from tests.kernels import DEVICE, needs_kernels, same

pytestmark = needs_kernels
CUTOFF = 3.5


def case(dtype, channels):
    """Thirty pairs of five atoms of three species, of which twenty are asked for."""
    make = torch.Generator().manual_seed(2)
    vectors = 1.7 * torch.randn(30, 3, dtype=dtype, generator=make)
    vectors[4] *= 100.0
    rows = torch.cat([torch.randperm(30, generator=make)[:20], torch.tensor([4, 4])])
    i, j = torch.randint(0, 5, (2, 30), generator=make)
    species = torch.tensor([0, 2, 1, 0, 2])
    learned = torch.randn(3, 3, 7, channels, dtype=dtype, generator=make)
    decay = torch.linspace(0.25, 0.8, channels, dtype=dtype)
    tensors = [x.to(DEVICE) for x in (rows, i, j, species, learned, decay)]
    return vectors.to(DEVICE).requires_grad_(), Reach(*tensors, CUTOFF)


@pytest.mark.parametrize("channels", [4, 3, 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_weights_are_those_of_torch(dtype, tolerance, channels):
    vectors, reach = case(dtype, channels)
    distance = torch.linalg.vector_norm(vectors[reach.rows], dim=1)
    couple = reach.species[reach.i[reach.rows]] * 3 + reach.species[reach.j[reach.rows]]
    learned = reach.learned.flatten(0, 1)[couple]
    expected = transfer_weights(distance, learned, reach.decay, CUTOFF)
    found = fused_weights(vectors, reach)
    assert int((distance > CUTOFF).sum()) > 3
    assert same(found, expected, tolerance)
    way = torch.randn_like(expected)
    slopes = [torch.autograd.grad((x * way).sum(), vectors)[0] for x in (found, expected)]
    assert same(*slopes, tolerance)


def test_slope_by_finite_differences():
    vectors, reach = case(torch.float64, 4)
    way, step = torch.randn_like(vectors), 1e-6
    found = fused_weights(vectors, reach)
    (slope,) = torch.autograd.grad(found.sum(), vectors)
    with torch.no_grad():
        ends = [fused_weights(vectors + s * way, reach).sum() for s in (step, -step)]
    expected = float(ends[0] - ends[1]) / (2 * step)
    assert float((slope * way).sum()) == pytest.approx(expected, rel=1e-7)


def test_second_derivatives_are_refused():
    vectors, reach = case(torch.float64, 4)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(fused_weights(vectors, reach).sum(), vectors, create_graph=True)
