"""Density on a mesh to potential and energy: a linear map that is its own transpose.

The filter is real and depends on a wave and its opposite in the same way (those of the highest
index, which have none, are beyond the cutoff). So the gradient by the density is the same map
again, and that of the energy is the potential, which is known: derivatives of transforms, which
autograd takes over all waves rather than half of them, are not needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def filtered(density: Tensor, green: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (B,), eV, and potential (B, K1, K2, K3), V, of a ``density`` (B, K1, K2, K3), e.

    ``green`` (B, K1, K2, K3/2 + 1), eV e⁻², is the filter; differentiable any number of times.
    """
    if green.requires_grad:
        potential = _filter(density, green)
        return 0.5 * (potential * density).sum((1, 2, 3)), potential
    return _Filtered.apply(density, green)  # type: ignore[no-any-return]


def _filter(density: Tensor, green: Tensor) -> Tensor:
    sizes = density.shape[1:]
    transform = torch.fft.rfftn(density, dim=(1, 2, 3))
    # irfftn divides by the number of points, the sum over k does not
    return torch.fft.irfftn(transform * green, sizes, dim=(1, 2, 3), norm="forward")


class _Potential(torch.autograd.Function):
    """Potential of a density."""

    @staticmethod
    def forward(ctx: Any, density: Tensor, green: Tensor) -> Tensor:
        ctx.save_for_backward(green)
        return _filter(density, green)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Potential.apply(gradients[0], *ctx.saved_tensors), None


class _Filtered(torch.autograd.Function):
    """Energy and potential of a density."""

    @staticmethod
    def forward(ctx: Any, density: Tensor, green: Tensor) -> tuple[Tensor, Tensor]:
        potential = _filter(density, green)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(density, green, potential)
        return 0.5 * (potential * density).sum((1, 2, 3)), potential

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        density, green, potential = ctx.saved_tensors
        by_energy, by_potential = gradients
        slope = None
        if by_energy is not None:
            if torch.is_grad_enabled():
                potential = _Potential.apply(density, green)
            slope = by_energy[:, None, None, None] * potential
        if by_potential is not None:
            more = _Potential.apply(by_potential, green)
            slope = more if slope is None else slope + more
        return slope, None
