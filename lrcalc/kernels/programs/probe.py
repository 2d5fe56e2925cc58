"""A program that is run once, to see whether Triton compiles and computes on this machine."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _double(values, SIZE: tl.constexpr):
    at = values + tl.arange(0, SIZE)
    tl.store(at, 2.0 * tl.load(at))


def check(device: torch.device) -> None:
    """Double sixteen numbers; raises whatever Triton raises, or a RuntimeError for wrong ones."""
    values = torch.arange(16.0, device=device)
    _double[(1,)](values, SIZE=16, num_warps=1)
    if values.tolist() != [2.0 * k for k in range(16)]:
        raise RuntimeError(f"a program that doubles numbers made {values.tolist()} of 0 ... 15")
