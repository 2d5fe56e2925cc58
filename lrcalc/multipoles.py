"""Multipoles on atoms and their linear response, as plain tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PairResponse(NamedTuple):
    """Charge that flows between pairs of atoms when their potentials differ.

    ``δt = -κ (φ_first - φ_second)`` is added to the charge of ``first`` and taken from
    ``second``: neutral, and blind to the zero of the potential. In a uniform field E the drop of
    potential also contains ``-E·displacement``.

    Attributes
    ----------
    first, second : Tensor, shape (P,)
        Indices of the atoms; each pair once.
    displacement : Tensor, shape (P, 3), Å
        ``r_first - r_second`` along the edge (with the periodic image that is meant).
    capacitance : Tensor, shape (P,), e/V, ≥ 0
    """

    first: Tensor
    second: Tensor
    displacement: Tensor
    capacitance: Tensor


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


def transferred_charges(base: Tensor, first: Tensor, second: Tensor, transfer: Tensor) -> Tensor:
    """Charges made of constants and of charge handed from atom to atom.

    ``q_i = q⁰_i + Σ_j t_ij``, ``t_ij = -t_ji``: the total charge is that of ``base`` whatever the
    transfers are, locally as well as globally.

    Parameters
    ----------
    base : Tensor, shape (N,), e
    first, second : Tensor, shape (P,)
        Atom that gains ``transfer`` and atom that loses it. If every pair is listed in both
        directions, ``transfer`` is what each directed edge contributes.
    transfer : Tensor, shape (P,), e

    Returns
    -------
    Tensor, shape (N,), e
    """
    return base.index_add(0, first, transfer).index_add(0, second, -transfer)


def transfer_dipole(
    displacement: Tensor, transfer: Tensor, batch: Tensor, structures: int
) -> Tensor:
    """Dipole of transferred charge, ``Σ t (r_first - r_second)``, free of any origin.

    Parameters
    ----------
    displacement : Tensor, shape (P, 3), Å
        ``r_first - r_second`` along the edge.
    transfer : Tensor, shape (P,), e
    batch : Tensor, shape (P,)
        Structure of each pair.
    structures : int

    Returns
    -------
    Tensor, shape (structures, 3), e Å
    """
    moments = transfer[:, None] * displacement
    return moments.new_zeros((structures, 3)).index_add(0, batch, moments)


def local_charges(
    base: Tensor, emitted: Tensor, first: Tensor, second: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Charge-conserving charges: each atom emits charge and its neighbours take it up.

    ``t_ij = c_i p_ij - c_j p_ji`` with ``p_ij = w_ij/Σ_k w_ik``; an atom without neighbours keeps
    its ``base`` charge.

    Parameters
    ----------
    base : Tensor, shape (N,), e
        Constants q⁰.
    emitted : Tensor, shape (N,), e
        c_i, from the surroundings of each atom.
    first, second : Tensor, shape (P,)
        Directed edges i → j, each pair in both directions.
    weight : Tensor, shape (P,), ≥ 0
        w_ij of the directed edge, vanishing smoothly at the cutoff.

    Returns
    -------
    charge : Tensor, shape (N,), e
    transfer : Tensor, shape (P,), e
        What each directed edge moves from ``second`` to ``first``; with the edge's displacement
        it gives the dipole (`transfer_dipole`).
    """
    total = torch.zeros_like(base).index_add(0, first, weight)
    tiny = torch.finfo(base.dtype).tiny
    share = weight / total.clamp_min(tiny)[first]
    transfer = emitted[first] * share
    return transferred_charges(base, first, second, transfer), transfer


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
    basis = _spherical_basis(components)
    return torch.einsum("nm,mab->nab", components, basis)


def _spherical_basis(like: Tensor) -> Tensor:
    """Five orthonormal symmetric traceless matrices in e3nn's order of ℓ = 2."""
    r2, r6 = 2.0**-0.5, 6.0**-0.5
    rows = [
        [[0, 0, r2], [0, 0, 0], [r2, 0, 0]],
        [[0, r2, 0], [r2, 0, 0], [0, 0, 0]],
        [[-r6, 0, 0], [0, 2 * r6, 0], [0, 0, -r6]],
        [[0, 0, 0], [0, 0, r2], [0, r2, 0]],
        [[-r2, 0, 0], [0, 0, 0], [0, 0, r2]],
    ]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)
