"""One electric enthalpy from a model's terms; every electrical observable is its derivative.

Physics §2. ``s`` turns latent multipoles, which carry the screening of the electrons, into
physical ones. It is a constant of the model (``ε_∞`` and the mean latent susceptibility of its
training data), so that forces stay exact gradients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.models.dipole import lattice_dipole
from lrcalc.models.potential import Potential, Terms
from lrcalc.neighbors import Pairs
from lrcalc.system import System, sum_by_structure, volumes
from lrcalc.units import EPSILON_0


class Enthalpy(NamedTuple):
    """Energy in a field, and what the field couples to.

    Attributes
    ----------
    value : Tensor, shape (S,), eV
        ``E - s E·M_lat - ½ s² E·α·E``, or ``U(D)``, or the energy without a field.
    dipole : Tensor or None, shape (S, 3), e Å
        ``s M_lat + s² α·E``: minus the derivative of the enthalpy with respect to the field.
    polarizability : Tensor or None, shape (S, 3, 3), e Å²/V
        ``s² Σ α_i``.
    field : Tensor or None, shape (S, 3), V/Å
        Instantaneous field.
    """

    value: Tensor
    dipole: Tensor | None
    polarizability: Tensor | None
    field: Tensor | None


def screening_factor(potential: Potential, epsilon_infinity: float | None = None) -> float:
    """``s = √(ε_∞/(1+χ))`` with χ the model's own mean latent susceptibility."""
    epsilon = potential.metadata.get("epsilon_infinity", 1.0)
    if epsilon_infinity is not None:
        epsilon = epsilon_infinity
    if not (math.isfinite(epsilon) and epsilon >= 1.0):
        raise ValueError(f"`epsilon_infinity` is {epsilon} but must be at least 1 (vacuum)")
    return math.sqrt(epsilon / (1.0 + potential.metadata.get("susceptibility", 0.0)))


def latent_polarizability(system: System, terms: Terms) -> Tensor:
    """Sum of the atoms' polarizabilities, shape (S, 3, 3), float64."""
    alpha = terms.readout.multipoles.polarizability
    n = system.n_structures
    if alpha is None:
        return system.cell.new_zeros((n, 3, 3), dtype=torch.float64)
    alpha = alpha.double()
    if alpha.dim() == 1:
        unit = torch.eye(3, dtype=torch.float64, device=alpha.device)
        alpha = alpha[:, None, None] * unit
    return sum_by_structure(alpha, system.batch, n)


def constant_field(
    system: System, pairs: Pairs, terms: Terms, field: Tensor, screening: float
) -> Enthalpy:
    """Enthalpy at a uniform macroscopic field ``field`` (3,) or (S, 3), V/Å."""
    field = field.double().expand(system.n_structures, 3)
    latent = lattice_dipole(system, pairs, terms)
    alpha = screening**2 * latent_polarizability(system, terms)
    induced = torch.einsum("sab,sb->sa", alpha, field)
    permanent = screening * latent
    value = terms.energy - (field * (permanent + 0.5 * induced)).sum(1)
    return Enthalpy(value, permanent + induced, alpha, field)


def constant_displacement(
    system: System,
    pairs: Pairs,
    terms: Terms,
    displacement: Tensor,
    screening: float,
    epsilon_infinity: float,
) -> Enthalpy:
    """Enthalpy at constant electric displacement ``D`` (3,), e/Å².

    Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009). Minimising
    ``E - V E·P_ion - (V ε0/2) E·ε_el·E + V E·D`` over the field gives ``E = (ε0 ε_el)⁻¹ (D - P_ion)``
    and ``U = E + (V/2) (D - P_ion)·E``. The electrons' ``ε_el`` is the model's ``α`` where it
    has one (``1 + α/(ε0 V)``), and ``ε_∞`` where it has not.
    """
    volume = volumes(system.cell).double()
    displacement = displacement.double().expand(system.n_structures, 3)
    ionic = screening * lattice_dipole(system, pairs, terms) / volume[:, None]
    alpha = screening**2 * latent_polarizability(system, terms)
    unit = torch.eye(3, dtype=torch.float64, device=alpha.device)
    if terms.readout.multipoles.polarizability is None:
        electronic = (epsilon_infinity * unit).expand_as(alpha)
    else:
        electronic = unit + alpha / (EPSILON_0 * volume[:, None, None])
    difference = displacement - ionic
    field = torch.linalg.solve(EPSILON_0 * electronic, difference)
    value = terms.energy + 0.5 * volume * (difference * field).sum(1)
    polarization = displacement - EPSILON_0 * field
    return Enthalpy(value, polarization * volume[:, None], alpha, field)


def without_field(system: System, pairs: Pairs, terms: Terms, screening: float) -> Enthalpy:
    """Energy, dipole and polarizability at zero field."""
    dipole = screening * lattice_dipole(system, pairs, terms)
    alpha = screening**2 * latent_polarizability(system, terms)
    return Enthalpy(terms.energy, dipole, alpha, None)
