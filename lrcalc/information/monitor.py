"""Watch a run: every so many steps, how far its atoms are from the data, and what to do about it.

Structure is blind to charge and field: where the model says what it makes of its training frames
(`Reference.ranges`), latent charges and the forces of a field, |E·Z|, are watched beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.information.actions import ACTIONS
from lrcalc.information.guard import outside_told
from lrcalc.information.judging import Judge

if TYPE_CHECKING:
    from ase import Atoms

CHARGE_SLACK = 0.5
"""Widths of the range of a species' charges by which a charge may lie beyond it."""


class Look(NamedTuple):
    """What a look at a structure found.

    Attributes
    ----------
    largest, high, mean, around : float
        Of δH over the atoms, and the largest around an atom, nats; of another score, its two
        numbers (`lrcalc.information.judging.Labels`).
    outside : int
        Atoms outside.
    told : str or None
        What is wrong, in words.
    """

    largest: float
    high: float
    mean: float
    around: float
    outside: int
    told: str | None


class Monitor:
    """Judges structures of a run by one of the scores.

    Parameters
    ----------
    reference : Judge
        `Reference` (δH), `FeatureReference` or `Committee`.
    whose : str
        What the reference is of, for messages.
    action : {"warn", "stop", "save"}, optional
    limit : float, optional
        Of the score of an atom (nats; eV/Å of a committee) instead of the limits of the reference.
    frames : path-like, optional
        Where ``save`` and ``stop`` write frames (extended xyz, appended).
    most : int, optional
        Frames that are saved at most.

    Raises
    ------
    ValueError
        For an unknown action or a limit that is not a number.
    """

    def __init__(
        self,
        reference: Judge,
        whose: str,
        *,
        action: str = "warn",
        limit: float | None = None,
        frames: str | Path | None = None,
        most: int = 100,
    ) -> None:
        if action not in ACTIONS:
            raise ValueError(f"`action` is {action!r} but must be one of {', '.join(ACTIONS)}")
        if limit is not None and not np.isfinite(limit):
            unit = reference.labels.units[0]
            raise ValueError(f"`limit` is {limit} but must be a number of {unit}")
        if limit is not None:
            reference = reference.with_limit(limit)
        self.reference = reference
        self.whose = whose
        self.action = action
        self.frames = None if frames is None else Path(frames)
        self.most = most
        self.saved = 0
        self.told = False

    def look(
        self, atoms: Atoms, results: Mapping[str, Any] | None = None, field: Any = None
    ) -> Look:
        """Judge a structure; save it if it lies outside and that is wanted.

        Parameters
        ----------
        atoms : Atoms
        results : mapping, optional
            Of the model, where they are there: ``charges`` (N,), ``born_effective_charges``; a
            committee takes ``forces`` and ``charges`` of the run's own model from them.
        field : array-like (3,), optional
            Macroscopic field, V/Å.
        """
        scores = self.reference.scores(atoms, "the structure of the run", results)
        told = [
            outside_told(scores, atoms.numbers, self.reference, self.whose),
            *electric_told(self.reference, atoms.numbers, results or {}, field),
        ]
        found = Look(
            float(scores.own.max()), float(np.quantile(scores.own, 0.99)),
            float(scores.own.mean()), float(scores.around.max()), int(scores.outside.sum()),
            "; ".join(filter(None, told)) or None,
        )  # fmt: skip
        if found.told and self.action != "warn":
            self.save(atoms, found)
        return found

    def save(self, atoms: Atoms, found: Look) -> None:
        """Append a frame, without results, to be computed by what the data were computed with."""
        from lrcalc.structures import bare
        from lrcalc.trajectory import write_extxyz

        if self.frames is None or self.saved >= self.most:
            return
        frame = bare(atoms)
        frame.info |= {k: atoms.info[k] for k in ("step", "time_fs") if k in atoms.info}
        own, around = self.reference.labels.saved
        frame.info |= {own: round(found.largest, 3), around: round(found.around, 3)}
        write_extxyz(self.frames, frame, append=True)
        self.saved += 1

    @property
    def needs_charges(self) -> bool:
        """Whether latent charges of the model are compared with something."""
        return self.reference.needs_charges


def electric_told(
    reference: Judge, numbers: np.ndarray, results: Mapping[str, Any], field: Any
) -> list[str]:
    """Say of latent charges and forces of the field what training frames had nothing like."""
    from ase.data import chemical_symbols

    found = []
    charges, born = results.get("charges"), results.get("born_effective_charges")
    for z, (low, high, force) in sorted(reference.ranges.items()):
        mine, symbol = numbers == z, chemical_symbols[z]
        if not mine.any():
            continue
        if charges is not None and np.isfinite(low):
            slack = CHARGE_SLACK * (high - low)
            q = np.asarray(charges)[mine]
            worst = q[np.argmax(np.maximum(low - q, q - high))]
            if not low - slack <= worst <= high + slack:
                found.append(
                    f"the latent charge of a {symbol} is {worst:.3g} e, those of training frames "
                    f"are from {low:.3g} to {high:.3g} e"
                )
        if born is not None and field is not None:
            pushed = np.einsum("a,iab->ib", np.asarray(field, dtype=float), np.asarray(born)[mine])
            largest = float(np.linalg.norm(pushed, axis=1).max())
            if largest > force:
                found.append(
                    f"the field pulls at a {symbol} with {largest:.3g} eV/Å, more than any force "
                    f"on training frames ({force:.3g} eV/Å)"
                )
    return found
