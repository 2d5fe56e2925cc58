"""Work of the source of a field: what changing it in time adds to the enthalpy.

Whatever is held, x = E, D or the voltages v, the enthalpy 𝓕(R, h, x) is a function of positions,
cell and x, and forces and stress are its derivatives at fixed x. Along a trajectory

    d𝓕/dt = -Σ F·Ṙ + V σ:ε̇ + (∂𝓕/∂x)_{R,h}·ẋ

so that enthalpy + kinetic energy + baths - ∫ (∂𝓕/∂x)_{R,h}·dx is constant, also while the cell
moves (the functionals: Stengel, Spaldin, Vanderbilt, Nat. Phys. 5, 304 (2009)):

==================  ======================  =====================  ==============================
held                enthalpy                ``(∂𝓕/∂x)_{R,h}``      the stress is at fixed
==================  ======================  =====================  ==============================
E, V/Å              𝓕(E) = E_KS - E·M - …   -M                     Cartesian E: it depends on the
                                                                   branch of M
v = h·E, V          𝓕(h⁻¹v)                 -h⁻ᵀM                  voltages: proper
D, e/Å²             U = E_KS + ½V(D-P)·E    V E                    Cartesian D: it depends on the
                                                                   branch of M
==================  ======================  =====================  ==============================

Rows of h are the lattice vectors, E = h⁻¹v. With a voltage the field follows the cell, and
``M·δE`` would count, as work of the source, what the cell does.

On the branch: with one ion of charge Z on another lattice vector R, M becomes ``M + Z R``. At fixed
Cartesian E the enthalpy changes by ``-Z E·R``, and R follows the cell: another stress, though the
crystal is the same. At fixed v it changes by a constant. At fixed Cartesian D, P changes by
``Z R/V``, which is no constant either; the flux ``d = V h⁻¹ D`` through the faces of the cell is
what would have to be held. Energy is conserved in each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lrcalc.fields import DISPLACEMENT, TABLE, VOLTAGE, Field
from lrcalc.models.boundary import coupling
from lrcalc.system import from_ase

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.calculator import LRCalculator


class Source(NamedTuple):
    """What is controlled, and the derivative of the enthalpy with respect to it.

    Attributes
    ----------
    value : ndarray (3,)
        E, D or voltages.
    slope : ndarray (3,)
        ``(∂𝓕/∂x)_{R,h}``; its product with ``value`` is in eV.
    """

    value: np.ndarray
    slope: np.ndarray


def properties_needed(calculator: LRCalculator, atoms: Atoms) -> list[str]:
    """Return what `source` reads, for the calculator to compute with the forces."""
    return ["dipole", "charges"] if _charges_do_work(calculator, atoms) else ["dipole"]


def source(calculator: LRCalculator, atoms: Atoms) -> Source:
    """Return the controlled variable of this moment and the slope of the enthalpy along it.

    Parameters
    ----------
    calculator : LRCalculator
        In a field.
    atoms : Atoms
        On the branch that the calculator follows: not wrapped.
    """
    dipole = np.array(calculator.get_property("dipole", atoms))
    held = calculator.field_now
    if held is None:
        raise ValueError("`calculator` holds no field, so there is no source; set one")
    if held.kind == DISPLACEMENT:
        field = np.array(calculator.get_property("electric_field", atoms))
        return Source(held.array, atoms.get_volume() * field)
    if held.kind == VOLTAGE:
        return Source(held.array, -np.linalg.solve(np.asarray(atoms.cell).T, dipole))
    if _charges_do_work(calculator, atoms):
        # atomic charges in a periodic cell enter the energy by the work E·dM that they do, which
        # leaves nothing for the source: only the rest of the dipole is coupled by an energy
        screening = calculator.evaluator.screening
        matrix = coupling(from_ase(atoms), screening)[0].numpy() / screening
        dipole -= matrix @ (calculator.get_property("charges", atoms) @ atoms.positions)
    return Source(held.array, -dipole)


def work(before: Source, after: Source) -> float:
    """Work of the source over one step by the trapezoidal rule, eV."""
    return float(0.5 * (before.slope + after.slope) @ (after.value - before.value))


def _charges_do_work(calculator: LRCalculator, atoms: Atoms) -> bool:
    """Whether charges feel forces in the field that have no energy (physics §4)."""
    config = calculator.evaluator.potential.config
    return config["charges"] == "atomic" and config["level"] != "sr" and bool(atoms.pbc.any())


def branch_warning(ensemble: str, held: Field | None) -> str | None:
    """Say that a pressure is ill-defined, and what to do; None where it is well-defined."""
    if ensemble != "npt" or held is None or not held.cartesian:
        return None
    return (
        f"constant {TABLE[held.kind].symbol} in a changing cell: the pressure depends on the "
        "branch of the dipole (on the lattice vector that an ion is counted at), so volume and "
        "stress are not those of one "
        f"crystal; hold the voltage instead (`--voltage`, `{VOLTAGE}`: E·a along each lattice "
        "vector), or keep the cell (nvt)"
    )
