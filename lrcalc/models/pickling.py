"""Pickles of potentials on foreign packages' modules: what their file would hold.

Modules of e3nn hold programs that `torch.fx` traced, which a pickle traces again, and in vain; ours
of MACE-POLAR have classes that are made when graph-longrange is there.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from lrcalc.models.backbone import NATIVE

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential


class Picklable(nn.Module):
    """Module that is pickled as a recipe if its backbone says so (``by_recipe``)."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """For `pickle`."""
        potential: Any = self
        by_hand = potential.config.get("backbone", NATIVE) is None or potential.exchanged_part()
        if by_hand or not getattr(potential.backbone, "by_recipe", False):
            return super().__reduce_ex__(protocol)
        return made_again, recipe_of(potential)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy module by module, which goes with all."""
        made = memo[id(self)] = type(self).__new__(type(self))
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


def recipe_of(potential: Potential) -> tuple[dict[str, Any], ...]:
    """Return what `made_again` makes the potential of."""
    learned = [name for name, value in potential.named_parameters() if value.requires_grad]
    made = {"species": potential.species, **potential.config}
    held = {
        "dtype": potential.dtype, "device": potential.reference_energy.device,
        "training": potential.training, "learned": learned, "metadata": potential.metadata,
        "environments": potential.environments,
    }  # fmt: skip
    return made, held, dict(potential.state_dict())


def made_again(made: dict[str, Any], held: dict[str, Any], state: dict[str, Any]) -> Potential:
    """Make the potential of a pickle."""
    from lrcalc.models.potential import Potential

    potential = Potential(**made).to(dtype=held["dtype"], device=held["device"])
    potential.reference_energy = state["reference_energy"].clone()
    potential.load_state_dict(state)
    potential.metadata = held["metadata"]
    potential.environments = held.get("environments")
    for name, value in potential.named_parameters():
        value.requires_grad_(name in held["learned"])
    return potential.train(held["training"])
