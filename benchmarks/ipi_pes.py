"""A model that costs nothing, or the real one, behind the driver; notes when it is called.

Loaded by i-PI or started as a client by ``benchmarks/ipi.py``.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from lrcalc.commands.ipi import client
from lrcalc.ipi.driver import LRCalcDriver, make_evaluator


class Timed:
    """An evaluator that appends (start, end) of each call to a file."""

    def __init__(self, settings):
        self.inner = None if os.environ.get("BENCH_NULL") else make_evaluator(settings)
        self.path = Path(os.environ["BENCH_TIMES"])

    def __call__(self, structures, properties):
        """Evaluate, and note the time."""
        start = time.perf_counter()
        if self.inner is None:
            shapes = {"energy": (), "forces": (len(structures[0]), 3), "stress": (3, 3)}
            results = [
                {name: np.zeros(shapes.get(name, (3,))) for name in properties} for _ in structures
            ]
        else:
            results = self.inner(structures, properties)
        with self.path.open("a") as stream:
            stream.write(f"{start} {time.perf_counter()}\n")
        return results


class BenchDriver(LRCalcDriver):
    """The PES with an evaluator that is timed."""

    evaluator_factory = staticmethod(Timed)


__DRIVER_NAME__ = "bench"
__DRIVER_CLASS__ = "BenchDriver"

if __name__ == "__main__":
    sys.exit(client(Timed))
