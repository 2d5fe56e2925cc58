"""Numbers of prior and wall for each two species, as functions that know both take them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lrcalc.models.prior import SHARES, NuclearRepulsion
from lrcalc.models.wall import Wall


class Tables(NamedTuple):
    """Of S species, the second counted fastest.

    Attributes
    ----------
    strength, rate : Tensor, shape (S², 4)
        Of the prior, eV Å and 1/Å; zero without one.
    start : Tensor, shape (S²,)
        Of the wall, Å; zero without one.
    cutoff : float
        Å, of the prior.
    """

    strength: Tensor
    rate: Tensor
    start: Tensor
    cutoff: float


def repulsion_tables(prior: NuclearRepulsion | None, wall: Wall | None, like: Tensor) -> Tables:
    """Return the numbers in the precision of ``like``, and where it is."""
    couples = len(prior.strength) if prior is not None else len(wall.start) if wall else 0
    nothing = like.new_zeros(couples, len(SHARES))
    strength = nothing if prior is None else prior.strength.to(like).contiguous()
    rate = nothing if prior is None else prior.rate.to(like).contiguous()
    start = nothing[:, 0].contiguous() if wall is None else wall.start.to(like).contiguous()
    return Tables(strength, rate, start, 1.0 if prior is None else prior.cutoff)
