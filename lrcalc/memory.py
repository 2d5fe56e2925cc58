"""Keep freed memory for the next step instead of handing it back to the system.

A step of molecular dynamics allocates and frees the same blocks of some megabytes every time. By
default glibc maps blocks above 128 kB anew, and the system zeroes each page again: five thousand
page faults a step and a quarter of its time for 192 atoms, far more where several processes share
a machine. `keep_freed_memory` raises glibc's thresholds (mallopt(3)) for this process.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_ON_HEAP = 32 * 1024**2
"""Bytes; blocks below stay on the heap (glibc accepts no more)."""

KEPT = 1024**3
"""Bytes of free memory at the end of the heap that are not returned."""

USERS_OWN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Whoever sets one of these has decided about memory already."""


def keep_freed_memory() -> bool:
    """Raise the allocator's thresholds; return whether that was possible.

    Only with glibc, and not if the environment already tunes the allocator. ``LRCALC_MALLOC=0``
    leaves everything as it is. Evaluators, training and commands call this; call it yourself
    before using `electrostatic_energy` on its own.
    """
    if os.environ.get("LRCALC_MALLOC") == "0" or any(os.environ.get(k) for k in USERS_OWN):
        return False
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    done = [mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP), mallopt(M_TRIM_THRESHOLD, KEPT)]
    return all(done)
