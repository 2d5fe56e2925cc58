"""Whether an atom is in any of the crystals that a model of phases knows.

A label is the best of the phases, however bad it is. So a small network of its own tells atoms of
the training's crystals, under all its noise, from those of structures that are none of them
(`lrcalc.information.phase_strangers`). What it hears is what the score hears, and its output is
averaged over neighbours as logits are; it ends in the *familiarity*

    q_a = 1 / (1 + exp(-(u_a - u_0))) ,

with ``u_0`` such that of the crystals at any noise up to `NOISE` no more than `FALSE` of the atoms
have q below one half. Labels and score do not change by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from lrcalc.information.phase_blocks import BLOCK, blocks_of, features_in_blocks
from lrcalc.information.phase_crystals import check_crystal, repeated
from lrcalc.information.phase_intake import measure, pairs_of
from lrcalc.information.phase_lengths import length_of
from lrcalc.information.phase_pool import Kept
from lrcalc.information.phase_strangers import nearest, strangers, width_of
from lrcalc.information.phases import PhaseModel, familiar_head
from lrcalc.progress import progress_bar
from lrcalc.system import from_ase

if TYPE_CHECKING:
    from ase import Atoms

NOISE = 0.2
"""Of the crystals, at most, in units of the distance of nearest neighbours."""

LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Noise at which the limit is found."""

FALSE = 0.005
"""Part of the atoms of known crystals, at each of `LEVELS`, that may be unknown."""

FEWEST = 120
"""Atoms of a crystal, at least."""

STRAIN, JITTER = 0.01, 0.01
"""As in `lrcalc.information.phase_settings.Settings`."""

BATCH, STEPS, RATE, DECAY = 8, 1500, 3e-3, 1e-2
"""Structures of each sort in a batch, batches, peak of the learning rate, weight decay."""


class Found(NamedTuple):
    """What a head does on crystals and strangers that it was not trained on.

    Attributes
    ----------
    false : dict of float to float
        Noise → part of the atoms of known crystals that are unknown.
    worst : dict of float to str
        Noise → the phase of which most are, with their part in %.
    missed : float
        Part of the atoms of strangers that are not.
    """

    false: dict[float, float]
    worst: dict[float, str]
    missed: float


