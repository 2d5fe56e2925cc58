"""Whether the numbers of a model have changed since one looked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def version_of(model: nn.Module) -> tuple[tuple[Any, ...], ...]:
    """State of all parameters and buffers: equal as long as nobody wrote into or replaced one.

    Nothing is read but where tensors are and torch's counts of writes, so it costs microseconds,
    on a GPU too. Writes that torch does not count go unseen: through ``tensor.data``, through numpy
    views, and into tensors made under `torch.inference_mode`. So results for the same structures
    are those from before such a write, and an evaluation anew has the new weights.
    """
    return tuple(
        (tensor.data_ptr(), tensor.dtype, 0 if tensor.is_inference() else tensor._version)
        for tensor in _tensors(model)
    )


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """As ``parameters()`` and ``buffers()``, without the names, which take most of their time."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is not None:
            yield tensor
    for part in module._modules.values():
        if part is not None:
            yield from _tensors(part)
