"""Spherical to Cartesian quadrupoles, and charges made of transfers."""

import pickle

import pytest
import torch

from lrcalc.multipoles import PairResponse, quadrupole_from_spherical, transferred_charges

D = torch.float64


def test_quadrupole_from_spherical():
    import e3nn.o3

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


def test_transfer_is_what_i_gains_from_j():
    charge = transferred_charges(
        torch.zeros(2, dtype=D), torch.tensor([0]), torch.tensor([1]), torch.tensor([0.2], dtype=D)
    )
    assert charge.tolist() == [0.2, -0.2]


def test_former_names_of_pairs_are_refused_with_the_new_ones_and_can_be_read():
    i, j, vector = torch.tensor([0]), torch.tensor([1]), torch.tensor([[1.0, 0.0, 0.0]])
    with pytest.raises(TypeError, match=r"i=first, j=second, vector=-displacement"):
        PairResponse(first=i, second=j, displacement=-vector, capacitance=vector[:, 0])
    with pytest.raises(TypeError, match="`displacement`"):
        PairResponse(i, j, displacement=-vector, capacitance=vector[:, 0])
    pair = PairResponse(i, j, vector=vector, capacitance=vector[:, 0])
    assert pair.first is i
    assert pair.second is j
    torch.testing.assert_close(pair.displacement, -vector)
    assert type(pickle.loads(pickle.dumps(pair))) is type(pair._replace(i=j)) is PairResponse
