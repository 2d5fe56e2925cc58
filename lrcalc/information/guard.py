"""What a calculator looks at without being asked: whether its model knows such structures.

One warning in its life, at the first structure that lies outside. It looks at the first structure,
at the first of each composition and boundary, and at one in `STRIDE` else; more seldom where looks
take long, so that their part of all time stays below `COST`.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.callers import users_line
from lrcalc.information.intake import reference_of_model
from lrcalc.information.judging import Judge, Scores, each
from lrcalc.information.reference import Reference

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.models.potential import Potential

STRIDE = 20
"""Structures from one look to the next: 192 atoms take half a step of the bundled model."""

COST = 0.03
"""Largest part of all time that looks may take, but for the first at a kind of structure."""

MOST_KINDS = 64
"""Compositions, with their boundaries, that are each looked at when they first come."""

MOST_ATOMS = 6
"""Atoms that are named."""


class Guard:
    """Warns once of structures outside of what a model was trained on.

    Parameters
    ----------
    name : str
        Of the model, for the warning.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.warned = False
        self._content: Any = None
        self._reference: Reference | None = None
        self._kinds: frozenset[tuple[bytes, bytes]] = frozenset()
        self._since = 0  # structures since the last look
        self._spent = 0.0  # s
        self._begun = time.perf_counter()

    def see(self, potential: Potential, atoms: Atoms) -> None:
        """Look at a structure if it is time, and warn if it lies outside."""
        if self.warned or potential.environments is None:
            return
        begun = time.perf_counter()
        kind = (atoms.numbers.tobytes(), atoms.pbc.tobytes())
        self._since += 1
        new = kind not in self._kinds and len(self._kinds) < MOST_KINDS
        rested = self._since >= STRIDE and self._spent <= COST * (begun - self._begun)
        if not (new or rested):
            return
        self._kinds |= {kind}
        self._since = 0
        told = self._look(potential, atoms)
        self._spent += time.perf_counter() - begun
        if told:
            self.warned = True
            warnings.warn(told, stacklevel=users_line())

    def _look(self, potential: Potential, atoms: Atoms) -> str | None:
        if potential.environments is not self._content:
            self._reference = reference_of_model(potential, f"the model {self.name!r}")
            self._content = potential.environments
        assert self._reference is not None
        unknown = sorted({int(z) for z in atoms.numbers} - set(self._reference.environments))
        if unknown:
            return (
                f"the model {self.name!r} keeps no environments of atoms of number {unknown[0]} "
                "that it was trained on, so nobody can say whether it knows this structure"
            )
        scores = self._reference.scores(atoms)
        return outside_told(scores, atoms.numbers, self._reference, f"the model {self.name!r}")


def outside_told(scores: Scores, numbers: np.ndarray, judge: Judge, whose: str) -> str | None:
    """Say which atoms lie outside and how far; None if none does."""
    gone = np.flatnonzero(scores.outside)
    if not len(gone):
        return None
    far = gone[np.argsort(-scores.own[gone], kind="stable")][:MOST_ATOMS]
    named = ", ".join(map(str, sorted(int(k) for k in far)))
    more = f", … ({len(gone)} of {len(scores.own)})" if len(gone) > len(far) else ""
    beyond = scores.own - each(numbers, judge.limit)
    atom = int(np.argmax(np.where(scores.outside, beyond, -np.inf)))
    labels = judge.labels
    what = labels.beyond.format(
        atoms=f"atom{'s' * (len(gone) > 1)} {named}{more}", s="s" * (len(gone) == 1), whose=whose
    )
    return (
        f"{what}: {labels.own} up to {scores.own[atom]:.3g} {labels.units[0]} (limit "
        f"{judge.limit[int(numbers[atom])]:.3g}), {scores.around.max():.3g} {labels.aside} "
        f"(limit {judge.limit_around:.3g}); {labels.then}"
    )
