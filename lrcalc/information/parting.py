"""Frames of a reference: those that give environments, and those that calibrate limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

HELD_OUT = 4
"""Each so many-th frame calibrates and gives no environments."""

MOST_FRAMES = 200
"""Frames that are looked at, evenly chosen: more change a reference of this size little."""

Rows = Mapping[int, np.ndarray]
"""Of one frame: atomic number → rows of its atoms (n, d)."""


class Parted(NamedTuple):
    """Environments of frames in two parts.

    Attributes
    ----------
    inside, apart : dict
        Atomic number → rows that may be kept, and rows that calibrate.
    held : ndarray, shape (T,), bool
        Frames that calibrate; all, where there are too few and atoms are held out instead.
    """

    inside: dict[int, np.ndarray]
    apart: dict[int, np.ndarray]
    held: np.ndarray


def chosen_frames(frames: Sequence[Atoms]) -> np.ndarray:
    """Numbers of the frames that are looked at.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not len(frames):
        raise ValueError("the reference has no frames: give data with at least one structure")
    return np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).astype(int))


def parted(made: Sequence[Rows], rng: np.random.Generator) -> Parted:
    """Divide the environments of frames.

    Raises
    ------
    ValueError
        For a species with one atom in all frames.
    """
    species = sorted({z for one in made for z in one})
    inside, apart = {}, {}
    if len(made) >= HELD_OUT:
        held = np.arange(len(made)) % HELD_OUT == HELD_OUT // 2
        apart = {z: rows_of(made, z, held) for z in species}
        inside = {z: rows_of(made, z, ~held) for z in species}
    else:
        held = np.ones(len(made), dtype=bool)
        for z in species:
            x = rows_of(made, z)
            x = x[rng.permutation(len(x))]
            apart[z], inside[z] = x[: len(x) // HELD_OUT], x[len(x) // HELD_OUT :]
    for z in species:  # a species that only some frames have
        if not len(inside[z]) or not len(apart[z]):
            both = np.concatenate([inside[z], apart[z]])
            if len(both) < 2:
                raise ValueError(
                    f"the reference has one atom of number {z} in all its frames: give more frames"
                )
            inside[z], apart[z] = both[::2], both[1::2]
    return Parted(inside, apart, held)


def rows_of(made: Sequence[Rows], z: int, which: Any = None) -> np.ndarray:
    """Rows of a species of all frames, or of those of ``which`` (T,), bool."""
    chosen = made if which is None else [m for m, one in zip(made, which, strict=True) if one]
    width = next(iter(made[0].values())).shape[1]
    return np.concatenate([m[z] for m in chosen if z in m] or [np.empty((0, width))])
