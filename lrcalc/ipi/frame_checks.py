"""Refusals: what would otherwise run on for days and mean nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from scipy.spatial.distance import cdist

from lrcalc.models.card import electric_notes, nuclei_warning, pressure_warning

SAME_PLACE = 0.02
"""Å: atoms nearer than this to a template position are the same atoms."""


def check_answers_finite(results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse NaN and infinity, which i-PI would accept without a word."""
    for index, result in enumerate(results):
        for name, value in result.items():
            if not np.isfinite(value).all():
                raise ValueError(
                    f"the model's {name} of structure {index} is not finite (NaN or infinity);"
                    " it was not passed on to i-PI. Look at the last positions for atoms that"
                    " came too close, and restart from RESTART with a smaller time step"
                )


def check_forces(results: Sequence[Mapping[str, Any]], limit: float) -> None:
    """Refuse a first frame with forces (eV/Å) that no sensible start has. Zero: no check."""
    if limit <= 0.0:
        return
    largest = max(float(np.max(np.abs(result["forces"]))) for result in results)
    if largest > limit:
        raise ValueError(
            f"the first frame has a force of {largest:.3g} eV/Å, above `max_force` = {limit:g}:"
            " are the species of `template` in the order that i-PI uses, and is the structure"
            " relaxed? (max_force: 0 turns this check off)"
        )


def check_first_frame(template: Atoms, first: Atoms, *, has_field: bool) -> None:
    """Compare the first frame from i-PI with the template file.

    Refuses atoms that sit where the template has other species (the wrong order), and a frame
    that i-PI has turned (the cell in the file was not triangular) while a field is on, because
    the field is not turned with it. A frame that is far from the template, as after a restart,
    passes.
    """
    cell = np.array(first.cell)
    periodic = bool(np.any(template.pbc))
    if periodic and has_field:
        reference = np.array(template.cell)
        same_shape = np.allclose(reference @ reference.T, cell @ cell.T, atol=1e-4)
        if same_shape and not np.allclose(reference, cell, atol=1e-4):
            raise ValueError(
                f"i-PI turned the structure: `template` has the cell {reference.tolist()},"
                f" i-PI uses {np.round(cell, 6).tolist()}, and a field would point elsewhere."
                " Start from a triangular cell (`lrcalc ipi-input` writes one and turns the field)"
            )
    if periodic and not np.allclose(np.array(template.cell), cell, atol=1e-4):
        return
    shift = first.positions - template.positions
    if periodic:
        shift, _ = find_mic(shift, template.cell, template.pbc)
    if np.max(np.linalg.norm(shift, axis=1)) < SAME_PLACE:
        return
    # Not the template atom by atom: is it the template in another order?
    distances = _distances(first, template)
    nearest = np.argmin(distances, axis=1)
    found = distances[np.arange(len(first)), nearest] < SAME_PLACE
    swapped = found & (template.numbers[nearest] != template.numbers)
    if np.any(swapped):
        index = int(np.argmax(swapped))
        raise ValueError(
            f"atom {index} of i-PI sits where `template` has atom {int(nearest[index])}"
            f" ({template.symbols[int(nearest[index])]}), but `template` calls atom {index}"
            f" {template.symbols[index]}: the species are in another order. Use the very file"
            " that i-PI starts from as `template`"
        )


def _distances(first: Atoms, template: Atoms) -> np.ndarray:
    """Distances (Å) between atoms of two structures, nearest images where periodic."""
    if not np.any(template.pbc):
        return cdist(first.positions, template.positions)
    difference = first.positions[:, None, :] - template.positions[None, :, :]
    _, lengths = find_mic(difference.reshape(-1, 3), template.cell, template.pbc)
    return np.asarray(lengths).reshape(len(first), len(template))


def card_warnings(model: str, card: Mapping[str, Any], beads: int, ensemble: str) -> list[str]:
    """Return what to say before a run that the model of this card is not made for."""
    said = [nuclei_warning(model, card, beads)]
    if ensemble == "npt":
        said.append(pressure_warning(model, card))
    said += [f"note: {line}" for line in electric_notes(card)]
    return [warning for warning in said if warning is not None]
