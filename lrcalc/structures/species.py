"""Frames with elements that somebody does not know: all of them, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from ase import Atoms
from ase.data import chemical_symbols


class Unknown(NamedTuple):
    """Frames of one file that have elements which are not known.

    Attributes
    ----------
    path : str
        Of the file.
    looked_at : int
        Frames that were looked at.
    frames : dict of str to list of int
        Symbol → numbers of the frames that have it.
    """

    path: str
    looked_at: int
    frames: dict[str, list[int]]

    @property
    def numbers(self) -> list[int]:
        """Of all frames with an element that is not known."""
        return sorted({k for frames in self.frames.values() for k in frames})

    def __str__(self) -> str:
        """How many there are, of which elements, and the first of each."""
        each = ", ".join(
            f"{symbol} in {len(frames)} (first: frame {frames[0]})"
            for symbol, frames in self.frames.items()
        )
        many = len(self.numbers)
        have = "has" if many == 1 else "have"
        return f"{self.path}: {many} of {self.looked_at} frames {have} unknown elements: {each}"


def find_unknown(frames: Iterable[tuple[int, Atoms]], known: Collection[int], path: str) -> Unknown:
    """Look for elements that are not among the ``known`` atomic numbers, in numbered frames."""
    found: dict[str, list[int]] = {}
    count = 0
    for number, atoms in frames:
        count += 1
        for z in sorted(set(atoms.numbers.tolist()) - set(known)):
            found.setdefault(chemical_symbols[z], []).append(number)
    return Unknown(path, count, found)


def refuse_unknown(
    found: Iterable[Unknown],
    known: Collection[int],
    whose: str = "the model knows",
    way_out: str = "leave these frames out, or take a model for them",
) -> None:
    """Refuse files with elements that are not known.

    Raises
    ------
    ValueError
        Naming all elements of all files, what is known, and the way out.
    """
    told = "; ".join(str(one) for one in found if one.frames)
    if told:
        there = ", ".join(chemical_symbols[z] for z in sorted(known))
        raise ValueError(f"{told}; {whose} {there} only; {way_out}")
