"""Freed memory is kept for the next step; who tunes the allocator is left alone."""

import os
import subprocess
import sys

import pytest

from lrcalc.memory import keep_freed_memory

PROGRAM = """
import resource, sys
from lrcalc import Evaluator
from lrcalc.memory import keep_freed_memory
from lrcalc.structures import read_structure

print(keep_freed_memory())
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
water, evaluator = read_structure("water64"), Evaluator("water")
for _ in range(5):
    evaluator([water], ["energy", "forces"])
before = faults()
for _ in range(5):
    evaluator([water], ["energy", "forces"])
print((faults() - before) // 5)
"""


def run(environment):
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
def test_a_step_has_few_page_faults():
    tuned, faults = run({})
    if not tuned:
        pytest.skip("this C library has no mallopt")
    assert faults < 1000  # five thousand with glibc's own thresholds


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "LRCALC_MALLOC"])
def test_who_has_decided_is_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "0")
    assert keep_freed_memory() is False
