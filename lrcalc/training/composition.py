"""The part of energies that the composition alone explains: an energy for each species."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def counts_of(numbers: Sequence[np.ndarray], species: Sequence[int]) -> np.ndarray:
    """Atoms of each species in each structure, shape (S, number of species)."""
    return np.array([[(z == one).sum() for one in species] for z in numbers], dtype=float)


def composition_fit(
    energies: np.ndarray, numbers: Sequence[np.ndarray], species: Sequence[int]
) -> np.ndarray:
    """Energy of each species that fits the totals by least squares.

    Where compositions do not determine them (all frames alike), the smallest ones that do the job.
    """
    found: np.ndarray = np.linalg.lstsq(counts_of(numbers, species), energies, rcond=1e-10)[0]
    return found


def composition_part(energies: np.ndarray, numbers: Sequence[np.ndarray]) -> np.ndarray:
    """Return what the composition explains of total energies (S,); all, if nothing else is left.

    Parameters
    ----------
    energies : ndarray (S,)
        eV, of whole structures.
    numbers : sequence of ndarray
        Atomic numbers of each.
    """
    species = sorted({int(z) for one in numbers for z in one})
    part: np.ndarray = counts_of(numbers, species) @ composition_fit(energies, numbers, species)
    left = np.abs(energies - part).max(initial=0.0)
    # what is left to rounding is nothing that varies
    return part if left > 1e-7 * np.abs(energies).max(initial=0.0) else energies.copy()
