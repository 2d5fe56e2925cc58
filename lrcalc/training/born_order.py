"""Whether Born labels fit a model that energies and forces alone have taught.

Of a molecule the rotational sum rule tells their order (`lrcalc.training.electrical`); crystals and
liquids have no such rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lrcalc.models.potential import Potential
from lrcalc.training.data import Frame
from lrcalc.training.electrical import Labelled
from lrcalc.training.identifiability import retrained
from lrcalc.training.loop import electrical_errors
from lrcalc.training.settings import TrainingSettings
from lrcalc.training.unlike import ORDERED, antisymmetric, unlike_model

ENOUGH = 4
"""Labelled structures that are looked at."""


def describe_transposed(
    potential: Potential,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    labelled: Sequence[Labelled],
    settings: TrainingSettings,
) -> list[str]:
    """Say that the Born labels of a training look transposed, or of another unit: a line each.

    A model that learned the labels cannot tell, so a new readout learns without them, on the same
    features, for an eighth of the epochs. Symmetric tensors, as in most perfect crystals, are the
    same in both orders and cost nothing; their size is judged by valences.
    """
    told = [one for one in labelled if "born" in one.labels and _has_order(one.labels["born"])]
    if not told:
        return []
    judge = retrained(potential, train, valid, settings, 1)
    label = torch.cat([one.labels["born"] for one in told[:ENOUGH]])
    left = electrical_errors(judge, told[:ENOUGH], settings, training=False)["born"]
    made = label - left.detach().cpu()
    return unlike_model({"born": (made.numpy(), label.numpy())}, [])


def _has_order(born: Tensor) -> bool:
    parts = antisymmetric(born)
    return float(parts.square().mean()) > ORDERED**2
