"""Freed memory is kept for the next step; who tunes the allocator is left alone."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from lrcalc.memory import keep_freed_memory

print(keep_freed_memory())
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step = lambda: [torch.ones(2_000_000) for _ in range(12)]  # 12 blocks of 8 MB, then free
for _ in range(5):
    step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


def run(environment):
    import os

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LRCALC_MALLOC"))}
    clean.pop("GLIBC_TUNABLES", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    tuned, faults = done.stdout.split()
    return tuned == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator only")
def test_blocks_are_reused_without_page_faults():
    tuned, faults = run({})
    if not tuned:
        pytest.skip("this C library has no mallopt")
    assert faults < 2000  # each block has 2000 pages
    untuned, many = run({"LRCALC_MALLOC": "0"})
    assert not untuned
    assert many > 10 * max(faults, 100)


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_users_own_settings_stay(name):
    value = "glibc.malloc.trim_threshold=131072" if name == "GLIBC_TUNABLES" else "131072"
    assert run({name: value})[0] is False
