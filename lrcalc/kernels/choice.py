"""Whether fused kernels are used: on a GPU, where Triton is, for first derivatives."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

SWITCH = "LRCALC_KERNELS"
"""Variable of the environment: "off" leaves everything to torch."""

INTERPRETER = "TRITON_INTERPRET"
"""Variable of Triton's: "1" runs kernels on a CPU, slowly, to test them."""


def available(like: Tensor) -> bool:
    """Whether kernels can run where ``like`` is, and are not switched off."""
    if os.environ.get(SWITCH, "") == "off" or not _installed():
        return False
    if like.dtype not in (torch.float32, torch.float64):
        return False
    return like.is_cuda or os.environ.get(INTERPRETER) == "1"


@lru_cache
def _installed() -> bool:
    return find_spec("triton") is not None


def refuse_second_derivatives() -> None:
    """Refuse, in a backward pass, that its result be differentiated again.

    Raises
    ------
    RuntimeError
        With ``create_graph``.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this was computed with fused kernels, which have first derivatives only, and a second "
            "one was asked for (`create_graph`): call `predict(..., create_graph=True)`, or leave "
            f"`System.once` False, or set {SWITCH}=off in the environment"
        )
