"""Parts of a polarizability surface in a kernel, against torch and finite differences."""

import pytest
import torch

from lrcalc.models.backbone import Features
from lrcalc.models.fused_surface import LARGEST, fused_parts, usable
from lrcalc.models.surface import PolarizabilitySurface
from tests.kernels import DEVICE, needs_kernels, same

pytestmark = needs_kernels
SIZES = {"powers of two": (2, 16, 8, 32), "others": (3, 20, 6, 5), "narrow": (1, 1, 1, 1)}
"""Species, scalars, channels, width of the hidden layer."""


def case(dtype, size):
    """A surface, features of seven atoms and their species."""
    torch.manual_seed(3)
    n_species, scalars, channels, hidden = SIZES[size]
    surface = PolarizabilitySurface(n_species, scalars, channels, hidden).to(DEVICE, torch.float64)
    with torch.no_grad():
        surface.constant.copy_(torch.linspace(0.5, 1.5, n_species))
        surface.unit.fill_(0.7)
        surface.layer2 *= 10.0
    features = Features(*(torch.randn(7, *x) for x in ((scalars,), (0, 3), (channels, 5))))
    leaves = [x.to(DEVICE, dtype).requires_grad_() for x in features[:3]]
    species = (torch.arange(7) % n_species).to(DEVICE)
    return surface.to(dtype), Features(*leaves), species


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 5e-6)])
def test_parts_and_gradients_are_those_of_torch(dtype, tolerance, size):
    surface, features, species = case(dtype, size)
    expected = surface.parts(features, species)
    found = fused_parts(surface, features, species)
    assert found.shape == (7, 6)
    assert found.dtype == torch.float64
    assert same(found, expected, tolerance)
    for way in (torch.randn(7, 6), torch.randn(1, 6).expand(7, 6), torch.randn(6, 7).T):
        way = way.to(DEVICE, torch.float64)
        slopes = [
            torch.autograd.grad(x, [features.scalars, features.tensors], way.to(x.dtype))
            for x in (found, expected)
        ]
        found = fused_parts(surface, features, species)
        expected = surface.parts(features, species)
        for one, two in zip(*slopes, strict=True):
            assert same(one, two, tolerance)


def test_slope_by_finite_differences():
    surface, features, species = case(torch.float64, "others")
    weights = torch.randn(7, 6, dtype=torch.float64).to(DEVICE)
    way = [torch.randn_like(x) for x in (features.scalars, features.tensors)]

    def total(step):
        moved = Features(
            features.scalars + step * way[0], features.vectors, features.tensors + step * way[1]
        )
        return (weights * fused_parts(surface, moved, species)).sum()

    slopes = torch.autograd.grad(total(0.0), [features.scalars, features.tensors])
    found = sum(float((a * b).sum()) for a, b in zip(slopes, way, strict=True))
    with torch.no_grad():
        expected = float(total(1e-5) - total(-1e-5)) / 2e-5
    assert found == pytest.approx(expected, rel=1e-7)


def test_extreme_inputs():
    """Where the layer saturates nothing overflows into what is no number."""
    surface, features, species = case(torch.float32, "powers of two")
    scalars = 1e3 * features.scalars.detach()
    big = features._replace(scalars=scalars.requires_grad_())
    exact = Features(*(x.detach().double().requires_grad_() for x in big[:3]))
    found = fused_parts(surface, big, species)
    (slope,) = torch.autograd.grad(found.sum(), big.scalars)
    expected = surface.double().parts(exact, species)
    assert same(found, expected, 5e-6)
    # numbers of a thousand are rounded by 1e-4, and that is what a slope near zero is wrong by
    assert same(slope, torch.autograd.grad(expected.sum(), exact.scalars)[0], 1e-4)


def test_what_is_too_large_is_left_to_torch():
    wide = PolarizabilitySurface(1, 8, 4, 2 * LARGEST)
    assert not usable(wide, torch.zeros(1, device=DEVICE))
    assert usable(PolarizabilitySurface(1, 8, 4, 16), torch.zeros(1, device=DEVICE))


def test_second_derivatives_are_refused():
    surface, features, species = case(torch.float64, "others")
    total = fused_parts(surface, features, species).square().sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(total, features.scalars, create_graph=True)
