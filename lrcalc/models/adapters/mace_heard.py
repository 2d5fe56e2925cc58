"""What a block of MACE hands from neighbours to an atom, taken from it as it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lrcalc.models.backbone import Heard


@contextmanager
def overheard(block: Any, speaker: Tensor, passed: list[Heard] | None) -> Iterator[None]:
    """Add what a block of MACE hands to the neighbours to ``passed``, where it can be seen."""
    if passed is None or not torch.is_grad_enabled() or hasattr(block, "conv_fusion"):
        yield
        return
    said: list[Tensor] = []
    hooks = [
        block.linear_up.register_forward_hook(lambda _, __, out: said.append(out)),
        block.conv_tp.register_forward_pre_hook(
            lambda _, args: passed.append(Heard(said[0], speaker, args[0]))
        ),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
