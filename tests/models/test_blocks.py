"""Features of some of the atoms, in blocks, are rows of the features of all."""

import pytest
import torch
from torch import nn

from lrcalc import from_ase
from lrcalc.models.blocks import features_of
from lrcalc.models.native.local import LocalBackbone
from lrcalc.neighbors import Pairs, build_pairs, pair_vectors
from tests.sample_structures import water_box


class Toy(nn.Module):
    """A backbone that describes all atoms, whoever asks."""

    cutoff, layers, species, n_scalars, n_channels = 4.0, 1, (1, 8), 2, 1

    def forward(self, system, pairs, vectors):
        from lrcalc.models.backbone import Features

        fade = (1.0 - vectors.norm(dim=1) / self.cutoff).clamp(min=0.0) ** 3
        pull = fade * system.numbers[pairs.j]
        count = len(system.numbers)
        scalars = torch.stack([fade, pull], 1)
        square = (vectors[:, :1] * vectors.repeat(1, 2)[:, :5]) * pull[:, None]
        add = [scalars, (vectors * pull[:, None])[:, None], square[:, None]]
        rows = (x.new_zeros((count, *x.shape[1:])).index_add(0, pairs.i, x) for x in add)
        return Features(*rows)


def native():
    torch.manual_seed(3)
    return LocalBackbone((1, 8), cutoff=4.0, channels=4, hidden=8).double().requires_grad_(False)


@pytest.mark.parametrize("make", [native, Toy])
@pytest.mark.parametrize("block", [None, 2, 5])
def test_as_rows_of_all(make, block):
    backbone, centres = make(), 7
    system = from_ase(water_box(n=4))
    pairs = build_pairs(system, backbone.cutoff)
    vectors = pair_vectors(system, pairs).requires_grad_()
    whole = [x[:centres] for x in backbone(system, pairs, vectors)[:3]]
    weights = [torch.rand_like(x) for x in whole]

    own = pairs.i < centres
    given = Pairs(*(x[own] for x in pairs))
    arms = vectors.detach()[own].requires_grad_()
    part = features_of(backbone, system._replace(centres=centres, block=block), given, arms)
    for one, other in zip(part[:3], whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    slopes = [
        torch.autograd.grad(sum((w * x).sum() for w, x in zip(weights, found, strict=True)), leaf)[
            0
        ]
        for found, leaf in ((whole, vectors), (part[:3], arms))
    ]
    torch.testing.assert_close(slopes[1], slopes[0][own], rtol=0, atol=1e-10)


def test_nobody_is_described_with_a_gradient():
    system = from_ase(water_box(n=1))._replace(centres=0)
    empty = torch.zeros(0, dtype=torch.int64)
    vectors = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    found = features_of(native(), system, Pairs(empty, empty, torch.zeros(0, 3)), vectors)
    assert [len(x) for x in found[:3]] == [0, 0, 0]
    assert all(x.requires_grad for x in found[:3])  # every process takes part backwards
