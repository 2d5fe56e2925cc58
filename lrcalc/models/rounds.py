"""Levers of charges that answer through several rounds of messages, without images.

Physics §3: Born charges of atomic charges in periodic cells hold ``Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i``.
An answer travels from the atom that moves to the charge along pairs, and the displacement between
them is the sum of the pair vectors on the way. So with the derivative of the total charge by what
an atom says, `answer`, goes its first moment, ``Σ_j (r_j - r_k) ∂q_j/∂h_k``: backwards through a
round, what is heard along a pair adds its vector. One backward pass through the last round and
four through each before it, whatever the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lrcalc.models.backbone import Features
from lrcalc.neighbors import Pairs
from lrcalc.system import System

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential


class Rounds(Protocol):
    """What a backbone returns from ``rounds(system, pairs)``: its messages, a round at a time.

    Attributes
    ----------
    start : Tensor, shape (N, …)
        What atoms are before the first round; it does not depend on positions.
    """

    @property
    def start(self) -> Tensor:
        """State before the first round."""
        ...

    def say(self, k: int, state: Tensor) -> Tensor:
        """Return what atoms say in round ``k``, (N, …), of their state alone."""
        ...

    def hear(self, k: int, state: Tensor, heard: Tensor, vectors: Tensor) -> Tensor:
        """Return the new state (N, …), from the old one and what pairs' neighbours say, (E, …)."""
        ...

    def features(self, states: list[Tensor]) -> Features:
        """Features from the states after each round."""
        ...


class _Step(NamedTuple):
    """A round whose inputs are leaves."""

    before: Tensor
    said: Tensor
    heard: Tensor
    vectors: Tensor
    after: Tensor


def has_rounds(backbone: Any) -> bool:
    """Whether a backbone tells its rounds one at a time."""
    return hasattr(backbone, "rounds")


def round_lever(potential: Potential, system: System, pairs: Pairs, vectors: Tensor) -> Tensor:
    """``Σ_j (r_j - r_i) ⊗ ∂q_j/∂r_i`` for atom i, shape (N, 3, 3), e, float64.

    For the charges q_j of owned atoms before they are made neutral.

    Parameters
    ----------
    potential : Potential
        With a backbone that has `Rounds`.
    system, pairs
    vectors : Tensor, shape (E, 3), Å
    """
    backbone: Any = potential.backbone
    vectors = vectors.detach()
    with torch.enable_grad():
        rounds: Rounds = backbone.rounds(system, pairs)
        steps: list[_Step] = []
        state = rounds.start
        for k in range(backbone.layers):
            before, arrows = _leaf(state), _leaf(vectors)
            said = rounds.say(k, before)
            heard = _leaf(said.index_select(0, pairs.j))
            state = rounds.hear(k, before, heard, arrows)
            steps.append(_Step(before, said, heard, arrows, state))
        states = [_leaf(step.after) for step in steps]
        readings = potential.interpret(rounds.features(states), system, pairs, vectors)
        charge = readings.bare_charge
        assert charge is not None
        if system.owned is not None:
            charge = charge * system.owned
        direct = torch.autograd.grad(charge.sum(), states)
    total = vectors.new_zeros((len(system.numbers), 3, 3), dtype=torch.float64)
    answers = [direct[-1]]  # and, from the second step on, its moment along x, y, z
    for k in reversed(range(len(steps))):
        step = steps[k]
        by_state, by_heard, by_vector = _backwards(step, answers)
        lever = -vectors[:, :, None] * by_vector[0][:, None]
        if len(answers) > 1:
            along = torch.stack(by_vector[1:], dim=1)
            lever = lever + along
            total.index_add_(0, pairs.i, -along.double())
        total.index_add_(0, pairs.j, lever.double())
        if k == 0:
            break
        moments = _moments(by_heard, vectors)
        answers = [
            own + torch.autograd.grad(
                step.said, step.before, _sum(said, pairs.j, step.said), retain_graph=True
            )[0]
            for own, said in zip(by_state, moments, strict=True)
        ]  # fmt: skip
        answers[0] = answers[0] + direct[k - 1]
    return total


def _leaf(values: Tensor) -> Tensor:
    return values.detach().requires_grad_()


def _backwards(
    step: _Step, answers: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Differentiate answer and moments by the old state, what was heard, and pair vectors.

    Moments of a last round, whose answers are its own charges, are zero.
    """
    leaves = (step.before, step.heard, step.vectors)
    rows = [torch.autograd.grad(step.after, leaves, x, retain_graph=True) for x in answers]
    by_state, by_heard, by_vector = (list(x) for x in zip(*rows, strict=True))
    if len(answers) == 1:
        by_state += [torch.zeros_like(by_state[0])] * 3
    return by_state, by_heard, by_vector


def _moments(by_heard: list[Tensor], vectors: Tensor) -> list[Tensor]:
    """Answer along each pair, and its moments as seen from the neighbour, four of (E, …)."""
    first, *before = by_heard
    moved = [-_along(vectors[:, a], first) for a in range(3)]
    if before:
        moved = [x + y for x, y in zip(moved, before, strict=True)]
    return [first, *moved]


def _along(length: Tensor, values: Tensor) -> Tensor:
    return length.view(-1, *[1] * (values.dim() - 1)) * values


def _sum(values: Tensor, group: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).index_add(0, group, values)
