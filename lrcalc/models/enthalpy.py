"""One electric enthalpy from a model's terms; every electrical observable is its derivative.

Physics §2. ``s`` turns latent multipoles, which carry the screening of the electrons, into
physical ones. It is a constant of the model (``ε_∞`` and the mean latent susceptibility of its
training data), so that forces stay exact gradients.

In a uniform field E everything that responds linearly feels what the permanent multipoles make
plus the applied field: induced dipoles ``F_i + sE``, charge that flows within a pair
``φ_i - φ_j - sE·d_ij``. The energy ``-½ w·χw`` of both is quadratic in E, with the linear term
``-sE·M_ind`` and the quadratic term ``-½ s² E·α·E``. A polarizability surface A(R), where the
model has one, adds ``-½ E·A·E``: it is what was computed from first principles, not latent, and
knows no s. Below, α stands for ``s² α + A``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.models.dipole import lattice_dipole, lattice_polarizability
from lrcalc.models.potential import Potential, Terms
from lrcalc.neighbors import Pairs
from lrcalc.system import System, volumes
from lrcalc.units import EPSILON_0


class Conditions(NamedTuple):
    """What is held constant; at most one entry is set, none of them means no field.

    Attributes
    ----------
    field : Tensor or None, shape (3,), V/Å
        Macroscopic field E.
    reduced_field : Tensor or None, shape (3,), V
        Voltage ``E·a`` along each lattice vector a: the field follows the cell.
    displacement : Tensor or None, shape (3,), e/Å²
        Electric displacement D.
    """

    field: Tensor | None = None
    reduced_field: Tensor | None = None
    displacement: Tensor | None = None


class Enthalpy(NamedTuple):
    """Energy in a field, and what the field couples to.

    Attributes
    ----------
    value : Tensor, shape (S,), eV
        ``E - s E·M_lat - ½ s² E·α·E``, or ``U(D)``, or the energy without a field.
    dipole : Tensor or None, shape (S, 3), e Å
        ``s M_lat + s² α·E``: minus the derivative of the enthalpy with respect to the field.
    polarizability : Tensor or None, shape (S, 3, 3), e Å²/V
        ``s² α + A``: minus its second derivative.
    field : Tensor or None, shape (S, 3), V/Å
        Instantaneous field; None without one.
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
    if isinstance(epsilon, str) or not (math.isfinite(epsilon) and epsilon >= 1.0):
        raise ValueError(
            f"`epsilon_infinity` is {epsilon!r} but must be a number of at least 1 (vacuum)"
        )
    return math.sqrt(epsilon / (1.0 + potential.metadata.get("susceptibility", 0.0)))


def mean_susceptibility(system: System, terms: Terms) -> float:
    """Latent ``χ = tr α/(3 V ε0)``, mean over the periodic structures (0 if there are none)."""
    periodic = system.pbc.all(1)
    if not bool(periodic.any()):
        return 0.0
    alpha = lattice_polarizability(system, terms).diagonal(dim1=1, dim2=2).mean(1)
    volume = volumes(system.cell).double()
    return float((alpha[periodic] / (EPSILON_0 * volume[periodic])).mean().detach())


def polarizability(system: System, terms: Terms, screening: float) -> Tensor:
    """``s² α + A``: what the model's own response and its surface make, (S, 3, 3), e Å²/V."""
    latent = screening**2 * lattice_polarizability(system, terms)
    return latent if terms.surface is None else latent + terms.surface


def optical_permittivity(system: System, terms: Terms, screening: float) -> Tensor:
    """Electronic permittivity tensor of periodic structures, (S, 3, 3).

    With a polarizability surface ``1 + α/(ε0 V)``. Without one the background ``ε_r = s²`` that
    screens latent charges, times what the model's own response adds: ``s² (1 + α/(ε0 V))``, whose
    mean is the model's ε_∞.
    """
    volume = volumes(system.cell).double()[:, None, None]
    unit = torch.eye(3, dtype=torch.float64, device=volume.device)
    background = screening**2 if terms.surface is None else 1.0
    return background * unit + polarizability(system, terms, screening) / (EPSILON_0 * volume)


def electric_enthalpy(
    system: System,
    pairs: Pairs,
    terms: Terms,
    conditions: Conditions,
    screening: float,
    *,
    electric: bool = True,
) -> Enthalpy:
    """Return the enthalpy of positions, cell and what ``conditions`` hold.

    Parameters
    ----------
    system, pairs, terms
        Of the model.
    conditions : Conditions
    screening : float
        s.
    electric : bool
        Without a field: also return dipole and polarizability.
    """
    if conditions.field is not None:
        field = conditions.field.double().expand(system.n_structures, 3)
        return constant_field(system, pairs, terms, field, screening)
    if conditions.reduced_field is not None:
        voltage = conditions.reduced_field.double().expand(system.n_structures, 3)
        field = torch.linalg.solve(system.cell.double(), voltage)
        return constant_field(system, pairs, terms, field, screening)
    if conditions.displacement is not None:
        return constant_displacement(system, pairs, terms, conditions.displacement, screening)
    if not electric:
        return Enthalpy(terms.energy, None, None, None)
    dipole = screening * lattice_dipole(system, pairs, terms)
    return Enthalpy(terms.energy, dipole, polarizability(system, terms, screening), None)


def constant_field(
    system: System, pairs: Pairs, terms: Terms, field: Tensor, screening: float
) -> Enthalpy:
    """Enthalpy at a uniform macroscopic field (S, 3), V/Å.

    Atomic charges in a periodic structure couple through their Born charges only
    (`dipole.lever_born`) and are left out of ``value``; the reported dipole contains them.
    """
    coupled = screening * lattice_dipole(system, pairs, terms, coupled=True)
    alpha = polarizability(system, terms, screening)
    induced = torch.einsum("sab,sb->sa", alpha, field)
    value = terms.energy - (field * (coupled + 0.5 * induced)).sum(1)
    dipole = coupled
    if terms.readout.bare_charge is not None:
        dipole = screening * lattice_dipole(system, pairs, terms)
    return Enthalpy(value, dipole + induced, alpha, field)


def constant_displacement(
    system: System, pairs: Pairs, terms: Terms, displacement: Tensor, screening: float
) -> Enthalpy:
    """Enthalpy at constant electric displacement ``D`` (3,), e/Å².

    Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009). Minimising
    ``E - V E·P_ion - (V ε0/2) E·ε_el·E + V E·D`` over the field gives
    ``E = (ε0 ε_el)⁻¹ (D - P_ion)`` and ``U = E + (V/2) (D - P_ion)·E``, with ε_el from
    `optical_permittivity`. As at constant E the reported dipole is ``s M_lat + α·E``. With a
    polarizability surface this is all of it, ``D = ε0 E + P``. Without one ``D = ε0 s² E + P``:
    the background's own polarization ``ε0 (s² - 1) E`` is not part of P.
    """
    volume = volumes(system.cell).double()
    displacement = displacement.double().expand(system.n_structures, 3)
    ionic = screening * lattice_dipole(system, pairs, terms) / volume[:, None]
    difference = displacement - ionic
    field = torch.linalg.solve(
        EPSILON_0 * optical_permittivity(system, terms, screening), difference
    )
    value = terms.energy + 0.5 * volume * (difference * field).sum(1)
    alpha = polarizability(system, terms, screening)
    dipole = ionic * volume[:, None] + torch.einsum("sab,sb->sa", alpha, field)
    return Enthalpy(value, dipole, alpha, field)
