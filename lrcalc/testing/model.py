"""Whether what a model says belongs together: derivatives, sum rules, symmetry, boxes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lrcalc.models.potential import Potential
from lrcalc.models.requests import as_structures
from lrcalc.prediction import predict
from lrcalc.system import System, from_ase
from lrcalc.testing.backbone import random_system
from lrcalc.testing.cases import Case, compared
from lrcalc.testing.identities import batched, derivatives, sums, symmetry

if TYPE_CHECKING:
    from ase import Atoms

NEAREST = 1.5
"""Å; of random structures: closer ones are so hot that differences drown in their energies."""

SINGLE = 1e3
"""How many times the tolerance single precision may be off."""

IDENTITIES = {
    "forces": "forces are minus the derivative of the enthalpy with respect to positions",
    "stress": "V times the stress is the derivative of the enthalpy with respect to a strain",
    "dipole": "the dipole is minus the derivative of the enthalpy with respect to E",
    "electric_field": "V times the field is the derivative of the enthalpy with respect to D",
    "born": "Born charges are the derivative of the dipole with respect to positions",
    "driven": "forces change with a small field E by E·born",
    "levers": "where there is no dipole, Born charges are what charges answer, times the way there",
    "polarizability": "the polarizability is the derivative of the dipole with respect to E",
    "polarizability_derivative": "it is the derivative of the polarizability by positions",
    "sum": "forces sum to zero; charges, and Born charges on the diagonal, to the total charge",
    "shifted": "the dipole of a charge Q moves by Q t with its atoms",
    "repeated": "a cell and its 2x1x1 repeat say the same of each atom",
    "wrapped": "the origin, and atoms moved by lattice vectors, change nothing",
    "turned": "results turn with the structure and the field",
    "inverted": "results are inverted with the structure and the field",
    "permuted": "results follow the order of the atoms",
    "batched": "a structure does not know with which others it was computed",
    "single": "single precision differs from double by its rounding",
}
"""First word of a check → what it holds a model to."""


def check_model(
    model: Potential,
    structures: Sequence[Atoms] | None = None,
    *,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> dict[str, float]:
    """Check that what a model says of structures belongs together.

    For authors of backbones, readouts and adapters, after `check_backbone`: whatever is built
    differently must come out as derivatives of one enthalpy, without a field, at constant E and at
    constant D, with levers that do not know the box.

    Parameters
    ----------
    model : Potential
        Not changed: copies in double and single precision are looked at, on the CPU.
    structures : sequence of Atoms, optional
        Small ones (a dozen atoms), so that seconds will do; periodic, open and slabs. By default
        random ones of the model's elements, a skew cell and a cluster: unlikely, but no identity
        minds.
    tolerance : float, optional
        Largest error allowed, relative to the largest value of what is compared (`SINGLE` times
        more in single precision).
    seed : int, optional
        For directions, fields and random structures.

    Returns
    -------
    dict
        Error of each check, the largest over the structures. The first word says what was held
        to what (`IDENTITIES`), then where, or which property. What a model cannot have (dipoles
        where it has no charges, an energy in a field with atomic charges in periodic cells) is
        left out.

    Raises
    ------
    ValueError
        Naming each identity that failed, the error found and the one allowed.

    Examples
    --------
    >>> from lrcalc import load
    >>> from lrcalc.testing import check_model
    >>> errors = check_model(load("water"))
    >>> errors["forces"] < 1e-6
    True
    """
    generator = torch.Generator().manual_seed(seed)
    double = in_precision(model, torch.float64)
    systems = _systems(double, structures, generator)
    errors: dict[str, float] = {}

    def found(more: dict[str, float]) -> None:
        for name, error in more.items():
            errors[name] = max(errors.get(name, 0.0), error)

    single = in_precision(model, torch.float32)
    for system in systems:
        case = Case(double, system, generator)
        found(derivatives(case))
        found(sums(case))
        found(symmetry(case))
        names = case.names("energy", "forces", "charges", "dipole")
        now = predict(single, system, None, None, names)
        found(compared("single", now, case.look(names)))
    if len(systems) > 1:
        found(batched(double, systems))
    allowed = {name: tolerance * (SINGLE if name.startswith("single") else 1.0) for name in errors}
    failed = [
        f"{name} is off by {error:.1e} of its size, allowed {allowed[name]:.0e} "
        f"({IDENTITIES[name.split()[0]]})"
        for name, error in errors.items()
        if not error <= allowed[name]
    ]
    if failed:
        raise ValueError("this model fails:\n  " + "\n  ".join(failed))
    return errors


def in_precision(model: Potential, dtype: torch.dtype) -> Potential:
    """Return a copy on the CPU; total energies keep double precision."""
    made = copy.deepcopy(model).cpu()
    reference = made.reference_energy.double()
    made = made.to(dtype).eval().requires_grad_(False)
    made.reference_energy = reference
    return made


def _systems(
    model: Potential, structures: Sequence[Atoms] | None, generator: torch.Generator
) -> list[System]:
    if structures is not None:
        return [from_ase(atoms) for atoms in as_structures(structures)]
    made = []
    for n, periodic in ((5, True), (4, False)):
        kinds, cutoff = model.species, model.cutoff
        made.append(random_system(kinds, cutoff, n, generator, periodic=periodic, nearest=NEAREST))
    return made
