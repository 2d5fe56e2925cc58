"""What a model itself makes of its training frames: latent charges and forces, by species."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.information.given import structures_given

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.information.reference import Reference

SOME_FRAMES = 40
"""Frames on which the model itself is asked."""


def with_ranges(
    reference: Reference, frames: Sequence[Atoms], evaluate: Callable[..., Any], *, charged: bool
) -> Reference:
    """Add what the model itself makes of training frames: latent charges and forces.

    Parameters
    ----------
    evaluate : callable
        An `lrcalc.Evaluator` of the model; called for `SOME_FRAMES` frames, one at a time.
    charged : bool
        Whether the model has latent charges; the range is empty (nan) else.
    """
    frames = structures_given(frames)
    found: dict[int, list[np.ndarray]] = {}
    for atoms in frames[:: max(1, len(frames) // SOME_FRAMES)][:SOME_FRAMES]:
        (result,) = evaluate([atoms], ["forces", *["charges"] * charged])
        force = np.linalg.norm(result["forces"], axis=1)
        charge = np.asarray(result.get("charges", np.full(len(atoms), np.nan)))
        for z in np.unique(atoms.numbers):
            mine = atoms.numbers == z
            row = [charge[mine].min(), charge[mine].max(), force[mine].max()]
            found.setdefault(int(z), []).append(np.array(row))
    ranges = {}
    for z, rows in found.items():
        all_rows = np.array(rows)
        low, high, force = all_rows[:, 0].min(), all_rows[:, 1].max(), all_rows[:, 2].max()
        ranges[z] = (float(low), float(high), float(force))
    return reference._replace(ranges=ranges)
