"""Kernels are compared with torch on a few atoms before they are relied upon."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Of the largest entry, by which values and gradients may differ."""

VERDICTS: dict[Hashable, str | None] = {}
"""What was tried in this process, and why it is not used; None: it is."""

Cases = Callable[[], Iterable[tuple[str, Tensor, Tensor]]]
"""Makes names, what kernels give, and what torch gives."""


def tried(name: str, like: Tensor, key: Hashable, cases: Cases) -> bool:
    """Whether ``name`` may be used where ``like`` is, in its precision; tried once for each key.

    What disagrees or fails to be compiled or launched is warned of once, and not used. While a
    CUDA graph is recorded nothing can be tried, and what has not been tried is not used.
    """
    if not like.is_cuda:  # Triton's interpreter: these are the tests
        return True
    own = (name, like.device, like.dtype, key)
    if own not in VERDICTS:
        if torch.cuda.is_current_stream_capturing():
            return False
        VERDICTS[own] = reason = objection(cases, like.dtype)
        if reason is not None:
            warnings.warn(
                f"{name}: kernels are not used on {like.device}, torch takes over, more slowly: "
                f"{reason}. With LRCALC_KERNELS=0 in the environment they are not tried",
                stacklevel=2,
            )
    return VERDICTS[own] is None


def objection(cases: Cases, dtype: torch.dtype) -> str | None:
    """Why kernels are not to be used; None if they give what torch gives."""
    try:
        with torch.enable_grad():
            for name, found, expected in cases():
                scale = float(expected.detach().abs().max()) if expected.numel() else 0.0
                worst = float((found - expected).detach().abs().max()) if found.numel() else 0.0
                if not worst <= TOLERANCE[dtype] * scale:  # NaN is none
                    return f"{name} differs by {worst:.1e} of {scale:.1e}"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def weighed(values: Tensor) -> Tensor:
    """Sum of all entries with different weights, for a gradient by what they are made of."""
    return (values * torch.linspace(-1, 1, values.numel()).to(values).view(values.shape)).sum()
