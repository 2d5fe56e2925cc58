"""The Coulomb interaction of two Gaussians and its derivatives, in real and reciprocal space.

``v(r) = k_C erf(r/(√2 σ))/r`` and ``v̂(k) = exp(-σ²k²/2)/(ε0 k²)`` (Kim et al.,
arXiv:2605.05746). The real-space derivatives are Boys functions,
``(-1/r d/dr)^n erf(r/(√2 σ))/r = √(2/π) σ^-(2n+1) F_n(r²/2σ²)``,
which are smooth at r = 0, so overlapping sites need no special case.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.units import COULOMB, EPSILON_0

SERIES_LIMIT = 8.0
"""Below this argument the series of the Boys functions is used, above it upward recursion."""

SERIES_TERMS = 48
"""Terms of the series: enough for double precision up to SERIES_LIMIT."""


class Source(NamedTuple):
    """Cartesian multipoles that make a potential; None is zero.

    Attributes
    ----------
    charge : Tensor, shape (N,), e
    dipole : Tensor or None, shape (N, 3), e Å
    quadrupole : Tensor or None, shape (N, 3, 3), e Å², symmetric and traceless
    """

    charge: Tensor
    dipole: Tensor | None = None
    quadrupole: Tensor | None = None


class Sites(NamedTuple):
    """Potential and its derivatives at the atoms.

    Attributes
    ----------
    potential : Tensor, shape (N,), V
    field : Tensor or None, shape (N, 3), V/Å
        Minus the gradient of the potential.
    hessian : Tensor or None, shape (N, 3, 3), V/Å²
        Second derivatives of the potential (minus the field gradient).
    """

    potential: Tensor
    field: Tensor | None = None
    hessian: Tensor | None = None


class _Smeared(torch.autograd.Function):
    """B_n(r²) for n = low … high; its derivative is -½ B_{n+1}, so it differentiates for ever."""

    @staticmethod
    def forward(ctx: Any, r2: Tensor, smearing: float, low: int, high: int) -> Tensor:
        ctx.save_for_backward(r2)
        ctx.arguments = (smearing, low, high)
        scaled = r2.detach() / (2.0 * smearing**2)
        boys = boys_functions(scaled, high)[low:]
        factors = [COULOMB * sqrt(2.0 / pi) / smearing ** (2 * n + 1) for n in range(low, high + 1)]
        shape = (high - low + 1,) + (1,) * r2.dim()
        return boys * boys.new_tensor(factors).reshape(shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (r2,) = ctx.saved_tensors
        smearing, low, high = ctx.arguments
        slope = _Smeared.apply(r2, smearing, low + 1, high + 1)
        return -0.5 * (gradients[0] * slope).sum(0), None, None, None


def smeared_coulomb(r2: Tensor, smearing: float, order: int) -> Tensor:
    """Radial functions ``B_n = (-1/r d/dr)^n v(r)``, n = 0 … order.

    Parameters
    ----------
    r2 : Tensor
        Squared distances, Å².
    smearing : float
        σ, Å.
    order : int
        Highest n.

    Returns
    -------
    Tensor, shape (order + 1, *r2.shape)
        B_n in eV e⁻² Å⁻²ⁿ; differentiable any number of times.
    """
    return _Smeared.apply(r2, smearing, 0, order)  # type: ignore[no-any-return]


def boys_functions(argument: Tensor, order: int) -> Tensor:
    """Boys functions ``F_n(T) = ∫_0^1 t^{2n} exp(-T t²) dt`` for n = 0 … order.

    Upward recursion is stable for large T; below ``SERIES_LIMIT`` the all-positive series of
    the highest order is followed by downward recursion (Helgaker, Jørgensen, Olsen, Molecular
    Electronic-Structure Theory, section 9.8).
    """
    result = argument.new_empty((order + 1, *argument.shape))
    large = argument.clamp_min(SERIES_LIMIT)
    decay = torch.exp(-large)
    root = large.sqrt()
    result[0] = 0.5 * sqrt(pi) * torch.erf(root) / root
    for n in range(order):
        result[n + 1] = ((2 * n + 1) * result[n] - decay) / (2.0 * large)
    small = argument < SERIES_LIMIT
    if bool(small.any()):
        t = argument[small]
        decay = torch.exp(-t)
        term = torch.full_like(t, 1.0 / (2 * order + 1))
        total = term
        for i in range(1, SERIES_TERMS):
            term = term * (2.0 * t / (2 * order + 2 * i + 1))
            total = total + term
        value = decay * total
        result[order][small] = value
        for n in range(order - 1, -1, -1):
            value = (2.0 * t * value + decay) / (2 * n + 1)
            result[n][small] = value
    return result


def reciprocal_weight(k2: Tensor, smearing: float, k_cutoff: float) -> Tensor:
    """``v̂(k)`` within ``0 < |k| ≤ k_cutoff``, else zero; eV Å e⁻² Å² (times 1/V: eV e⁻²)."""
    reference = k2.detach()
    # a hair of tolerance keeps symmetry-equivalent vectors together under rounding
    margin = 1.0 + 32.0 * torch.finfo(k2.dtype).eps
    inside = (reference > 1e-10) & (reference <= k_cutoff**2 * margin)
    safe = torch.where(inside, k2, torch.ones_like(k2))
    value = torch.exp(-0.5 * smearing**2 * safe) / (EPSILON_0 * safe)
    return torch.where(inside, value, torch.zeros_like(value))


def self_coefficients(smearing: float) -> tuple[float, float, float]:
    """Own potential of a unit charge, own gradient of a dipole, own hessian of a quadrupole."""
    base = 1.0 / (EPSILON_0 * (2.0 * pi) ** 1.5)
    return base / smearing, base / (3.0 * smearing**3), base / (5.0 * smearing**5)


def converged_cutoff(smearing: float, accuracy: float) -> float:
    """Wave number (Å⁻¹) where the weight exp(-σ²k²/2) has fallen to ``accuracy``."""
    return sqrt(-2.0 * log(accuracy)) / smearing
