"""Whether fused kernels are used: on a GPU, where Triton is, for first derivatives."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

SWITCH = "LRCALC_KERNELS"
"""Variable of the environment: "0" leaves everything to torch."""

INTERPRETER = "TRITON_INTERPRET"
"""Variable of Triton's: "1" runs kernels on a CPU, slowly, to test them."""


def available(like: Tensor) -> bool:
    """Whether kernels can run where ``like`` is, and are not switched off."""
    if os.environ.get(SWITCH) == "0" or not _installed():
        return False
    if like.dtype not in (torch.float32, torch.float64):
        return False
    if like.is_cuda:
        return _works(like.device)
    return os.environ.get(INTERPRETER) == "1" and like.device.type == "cpu"


@lru_cache
def _installed() -> bool:
    return find_spec("triton") is not None


@lru_cache
def _works(device: torch.device) -> bool:
    """Whether Triton compiles and computes on this device: it wants a C compiler at run time."""
    try:
        from lrcalc.kernels.programs.probe import check

        check(device)
    except Exception as error:
        warnings.warn(
            f"fused kernels are off, and GPUs slower: Triton does not work on {device} ({error}). "
            f"It needs a C compiler (gcc); {SWITCH}=0 in the environment silences this",
            stacklevel=2,
        )
        return False
    return True


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
