"""Training that begins with the weights of a model: the same, or with more rounds of averages.

What labels hear of later rounds is appended to what they heard before, with weights of zero: so the
model begins with the logits and the score that it had, where `smooth` is the same.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from lrcalc.information.phases import PhaseModel

FREE = ("rounds", "smooth")
"""Settings of a model that may differ from those of the one it goes on from."""


def begun(
    old: PhaseModel, phases: list[str], species: tuple[int, ...], **chosen: Any
) -> PhaseModel:
    """Make a model with the weights of another.

    Parameters
    ----------
    old : PhaseModel
    phases, species
        What the structures are of; they must be those of ``old``.
    chosen
        Settings that were asked for; `FREE` may differ, rounds only become more.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    if set(phases) != set(old.phases) or tuple(species) != old.species:
        missing = sorted(set(old.phases) ^ set(phases))
        raise ValueError(
            "`start` is a model of other phases or species than these structures have"
            + (f" ({', '.join(missing)})" if missing else "")
            + ": give the structures it was trained on, or train anew"
        )
    for name, value in chosen.items():
        if name not in FREE and value != old.settings[name]:
            raise ValueError(
                f"`{name}` is {value}, that of `start` {old.settings[name]}: leave it out"
            )
    if chosen.get("rounds", old.backbone.rounds) < old.backbone.rounds:
        raise ValueError(
            f"`rounds` is {chosen['rounds']}, that of `start` {old.backbone.rounds}: they may only "
            "become more"
        )
    settings = old.settings | {"score_rounds": old.score_rounds} | chosen
    model = PhaseModel(old.phases, old.species, **settings).to(next(old.parameters()).dtype)
    model.familiar = copy.deepcopy(old.familiar)
    state = model.state_dict()
    for name, value in old.state_dict().items():
        state[name] = widened(value, state[name], old.backbone.extra)
    model.load_state_dict(state)
    return model


def widened(old: Tensor, new: Tensor, extra: int) -> Tensor:
    """Tensor of the shape of ``new``: ``old``, and zeros for later rounds, before ``extra``."""
    if old.shape == new.shape:
        return old.clone()
    n = old.shape[-1]
    if old.dim() == 1:  # mean and scale of invariants: to be found
        return torch.cat([old, new[n:]])
    wide = torch.zeros_like(new)
    wide[:, : n - extra] = old[:, : n - extra]
    if extra:
        wide[:, -extra:] = old[:, n - extra :]
    return wide
