"""Energy + forces, Born charges and memory of a bundled model on 192-atom water.

Run: ``python benchmarks/model.py [--model water] [--threads 2]``.
"""

import argparse
import resource
import time

import numpy as np
import torch

from lrcalc import Evaluator
from lrcalc.structures import read_structure


def timings(function, repeats):
    function()
    function()
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        out.append(1e3 * (time.perf_counter() - start))
    return np.array(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="water")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    atoms = read_structure("water64")
    evaluator = Evaluator(args.model)
    plain = ["energy", "forces"]
    born = [*plain, "born_effective_charges"]
    jobs = {
        "energy": lambda: evaluator([atoms], ["energy"]),
        "energy + forces": lambda: evaluator([atoms], plain),
        "energy + forces + stress": lambda: evaluator([atoms], [*plain, "stress"]),
        "energy + forces + dipole": lambda: evaluator([atoms], [*plain, "dipole"]),
        "energy + forces + Born charges": lambda: evaluator([atoms], born),
        "8 structures, energy + forces": lambda: evaluator([atoms] * 8, plain),
    }
    print(f"{len(atoms)} atoms, {args.threads} threads, model {args.model}")
    print(f"{'':32}{'min':>9}{'median':>9}   ratio to energy + forces (medians)")
    results = {name: timings(job, args.repeats) for name, job in jobs.items()}
    base = np.median(results["energy + forces"])
    for name, ms in results.items():
        print(f"{name:32}{ms.min():8.1f} {np.median(ms):8.1f} ms  {np.median(ms) / base:6.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
