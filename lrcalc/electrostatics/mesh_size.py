"""Spline order and spacing of a mesh: what reaches an accuracy at the least cost."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, exp, pi, sqrt

import torch

ORDERS = (6, 8, 10, 12)
"""B-spline orders to choose from; energies are then at least four times differentiable."""

FFT_COST = 1.5
"""Time spent on one mesh point in units of the time for one of the p³ points of an atom."""

POINT_NUMBERS, TOUCHED_NUMBERS = 11, 4
"""Numbers held at a time for each mesh point and each of the p³ points of an atom."""


@lru_cache(maxsize=256)
def choose_mesh(
    smearing: float, k_cutoff: float, accuracy: float, multipole: int, density: float
) -> tuple[int, float]:
    """Spline order and spacing (Å) that reach ``accuracy`` at the least cost.

    Parameters
    ----------
    smearing, k_cutoff, accuracy : float
    multipole : int
        Highest multipole order present: 0 charges, 1 dipoles, 2 quadrupoles.
    density : float
        Atoms per Å³, which balances the cost of spreading against that of the transforms.
    """
    best: tuple[float, int, float] | None = None
    for order in ORDERS:
        spacing = pi / k_cutoff
        while mesh_error(smearing, k_cutoff, order, spacing, multipole) > accuracy:
            spacing *= 0.97
        cost = order**3 + FFT_COST / (max(density, 1e-6) * spacing**3)
        if best is None or cost < best[0]:
            best = (cost, order, spacing)
    assert best is not None
    return best[1], best[2]


def mesh_error(
    smearing: float, k_cutoff: float, order: int, spacing: float, multipole: int
) -> float:
    """Estimate of the relative root-mean-square error of forces, and a bound for energies.

    Notes
    -----
    On a mesh of spacing h a wave of wave number k comes with an aliased one of relative
    amplitude ``r^p``, ``r = x/(1-x)``, ``x = k h/2π``. Each of the l + 1 derivatives in the force
    on a multipole of order l enhances it by ``1/r``. Weighted with the force spectrum of
    uncorrelated multipoles, ``exp(-σ²k²) k^{4l}``, and summed over the six nearest aliases::

        error² = 6 a ∫ exp(-σ²k²) k^{4l} r^{2m} dk / ∫ exp(-σ²k²) k^{4l} dk ,  m = p - l - 1

    a = 1/(2m + 1) is the average over the direction of k against the mesh for l ≥ 1. For charges
    the error of a site's own potential adds coherently, and a = 1 is what measurements need
    (``benchmarks/electrostatics.py`` prints estimate and measured error side by side). Multipoles
    of one order alone reach 0.4 to 0.7 of the estimate, mixtures a tenth to a third.
    """
    signal = noise = 0.0
    steps = 64
    for step in range(steps):
        k = k_cutoff * (step + 0.5) / steps
        x = min(k * spacing / (2.0 * pi), 0.5)
        spectrum = exp(-((smearing * k) ** 2)) * (smearing * k) ** (4 * multipole)
        signal += spectrum
        noise += spectrum * (x / (1.0 - x)) ** (2 * (order - multipole - 1))
    if signal == 0.0:  # no wave within the cutoff carries anything
        return 0.0
    average = 1.0 if multipole == 0 else 1.0 / (2 * (order - multipole) - 1)
    return sqrt(6.0 * average * noise / signal)


def mesh_bytes(points: int, atoms: int, order: int, dtype: torch.dtype) -> int:
    """Estimate the memory (bytes) of energy and forces: what the mesh and what the atoms take."""
    touched = atoms * order**3
    return (POINT_NUMBERS * points + TOUCHED_NUMBERS * touched) * dtype.itemsize + 8 * touched


def fft_size(points: float) -> int:
    """Smallest even product of 2, 3, 5 and 7 that is not below ``points``."""
    size = max(2, 2 * ceil(points / 2.0 - 1e-9))
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
