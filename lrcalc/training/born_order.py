"""Whether Born labels are transposed, told by a model that energies and forces have taught.

Of a molecule the rotational sum rule tells (`lrcalc.training.electrical`); crystals and liquids
have no such rule. What the two orders differ by is the antisymmetric part of the tensors.
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

LEAST = 0.02
"""e, root mean square of the antisymmetric parts: of less, the order does not matter."""

ENOUGH = 4
"""Labelled structures that are looked at."""


def antisymmetric(born: Tensor) -> Tensor:
    """Antisymmetric parts of tensors (N, 3, 3), twice, as a vector."""
    return (born - born.transpose(1, 2)).flatten()


def describe_born_order(model: Tensor, label: Tensor) -> str | None:
    """Say that Born labels (N, 3, 3) follow a trained model's only when transposed, or None."""
    one, two = antisymmetric(model), antisymmetric(label)
    size = float(one.norm() * two.norm())
    if not size > LEAST**2 * len(one) or float(one @ two) / size > -0.3:
        return None
    return (
        f"the Born labels follow the model's only when transposed (correlation of the "
        f"antisymmetric parts {float(one @ two) / size:.2f}): are they in the order (displacement, "
        "field)? born[field, displacement] is wanted"
    )


def describe_transposed(
    potential: Potential,
    train: Sequence[Frame],
    valid: Sequence[Frame],
    labelled: Sequence[Labelled],
    settings: TrainingSettings,
) -> str | None:
    """Say that the Born labels of a training look transposed to its energies and forces, or None.

    A model that learned the labels cannot tell, so a new readout learns without them, on the same
    features, for an eighth of the epochs. Symmetric tensors, as in most perfect crystals, are the
    same in both orders and cost nothing.
    """
    told = [one for one in labelled if "born" in one.labels and _has_order(one.labels["born"])]
    if not told:
        return None
    judge = retrained(potential, train, valid, settings, 1)
    label = torch.cat([one.labels["born"] for one in told[:ENOUGH]])
    left = electrical_errors(judge, told[:ENOUGH], settings, training=False)["born"]
    return describe_born_order(label - left.detach().cpu(), label)


def _has_order(born: Tensor) -> bool:
    parts = antisymmetric(born)
    return float(parts.square().mean()) > LEAST**2
