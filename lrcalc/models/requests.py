"""What may be asked of a model: names of properties, and checks that name what cannot be had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lrcalc.models.potential import Potential
from lrcalc.structures import total_charge

if TYPE_CHECKING:
    from ase import Atoms

PROPERTIES = (
    "energy", "forces", "stress", "dipole", "polarization", "born_effective_charges",
    "polarizability", "polarizability_derivative", "charges", "current", "electric_field",
    "dielectric_tensor",
)  # fmt: skip
"""What can be asked for."""

NEED_CHARGES = {
    "dipole", "polarization", "born_effective_charges", "charges", "current", "polarizability",
    "polarizability_derivative", "dielectric_tensor",
}  # fmt: skip

FULLY_PERIODIC = {"stress", "polarization", "dielectric_tensor"}
"""What only a structure with three periodic directions has."""


def check_request(
    potential: Potential,
    structures: Sequence[Atoms],
    wanted: set[str],
    *,
    held: set[str],
    allow_net_charge: bool,
) -> None:
    """Refuse what the model or a structure cannot give, before anything is computed.

    Parameters
    ----------
    potential : Potential
    structures : sequence of Atoms
    wanted : set of str
        Names of properties.
    held : set of str
        Which of electric_field, electric_displacement, reduced_field is set.
    allow_net_charge : bool
        A field on a charged periodic cell has been acknowledged.

    Raises
    ------
    ValueError
        Naming the property, the structure and the way out.
    """
    unknown = wanted - set(PROPERTIES)
    if unknown:
        raise ValueError(f"unknown properties {sorted(unknown)}; known: {list(PROPERTIES)}")
    if not structures:
        raise ValueError("`structures` is empty; give at least one")
    check_model(potential, wanted, held)
    for index, atoms in enumerate(structures):
        check_structure(potential, atoms, index, wanted, held)
        charge = total_charge(atoms, f"structure {index}")
        charged = abs(charge) > 1e-9 and atoms.pbc.any()
        moments = sorted(wanted & {"dipole", "born_effective_charges", "current"})
        if charged and atoms.pbc.sum() == 2 and (held or moments):
            raise ValueError(
                f"structure {index} is a slab with a net charge of {charge:g} e: along its normal "
                f"{', '.join(sorted(held) or moments)} cannot be had, since a charge has no dipole "
                "and is driven away by a field; neutralise it"
            )
        if held and charged and not allow_net_charge:
            raise ValueError(
                f"structure {index} is periodic with a net charge of {charge:g} e: in "
                "a field it accelerates as a whole and its energy falls without limit; neutralise "
                "it, or say allow_net_charge=True and leave the drift out of the analysis"
            )


def check_model(potential: Potential, wanted: set[str], held: set[str]) -> None:
    """Refuse what no structure could have with this model."""
    level = potential.config["level"]
    electric = wanted & NEED_CHARGES
    if level == "sr" and (electric or held):
        raise ValueError(
            "this model is short-ranged (level 'sr') and has no charges: "
            f"{', '.join(sorted(electric | held))} cannot be had; use a model of level 'q' or above"
        )
    response = wanted & {"polarizability", "polarizability_derivative"}
    if potential.config.get("iterations", 0) != 0 and "dielectric_tensor" in wanted:
        held = held | {"dielectric_tensor"}
    if response and not has_response(potential):
        raise ValueError(
            f"this model (level {level!r}) has no response, so no {sorted(response)[0]}; teach it "
            "one from computed polarizabilities (`lrcalc fit-polarizability`), or use a model of "
            "level 'uiu', 'uiqiu' or 'uQiqiu', or ε_∞ for a uniform estimate"
        )
    if potential.config.get("iterations", 0) != 0 and (held or response):
        raise ValueError(
            f"this model iterates its response (iterations={potential.config['iterations']}); "
            f"{', '.join(sorted(held | response))} needs the linear response, iterations=0"
        )


def has_response(potential: Potential) -> bool:
    """Whether the model has a polarizability: a latent response or a surface."""
    return potential.surface is not None or "i" in potential.config["level"]


def check_structure(
    potential: Potential, atoms: Atoms, index: int, wanted: set[str], held: set[str]
) -> None:
    """Refuse what this structure cannot have."""
    where = f"structure {index} has pbc {atoms.pbc.tolist()}"
    full = bool(atoms.pbc.all())
    if not full and wanted & FULLY_PERIODIC:
        names = " and ".join(sorted(wanted & FULLY_PERIODIC))
        raise ValueError(f"{where}: {names} needs three periodic directions")
    for name in held & {"electric_displacement", "reduced_field"}:
        if not full:
            raise ValueError(
                f"{where}: constant {name.replace('_', ' ')} needs three periodic directions; use "
                "`electric_field` for an open system"
            )
    atomic = potential.config["charges"] == "atomic" and potential.config["level"] != "sr"
    if not (atomic and atoms.pbc.any()):
        return
    remedy = "use a model with local charges (charges='local')"
    if held and "stress" in wanted:
        raise ValueError(f"{where}: atomic charges have no stress in a field; {remedy}")
    if held - {"electric_field"}:
        raise ValueError(
            f"{where}: atomic charges have no polarization to hold {sorted(held)[0]} at; {remedy}"
        )
    if "iq" in potential.config["level"] and (held or wanted & (NEED_CHARGES - {"charges"})):
        raise ValueError(
            f"{where}: charges induced on single atoms have no dipole in a periodic cell; {remedy}"
        )


def as_structures(structures: Any) -> list[Atoms]:
    """Return a list of structures; refuse what is not one, a lone `Atoms` included."""
    from ase import Atoms

    if isinstance(structures, Atoms):
        raise ValueError(
            "`structures` is one Atoms object but must be a list of them; write [atoms] (the "
            "answer is a list too)"
        )
    out = list(structures)
    for index, atoms in enumerate(out):
        if not isinstance(atoms, Atoms):
            raise ValueError(f"`structures[{index}]` is {type(atoms).__name__}, not ase.Atoms")
    return out


def as_names(properties: Any) -> set[str]:
    """Return the set of property names; one string is one name."""
    return {properties} if isinstance(properties, str) else set(properties)


def check_device(device: str) -> str:
    """Return ``device`` if torch can use it here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"`device` is {device!r} but torch cannot use it here ({error}); try 'cpu'"
        ) from error
    return device


def check_finite(out: list[dict[str, Any]]) -> None:
    """Refuse results that are not numbers."""
    for index, result in enumerate(out):
        bad = [name for name, value in result.items() if not np.isfinite(value).all()]
        if bad:
            raise ValueError(
                f"structure {index}: the model returned NaN for {bad}; the structure has left "
                "what the model was trained on"
            )
