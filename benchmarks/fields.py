"""What fields and response cost: ratios to a plain step, of 192 atoms of water, measured in turns.

    python benchmarks/fields.py [--model water] [--threads 1] [--rounds 12] [--compile] [--box 1]

Each round times every case once, so that a machine that slows down slows all of them; a figure is
the median over the rounds, a ratio the median of the ratios within a round.
"""

import argparse
import time

import numpy as np
import torch

from lrcalc import Evaluator
from lrcalc.models.requests import has_response
from lrcalc.structures import read_structure

STEP = ["energy", "forces"]
CASES = {
    "energy + forces": ({}, STEP, None),
    "the same in a field": ({"electric_field": (0, 0, 0.1)}, STEP, 1.10),
    "the same at constant D": ({"electric_displacement": (0, 0, 1e-3)}, STEP, 1.15),
    "energy + forces + stress": ({}, [*STEP, "stress"], None),
    "forces + dipole": ({}, [*STEP, "dipole"], None),
    "current Z·v": ({}, ["current"], 2.2),
    "forces + Born": ({}, [*STEP, "born_effective_charges"], 4.0),
    "forces + Born + polarizability": (
        {}, [*STEP, "born_effective_charges", "polarizability"], 4.0,
    ),
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="water")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--compile", action="store_true", help="compiled functions")
    parser.add_argument("--box", type=int, default=1, help="2: twice in each direction, 1536 atoms")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    atoms = read_structure("water64").repeat((args.box,) * 3)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(len(atoms), 3)))
    potential = Evaluator(args.model).potential
    level = potential.config["level"]
    cases = {}
    for name, (held, wanted, limit) in CASES.items():
        if "polarizability" not in wanted or has_response(potential):
            cases[name] = (Evaluator(args.model, compile=args.compile, **held), wanted, limit)
    for evaluator, wanted, _ in cases.values():
        evaluator([atoms], wanted)
    times = {name: [] for name in cases}
    for _ in range(args.rounds):
        for name, (evaluator, wanted, _) in cases.items():
            start = time.perf_counter()
            evaluator([atoms], wanted)
            times[name].append(time.perf_counter() - start)
    print(f"{args.model} (level {level}), {len(atoms)} atoms, {args.threads} threads")
    print(f"{'':32}{'ms':>8}{'ratio':>8}{'limit':>8}")
    plain = np.array(times["energy + forces"])
    for name, values in times.items():
        ratio = np.median(np.array(values) / plain)
        limit = cases[name][2]
        print(f"{name:32}{1e3 * np.median(values):8.1f}{ratio:8.2f}{limit or '':>8}")


if __name__ == "__main__":
    main()
