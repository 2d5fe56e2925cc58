"""A small MACE-LES model with random weights, as a conversion leaves it; made without MACE."""

import torch

from lrcalc import Potential
from lrcalc.models.adapters.mace_weights import _cubic
from lrcalc.models.options import MACE_MODEL


def toy_maceles(species=(1, 8), seed=0):
    """Two layers of scalars and charges with a mean; products are powers and squares of lengths."""
    torch.manual_seed(seed)
    potential = Potential(
        species, backbone=MACE_MODEL, level="q", charges="atomic", cutoff=4.0, max_ell=2,
        hidden_irreps="4x0e", num_bessel=5, radial_MLP=[8], couplings=[5, 5],
        readout_hidden=[0, 4], k_cutoff=3.14, repulsion=6,
    )  # fmt: skip
    for parameter in potential.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    backbone, readout = potential.backbone, potential.readout
    with torch.no_grad():
        backbone.frequencies.copy_(torch.pi / 4.0 * torch.arange(1, 6))
        readout.scale.fill_(1.0)
        readout.repulsion.shape.copy_(torch.tensor([0.9, 0.3]))
        readout.repulsion.weights.copy_(torch.tensor([0.18, 0.51, 0.28, 0.03]))
        readout.repulsion.radii.fill_(0.4)
        for layer in backbone.interactions:
            layer.linear.mul_(0.3)
            layer.basis.copy_(invariants(layer))
    return potential.double().eval().requires_grad_(False)


def invariants(layer):
    """A, |A_ℓ|² and A³ of a layer's densities A, as its cubic forms."""
    size = (layer.max_ell + 1) ** 2
    ells = torch.tensor([ell for ell in range(layer.max_ell + 1) for _ in range(2 * ell + 1)])
    one = torch.zeros(size, 1).double()
    one[0] = 1.0
    squares = torch.stack([torch.diag((ells == ell).double()) for ell in ells.unique()], dim=-1)
    cube = torch.zeros(size, size, size, 1).double()
    cube[0, 0, 0] = 1.0
    full = torch.cat([_cubic(each) for each in (one, squares, cube)])
    twice = torch.where(layer.first == layer.second, 1.0, 2.0)
    return full[:, layer.first, layer.second] * twice[:, None]
