"""Physical over latent charges: the constants that a model's card holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def screening_factor(card: Mapping[str, Any], epsilon_infinity: float | None = None) -> float:
    """``s = √(ε_∞/(1+χ))`` with χ the model's own mean latent susceptibility.

    Parameters
    ----------
    card : mapping
        ``Potential.metadata``.
    epsilon_infinity : float or None
        Instead of the card's.

    Raises
    ------
    ValueError
        For an ε_∞ below that of vacuum.
    """
    epsilon = card.get("epsilon_infinity", 1.0) if epsilon_infinity is None else epsilon_infinity
    if isinstance(epsilon, str) or not (math.isfinite(epsilon) and epsilon >= 1.0):
        raise ValueError(
            f"`epsilon_infinity` is {epsilon!r} but must be a number of at least 1 (vacuum)"
        )
    return math.sqrt(epsilon / (1.0 + card.get("susceptibility", 0.0)))


def charge_screening(card: Mapping[str, Any]) -> float:
    """Physical over latent total charge of an ion, so that its Born charges sum to it.

    The screening factor; kept at what it was in training if the susceptibility of the model,
    which is known only afterwards, has changed that: energies of ions stay as trained.
    """
    kept = card.get("charge_screening")
    return screening_factor(card) if kept is None else float(kept)
