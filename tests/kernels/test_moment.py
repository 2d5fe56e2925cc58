"""Dipole of local charges in a kernel, against torch and finite differences."""

import pytest
import torch

from lrcalc.models.dipole import permanent_dipole
from lrcalc.models.fused_moment import BLOCK, Handed, fused_moment
from tests.kernels import DEVICE, needs_kernels, same

pytestmark = needs_kernels
SIZES = {"more pairs": (2 * BLOCK + 30, 90), "more atoms": (40, BLOCK + 7), "no pairs": (0, 5)}


def case(dtype, size, structures, has_dipole=True):
    """Vectors, amounts, positions and dipoles, and who hands charge to whom."""
    pairs, atoms = SIZES[size]
    make = torch.Generator().manual_seed(2)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=make)

    vectors, amount = random(pairs + 20, 3), random(pairs)
    i = torch.sort(torch.randint(0, atoms, (pairs + 20,), generator=make)).values
    rows = torch.randperm(pairs + 20, generator=make)[:pairs].sort().values
    if pairs > 30:  # what fills up arrays
        amount[-9:], rows[-9:] = 0.0, rows[0]
        amount[0] = 0.0
    batch = torch.sort(torch.randint(0, structures, (atoms,), generator=make)).values
    kept, dipole = random(atoms), random(atoms, 3)
    leaves = [x.to(DEVICE, dtype).requires_grad_() for x in (vectors, amount)]
    leaves.append(random(atoms, 3).to(DEVICE).requires_grad_())
    leaves.append(dipole.to(DEVICE, dtype).requires_grad_() if has_dipole else None)
    places = (x.to(DEVICE) for x in (rows, i, batch))
    return leaves, Handed(*places, structures, kept.to(DEVICE, dtype))


@pytest.mark.parametrize("structures", [1, 4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_dipoles_and_gradients_are_those_of_torch(dtype, tolerance, size, structures):
    leaves, handed = case(dtype, size, structures)
    expected = permanent_dipole(*leaves, handed)
    found = fused_moment(*leaves, handed)
    assert found.dtype == torch.float64
    assert found.shape == (structures, 3)
    assert same(found, expected, tolerance)
    way = torch.linspace(-1, 2, found.numel(), dtype=torch.float64, device=DEVICE)
    slopes = [torch.autograd.grad((x.flatten() * way).sum(), leaves) for x in (found, expected)]
    for one, two in zip(*slopes, strict=True):
        assert one.dtype == two.dtype
        if two.numel():
            assert same(one, two, tolerance)


def test_by_hand():
    """A charge of 1 e at x = 2 Å, 0.5 e that went 3 Å to its centre, along -y, and a dipole."""
    vectors = torch.tensor([[9.0, 9.0, 9.0], [0.0, 3.0, 0.0]], dtype=torch.float64, device=DEVICE)
    positions = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 5.0]], dtype=torch.float64, device=DEVICE)
    dipole = torch.tensor([[0.0, 0.0, 0.25], [0.0, 0.0, 0.0]], dtype=torch.float64, device=DEVICE)
    rows, i, batch = (torch.tensor(x, device=DEVICE) for x in ([1], [0, 1], [0, 0]))
    kept = torch.tensor([1.0, 0.0], dtype=torch.float64, device=DEVICE)
    amount = torch.tensor([0.5], dtype=torch.float64, device=DEVICE)
    found = fused_moment(vectors, amount, positions, dipole, Handed(rows, i, batch, 1, kept))
    assert found.tolist() == [[2.0, -1.5, 0.25]]


@pytest.mark.parametrize("has_dipole", [True, False])
def test_slope_by_finite_differences(has_dipole):
    leaves, handed = case(torch.float64, "more pairs", 3, has_dipole)
    way = [None if x is None else torch.randn_like(x) for x in leaves]
    total = fused_moment(*leaves, handed).square().sum()
    wanted = [x for x in leaves if x is not None]
    slopes = torch.autograd.grad(total, wanted)
    found = sum(
        float((a * b).sum()) for a, b in zip(slopes, (x for x in way if x is not None), strict=True)
    )
    ends = []
    for s in (1e-5, -1e-5):
        moved = [
            None if x is None else x.detach() + s * w for x, w in zip(leaves, way, strict=True)
        ]
        # what fills up arrays carries nothing, and goes on doing so
        moved[1] = torch.where(leaves[1] == 0.0, 0.0, moved[1])
        ends.append(float(fused_moment(*moved, handed).square().sum()))
    filled = float((slopes[1] * way[1])[leaves[1] == 0.0].sum())
    assert found - filled == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7)


def test_what_is_no_number_is_not_left_out():
    leaves, handed = case(torch.float64, "more pairs", 3)
    bad = [x.detach().clone() for x in leaves]
    bad[0][handed.rows[20]] = torch.nan
    found = fused_moment(*bad, handed)
    own = int(handed.batch[handed.i[handed.rows[20]]])
    assert torch.isnan(found).any(1).nonzero().flatten().tolist() == [own]


def test_second_derivatives_are_refused():
    leaves, handed = case(torch.float64, "more pairs", 1)
    total = fused_moment(*leaves, handed).square().sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(total, leaves[0], create_graph=True)
