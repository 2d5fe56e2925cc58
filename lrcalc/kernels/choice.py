"""Whether fused kernels are used: on a GPU, where Triton is, unless they are switched off."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from lrcalc.kernels.trial import tried

SWITCH = "LRCALC_KERNELS"
"""Variable of the environment: "0" leaves everything to torch."""

INTERPRETER = "TRITON_INTERPRET"
"""Variable of Triton's: "1" runs kernels on a CPU, slowly, to test them."""


def available(like: Tensor) -> bool:
    """Whether kernels are not switched off, and can run where ``like`` is."""
    off = os.environ.get(SWITCH) == "0"
    if off or like.dtype not in (torch.float32, torch.float64) or not _installed():
        return False
    if not like.is_cuda:
        return os.environ.get(INTERPRETER) == "1" and like.device.type == "cpu"
    return tried("Triton", like, None, lambda: _doubled(like.device))


@lru_cache
def _installed() -> bool:
    return find_spec("triton") is not None


def _doubled(device: torch.device) -> list[tuple[str, Tensor, Tensor]]:
    """Numbers doubled by a program: Triton wants a C compiler (gcc) at run time."""
    from lrcalc.kernels.programs.probe import doubled

    numbers = torch.arange(16.0, device=device)
    return [("twice a number", doubled(numbers), 2.0 * numbers)]


def refuse_second_derivatives() -> None:
    """Refuse, in a backward pass, that its result be differentiated again.

    Raises
    ------
    RuntimeError
        With ``create_graph``.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this was computed with fused kernels or compiled functions, which have first "
            "derivatives only, and a second one was asked for (`create_graph`): call "
            "`predict(..., create_graph=True)`, or leave `System.once` False"
        )
