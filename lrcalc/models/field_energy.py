"""Energy in a uniform field and the dipole that goes with it, with derivatives written out.

Of three numbers a structure each operation costs as much as of a million on a GPU, where a step
of a thousand atoms is as long as the number of its operations. So there are few of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lrcalc.kernels.choice import refuse_second_derivatives


def energy_and_dipole(
    energy: Tensor, latent: Tensor, alpha: Tensor, field: Tensor, screening: float
) -> tuple[Tensor, Tensor]:
    """Return ``E - s F·M - ½ F·α·F`` (S,), eV, and ``s M + α·F`` (S, 3), e Å; differentiable once.

    By all but the field, which must not depend on anything (as on the cell at constant voltage).

    Parameters
    ----------
    energy : Tensor, shape (S,), eV
        Without the field.
    latent : Tensor, shape (S, 3), e Å
        Latent dipole M.
    alpha : Tensor, shape (S, 3, 3), e Å²/V
        Symmetric.
    field : Tensor, shape (S, 3), V/Å
        F, constant.
    screening : float
        s.
    """
    return _InField.apply(energy, latent, alpha, field, screening)  # type: ignore[no-any-return]


class _InField(torch.autograd.Function):
    """Forward and backward of `energy_and_dipole`."""

    @staticmethod
    def forward(
        ctx: Any, energy: Tensor, latent: Tensor, alpha: Tensor, field: Tensor, screening: float
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(alpha, field)
        ctx.screening = screening
        column = field[:, :, None]
        dipole = torch.baddbmm(latent[:, :, None], alpha, column, beta=screening)
        both = torch.add(dipole, latent[:, :, None], alpha=screening)
        value = torch.baddbmm(energy[:, None, None], field[:, None], both, alpha=-0.5)
        return value[:, 0, 0], dipole[:, :, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        alpha, field = ctx.saved_tensors
        by_energy, by_dipole = gradients
        row, s = field[:, None], ctx.screening
        by_latent = by_alpha = None
        if by_energy is not None:
            weight = by_energy[:, None, None]
            # what is multiplied by zero is not read
            by_latent = torch.baddbmm(row, weight, row, beta=0.0, alpha=-s)
            by_alpha = torch.baddbmm(alpha, by_latent.mT, row, beta=0.0, alpha=0.5 / s)
            by_latent = by_latent[:, 0]
        if by_dipole is not None:
            own = s * by_dipole, by_dipole[:, :, None] * row
            by_latent = own[0] if by_latent is None else by_latent + own[0]
            by_alpha = own[1] if by_alpha is None else by_alpha + own[1]
        return by_energy, by_latent, by_alpha, None, None
