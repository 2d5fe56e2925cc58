"""What of MACE-POLAR has no derivatives, or wrong ones, computed so that it has right ones.

Waves: graph_longrange 0.4.0 (MIT) writes the Fourier transforms of its Gaussian-type orbitals into
memory that torch cannot differentiate, and divides by |k|, so a model has no stress (and mace-torch
0.3.16 takes that of the rest of the energy for it). Here they are computed as what they are,
``f_l(k) ∝ exp(-½ σ² k²) k^l Y_lm(k̂)``, with k^l Y_lm a polynomial of k: the numbers are the same.

Layer normalisation: torch 2.13's own has wrong third derivatives (its second ones take mean and
width of a layer for constants), which polarizabilities by positions are.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

Y0, Y1 = 0.5 / math.sqrt(math.pi), math.sqrt(0.75 / math.pi)
"""Y_00, and the factor of y, z, x in Y_1m."""


def make_differentiable(model: nn.Module) -> None:
    """Let all orbitals and normalisations of a model compute what they do by functions of here."""
    from graph_longrange.gto_utils import GTOBasis

    class SmoothBasis(GTOBasis):  # type: ignore[misc]
        def forward(self, k_vectors: Tensor, k_norm2: Tensor, k0_mask: Tensor) -> Tensor:
            """Shape (waves, widths, components, 2): real and imaginary parts."""
            return transforms(self, k_vectors, k_norm2)

    for module in model.modules():
        if type(module) is GTOBasis:
            module.__class__ = SmoothBasis
        elif type(module) is nn.LayerNorm:
            module.__class__ = SmoothNorm


class SmoothNorm(nn.LayerNorm):
    """``w (x - mean)/√(variance + ε) + b`` over the last axis."""

    def forward(self, values: Tensor) -> Tensor:
        """Shape as of the values."""
        away = values - values.mean(-1, keepdim=True)
        width = (away.square().mean(-1, keepdim=True) + self.eps).sqrt()
        return away / width * self.weight + self.bias


def transforms(basis: Any, waves: Tensor, square: Tensor) -> Tensor:
    """Fourier transforms of orbitals with ℓ ≤ 1.

    Parameters
    ----------
    basis : GTOBasis
        Its widths and normalisations.
    waves : Tensor, shape (K, 3), 1/Å
    square : Tensor, shape (K,), 1/Å²
        |k|².
    """
    radial = basis.radial_spline
    gauss = torch.exp(-0.5 * square[:, None] * radial.sigma2)
    parts = [Y0 * (radial.pref0 * basis.cl_scale[:, 0] * gauss)[:, :, None]]
    if basis.max_l == 1:
        angular = waves[:, None, [1, 2, 0]]
        parts.append(Y1 * (radial.pref1 * basis.cl_scale[:, 1] * gauss)[:, :, None] * angular)
    values = torch.cat(parts, dim=2)
    return torch.stack([values * basis.real_phase_factors, values * basis.imag_phase_factors], -1)
