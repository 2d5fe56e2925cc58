"""The length in which a structure is measured by a model that does not look at species.

Noise moves the nearest neighbour most of all: at 20 % of its distance the nearest of twelve is at
two thirds of where it belongs. Distances to the 8th … 24th neighbour hardly move, so the length is
the cube root of the volume per atom that these say,

    L³ = mean_k median_a (4π/3) r_ak³ / (k + ½) ,   k = 8 … 24,

with ``r_ak`` the distance to the k-th neighbour; the median passes over surfaces and voids. In a
perfect crystal the nearest neighbour is at 1.12 L (fcc, hcp), 1.09 L (bcc), 1.0 L (sc), 0.87 L
(diamond).
"""

from __future__ import annotations

import math

import numpy as np

from lrcalc.neighbors import NeighborList
from lrcalc.system import System, volumes

FIRST, LAST = 8, 24
"""Neighbours that are counted."""

START = 2.2
"""Å; the first radius in which these are looked for, or twice that where the volume asks for it."""

GROWTH = 1.3
"""Factor of the radius, until half of the atoms have all."""


def length_of(system: System, name: str = "atoms") -> float:
    """Length of one structure, Å.

    Raises
    ------
    ValueError
        If it is open and has too few atoms.
    """
    return lengths_of(system, name)[0]


INNER = 0.1
"""Part of the atoms, those with the nearest neighbours, that says what the length is inside."""


def lengths_of(system: System, name: str = "atoms") -> tuple[float, float]:
    """Length of one structure as half of its atoms say, and as `INNER` of them do, Å.

    Raises
    ------
    ValueError
        As `length_of`.
    """
    n = len(system.positions)
    if n <= LAST and not bool(system.pbc.any()):
        raise ValueError(
            f"`{name}` has {n} atoms and is not periodic: the length of a structure is taken from "
            f"{LAST} neighbours of an atom; give more atoms, or `length` (Å), the cube root of "
            "the volume per atom"
        )
    radius = START
    if bool(system.pbc.all()):
        radius = min(1.9 * (float(volumes(system.cell)[0]) / n) ** (1 / 3), 2 * START)
    while True:
        each = _volumes(system, radius)
        found = np.partition(each, (n - 1) // 2, axis=0)[(n - 1) // 2]
        if np.isfinite(found).all():  # those that are farther than the radius are above the median
            k = int(INNER * n)
            inner = np.partition(each.mean(1), k)[k]
            return float(found.mean() ** (1 / 3)), float(inner ** (1 / 3))
        radius *= GROWTH


def _volumes(system: System, radius: float) -> np.ndarray:
    """Volume per atom (N, K) that each neighbour's distance says; infinite beyond the radius."""
    pairs = NeighborList(radius, closest=0.0)(system)
    i = pairs.i.numpy()
    positions, cell = system.positions.double().numpy(), system.cell.double().numpy()[0]
    vectors = positions[pairs.j.numpy()] - positions[i] + pairs.shift.numpy() @ cell
    distance = np.linalg.norm(vectors, axis=1)
    counts = np.bincount(i, minlength=len(positions))
    rank = np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
    ordered = np.full((len(positions), max(int(counts.max()), LAST)), np.inf)
    ordered[i, rank] = distance
    ordered.sort(axis=1)
    ordered = ordered[:, :LAST]
    k = np.arange(FIRST, LAST + 1)
    return 4 * math.pi / 3 * ordered[:, FIRST - 1 :] ** 3 / (k + 0.5)
