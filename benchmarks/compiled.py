"""Energy and forces with compiled functions against without, in turn, as ratios in one run.

    python benchmarks/compiled.py [--threads 1] [--model water] [--rounds 15]

Times of one thread are CPU times, of several wall times. A round moves the atoms a little and asks
both; a ratio is the median over rounds of the one's time by the other's, with its quartiles.
"""

import argparse
import time

import numpy as np
import torch

from lrcalc import Evaluator
from lrcalc.structures import read_structure

SIZES = {192: (1, 1, 1), 384: (2, 1, 1), 1536: (2, 2, 2)}
"""Atoms → repetitions of `water64`."""

ASKED = {
    "energy, forces": ["energy", "forces"],
    "and stress": ["energy", "forces", "stress"],
    "and Born charges": ["energy", "forces", "born_effective_charges"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="water")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    start = time.perf_counter()
    both = [Evaluator(args.model, dtype=args.dtype, compile=x) for x in (False, True)]
    both[1]([read_structure("water64")], ASKED["energy, forces"])
    first = time.perf_counter() - start
    print(f"{args.model}, {args.dtype}, {args.threads} threads; first call {first:.1f} s")
    print(f"{'':32s}{'torch':>9s}{'compiled':>10s} ms   ratio (quartiles)   largest difference")
    for n_atoms, repeat in SIZES.items():
        for name, asked in ASKED.items():
            atoms = read_structure("water64").repeat(repeat)
            times, off = compare(atoms, both, asked, args.rounds, clock)
            one, other = 1e3 * np.median(times, axis=0)
            low, ratio, high = np.percentile(times[:, 1] / times[:, 0], [25, 50, 75])
            print(
                f"{n_atoms:6d} atoms, {name:18s}{one:9.1f}{other:10.1f}      "
                f"{ratio:.3f} ({low:.3f}-{high:.3f})   {off:.1e} eV/Å",
                flush=True,
            )


def compare(atoms, both, asked, rounds, clock):
    """Return times (rounds, 2) in s, and the largest difference of forces."""
    rng = np.random.default_rng(0)
    times, off = [], 0.0
    for _ in range(rounds + 2):
        atoms.positions += rng.normal(scale=3e-3, size=atoms.positions.shape)
        row, forces = [], []
        for evaluator in both:
            start = clock()
            (result,) = evaluator([atoms], asked)
            row.append(clock() - start)
            forces.append(result["forces"])
        times.append(row)
        off = max(off, float(np.abs(forces[0] - forces[1]).max()))
    return np.array(times[2:]), off


if __name__ == "__main__":
    main()
