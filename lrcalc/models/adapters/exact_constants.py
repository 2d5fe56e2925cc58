"""Numbers that a foreign model was made with, in double precision whatever its parameters are.

Couplings, radial functions and moments of activation functions are rounded when a model is made or
saved in single precision. A model that is turned to float64 for derivatives must not be invariant
to seven digits only; and one that was trained with rounded numbers has them: 5e-6 eV of a published
model for 192 atoms hang on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

NUMBERS = ("avg_num_neighbors", "cst")
"""Of interactions, and of activation functions (a second moment, rounded as the model was)."""


class ExactConstants(nn.Module):
    """A module of foreign blocks that keeps their constants, in a buffer that is saved with it.

    Attributes
    ----------
    constants : Tensor, shape (n,), int64
        The bits of those numbers in float64: integers are what no change of type rounds.
    """

    by_recipe = True  # for pickles: `lrcalc.models.pickling`
    constants: Tensor

    def keep_constants(self) -> None:
        """Take the constants of the blocks as they are now, once all are there."""
        for path, value in numbers_of(self).items():
            block, name = self.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
            delattr(block, name)
            block.register_buffer(name, value)
        # each time, because a copy of what torch.fx traced has forgotten it
        self.register_state_dict_pre_hook(_forget_buffers)
        self._register_load_state_dict_pre_hook(_forget_buffers, with_module=True)
        exact = torch.cat([x.detach().double().flatten() for x in constants_of(self).values()])
        self.register_buffer("constants", exact.view(torch.int64))
        self.register_load_state_dict_post_hook(_fill)

    def set_constants(self, values: Mapping[str, Tensor]) -> None:
        """Change some of the constants, which are named as in `constants_of`."""
        for name, exact in self._exact().items():
            if name in values:
                exact.copy_(values[name])
        self.fill_constants()

    @torch.no_grad()
    def fill_constants(self) -> None:
        """Give the blocks their constants, in the precision that they have now."""
        exact = self._exact()
        for name, constant in constants_of(self).items():
            constant.copy_(exact[name])

    def _exact(self) -> dict[str, Tensor]:
        """Return views of the constants in double precision, by name."""
        found = constants_of(self)
        parts = self.constants.view(torch.float64).split([x.numel() for x in found.values()])
        return {
            name: part.view(constant.shape)
            for part, (name, constant) in zip(parts, found.items(), strict=True)
        }

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        super()._apply(*args, **kwargs)
        self.fill_constants()
        return self


def _forget_buffers(module: nn.Module, *_: Any) -> None:
    """Leave buffers of the blocks out of the state: they are in `constants`, or made anew."""
    for name, block in module.named_modules():
        if name:
            block._non_persistent_buffers_set.update(block._buffers)


def _fill(module: ExactConstants, _: Any) -> None:
    module.fill_constants()


def numbers_of(module: nn.Module) -> dict[str, Tensor]:
    """Plain numbers of MACE's and other blocks, by their path: `NUMBERS`, float64."""
    return {
        f"{path}.{name}": torch.tensor(float(getattr(block, name)), dtype=torch.float64)
        for path, block in module.named_modules()
        for name in NUMBERS
        if hasattr(block, name)
    }


def constants_of(module: nn.Module) -> dict[str, Tensor]:
    """Floating-point buffers of a module's blocks, by their path, in the order of the blocks."""
    return {
        name: buffer
        for name, buffer in module.named_buffers()
        if "." in name and buffer.is_floating_point() and not name.endswith("output_mask")
    }
