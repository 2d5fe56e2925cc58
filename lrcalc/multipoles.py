"""Multipoles on atoms and their linear response, as plain tensors."""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor


class PairResponse(NamedTuple):
    """Charge that flows between pairs of atoms when their potentials differ.

    One convention for all pairs of the package, that of `lrcalc.neighbors.Pairs`: the vector of a
    pair points from ``i`` to ``j``, and a transfer is charge that ``i`` gains and ``j`` loses, so
    that its dipole is minus the transfer times the vector. Here ``δt = -κ (φ_i - φ_j)``: neutral,
    and blind to the zero of the potential. In a uniform field E the drop ``φ_i - φ_j`` also
    contains ``E·vector``.

    Attributes
    ----------
    i, j : Tensor, shape (P,)
        Indices of the atoms.
    vector : Tensor, shape (P, 3), Å
        ``r_j - r_i`` along the edge (with the periodic image that is meant).
    capacitance : Tensor, shape (P,), e/V, ≥ 0
    """

    i: Tensor
    j: Tensor
    vector: Tensor
    capacitance: Tensor

    # former names, with the former sign
    @property
    def first(self) -> Tensor:
        """Former name of ``i``."""
        return self.i

    @property
    def second(self) -> Tensor:
        """Former name of ``j``."""
        return self.j

    @property
    def displacement(self) -> Tensor:
        """``r_i - r_j``, minus ``vector``: what was given instead of it."""
        return -self.vector


def _refusing_former_names(make: Any) -> Any:
    """Say what the arguments of a `PairResponse` are called now, and which way the vector goes."""

    @wraps(make)
    def new(cls: type, *args: Any, **named: Any) -> Any:
        former = [name for name in ("first", "second", "displacement") if name in named]
        if former:
            raise TypeError(
                f"`{former[0]}` of PairResponse has another name now: PairResponse(i=first, "
                "j=second, vector=-displacement, capacitance=...), where vector is r_j - r_i and "
                "displacement was r_first - r_second"
            )
        return make(cls, *args, **named)

    return new


PairResponse.__new__ = _refusing_former_names(PairResponse.__new__)  # type: ignore[method-assign]


class Multipoles(NamedTuple):
    """Latent Cartesian multipoles and response coefficients of N atoms.

    An entry that is None is absent from the model: it costs nothing and is treated as zero.

    Attributes
    ----------
    charge : Tensor, shape (N,), e
        Monopole q.
    dipole : Tensor or None, shape (N, 3), e Å
        Permanent dipole u.
    quadrupole : Tensor or None, shape (N, 3, 3), e Å²
        Symmetric traceless quadrupole Q; acts as ``½ Q:∇∇``.
    capacitance : Tensor or None, shape (N,), e/V, ≥ 0
        Charge response κ: ``δq = -κ φ``.
    polarizability : Tensor or None, shape (N,) or (N, 3, 3), e Å²/V
        Dipole response α (positive semidefinite): ``δu = α·F``.
    pair : PairResponse or None
        Charge flow between pairs of atoms.

    Notes
    -----
    Definitions: Kim et al., arXiv:2605.05746 (2026).
    """

    charge: Tensor
    dipole: Tensor | None = None
    quadrupole: Tensor | None = None
    capacitance: Tensor | None = None
    polarizability: Tensor | None = None
    pair: PairResponse | None = None


def transferred_charges(base: Tensor, i: Tensor, j: Tensor, transfer: Tensor) -> Tensor:
    """Charges made of constants and of charge handed from atom to atom.

    ``q_i = q⁰_i + Σ_j t_ij``, ``t_ij = -t_ji``: the total charge is that of ``base`` whatever the
    transfers are, locally as well as globally.

    Parameters
    ----------
    base : Tensor, shape (N,), e
    i, j : Tensor, shape (P,)
        Atom that gains ``transfer`` and atom that loses it. If every pair is listed in both
        directions, ``transfer`` is what each directed edge contributes.
    transfer : Tensor, shape (P,), e

    Returns
    -------
    Tensor, shape (N,), e
    """
    return base.index_add(0, i, transfer).index_add(0, j, -transfer)


def quadrupole_from_spherical(components: Tensor) -> Tensor:
    """Turn ℓ = 2 components (e3nn order and normalisation) into symmetric traceless matrices.

    Parameters
    ----------
    components : Tensor, shape (N, 5)
        Components in the order xy, yz, 2y²-x²-z² (over 2√3 each), zx, z²-x² of e3nn, whose
        coordinates are (x, y, z) with y as polar axis.

    Returns
    -------
    Tensor, shape (N, 3, 3)
        Symmetric, traceless, with ``Q:Q`` equal to the squared norm of ``components``.
    """
    basis = _spherical_basis(components.dtype, components.device)
    return torch.einsum("nm,mab->nab", components, basis)


@lru_cache
def _spherical_basis(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Five orthonormal symmetric traceless matrices in e3nn's order of ℓ = 2.

    Kept: a CUDA graph that copied them from the host would find them gone.
    """
    r2, r6 = 2.0**-0.5, 6.0**-0.5
    rows = [
        [[0, 0, r2], [0, 0, 0], [r2, 0, 0]],
        [[0, r2, 0], [r2, 0, 0], [0, 0, 0]],
        [[-r6, 0, 0], [0, 2 * r6, 0], [0, 0, -r6]],
        [[0, 0, 0], [0, 0, r2], [0, r2, 0]],
        [[-r2, 0, 0], [0, 0, 0], [0, 0, r2]],
    ]
    with torch.inference_mode(False):  # of use outside too
        return torch.tensor(rows, dtype=dtype).to(device)
