"""Differences of entropy from environments, and what they are for matter whose entropy is known.

H of descriptors (nats) is an entropy of what a kernel of bandwidth h resolves in N environments. It
grows as the configurational entropy per atom (k_B) does only as far as the descriptor sees each
degree of freedom once, and not at all where it nears ln N. `gaussian_entropy` says what a harmonic
crystal gives, without noise and for any number of environments; `harmonic_entropy` what phonons
say.
Differences should be taken at one h, between sets of one size, and be stable when h is halved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lrcalc.information.entropy import check_bandwidth, log_density
from lrcalc.information.given import check_mappings
from lrcalc.units import BOLTZMANN

HC_OVER_K = 1.438776877
"""K cm: temperature of a wavenumber of 1 cm⁻¹."""


class Difference(NamedTuple):
    """A difference of entropies per atom.

    Attributes
    ----------
    value, error : float
        k_B per atom; one standard error.
    first, second : float
        H of the two, nats.
    saturation : float
        Larger of H/ln N: near 1 all environments differ, and the difference is too small.
    """

    value: float
    error: float
    first: float
    second: float
    saturation: float

    @property
    def joule_per_mole_kelvin(self) -> tuple[float, float]:
        """Value and error in J/(mol K), per mole of atoms."""
        return self.value * 8.314462618, self.error * 8.314462618


def entropy_difference(
    first: Sequence[Mapping[int, np.ndarray]],
    second: Sequence[Mapping[int, np.ndarray]],
    h: float,
    *,
    draws: int = 20,
    seed: int = 0,
) -> Difference:
    """H of the second set of frames less that of the first, mean over atoms of all species.

    Parameters
    ----------
    first, second : sequence of mapping
        Of each frame: atomic number → descriptors (n, d), as `by_species` makes them.
        Of the longer set as many frames are taken as the other has, evenly.
    h : float
        Bandwidth, 1/Å.
    draws : int, optional
        Random halves of the frames. The spread of their differences is the standard error: halves
        without repetition, because a frame drawn twice is near to itself and lowers H.
    seed : int, optional

    Raises
    ------
    ValueError
        For fewer than four frames in a set, or sets of different species.
    TypeError
        For structures in place of descriptors.
    """
    check_mappings(first, "first")
    check_mappings(second, "second")
    check_bandwidth(h)
    if min(len(first), len(second)) < 4:
        raise ValueError(
            f"the sets have {len(first)} and {len(second)} frames; four are needed for an error"
        )
    species = {z for frame in first for z in frame}
    if species != {z for frame in second for z in frame}:
        raise ValueError("the sets have different species: their entropies cannot be compared")
    count = min(len(first), len(second))
    sets = [[s[k] for k in np.linspace(0, len(s) - 1, count).astype(int)] for s in (first, second)]
    rng = np.random.default_rng(seed)
    whole = [_entropy(s, h) for s in sets]
    halves = [
        _entropy([sets[1][k] for k in rng.permutation(count)[: count // 2]], h)[0]
        - _entropy([sets[0][k] for k in rng.permutation(count)[: count // 2]], h)[0]
        for _ in range(draws)
    ]
    return Difference(
        whole[1][0] - whole[0][0], float(np.std(halves, ddof=1)), whole[0][0], whole[1][0],
        max(w[1] for w in whole),
    )  # fmt: skip


def _entropy(frames: Sequence[Mapping[int, np.ndarray]], h: float) -> tuple[float, float]:
    """Mean H over atoms, each among its species, and the same over ln N."""
    total = full = atoms = 0.0
    for z in sorted({z for frame in frames for z in frame}):
        x = np.concatenate([frame[z] for frame in frames if z in frame])
        total += float((np.log(len(x)) - log_density(x, x, h)).sum())
        full += len(x) * float(np.log(len(x)))
        atoms += len(x)
    return total / atoms, total / max(full, 1e-300)


def gaussian_entropy(variances: np.ndarray, h: float) -> float:
    """H (nats) of infinitely many environments with a normal distribution.

    The density that a kernel of bandwidth h sees is the normal distribution with variances v + h²:

        H = ½ Σ [ln(1 + v/h²) + v/(v + h²)]

    For h² ≪ v it grows by ½ ln(T₂/T₁) a dimension when v is proportional to T, which is what the
    configurational entropy of a classical harmonic crystal does (3/2 per atom); a wider kernel
    hides the dimensions whose variance it exceeds.

    Parameters
    ----------
    variances : ndarray, shape (d,)
        Eigenvalues of the covariance, 1/Å² (any length will do).
    h : float
        Bandwidth, square root of that unit.
    """
    v = np.asarray(variances, dtype=float)
    if (v < -1e-12 * max(float(np.abs(v).max(initial=0.0)), 1e-300)).any():
        raise ValueError("`variances` has negative entries; give eigenvalues of a covariance")
    v = np.maximum(v, 0.0)
    return float(0.5 * (np.log1p(v / h**2) + v / (v + h**2)).sum())


def harmonic_entropy(
    wavenumbers: np.ndarray, temperature: float, *, classical: bool = False
) -> float:
    """Entropy of phonons, k_B, of all modes given.

    With x = hcν̃/k_BT: x/(eˣ - 1) - ln(1 - e⁻ˣ) a mode, classically 1 - ln x.

    Parameters
    ----------
    wavenumbers : ndarray
        cm⁻¹, without the three zeros.
    temperature : float
        K.
    classical : bool, optional

    Raises
    ------
    ValueError
        For modes that are not positive, or a temperature that is not.
    """
    nu = np.asarray(wavenumbers, dtype=float)
    if not (nu > 0).all():
        raise ValueError(
            "`wavenumbers` has modes that are zero or imaginary, which have no entropy: leave "
            "translations out, and relax the structure"
        )
    if not temperature > 0:
        raise ValueError(f"`temperature` is {temperature} K but must be positive")
    x = HC_OVER_K * nu / temperature
    each = 1 - np.log(x) if classical else x / np.expm1(x) - np.log1p(-np.exp(-x))
    return float(each.sum())


def harmonic_frames(
    hessian: np.ndarray, positions: np.ndarray, temperature: float, count: int, *, seed: int = 0
) -> np.ndarray:
    """Positions (count, N, 3) of a classical harmonic crystal: covariance k_BT Φ⁻¹, no translation.

    Parameters
    ----------
    hessian : ndarray, shape (3N, 3N), eV/Å²
        Second derivatives Φ of the energy of the cell.
    positions : ndarray, shape (N, 3), Å
        At rest.
    temperature : float
        K.
    count : int
    seed : int, optional

    Raises
    ------
    ValueError
        If the crystal is not stable.
    """
    stiffness, modes = np.linalg.eigh(0.5 * (hessian + hessian.T))
    moving = stiffness > 1e-6 * stiffness.max()
    if moving.sum() != len(stiffness) - 3 or (stiffness < -1e-6 * stiffness.max()).any():
        raise ValueError(
            f"`hessian` has {int((~moving).sum())} modes that are not stiff, where three "
            "translations are expected: the crystal is not stable"
        )
    size = np.sqrt(BOLTZMANN * temperature / stiffness[moving])
    drawn = np.random.default_rng(seed).normal(size=(count, len(size))) * size
    return positions + (drawn @ modes[:, moving].T).reshape(count, -1, 3)
