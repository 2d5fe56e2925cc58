"""The crystal that frames of a run at some temperature are of, at rest and at lower temperatures.

Sorted distances of a crystal at rest are not the mean of those of a hot one: where neighbours are
equally far, thermal motion always splits them. So the crystal at rest lies outside of frames at
300 K as descriptors go, though every displacement is smaller there than what a model was trained
on. Structures between the mean of all frames and each of them belong to the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

LARGEST = 0.5
"""Å. Root-mean-square displacement from the mean beyond which it is of no crystal."""

AMPLITUDES = (1 / 3, 2 / 3)
"""Of the displacements in structures of lower temperature."""


def mean_structure(frames: Sequence[Atoms]) -> Atoms | None:
    """Crystal whose atoms are where they are in the mean over ``frames``.

    Returns
    -------
    Atoms or None
        None where frames are not of the same atoms in the same order and boundary, periodic in
        three directions, or where atoms do not stay near their mean: a liquid has none.
    """
    first = frames[0]
    alike = all(np.array_equal(a.numbers, first.numbers) for a in frames)
    if len(frames) < 4 or not alike or not all(a.pbc.all() and a.cell.rank == 3 for a in frames):
        return None
    start = first.get_scaled_positions(wrap=False)
    steps = np.array([_steps(a, start) for a in frames])
    cell = np.mean([np.asarray(a.cell) for a in frames], axis=0)
    away = (steps - steps.mean(axis=0)) @ cell
    if np.sqrt((away**2).sum(axis=2).mean(axis=0)).max() > LARGEST:
        return None
    crystal = first.copy()
    crystal.set_cell(cell)
    crystal.set_scaled_positions(start + steps.mean(axis=0))
    return crystal


def _steps(atoms: Atoms, start: np.ndarray) -> np.ndarray:
    """Where atoms went from ``start`` (fractional), without the motion of the whole, (N, 3)."""
    steps = atoms.get_scaled_positions(wrap=False) - start
    steps -= steps[:1]  # before wrapping is undone: the whole may have gone half a cell
    steps -= np.round(steps)
    return np.asarray(steps - steps.mean(axis=0))


def colder(frames: Sequence[Atoms], crystal: Atoms) -> list[Atoms]:
    """Structures between the crystal and each of ``frames``, at `AMPLITUDES` of the way."""
    rest, base = crystal.get_scaled_positions(wrap=False), np.asarray(crystal.cell)
    found = []
    for number, atoms in enumerate(frames):
        way = AMPLITUDES[number % len(AMPLITUDES)]
        step = _steps(atoms, rest)
        between = crystal.copy()
        between.set_cell(base + way * (np.asarray(atoms.cell) - base))
        between.set_scaled_positions(rest + way * step)
        found.append(between)
    return found
