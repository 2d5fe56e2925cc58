"""Labels and denoising of structures with a model of phases."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.callers import users_line
from lrcalc.information.phase_blocks import energies_in_blocks, logits_in_blocks
from lrcalc.information.phase_intake import measure, pairs_of
from lrcalc.information.phases import Logits, PhaseModel
from lrcalc.system import System

if TYPE_CHECKING:
    from ase import Atoms


UNKNOWN = "unknown"
"""Phase of an atom that is in none of those a model knows."""

MANY = 0.5
"""Part of the atoms that may be unknown without a warning."""


STEPS = 4
"""Of denoising, before labels are read that would be uncertain."""

SURE = 0.9
"""Mean probability of the labels of familiar atoms, below which they are uncertain. Of `metals` it
is 0.99 and more under noise of 12.5 % of the distance of nearest neighbours, 0.84 to 1 at 15 %,
where labels begin to be wrong, and below 0.8 at 17.5 %; of crystals below melting, 1."""


class Labelled(NamedTuple):
    """What a model says of a structure of N atoms.

    Attributes
    ----------
    phase : list of str
        The most probable phase of each atom, or `UNKNOWN`.
    probability : ndarray, shape (N,)
        Of the most probable phase, among those the model knows.
    logits : ndarray, shape (N, C)
        ``l_ac`` (`lrcalc.information.phases`).
    log_probability : float
        ``log P̂``.
    length : float
        Å; the unit in which the structure was measured, 1 for a model with species.
    positions : ndarray, shape (N, 3), Å
        At which the labels were read: denoised, where that was asked for.
    familiar : ndarray, shape (N,), or None
        How much the atom, as the structure was given, is in any of the model's crystals (0 … 1;
        `lrcalc.information.phase_familiar`); below one half it is unknown.
    steps : int
        Of denoising, at most, after which the labels were read.
    """

    phase: list[str]
    probability: np.ndarray
    logits: np.ndarray
    log_probability: float
    length: float
    positions: np.ndarray
    familiar: np.ndarray | None = None
    steps: int = 0


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


def evaluate(model: PhaseModel, system: System) -> Logits:
    """Logits of a structure."""
    pairs, offset = pairs_of(model, system)
    with torch.no_grad():
        return logits_in_blocks(model, system, pairs, offset)


def score_in_blocks(model: PhaseModel, system: System) -> tuple[Tensor, Tensor]:
    """``e_a`` (N,) and the score (N, 3) of a structure, with little memory."""
    pairs, offset = pairs_of(model, system)
    with torch.enable_grad():
        positions = system.positions.detach().requires_grad_(True)
        moved = system._replace(positions=positions)
        energies = energies_in_blocks(model, moved, pairs, offset)
        (gradient,) = torch.autograd.grad(energies.sum(), positions)
    return energies.detach(), gradient


def label(
    model: PhaseModel, atoms: Atoms, *, steps: int | None = None, length: float | None = None,
    unknown: bool = True, name: str = "atoms",
) -> Labelled:  # fmt: skip
    """Phase of each atom.

    Parameters
    ----------
    model : PhaseModel
    atoms : Atoms
        Any cell and boundary.
    steps : int, optional
        Steps of denoising before the labels are read; 0 for none. By default `STEPS`, each of which
        takes about four times as long as labels, where labels would be uncertain (`uncertain`).
    length : float, optional
        Å, see `measure`; by default from the structure.
    unknown : bool, optional
        Call atoms unknown that are in none of the model's crystals; False: by the best phase.
    name : str, optional
        What the structure is called in errors.
    """
    if steps is not None:
        check_steps(steps, 0)
    measured = measure(model, atoms, length=length, name=name)
    system = measured.system
    found = evaluate(model, system)
    familiar = None if found.familiar is None else found.familiar.double().numpy()
    if steps is None:
        steps = STEPS if uncertain(found.chances.max(1).values.exp().numpy(), familiar) else 0
    if steps:
        *_, last = _descend(model, system, steps)
        system = system._replace(positions=last[0])
        found = evaluate(model, system)
    best = found.chances.max(1)
    phase = [model.phases[c] for c in best.indices.tolist()]
    if unknown and familiar is not None:
        phase = named(phase, familiar)
    return Labelled(
        phase, best.values.exp().double().numpy(), found.logits.double().numpy(),
        float(found.energy.double().sum()), measured.length,
        system.positions.double().numpy() * measured.length, familiar, steps,
    )  # fmt: skip


def uncertain(probability: np.ndarray, familiar: np.ndarray | None) -> bool:
    """Whether the labels of a structure are uncertain though it is a crystal: noise is strong.

    Parameters
    ----------
    probability : ndarray, shape (N,)
        Of the labels.
    familiar : ndarray, shape (N,), or None
        As in `Labelled`. Only atoms of known crystals are asked, and only where they are at least
        half of all: denoising leads other structures nowhere.
    """
    inside = np.ones(len(probability), bool) if familiar is None else familiar >= 0.5
    return bool(inside.mean() >= 1 - MANY and probability[inside].mean() < SURE)


def named(phase: list[str], familiar: np.ndarray) -> list[str]:
    """Phases, unknown ones named so; warn, once for all frames, if most of one are."""
    outside = familiar < 0.5
    if outside.mean() > MANY:
        warnings.warn(
            f"more than {100 * MANY:.0f} % of the atoms are in none of the crystals that the "
            f"model knows, and are called {UNKNOWN}: a gas, a liquid or a glass, another "
            "crystal, a thin film, or a wrong unit of length; `unknown=False` (`--no-unknown`) "
            "names the best phase all the same",
            stacklevel=users_line(),
        )
    return [UNKNOWN if bad else word for word, bad in zip(phase, outside, strict=True)]


def check_steps(steps: object, least: int) -> None:
    """Refuse a number of steps that is none."""
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < least:
        raise ValueError(f"`steps` is {steps!r} but must be a whole number, at least {least}")


SHORTEST = 1 / 64
"""Factor of a step below which none is taken any more."""


ARRIVED = 1e-4
"""Rms length of a step, in the model's unit, after which none follows."""


def _descend(
    model: PhaseModel, system: System, steps: int
) -> Iterator[tuple[Tensor, float, float, float]]:
    """Positions, log P̂, factor and rms length after 0, 1, … steps, in the model's unit."""
    energies, gradient = score_in_blocks(model, system)
    value = float(energies.double().sum())
    yield system.positions, value, 0.0, 0.0
    for _ in range(steps):
        factor = 1.0
        while factor >= SHORTEST:
            move = factor * model.sigma**2 * gradient
            tried = system._replace(positions=system.positions + move)
            energies, new = score_in_blocks(model, tried)
            there = float(energies.double().sum())
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
    check_steps(steps, 1)
    measured = measure(model, atoms, length=length, name=name)
    unit = measured.length
    for positions, value, factor, moved in _descend(model, measured.system, steps):
        here = positions.double().numpy() * unit + measured.origin
        yield Step(here, value, factor, moved * unit)
