"""`e3nn.o3` without torch's compiler.

e3nn marks one function with ``@torch.compiler.disable``, and that decorator imports all of
``torch._dynamo``: two of the four seconds that a calculator needed beyond torch before its first
step. The mark matters only to models that are compiled, and ours calls that function (a Wigner 3j
table) when it is built, never inside a step. So it is left out while e3nn is imported; whoever has
loaded the compiler, or e3nn, before is not touched.

The tables of e3nn 0.4, which MACE needs, hold slices, which torch has to be told are harmless.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import torch


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """Stand in for ``torch.compiler.disable``, called or used as a decorator with options."""
    return function if callable(function) else lambda inner: inner


def _slices_allowed() -> contextlib.AbstractContextManager[Any]:
    known = getattr(torch.serialization, "safe_globals", None)
    return contextlib.nullcontext() if known is None else known([slice])


def _import() -> Any:
    if "torch._dynamo" in sys.modules or "e3nn.o3" in sys.modules:
        with _slices_allowed():
            from e3nn import o3

        return o3
    original = torch.compiler.disable
    torch.compiler.disable = _unmarked  # type: ignore[assignment]
    try:
        with _slices_allowed():
            from e3nn import o3
    finally:
        torch.compiler.disable = original
    return o3


o3: Any = _import()
