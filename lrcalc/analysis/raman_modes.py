"""Raman activities of modes from the derivatives of the polarizability.

With the Raman tensor ``R = ∂α/∂Q``, ``a = tr R/3`` and the traceless symmetric part β,
``γ² = (3/2) tr ββ``: activity ``45 a² + 7 γ²``, depolarisation ratio ``3γ²/(45 a² + 4γ²)`` for
linearly polarised light at a right angle (Long, *The Raman Effect*, 2002, ch. 5; Porezag &
Pederson, Phys. Rev. B 54, 7830 (1996)).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lrcalc import units
from lrcalc.analysis.modes import Modes, lines

SILENT = 1e-6
"""A line weaker than this beside the strongest is inactive; its ratio would be one of noise."""


class RamanLine(NamedTuple):
    """A line with its Raman activity, degenerate modes summed."""

    wavenumber: float
    irrep: str
    activity: float
    """Å⁴/amu."""
    depolarisation: float
    """At most ¾; NaN for inactive lines."""


def invariants(tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``a²`` and ``γ²`` (…) of Raman tensors (…, 3, 3)."""
    tensors = np.asarray(tensors, dtype=float)
    mean = np.trace(tensors, axis1=-2, axis2=-1) / 3.0
    symmetric = 0.5 * (tensors + np.swapaxes(tensors, -1, -2))
    traceless = symmetric - mean[..., None, None] * np.eye(3)
    return mean**2, 1.5 * (traceless**2).sum((-2, -1))


def raman_activity(tensors: np.ndarray) -> np.ndarray:
    """``45 a² + 7 γ²`` of Raman tensors (…, 3, 3); Å⁴/amu for tensors in Å² amu^-½."""
    isotropic, anisotropic = invariants(tensors)
    return 45.0 * isotropic + 7.0 * anisotropic


def depolarisation_ratio(isotropic: np.ndarray, anisotropic: np.ndarray) -> np.ndarray:
    """``3γ²/(45 a² + 4γ²)`` from a² and γ²; NaN where both are zero."""
    below = 45.0 * np.asarray(isotropic) + 4.0 * np.asarray(anisotropic)
    ratio = np.full(below.shape, np.nan)
    np.divide(3.0 * np.asarray(anisotropic), below, out=ratio, where=below > 0)
    return ratio


def raman_tensors(
    modes: Modes, polarizability: Callable[[np.ndarray], np.ndarray], step: float = 0.01
) -> np.ndarray:
    """Raman tensors ∂α/∂Q (M, 3, 3) in Å² amu^-½ by central differences along the modes.

    Parameters
    ----------
    polarizability
        Function of displacements (N, 3) in Å that gives (3, 3) in e Å²/V.
    step
        Largest displacement of an atom, Å.
    """
    if not step > 0:
        raise ValueError(f"`step` is {step} Å but must be positive")
    tensors = []
    for mode in range(len(modes.wavenumber)):
        direction = modes.displacement(mode)
        amplitude = step / float(np.linalg.norm(direction, axis=1).max())
        shift = amplitude * direction
        change = np.asarray(polarizability(shift)) - np.asarray(polarizability(-shift))
        # α/(4π ε0): e Å²/V to Å³
        tensors.append(change.reshape(3, 3) * units.COULOMB / (2 * amplitude))
    return np.array(tensors)


def depolarisation(modes: Modes) -> np.ndarray:
    """Depolarisation ratio (M,) of each mode, NaN for inactive ones; see :func:`raman_lines`.

    Of a degenerate mode it depends on the choice of the eigenvectors; that of a line does not.
    """
    isotropic, anisotropic = invariants(_tensors(modes))
    activity = 45 * isotropic + 7 * anisotropic
    active = activity > SILENT * activity.max(initial=0.0)
    return np.where(active, depolarisation_ratio(isotropic, anisotropic), np.nan)


def raman_lines(modes: Modes) -> list[RamanLine]:
    """Activity and depolarisation of each line; a² and γ² of degenerate modes are summed.

    Raises
    ------
    ValueError
        If the modes have no Raman tensors.
    """
    isotropic, anisotropic = invariants(_tensors(modes))
    silent = SILENT * float((45 * isotropic + 7 * anisotropic).max(initial=0.0))
    found = []
    for line in lines(modes):
        group: Sequence[int] = list(line.modes)
        a, g = isotropic[group].sum(), anisotropic[group].sum()
        activity = float(45 * a + 7 * g)
        ratio = float(depolarisation_ratio(np.array(a), np.array(g)))
        ratio = ratio if activity > silent else float("nan")
        found.append(RamanLine(line.wavenumber, line.irrep, activity, ratio))
    return found


def raman_curve(modes: Modes, wavenumber: np.ndarray, damping: float) -> np.ndarray:
    """Activities as Lorentzians of full width ``damping`` cm⁻¹: (F,) Å⁴/amu per cm⁻¹."""
    if not damping > 0:
        raise ValueError(f"`damping` is {damping} cm⁻¹ but must be positive")
    keep = modes.stable
    apart = np.asarray(wavenumber)[:, None] - modes.wavenumber[keep]
    shape = (0.5 * damping / np.pi) / (apart**2 + 0.25 * damping**2)
    return shape @ raman_activity(_tensors(modes)[keep])


def _tensors(modes: Modes) -> np.ndarray:
    if modes.raman is None:
        raise ValueError("these modes have no Raman tensors: compute them from a polarizability")
    return modes.raman
