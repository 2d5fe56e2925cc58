"""Spherical to Cartesian quadrupoles, and charges made of transfers."""

import pytest
import torch

from lrcalc.multipoles import (
    local_charges,
    quadrupole_from_spherical,
    transfer_dipole,
    transferred_charges,
)

D = torch.float64


def test_quadrupole_from_spherical():
    import e3nn

    components = torch.randn(4, 5, dtype=D, generator=torch.Generator().manual_seed(0))
    q = quadrupole_from_spherical(components)
    torch.testing.assert_close(q, q.transpose(1, 2))
    torch.testing.assert_close(q.diagonal(dim1=1, dim2=2).sum(1), torch.zeros(4, dtype=D))
    torch.testing.assert_close(q.square().sum((1, 2)), components.square().sum(1))
    # a rotation of e3nn's features rotates the matrix
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    rotation = rotation * torch.det(rotation).sign()
    turn = e3nn.o3.Irrep("2e").D_from_matrix(rotation).to(D)
    rotation = rotation.to(D)
    turned = quadrupole_from_spherical(components @ turn.T)
    # e3nn builds its matrices in single precision
    torch.testing.assert_close(turned, rotation @ q @ rotation.T, rtol=1e-5, atol=1e-5)


def ring(atoms=5):
    """Directed edges of a ring and random weights, emitted charges and base charges."""
    i = torch.arange(atoms)
    first, second = torch.cat([i, (i + 1) % atoms]), torch.cat([(i + 1) % atoms, i])
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(2 * atoms, generator=generator, dtype=D)
    weight[atoms:] = weight[:atoms]
    emitted = torch.randn(atoms, generator=generator, dtype=D)
    base = torch.randn(atoms, generator=generator, dtype=D)
    return base, emitted, first, second, weight


def test_local_charges_conserve_charge():
    base, emitted, first, second, weight = ring()
    charge, transfer = local_charges(base, emitted, first, second, weight)
    assert float(charge.sum() - base.sum()) == pytest.approx(0.0, abs=1e-14)
    # by the definition: t_ij = c_i p_ij - c_j p_ji
    expected = base.clone()
    for i in range(5):
        for edge in torch.nonzero(first == i).squeeze(1).tolist():
            j = int(second[edge])
            back = int(torch.nonzero((first == j) & (second == i)))
            share_i = weight[edge] / weight[first == i].sum()
            share_j = weight[back] / weight[first == j].sum()
            expected[i] += emitted[i] * share_i - emitted[j] * share_j
    torch.testing.assert_close(charge, expected)
    # the dipole of the transfers along edges is that of the charges, up to the base charges
    r = torch.randn(5, 3, dtype=D, generator=torch.Generator().manual_seed(2))
    moment = transfer_dipole(r[first] - r[second], transfer, torch.zeros_like(first), 1)
    torch.testing.assert_close(moment[0], ((charge - base)[:, None] * r).sum(0))


def test_atom_without_neighbours_keeps_its_charge():
    base, emitted, first, second, weight = ring()
    emitted = torch.cat([emitted, torch.ones(1, dtype=D)]).requires_grad_()
    base = torch.cat([base, torch.full((1,), 0.3, dtype=D)])
    charge, _ = local_charges(base, emitted, first, second, weight)
    assert float(charge[-1].detach()) == 0.3
    (gradient,) = torch.autograd.grad(charge.square().sum(), emitted)
    assert bool(torch.isfinite(gradient).all())


def test_transfer_is_from_second_to_first():
    charge = transferred_charges(
        torch.zeros(2, dtype=D), torch.tensor([0]), torch.tensor([1]), torch.tensor([0.2], dtype=D)
    )
    assert charge.tolist() == [0.2, -0.2]
