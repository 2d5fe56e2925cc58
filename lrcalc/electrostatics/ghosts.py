"""Ghosts: copies of atoms that a domain holds as neighbours and that a sum must not count."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lrcalc.domain import Domain
from lrcalc.multipoles import Multipoles


def owned_rows(
    owned: Tensor, multipoles: Multipoles, atoms: int, domain: Domain | None = None
) -> tuple[Tensor, Multipoles]:
    """Rows of the owned atoms, shape (M,), and the multipoles on them.

    Parameters
    ----------
    owned : Tensor, shape (N,), bool
    multipoles : Multipoles
        Of all N atoms, ghosts included.
    atoms : int
        N.
    domain : Domain or None
        Which names the owners of ghosts.

    Raises
    ------
    ValueError
        For another shape or type, and for charge flow within pairs: the potential at a ghost is
        that at its owner, which nothing here names.
    """
    if tuple(owned.shape) != (atoms,) or owned.dtype.is_floating_point or owned.is_complex():
        raise ValueError(
            f"`owned` is {owned.dtype} of shape {tuple(owned.shape)} but must be bool of shape "
            f"({atoms},): whether each atom is no ghost"
        )
    if multipoles.pair is not None and domain is None:
        raise ValueError(
            "`owned` is given, but `multipoles.pair` lets charge flow between atoms of which one "
            "may be a ghost: use periodic pairs instead of ghosts (`owned=None`), or a model "
            "whose charges do not respond"
        )
    rows = owned.bool().nonzero()[:, 0]
    own: list[Any] = [None if x is None else x[rows] for x in multipoles[:5]]
    return rows, Multipoles(*[*own, multipoles.pair])


def spread(values: Tensor | None, rows: Tensor, atoms: int) -> Tensor | None:
    """Rows (M, ...) back among ``atoms`` rows, the others zero."""
    if values is None:
        return None
    return values.new_zeros((atoms, *values.shape[1:])).index_copy(0, rows, values)
