"""What the functions in C++ (``cpp``) share: libraries for a type and sizes, and pointers."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from lrcalc.compiler import shared_library

SOURCES = Path(__file__).parent / "cpp"
TYPES = {torch.float32: "float", torch.float64: "double"}
INTEGER, POINTER = ctypes.c_int64, ctypes.c_void_p


@cache
def library(
    name: str, files: tuple[str, ...], dtype: torch.dtype, **sizes: int
) -> ctypes.CDLL | None:
    """Load what is made of ``files`` for these sizes; None where it cannot be had."""
    if dtype not in TYPES:
        return None
    sources = [SOURCES / file for file in files]
    return shared_library(name, sources, {"REAL": TYPES[dtype], **sizes})


def at(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor is; null for None. Contiguous, and kept by the caller."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


_HERE = threading.local()


def threads() -> int:
    """Return how many may work: torch's own, or what they were before `one_torch_thread`."""
    known: int | None = getattr(_HERE, "threads", None)
    return torch.get_num_threads() if known is None else known


@contextmanager
def one_torch_thread(wanted: bool = True) -> Iterator[None]:
    """Leave torch one thread, and the functions in C++ as many as it had.

    What they leave to torch is many small calls, whose threads wait for one another: with two of
    them energy and forces of 192 atoms take twice as long as with one.

    Parameters
    ----------
    wanted : bool
        False: do nothing.
    """
    before = torch.get_num_threads()
    if not wanted or before == 1:
        yield
        return
    _HERE.threads = before
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        del _HERE.threads