def noisy(atoms: Atoms, noise: float, rng: np.random.Generator) -> Atoms:
    """Crystal with noise of so many distances of nearest neighbours, and a little strain."""
    found = atoms.copy()
    strain = STRAIN * rng.normal(size=(3, 3))
    found.set_cell(found.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    found.positions += noise * atoms.info["nearest"] * rng.normal(size=atoms.positions.shape)
    return found


def learn(model: PhaseModel, crystals: Sequence[Atoms], *, copies: int = 8, seed: int = 0) -> Found:
    """Train the head of a model; it replaces one that is there.

    Parameters
    ----------
    model : PhaseModel
        Trained.
    crystals : sequence of Atoms
        Perfect crystals of its training, with ``info["phase"]``.
    copies : int
        Noisy copies of each crystal that are learned from; strangers are as many. A quarter as
        many at each of `LEVELS` find the limit, and one judges it.
    seed : int

    Raises
    ------
    ValueError
        For no crystals or copies, or crystals that the model does not know.
    """
    if copies < 1:
        raise ValueError(f"`copies` is {copies} but must be at least 1")
    if not crystals:
        raise ValueError("there are no crystals; give those that the model was trained on")
    for number, atoms in enumerate(crystals):
        check_crystal(atoms, model, f"structure {number}")
    rng = np.random.default_rng(seed)
    big = []
    for atoms in crystals:
        many = repeated(atoms, width_of(model, atoms), FEWEST)
        many.info = {"phase": atoms.info["phase"], "nearest": nearest(atoms)}
        big.append(many)
    half = max(1, copies // 4)
    total = (2 * copies + (half + 1) * len(LEVELS) + 1) * len(big)
    with progress_bar(total, unit="structure", title="familiar") as bar:

        def made(structures: Iterable[Atoms]) -> list[Kept]:
            found = []
            for atoms in structures:
                found.append(kept_of(model, atoms, rng))
                bar.update()
            return found

        known = made(noisy(a, rng.uniform(0, 1.1 * NOISE), rng) for a in big * copies)
        other = made(strangers(crystals, model, len(known), rng))
        _fit(model, known, other, seed)
        limits = [made(noisy(a, level, rng) for a in big * half) for level in LEVELS]
        _set_limit(model, limits)
        judged = [made(noisy(a, level, rng) for a in big) for level in LEVELS]
        unseen = made(strangers(crystals, model, len(big), rng))
    return _judge(model, judged, unseen)


@torch.no_grad()
def kept_of(model: PhaseModel, atoms: Atoms, rng: np.random.Generator) -> Kept:
    """Features of a periodic structure as the head hears them, and shares in averages."""
    length = None  # or one that is a little off, as that of a structure may be
    if model.scaled:
        length = length_of(from_ase(atoms)) * (1 + JITTER * rng.normal())
    system = measure(model, atoms, length=length).system
    pairs, offset = pairs_of(model, system)
    n = len(system.numbers)
    blocks = blocks_of(pairs, offset, n, BLOCK, model.cutoff)
    features = features_in_blocks(model, system, blocks, model.score_rounds)
    vectors = system.positions[pairs.j] - system.positions[pairs.i] + offset
    weight = model.backbone.edges(pairs, vectors, n, angular=False).weight
    matrix = torch.eye(n, dtype=features.dtype).flatten()
    matrix = matrix.index_add(0, pairs.i * n + pairs.j, weight).view(n, n)
    mean = matrix / matrix.sum(1, keepdim=True)
    phase = atoms.info.get("phase")
    return Kept(features, mean, model.phases.index(phase) if phase else -1)


def _outputs(model: PhaseModel, kept: Sequence[Kept]) -> list[Tensor]:
    """``u_a`` of the atoms of some structures."""
    assert model.familiar is not None
    u = model.familiar(torch.cat([one.features for one in kept]))[:, 0]
    parts = u.split([len(one.features) for one in kept])
    for _ in range(model.smooth):
        parts = tuple(one.mean @ part for one, part in zip(kept, parts, strict=True))
    return list(parts)


def _fit(model: PhaseModel, known: list[Kept], other: list[Kept], seed: int) -> None:
    """Tell atoms of known crystals from those of strangers, by cross entropy."""
    like = next(model.parameters())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = familiar_head(known[0].features.shape[1]).to(like.dtype)
    model.familiar = head.requires_grad_(True)
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    with progress_bar(STEPS, unit="step", title="familiar, fit") as bar:
        for _ in range(STEPS):
            one, two = (
                torch.cat(_outputs(model, [pool[k] for k in rng.integers(len(pool), size=BATCH)]))
                for pool in (known, other)
            )
            loss = softplus(-one).mean() + softplus(two).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            course.step()
            bar.update()
    head.requires_grad_(False)


@torch.no_grad()
def _set_limit(model: PhaseModel, levels: list[list[Kept]]) -> None:
    """Move the last bias so that at each level `FALSE` of the atoms are unknown, or fewer."""
    assert model.familiar is not None
    least = min(float(torch.cat(_outputs(model, kept)).double().quantile(FALSE)) for kept in levels)
    last = model.familiar[-1]
    assert isinstance(last, torch.nn.Linear)
    last.bias.sub_(least)


@torch.no_grad()
def _judge(model: PhaseModel, levels: list[list[Kept]], unseen: list[Kept]) -> Found:
    false, worst = {}, {}
    for level, kept in zip(LEVELS, levels, strict=True):
        outside = [u < 0 for u in _outputs(model, kept)]
        false[level] = float(torch.cat(outside).double().mean())
        parts = [(float(bad.double().mean()), model.phases[k.phase])
                 for bad, k in zip(outside, kept, strict=True)]  # fmt: skip
        part, name = max(parts)
        worst[level] = f"{name} {100 * part:.1f} %" if part else "none"
    inside = torch.cat([u >= 0 for u in _outputs(model, unseen)])
    return Found(false, worst, float(inside.double().mean()))
