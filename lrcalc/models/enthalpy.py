"""One electric enthalpy from a model's terms; every electrical observable is its derivative.

Physics §2 and §9. ``s`` turns latent multipoles, which carry the screening of the electrons, into
physical ones. It is a constant of the model (``ε_∞`` and the mean latent susceptibility of its
training data), so that forces stay exact gradients.

In a uniform field E everything that responds linearly feels what the permanent multipoles make
plus the applied field: induced dipoles ``F_i + sE``, charge that flows within a pair
``φ_i - φ_j - sE·d_ij``. The energy ``-½ w·χw`` of both is quadratic in E, with the linear term
``-sE·M_ind`` and the quadratic term ``-½ s² E·α·E``. A polarizability surface A(R), where the
model has one, adds ``-½ E·A·E``: it is what was computed from first principles, not latent, and
knows no s. Below, α stands for ``s² α + A``. Which field E is at open boundaries: `boundary`.

**One dielectric constant.** Latent multipoles interact as in vacuum, so physical ones, s times
larger, are screened by s² and by what the model's own response adds:

    ε_r = s² (1 + α/(ε0 V))         (latent α; its mean is the ε_∞ of the card)

Of a displacement with Born charges Z the energy at q → 0 holds ``(q̂·Z)²/(2 ε0 V q̂·ε_r·q̂)``. So
ε_r is what splits LO from TO, what D is divided by, and the ε_∞ under the spectra of runs; s² is
one number, so without response ε_r is the same along every axis of an anisotropic crystal. A
response is not iterated: with permanent (p) and induced (i) Born charges and a = α/(ε0 V) the
forces hold ``Z_p² (1 - a) + 2 Z_p Z_i``, the formula ``(Z_p + Z_i)²/(1 + a)``; they differ by
``(Z_i - a Z_p)²``, of second order in the response.

A surface knows better what light sees, ``1 + α/(ε0 V)`` (`optical_permittivity`): Raman, optics and
the electrons' answer to a constant E. It has no part in forces without a field, hence none in
ε_r nor at constant D, where the field that follows the atoms is their own long-range force.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.fields import DISPLACEMENT, VOLTAGE, Field
from lrcalc.models.boundary import coupled, coupling, depolarised, without_slabs
from lrcalc.models.dipole import lattice_dipole, lattice_polarizability
from lrcalc.models.field_energy import energy_and_dipole
from lrcalc.models.terms import Terms
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import Pairs
from lrcalc.system import System, inverses, volumes
from lrcalc.units import EPSILON_0


class Enthalpy(NamedTuple):
    """Energy in a field, and what the field couples to.

    Attributes
    ----------
    value : Tensor, shape (S,), eV
        ``E - s E·M_lat - ½ s² E·α·E``, or ``U(D)``, or the energy without a field.
    dipole : Tensor or None, shape (S, 3), e Å
        ``s M_lat + α·E``: minus the derivative of the enthalpy with respect to the field; at
        constant D all of the polarization, ``V (D - ε0 E)``. None without a field.
    field : Tensor or None, shape (S, 3), V/Å
        Instantaneous field; None without one.
    response : Tensor or None, shape (S, 3, 3), e Å²/V
        What the field is multiplied by in ``dipole``: the polarizability, and at constant D
        ``ε0 V (ε_r - 1)``. None without a field.
    polarizability : Tensor or None, shape (S, 3, 3), e Å²/V
        ``s² α + A``, minus the second derivative, where it was needed.
    moment : Tensor or None, shape (S, 3), e Å
        Dipole that Born charges are derivatives of, where the model itself knows it.
    """

    value: Tensor
    dipole: Tensor | None = None
    field: Tensor | None = None
    response: Tensor | None = None
    polarizability: Tensor | None = None
    moment: Tensor | None = None


def mean_susceptibility(system: System, terms: Terms) -> float:
    """Latent ``χ = tr α/(3 V ε0)``, mean over the periodic structures (0 if there are none)."""
    chi = latent_susceptibility(system, terms)
    return 0.0 if chi is None else float(chi.detach())


def latent_susceptibility(system: System, terms: Terms) -> Tensor | None:
    """`mean_susceptibility` with its graph, (); None without response or periodic structure."""
    multipoles = terms.readout.multipoles
    periodic = system.pbc.all(1)
    if not responds(multipoles) or not bool(periodic.any()):
        return None
    alpha = lattice_polarizability(system, terms).diagonal(dim1=1, dim2=2).mean(1)
    volume = volumes(system.cell).double()
    return (alpha[periodic] / (EPSILON_0 * volume[periodic])).mean()


def responds(multipoles: Multipoles) -> bool:
    """Whether some of them are induced by a field."""
    parts = (multipoles.polarizability, multipoles.pair, multipoles.capacitance)
    return any(x is not None for x in parts)


def polarizability(system: System, terms: Terms, screening: float | Tensor) -> Tensor:
    """Response of the dipole to the applied field, (S, 3, 3), e Å²/V.

    ``s² α + A`` of what the model's own response and its surface make; of slabs and molecules what
    is left of it when the field comes from outside (`boundary`).
    """
    if terms.surface is None:
        if not responds(terms.readout.multipoles):
            return terms.energy.new_zeros((system.n_structures, 3, 3))
        matrix = coupling(system, screening)
        return matrix @ lattice_polarizability(system, terms) @ matrix
    total = terms.surface
    if responds(terms.readout.multipoles):
        total = screening**2 * lattice_polarizability(system, terms) + total
    return depolarised(system, total, terms.surface_volume)


def enthalpy_permittivity(system: System, terms: Terms, screening: float | Tensor) -> Tensor:
    """``ε_r = s² (1 + α/(ε0 V))`` of periodic structures, (S, 3, 3): that of the forces.

    Where the model has no response of its own it is s² in every direction, which is the ε_∞ of
    its card. A surface has no part in it.
    """
    volume = volumes(system.cell).double()[:, None, None]
    unit = torch.eye(3, dtype=torch.float64, device=volume.device)
    latent = lattice_polarizability(system, terms)
    return screening**2 * (unit + latent / (EPSILON_0 * volume))


def optical_permittivity(system: System, terms: Terms, screening: float | Tensor) -> Tensor:
    """Permittivity for light of periodic structures, (S, 3, 3): ``1 + α/(ε0 V)`` of a surface.

    Without a surface the enthalpy's own.
    """
    if terms.surface is None:
        return enthalpy_permittivity(system, terms, screening)
    volume = volumes(system.cell).double()[:, None, None]
    unit = torch.eye(3, dtype=torch.float64, device=volume.device)
    return unit + polarizability(system, terms, screening) / (EPSILON_0 * volume)


def electric_enthalpy(
    system: System,
    pairs: Pairs,
    terms: Terms,
    field: Field | None,
    screening: float | Tensor,
    held: Tensor | None = None,
) -> Enthalpy:
    """Return the enthalpy of positions, cell and what is held.

    Parameters
    ----------
    system, pairs, terms
        Of the model.
    field : Field or None
        Constant.
    screening : float
        s.
    held : Tensor or None, shape (3,)
        Value of ``field``, where it is on the device already.
    """
    if field is None:
        return Enthalpy(terms.energy)
    value = held
    if value is None:
        value = torch.tensor(field.value, dtype=torch.float64, device=system.positions.device)
    vectors = value.expand(system.n_structures, 3)
    if field.kind == DISPLACEMENT:
        return constant_displacement(system, pairs, terms, vectors, screening)
    if field.kind == VOLTAGE:
        vectors = _solve(system.cell.double(), vectors)
    return constant_field(system, pairs, terms, vectors, screening)


def _solve(matrix: Tensor, vectors: Tensor) -> Tensor:
    """``matrix⁻¹ vectors``, (S, 3), without a look at values, also in derivatives."""
    return torch.einsum("sab,sb->sa", inverses(matrix), vectors)


def dipole(system: System, pairs: Pairs, terms: Terms, screening: float | Tensor) -> Tensor:
    """Dipole (S, 3), e Å, that an applied field couples to: without a field, all of it."""
    return coupled(system, lattice_dipole(system, pairs, terms), screening)


def constant_field(
    system: System, pairs: Pairs, terms: Terms, field: Tensor, screening: float | Tensor
) -> Enthalpy:
    """Enthalpy at a uniform applied field (S, 3), V/Å: which one that is, `boundary` says.

    Atomic charges in a periodic structure couple through their Born charges only
    (`dipole.lever_born`) and are left out of ``value``; the reported dipole contains them.
    """
    latent = lattice_dipole(system, pairs, terms, coupled=True)
    alpha = polarizability(system, terms, screening)
    whole = terms.readout.bare_charge is None
    simple = system.once and whole and not field.requires_grad and without_slabs(system)
    if simple and isinstance(screening, float):
        made = energy_and_dipole(terms.energy, latent, alpha, field, screening)
        return Enthalpy(*made, field, alpha, alpha)
    permanent = coupled(system, latent, screening)
    induced = torch.einsum("sab,sb->sa", alpha, field)
    value = terms.energy - (field * permanent.add(induced, alpha=0.5)).sum(1)
    moment = permanent if whole else dipole(system, pairs, terms, screening)
    return Enthalpy(value, moment + induced, field, alpha, alpha)


def constant_displacement(
    system: System, pairs: Pairs, terms: Terms, displacement: Tensor, screening: float | Tensor
) -> Enthalpy:
    """Enthalpy at constant electric displacement ``D`` (S, 3), e/Å².

    Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009). With the background that screens
    latent charges, ``-½ ε0 V (s² - 1) E²``, added to the enthalpy 𝓕 of a model without surface,
    ``U(D) = max_E [𝓕 + V E·D - ½ V ε0 E²]`` makes ``E = (ε0 ε_r)⁻¹ (D - P_ion)`` with
    ``P_ion = s M_lat/V`` and ``U = E(R) + ½ V (D - P_ion)·E``. Its second derivative is the
    longitudinal limit of the model's own forces, and at D_n = 0 a slab in vacuum has the energy
    that open boundaries give it. ``dU/dD = V E``.

    The reported dipole is everything that answers, ``V (D - ε0 E)``, so that fluctuations give
    ``1/ε = 1/ε_r - ⟨δM²⟩/(ε0 V k_B T)``. A polarizability surface is left out: the field that
    follows the atoms is screened as their forces are.
    """
    volume = volumes(system.cell).double()
    ionic = screening * lattice_dipole(system, pairs, terms) / volume[:, None]
    difference = displacement - ionic
    permittivity = enthalpy_permittivity(system, terms, screening)
    field = _solve(EPSILON_0 * permittivity, difference)
    value = terms.energy + 0.5 * volume * (difference * field).sum(1)
    moment = volume[:, None] * (displacement - EPSILON_0 * field)
    unit = torch.eye(3, dtype=torch.float64, device=volume.device)
    response = EPSILON_0 * volume[:, None, None] * (permittivity - unit)
    return Enthalpy(value, moment, field, response)
