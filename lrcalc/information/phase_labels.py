"""Labels and denoising of structures with a model of phases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.callers import users_line
from lrcalc.information.phase_blocks import logits_in_blocks
from lrcalc.information.phase_lengths import LAST, length_of, lengths_of
from lrcalc.information.phases import ANY, Logits, PhaseModel
from lrcalc.neighbors import NeighborList, Pairs
from lrcalc.system import System, from_ase, validate_atoms

if TYPE_CHECKING:
    from ase import Atoms

CLOSEST = 1e-3
"""Distance, in the model's unit, below which atoms are on top of one another and have no direction;
noise may bring them closer than chemistry would."""


class Labelled(NamedTuple):
    """What a model says of a structure of N atoms.

    Attributes
    ----------
    phase : list of str
        The most probable phase of each atom.
    probability : ndarray, shape (N,)
        Of that phase.
    logits : ndarray, shape (N, C)
        ``l_ac`` (`lrcalc.information.phases`).
    log_probability : float
        ``log P̂``.
    length : float
        Å; the unit in which the structure was measured, 1 for a model with species.
    positions : ndarray, shape (N, 3), Å
        At which the labels were read: denoised, where that was asked for.
    """

    phase: list[str]
    probability: np.ndarray
    logits: np.ndarray
    log_probability: float
    length: float
    positions: np.ndarray


class Step(NamedTuple):
    """A structure on its way to a crystal.

    Attributes
    ----------
    positions : ndarray, shape (N, 3), Å
    log_probability : float
    factor : float
        Of ``σ_s² s`` in the step that led here; 0 at the start.
    moved : float
        Rms length of that step, Å.
    """

    positions: np.ndarray
    log_probability: float
    factor: float
    moved: float


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
    ValueError
        For what no model can take (`lrcalc.system.validate`), a species that this one does not
        know, a length that is none.
    """
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
    origin = system.positions.mean(0)
    positions, cell = (system.positions - origin) / unit, system.cell / unit
    system = system._replace(positions=positions, cell=cell).to("cpu", like.dtype)
    return Measured(system, unit, origin.numpy())


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


def _given(length: float, system: System, name: str) -> float:
    """Return a length that was given, if it can be one of this structure."""
    if not 0 < length < math.inf:
        raise ValueError(f"`length` is {length} Å but must be positive and finite")
    if len(system.positions) > LAST or bool(system.pbc.any()):
        own = length_of(system, name)
        if length > LONGEST * own:
            raise ValueError(
                f"`length` is {length:g} Å, but `{name}` has one atom in about ({own:.3g} Å)³: "
                "give the cube root of the volume per atom in Å, or leave it out"
            )
    return float(length)


def _symbols(species: tuple[int, ...]) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[z] for z in species]


def pairs_of(model: PhaseModel, system: System) -> tuple[Pairs, Tensor]:
    """Pairs within the model's cutoff and ``shift @ cell`` (E, 3), in the model's unit."""
    try:
        pairs = NeighborList(model.cutoff, closest=CLOSEST)(system)
    except ValueError as error:
        raise ValueError(f"two atoms are at the same place: {error}") from error
    if not len(pairs.i):
        unit = "Å" if model.species else "times the length (cube root of the volume per atom)"
        raise ValueError(
            f"no atom has a neighbour within {model.cutoff:g} {unit}, so there is nothing to tell "
            "a phase by: check the units of positions, cell and `length`"
        )
    return pairs, pairs.shift.to(system.cell.dtype) @ system.cell[0]


def evaluate(model: PhaseModel, system: System) -> Logits:
    """Logits of a structure."""
    pairs, offset = pairs_of(model, system)
    with torch.no_grad():
        return logits_in_blocks(model, system, pairs, offset)


def score_in_blocks(model: PhaseModel, system: System) -> tuple[Logits, Tensor]:
    """`lrcalc.information.phases.score` of a structure, with little memory."""
    pairs, offset = pairs_of(model, system)
    with torch.enable_grad():
        positions = system.positions.detach().requires_grad_(True)
        moved = system._replace(positions=positions)
        found = logits_in_blocks(model, moved, pairs, offset)
        (gradient,) = torch.autograd.grad(found.energy.sum(), positions)
    return Logits(found.energy.detach(), found.chances.detach()), gradient


def label(
    model: PhaseModel, atoms: Atoms, *, steps: int = 0, length: float | None = None,
    name: str = "atoms",
) -> Labelled:  # fmt: skip
    """Phase of each atom.

    Parameters
    ----------
    model : PhaseModel
    atoms : Atoms
        Any cell and boundary.
    steps : int, optional
        Steps of denoising before the labels are read.
    length : float, optional
        Å, see `measure`; by default from the structure.
    name : str, optional
        What the structure is called in errors.
    """
    measured = measure(model, atoms, length=length, name=name)
    system = measured.system
    if steps:
        *_, last = _descend(model, system, steps)
        system = system._replace(positions=last[0])
    found = evaluate(model, system)
    best = found.chances.max(1)
    phase = [model.phases[c] for c in best.indices.tolist()]
    return Labelled(
        phase, best.values.exp().double().numpy(), found.logits.double().numpy(),
        float(found.energy.double().sum()), measured.length,
        system.positions.double().numpy() * measured.length,
    )  # fmt: skip


SHORTEST = 1 / 64
"""Factor of a step below which none is taken any more."""


ARRIVED = 1e-4
"""Rms length of a step, in the model's unit, after which none follows."""


def _descend(
    model: PhaseModel, system: System, steps: int
) -> Iterator[tuple[Tensor, float, float, float]]:
    """Positions, log P̂, factor and rms length after 0, 1, … steps, in the model's unit."""
    found, gradient = score_in_blocks(model, system)
    value = float(found.energy.double().sum())
    yield system.positions, value, 0.0, 0.0
    for _ in range(steps):
        factor = 1.0
        while factor >= SHORTEST:
            move = factor * model.sigma**2 * gradient
            tried = system._replace(positions=system.positions + move)
            found, new = score_in_blocks(model, tried)
            there = float(found.energy.double().sum())
            if there > value:
                break
            factor /= 2
        else:
            return
        system, gradient, value = tried, new, there
        moved = float(move.square().sum(1).mean().sqrt())
        yield system.positions, value, factor, moved
        if moved < ARRIVED:
            return


def denoise(
    model: PhaseModel, atoms: Atoms, *, steps: int = 10, length: float | None = None,
    name: str = "atoms",
) -> Iterator[Step]:  # fmt: skip
    """Follow the score: ``r ← r + f σ_s² s``, log P̂ never falling.

    ``f`` is 1, or halved until log P̂ rises; where it does not with 1/64, or the step is shorter
    than `ARRIVED`, the structure has arrived, and the steps end.

    Yields
    ------
    Step
        The structure as it is, then each step.
    """
    if steps < 1:
        raise ValueError(f"`steps` is {steps} but must be at least 1")
    measured = measure(model, atoms, length=length, name=name)
    unit = measured.length
    for positions, value, factor, moved in _descend(model, measured.system, steps):
        here = positions.double().numpy() * unit + measured.origin
        yield Step(here, value, factor, moved * unit)
