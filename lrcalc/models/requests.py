"""What may be asked of a model: checks that name what cannot be had, and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lrcalc.fields import DISPLACEMENT, FIELD, VOLTAGE, Field, check_field
from lrcalc.frames import Frames
from lrcalc.models.potential import Potential
from lrcalc.neighbors import Pairs
from lrcalc.properties import NotHad, as_names, needing
from lrcalc.system import System

if TYPE_CHECKING:
    from ase import Atoms


def check_request(
    potential: Potential,
    structures: Sequence[Frames],
    wanted: set[str],
    *,
    held: set[str],
    allow_net_charge: bool,
) -> None:
    """Refuse what the model or a structure cannot give, before anything is computed.

    Parameters
    ----------
    potential : Potential
    structures : sequence of Frames
        What all structures of an entry have in common is looked at (`lrcalc.system.as_frames`).
    wanted : set of str
        Names of properties.
    held : set of str
        Kind of the field that is held (`lrcalc.fields.KINDS`), if there is one.
    allow_net_charge : bool
        A field on a charged periodic cell has been acknowledged.

    Raises
    ------
    ValueError
        Naming the property, the structure and the way out.
    """
    wanted = as_names(wanted)
    if not structures:
        raise ValueError("`structures` is empty; give at least one")
    check_model(potential, wanted, held)
    for index, part in enumerate(structures):
        check_structure(
            potential, part.pbc.tolist(), part.charge, index, wanted, held,
            allow_net_charge=allow_net_charge,
        )  # fmt: skip


def check_system(
    potential: Potential,
    system: System,
    wanted: set[str],
    *,
    field: Field | None,
    allow_net_charge: bool,
) -> None:
    """`check_request` of tensors, whose boundaries and charges are read back from the device."""
    held = set() if field is None else {field.kind}
    check_model(potential, wanted, held)
    pbc, charges = system.pbc.tolist(), system.total_charge.tolist()
    for index, (directions, charge) in enumerate(zip(pbc, charges, strict=True)):
        check_structure(
            potential, directions, charge, index, wanted, held, allow_net_charge=allow_net_charge
        )


def check_arguments(model: Any, system: Any, pairs: Any, field: Any, velocities: Any) -> None:
    """Refuse arguments of `lrcalc.predict` that are not what it takes."""
    if not isinstance(model, torch.nn.Module):  # a compiled model is no Potential
        raise ValueError(
            f"`model` is {model!r} but must be a Potential, such as "
            "lrcalc.load('water', dtype=torch.float64)"
        )
    if not isinstance(system, System):
        raise ValueError(
            f"`system` is {type(system).__name__} but must be a lrcalc.System; lrcalc.from_ase "
            "makes one of ASE structures"
        )
    if pairs is not None and not isinstance(pairs, Pairs):
        raise ValueError(
            f"`pairs` is {type(pairs).__name__} but must be lrcalc.neighbors.Pairs(i, j, shift), "
            "or None: they are found then"
        )
    if pairs is not None:
        _check_pairs(pairs, len(system.positions))
    if field is not None:
        check_field(field)
    count = len(system.positions)
    for name, value, shape, kind in (
        ("system.owned", system.owned, (count,), "bool"), ("velocities", velocities, (count, 3), "")
    ):  # fmt: skip
        if value is None:
            continue
        right = isinstance(value, torch.Tensor) and tuple(value.shape) == shape
        if not right or (kind and value.dtype != torch.bool):
            given = tuple(getattr(value, "shape", ())) or type(value).__name__
            raise ValueError(
                f"`{name}` is {given}, {getattr(value, 'dtype', 'no tensor')}, but must be a "
                f"{kind or 'float'} tensor of shape {shape}, one entry for each atom"
            )


LATENT = {"quadrupole", "bec_as_published"}
"""Properties that are made of multipoles without a derivative of an energy in a uniform field."""

WITHOUT_GHOSTS = {"quadrupole"}
"""Properties that count all atoms, see `System.owned`."""


def _check_pairs(pairs: Pairs, count: int) -> None:
    """Refuse pairs that are not what `Pairs` says: backbones are promised sorted ones."""
    i, j, shift = pairs
    shapes = [tuple(x.shape) for x in (i, j, shift)]
    if i.ndim != 1 or j.shape != i.shape or shift.shape != (len(i), 3):
        raise ValueError(f"`pairs` has shapes {shapes} but must have i (E,), j (E,), shift (E, 3)")
    if not len(i):
        return
    low, high = int(torch.minimum(i, j).min()), int(torch.maximum(i, j).max())
    if low < 0 or high >= count:
        raise ValueError(
            f"`pairs` names atoms from {low} to {high}, but `system` has those from 0 to "
            f"{count - 1}"
        )
    falls = i[1:] < i[:-1]
    if bool(falls.any()):
        k = int(torch.nonzero(falls)[0])
        raise ValueError(
            f"`pairs.i` is {int(i[k])} and then {int(i[k + 1])} (entry {k + 1}) but must be "
            "sorted; sort them once: order = torch.argsort(pairs.i, stable=True); "
            "pairs = Pairs(*(x[order] for x in pairs))"
        )


def check_ghosts(names: set[str], pairs: Pairs | None) -> None:
    """Refuse what would count ghosts; their forces go back to their owners, whom others know."""
    if pairs is None:
        raise ValueError(
            "`system.owned` marks ghosts, but `pairs` is None: give the pairs of atoms and ghosts, "
            "for instance build_pairs(system._replace(pbc=torch.zeros_like(system.pbc)), cutoff)"
        )
    if names & WITHOUT_GHOSTS:
        raise ValueError(
            f"`system.owned` marks ghosts, with which {sorted(names & WITHOUT_GHOSTS)} cannot be "
            "had: use periodic pairs instead of ghosts (`owned=None`)"
        )


def check_model(potential: Potential, wanted: set[str], held: set[str]) -> None:
    """Refuse what no structure could have with this model."""
    level = potential.config["level"]
    electric = needing("charges", wanted)
    if level == "sr" and (electric or held):
        raise NotHad(
            "this model is short-ranged (level 'sr') and has no charges: "
            f"{', '.join(sorted(electric | held))} cannot be had; use a model of level 'q' or above"
        )
    strangers = sorted(wanted & LATENT) if potential.own_field else []
    if strangers:
        raise ValueError(
            f"{', '.join(strangers)} is made of latent charges, but this model has an energy of "
            "its own in a field, of which everything electrical is a derivative; ask for dipole, "
            "born_effective_charges or polarizability"
        )
    response = needing("response", wanted)
    if response and not has_response(potential):
        raise ValueError(
            f"this model (level {level!r}) has no response, so no {sorted(response)[0]}; teach it "
            "one from computed polarizabilities (`lrcalc fit-polarizability`), or use a model of "
            "level 'uiu', 'uiqiu' or 'uQiqiu', or ε_∞ for a uniform estimate"
        )
    iterations = potential.config.get("iterations", 0)
    linear = sorted(held | needing("linear response", wanted))
    if iterations != 0 and linear:
        raise ValueError(
            f"this model iterates its response (iterations={iterations}); {', '.join(linear)} "
            "needs the linear response, iterations=0"
        )


def has_response(potential: Potential) -> bool:
    """Whether the model has a polarizability: a latent response or a surface."""
    return potential.surface is not None or "i" in potential.config["level"]


def has_moments(potential: Potential, pbc: Sequence[bool]) -> bool:
    """Whether structures of these periodic directions have a dipole, or its derivatives.

    Charges induced on single atoms have none in a periodic cell, whether they answer to the
    field of the others (level ``iq``) or to an applied one: it would hang on which image of an
    atom is taken.
    """
    config = potential.config
    return config["level"] != "sr" and not (
        config["charges"] == "atomic" and induces_charges(potential) and any(pbc)
    )


def induces_charges(potential: Potential) -> bool:
    """Whether single atoms answer with charges; a converted file need not have all of its level."""
    latent = potential.config.get("latent")
    return "iq" in potential.config["level"] and (not latent or "capacitance" in latent)


def records_dipole(potential: Potential, atoms: Atoms) -> bool:
    """Whether a run of these atoms has a dipole to record; a charged slab has none."""
    from lrcalc.structures import total_charge

    slab = atoms.pbc.any() and not atoms.pbc.all()
    return has_moments(potential, atoms.pbc.tolist()) and not (slab and total_charge(atoms))


def check_structure(
    potential: Potential,
    pbc: Sequence[bool],
    charge: float,
    index: int,
    wanted: set[str],
    held: set[str],
    *,
    allow_net_charge: bool,
) -> None:
    """Refuse what a structure of these periodic directions and net charge (e) cannot have."""
    _check_boundary(potential, pbc, index, wanted, held)
    _check_charge(charge, pbc, index, wanted, held, allow_net_charge=allow_net_charge)


def _check_boundary(
    potential: Potential, pbc: Sequence[bool], index: int, wanted: set[str], held: set[str]
) -> None:
    """Refuse what a structure of these periodic directions cannot have."""
    where = f"structure {index} has pbc {list(pbc)}"
    if sum(pbc) == 1 and potential.config["level"] != "sr":
        raise ValueError(
            f"{where}: one periodic direction is not supported with charges; use none, two (a "
            "slab) or three"
        )
    periodic = needing("periodic", wanted)
    if periodic and not all(pbc):
        names = " and ".join(sorted(periodic))
        raise ValueError(f"{where}: {names} needs three periodic directions")
    alone = sorted(needing("open", wanted))
    if alone and any(pbc):
        raise ValueError(
            f"{where}: {alone[0]} is a property of a structure without periodic directions; set "
            "pbc=False, for a molecule in one piece"
        )
    if alone and held:
        raise ValueError(
            f"structure {index}: {alone[0]} in a field is not known; ask for it without "
            f"`{sorted(held)[0]}`"
        )
    for name in held & {DISPLACEMENT, VOLTAGE}:
        if not all(pbc):
            raise ValueError(
                f"{where}: constant {name.replace('_', ' ')} needs three periodic directions; use "
                "`electric_field` for an open system"
            )
    atomic = potential.config["charges"] == "atomic" and potential.config["level"] != "sr"
    if not (atomic and any(pbc)):
        return
    remedy = "use a model with local charges (charges='local')"
    if held and "stress" in wanted:
        raise ValueError(f"{where}: atomic charges have no stress in a field; {remedy}")
    if held - {FIELD}:
        raise ValueError(
            f"{where}: atomic charges have no polarization to hold {sorted(held)[0]} at; {remedy}"
        )
    if not has_moments(potential, pbc) and (held or needing("moments", wanted)):
        if potential.own_field:  # MACE-POLAR's, which cannot be had with other charges
            remedy = (
                "set pbc=False for a molecule; energy, forces and stress without a field remain"
            )
        raise NotHad(
            f"{where}: charges induced on single atoms have no dipole in a periodic cell; {remedy}"
        )


def _check_charge(
    charge: float,
    pbc: Sequence[bool],
    index: int,
    wanted: set[str],
    held: set[str],
    *,
    allow_net_charge: bool,
) -> None:
    """Refuse what a structure with a net charge (e) cannot have."""
    if abs(charge) <= 1e-9 or not any(pbc):
        return
    moments = sorted(needing("moments", wanted) - needing("response", wanted))
    if sum(pbc) == 2 and (held or moments):
        raise ValueError(
            f"structure {index} is a slab with a net charge of {charge:g} e: along its normal "
            f"{', '.join(sorted(held) or moments)} cannot be had, since a charge has no dipole "
            "and is driven away by a field; neutralise it"
        )
    if held and not allow_net_charge:
        raise ValueError(
            f"structure {index} is periodic with a net charge of {charge:g} e: in "
            "a field it accelerates as a whole and its energy falls without limit; neutralise "
            "it, or say allow_net_charge=True and leave the drift out of the analysis"
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


def check_device(device: str) -> str:
    """Return ``device`` if torch can use it here."""
    try:
        if torch.zeros(1, device=device).tolist() != [0.0]:
            raise RuntimeError("it does not hold numbers")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        told = (str(error).splitlines() or [""])[0].partition(". ")[0]
        raise ValueError(
            f"`device` is {device!r} but torch cannot use it here ({told}); try 'cpu'"
        ) from error
    return device


def check_results_finite(out: list[dict[str, Any]]) -> None:
    """Refuse results that are not numbers."""
    for index, result in enumerate(out):
        bad = [name for name, value in result.items() if not np.isfinite(value).all()]
        if bad:
            raise ValueError(
                f"structure {index}: the model returned NaN for {bad}; the structure has left "
                "what the model was trained on"
            )
