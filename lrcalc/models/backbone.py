"""The door for anybody's local description of an atom's surroundings."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from lrcalc.neighbors import Pairs
from lrcalc.system import System


class Features(NamedTuple):
    """What a backbone says about each of N atoms.

    Attributes
    ----------
    scalars : Tensor, shape (N, F)
        Invariant features; zero for an isolated atom.
    vectors : Tensor, shape (N, C, 3)
        Polar vectors (1o), Cartesian order x, y, z.
    tensors : Tensor, shape (N, C, 5)
        ℓ = 2 even tensors in e3nn's order.
    """

    scalars: Tensor
    vectors: Tensor
    tensors: Tensor


class Backbone(Protocol):
    """An E(3)-equivariant description with a finite cutoff.

    Attributes
    ----------
    cutoff : float
        Å; an atom hears neighbours closer than this only.
    layers : int
        Rounds of messages: features depend on atoms within ``layers * cutoff``.
    species : tuple of int
        Atomic numbers it knows, ascending.
    n_scalars, n_channels : int
        F and C of its `Features`.
    """

    cutoff: float
    layers: int
    species: tuple[int, ...]
    n_scalars: int
    n_channels: int

    def __call__(self, system: System, pairs: Pairs, vectors: Tensor) -> Features:
        """Features of all atoms from the pair vectors (E, 3)."""
        ...
