"""Structures as a model of phases takes them: checked, in its unit of length, with their pairs."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.callers import users_line
from lrcalc.information.given import check_structure
from lrcalc.information.phase_lengths import LAST, length_of, lengths_of
from lrcalc.information.phases import ANY, PhaseModel
from lrcalc.neighbors import NeighborList, Pairs
from lrcalc.system import System, from_ase, validate_atoms

if TYPE_CHECKING:
    from ase import Atoms

CLOSEST = 1e-3
"""Distance, in the model's unit, below which atoms are on top of one another and have no direction;
noise may bring them closer than chemistry would."""


class Measured(NamedTuple):
    """A structure in the unit of a model, around its middle, as single precision wants it.

    Attributes
    ----------
    system : System
    length : float
        That unit, Å.
    origin : ndarray, shape (3,), Å
    """

    system: System
    length: float
    origin: np.ndarray


def measure(
    model: PhaseModel, atoms: Atoms, *, length: float | None = None, name: str = "atoms"
) -> Measured:
    """Bring a structure into the unit of a model.

    Raises
    ------
    TypeError
        For a model that was not loaded, or several structures at once.
    ValueError
        For what no model can take (`lrcalc.system.validate`), a species that this one does not
        know, two atoms at one place, a length that is none.
    """
    check_given(model, atoms, name)
    like = next(model.parameters())
    validate_atoms(atoms, name)
    system = from_ase(atoms)
    if not model.scaled:
        strange = sorted(set(atoms.symbols) - set(_symbols(model.species)))
        if strange:
            raise ValueError(
                f"`{name}` has atoms of {', '.join(strange)}, the model knows only "
                f"{', '.join(_symbols(model.species))}: take them away, or use a model without "
                "species, like metals"
            )
        if length is not None:
            raise ValueError("`length` is for models without species; this one is in Å")
        unit = 1.0
    else:
        unit = _own(system, name) if length is None else _given(length, system, name)
        system = system._replace(numbers=torch.full_like(system.numbers, ANY[0]))
    refuse_overlap(system, unit, name)
    origin = system.positions.mean(0)
    positions, cell = (system.positions - origin) / unit, system.cell / unit
    system = system._replace(positions=positions, cell=cell).to("cpu", like.dtype)
    return Measured(system, unit, origin.numpy())


def check_given(model: PhaseModel, atoms: Atoms, name: str) -> None:
    """Refuse what is not a model, or not one structure."""
    if not isinstance(model, PhaseModel):
        raise TypeError(
            f"`model` is {model!r} but must be a model of phases: give "
            "lrcalc.information.phases.load(NAME or FILE)"
        )
    check_structure(atoms, name, "label or denoise the frames of a trajectory one after the other")


def refuse_overlap(system: System, unit: float, name: str) -> None:
    """Refuse two atoms at one place, in Å, before lengths are measured in another unit."""
    try:
        NeighborList(CLOSEST * unit, closest=CLOSEST * unit)(system)
    except ValueError as error:
        raise ValueError(f"`{name}`: two atoms are at the same place: {error}") from error


UNEVEN = 1.08
"""Ratio of the length to that inside above which it is one of surfaces: 48 crystals under noise of
20 % stay below 1.06, three layers and clusters of 200 to 400 atoms have 1.12 and more."""


def _own(system: System, name: str) -> float:
    """Return the length that a structure says itself; warn if half of it is surface."""
    length, inner = lengths_of(system, name)
    if length > UNEVEN * inner:
        warnings.warn(
            "half of the atoms are near a surface or a void, so the length (cube root of the "
            f"volume per atom) is too large and labels may be wrong: give `length`, about "
            f"{inner:.1f} Å",
            stacklevel=users_line(),
        )
    return length


LONGEST = 3
"""Times a structure's own length above which a given one is a mistake of units; neighbours grow
with its third power, and memory with them."""


def _given(length: object, system: System, name: str) -> float:
    """Return a length that was given, if it can be one of this structure."""
    if isinstance(length, bool) or not isinstance(length, Real):
        raise ValueError(f"`length` is {length!r} but must be a number, in Å")
    length = float(length)
    if not 0 < length < math.inf:
        raise ValueError(f"`length` is {length:g} Å but must be positive and finite")
    if len(system.positions) > LAST or bool(system.pbc.any()):
        own = length_of(system, name)
        if length > LONGEST * own:
            raise ValueError(
                f"`length` is {length:g} Å, but `{name}` has one atom in about ({own:.3g} Å)³: "
                "give the cube root of the volume per atom in Å, or leave it out"
            )
    return length


def _symbols(species: tuple[int, ...]) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in species]


def pairs_of(model: PhaseModel, system: System) -> tuple[Pairs, Tensor]:
    """Pairs within the model's cutoff and ``shift @ cell`` (E, 3), in the model's unit."""
    pairs = NeighborList(model.cutoff, closest=0.0)(system)
    if not len(pairs.i):
        unit = "Å" if model.species else "times the length (cube root of the volume per atom)"
        raise ValueError(
            f"no atom has a neighbour within {model.cutoff:g} {unit}, so there is nothing to tell "
            "a phase by: check the units of positions, cell and `length`"
        )
    return pairs, pairs.shift.to(system.cell.dtype) @ system.cell[0]
