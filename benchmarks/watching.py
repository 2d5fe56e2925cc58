"""What looking at a run costs: CPU time of a look by each score, over that of a step.

    python benchmarks/watching.py [--model water] [--replicas 1]

A step is energy and forces of the model's own calculator for atoms that have moved; a look is what
`lrcalc md --watch` adds. Process time on one thread, best of rounds in turn, so that other
processes on the machine disturb little.
"""

import argparse
import time
from functools import partial

import numpy as np
import torch

from lrcalc import LRCalculator
from lrcalc.information.choosing import open_judge, usual_stride
from lrcalc.structures import read_structure

ROUNDS = 15


def spent(call):
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="water")
    parser.add_argument("--other", default="water-large", help="second of the committee")
    parser.add_argument("--replicas", type=int, default=1, help="along each axis")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    atoms = read_structure("water64") * ((args.replicas,) * 3)
    calculator = LRCalculator(args.model, watch=False, compile=args.compile)
    atoms.calc = calculator
    committee = [args.other]
    own = calculator.evaluator
    judges = {
        "delta-h": open_judge("delta-h", [args.model]),
        "features": open_judge("features", [args.model], own=own, own_name=args.model),
        "committee": open_judge("committee", [args.model], own=own, own_name=args.model,
                                committee=committee, limit=1.0),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    times = {name: [] for name in ("step", *judges)}
    for _ in range(ROUNDS + 2):
        atoms.positions += 0.003 * rng.normal(size=atoms.positions.shape)
        times["step"].append(spent(atoms.get_forces))
        results = dict(calculator.results)
        results["charges"] = calculator.get_property("charges", atoms)  # with forces in a run
        for name, judge in judges.items():
            times[name].append(spent(partial(judge.scores, atoms, results=results)))
    best = {name: 1e3 * np.median(found[2:]) for name, found in times.items()}
    print(f"{len(atoms)} atoms, {args.model}{', compiled' * args.compile}: "
          f"a step {best['step']:.1f} ms of CPU time")  # fmt: skip
    for name in judges:
        every = usual_stride(name, committee)
        part = best[name] / every / best["step"]
        print(f"  {name:10s} {best[name]:7.1f} ms a look, every {every} steps: {100 * part:.1f} %")


if __name__ == "__main__":
    main()
