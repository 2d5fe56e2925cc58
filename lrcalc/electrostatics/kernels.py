"""The Coulomb interaction of two Gaussians and its derivatives, in real and reciprocal space.

``v(r) = k_C erf(r/(√2 σ))/r`` and ``v̂(k) = exp(-σ²k²/2)/(ε0 k²)`` (Kim et al.,
arXiv:2605.05746). The real-space derivatives are Boys functions,
``(-1/r d/dr)^n erf(r/(√2 σ))/r = √(2/π) σ^-(2n+1) F_n(r²/2σ²)``,
which are smooth at r = 0, so overlapping sites need no special case.
"""

from __future__ import annotations

from functools import lru_cache
from math import log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.units import COULOMB, EPSILON_0

NEAR = 8.0
"""Argument of the Boys functions up to which a polynomial is used, above it upward recursion."""

NEAR_DEGREE = {torch.float64: 18, torch.float32: 11}
"""Of that polynomial: to rounding for every order (the coefficients fall as I_k(2))."""


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


def interaction_energy(source: Source, sites: Sites) -> Tensor:
    """Energy of each multipole in a given potential, eV: ``q φ - u·F + ½ Q:∇∇φ``.

    Shapes (...,) of the charges; entries that are missing on either side count as zero. Of
    multipoles in the potential that they make themselves half of the sum is their energy.
    """
    energy = source.charge * sites.potential
    if source.dipole is not None and sites.field is not None:
        energy = energy - (source.dipole * sites.field).sum(-1)
    if source.quadrupole is not None and sites.hessian is not None:
        energy = energy + 0.5 * (source.quadrupole * sites.hessian).sum((-1, -2))
    return energy


class _Smeared(torch.autograd.Function):
    """B_n(r²) for n = low … high; its derivative is -½ B_{n+1}, so it differentiates for ever."""

    @staticmethod
    def forward(ctx: Any, r2: Tensor, smearing: float, low: int, high: int) -> Tensor:
        ctx.save_for_backward(r2)
        ctx.arguments = (smearing, low, high)
        scaled = r2.detach() / (2.0 * smearing**2)
        boys = boys_functions(scaled, high)[low:]
        for n, each in enumerate(boys.unbind(0), low):
            each.mul_(COULOMB * sqrt(2.0 / pi) / smearing ** (2 * n + 1))
        return boys

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (r2,) = ctx.saved_tensors
        smearing, low, high = ctx.arguments
        slope = _Smeared.apply(r2, smearing, low + 1, high + 1)
        return -0.5 * (gradients[0] * slope).sum(0), None, None, None


def smeared_coulomb(r2: Tensor, smearing: float, highest: int) -> Tensor:
    """Radial functions ``B_n = (-1/r d/dr)^n v(r)``, n = 0 … highest.

    Parameters
    ----------
    r2 : Tensor
        Squared distances, Å².
    smearing : float
        σ, Å.
    highest : int
        Largest n.

    Returns
    -------
    Tensor, shape (highest + 1, *r2.shape)
        B_n in eV e⁻² Å⁻²ⁿ; differentiable any number of times.
    """
    return _Smeared.apply(r2, smearing, 0, highest)  # type: ignore[no-any-return]


def boys_functions(argument: Tensor, highest: int) -> Tensor:
    """Boys functions ``F_n(T) = ∫_0^1 t^{2n} exp(-T t²) dt`` for n = 0 … highest.

    Upward recursion is stable for large T; up to ``NEAR`` the highest order is a polynomial
    times exp(-T/2), followed by downward recursion (Helgaker, Jørgensen, Olsen, Molecular
    Electronic-Structure Theory, section 9.8). Both are done everywhere: to pick elements by
    value would make the host wait.
    """
    result = argument.new_empty((highest + 1, *argument.shape))
    far = argument.clamp_min(NEAR)
    decay = torch.exp(-far)
    root = far.sqrt()
    result[0] = 0.5 * sqrt(pi) * torch.erf(root) / root
    for n in range(highest):
        result[n + 1] = ((2 * n + 1) * result[n] - decay) / (2.0 * far)
    near = argument < NEAR
    t = argument.clamp(0.0, NEAR)
    x = t * (2.0 / NEAR) - 1.0
    *lower, last = _near_coefficients(highest, NEAR_DEGREE[argument.dtype])
    value = torch.full_like(x, last)
    for coefficient in reversed(lower):
        value.mul_(x).add_(coefficient)
    decay = torch.exp(-0.5 * t)
    value.mul_(decay)
    decay.square_()
    result[highest] = torch.where(near, value, result[highest])
    for n in range(highest - 1, -1, -1):
        value = (2.0 * t * value + decay) / (2 * n + 1)
        result[n] = torch.where(near, value, result[n])
    return result


@lru_cache
def _near_coefficients(n: int, degree: int) -> tuple[float, ...]:
    """Coefficients of ``exp(T/2) F_n(T)``, 0 ≤ T ≤ NEAR, in powers of x = 2 T/NEAR - 1.

    Interpolated at Chebyshev points; the values are sums of the all-positive series
    ``exp(T) F_n(T) = Σ_i (2T)^i (2n - 1)!!/(2n + 2i + 1)!!``.
    """

    def values(x: np.ndarray) -> np.ndarray:
        t = 0.5 * NEAR * (x + 1.0)
        total = term = np.full_like(t, 1.0 / (2 * n + 1))
        for i in range(1, 64):
            term = term * 2.0 * t / (2 * n + 2 * i + 1)
            total = total + term
        return np.exp(-0.5 * t) * total

    chebyshev: Any = np.polynomial.chebyshev
    powers = chebyshev.cheb2poly(chebyshev.chebinterpolate(values, degree))
    return tuple(float(x) for x in powers)


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
