"""How much memory is left, and keeping freed memory for the next step.

A step of molecular dynamics allocates and frees the same blocks of some megabytes every time. By
default glibc maps blocks above 128 kB anew, and the system zeroes each page again: five thousand
page faults a step and a quarter of its time for 192 atoms, far more where several processes share
a machine. `keep_freed_memory` raises glibc's thresholds (mallopt(3)) for this process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

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


def available_bytes(device: torch.device) -> float:
    """Memory that can still be allocated on a device; infinite where nobody tells."""
    if device.type == "cuda":
        import torch

        free = torch.cuda.mem_get_info(device)[0]
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(free + kept)
    if not sys.platform.startswith("linux"):
        return float("inf")
    import resource

    limits = [1024.0 * _field(Path("/proc/meminfo"), "MemAvailable:")]
    for folder, limit, used, prefix in (
        (Path("/sys/fs/cgroup"), "memory.max", "memory.current", ""),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        if (folder / used).is_file():
            # files in the cache count as used but make way
            cached = [
                _field(folder / "memory.stat", f"{prefix}{name}_file", 0.0)
                for name in ("active", "inactive")
            ]
            limits.append(_number(folder / limit) - _number(folder / used) + sum(cached))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        used_space = 1024.0 * _field(Path("/proc/self/status"), "VmSize:", 0.0)
        limits.append(address_space - used_space)
    return min(limits)


def _number(path: Path) -> float:
    """Read a file of one number; "max" is no limit."""
    text = path.read_text().strip()
    return float(text) if text.isdigit() else float("inf")


def _field(path: Path, name: str, missing: float = float("inf")) -> float:
    """Find the number in a line like ``MemAvailable:  123 kB``."""
    if path.is_file():
        for line in path.read_text().splitlines():
            words = line.split()
            if words and words[0] == name:
                return float(words[1])
    return missing
