"""Speed of this checkout against another one: a step, imports and help, in turn and as ratios.

    python benchmarks/house.py OTHER_CHECKOUT [--rounds 7] [--only steps] [--compile]

Both checkouts run the same molecular dynamics (water, NVE, 0.5 fs, same velocities) in a process of
their own, a few steps each in turn, so that a machine that grows slower does so for both. Times are
CPU times of one thread; a ratio is the median over rounds of this one's by the other's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parents[1]
SIZES = {192: (1, 20), 1536: (2, 3)}
"""Atoms: repetitions of `water64` along each axis, and steps in a round."""

IMPORTS = {
    "python": "pass",
    "torch": "import torch",
    "torch, lrcalc": "import torch, lrcalc",
    "torch, lrcalc, the sum alone": "import torch; from lrcalc import electrostatic_energy",
    "torch, lrcalc, the calculator": "import torch; from lrcalc import LRCalculator",
    "lrcalc --version": "from lrcalc.cli import main; main(['--version'])",
    "lrcalc --help": "from lrcalc.cli import main; main(['--help'])",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="checkout to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["steps", "imports"])
    parser.add_argument("--model", default="water")
    parser.add_argument("--compile", action="store_true", help="compiled functions, in both")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args.worker, args.model, args.compile)
        return
    if not (args.other / "lrcalc").is_dir():
        parser.error(f"{args.other} is not a checkout: it has no folder lrcalc")
    print(f"{'':34s} {'other':>9s} {'this':>9s}  this/other")
    if args.only != "imports":
        for n_atoms, (_, steps) in SIZES.items():
            report(f"energy and forces, {n_atoms} atoms, ms", *compare(args, n_atoms), 1e3 / steps)
    if args.only != "steps":
        for name, code in IMPORTS.items():
            report(f"{name}, s", *compare_runs(args, code), 1.0)


def report(name: str, other: list[float], this: list[float], scale: float) -> None:
    ratio = statistics.median(b / a for a, b in zip(other, this, strict=True))
    a, b = (scale * statistics.median(times) for times in (other, this))
    print(f"{name:34s} {a:9.3f} {b:9.3f}  {ratio:.3f}", flush=True)


def environment(checkout: Path) -> dict[str, str]:
    """Own modules of the checkout, compiled once outside of it."""
    compiled = Path(tempfile.gettempdir()) / "lrcalc-house-pycache"
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": str(checkout.resolve()),
        "PYTHONPYCACHEPREFIX": str(compiled),
        "OMP_NUM_THREADS": "1",
    }


def compare(args: argparse.Namespace, n_atoms: int) -> tuple[list[float], list[float]]:
    """Seconds of CPU for a round of steps, for the other checkout and for this one."""
    command = [sys.executable, __file__, ".", "--worker", str(n_atoms), "--model", args.model]
    command += ["--compile"] if args.compile else []
    workers = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(path)
        )
        for path in (args.other, HERE)
    ]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(args.rounds + 1):
        for worker, found in zip(workers, times, strict=True):
            worker.stdin.write("go\n")
            worker.stdin.flush()
            found.append(json.loads(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    return times[0][1:], times[1][1:]  # the first round warms up


def compare_runs(args: argparse.Namespace, code: str) -> tuple[list[float], list[float]]:
    """Seconds of CPU for a whole process that runs ``code``."""
    times: tuple[list[float], list[float]] = ([], [])
    for k in range(args.rounds + 1):
        for path, found in zip((args.other, HERE), times, strict=True):
            before = os.times()
            subprocess.run(
                [sys.executable, "-c", code], cwd=path, env=environment(path),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            after = os.times()
            spent = after.children_user + after.children_system
            if k:
                found.append(spent - before.children_user - before.children_system)
    return times


def serve(n_atoms: int, model: str, compile: bool) -> None:
    """Run a round of molecular dynamics for each line that comes in; answer with its CPU time."""
    import numpy as np
    import torch
    from ase import units
    from ase.io import read
    from ase.md.verlet import VelocityVerlet

    import lrcalc
    from lrcalc import LRCalculator

    torch.set_num_threads(1)
    repeat, steps = SIZES[n_atoms]
    atoms = read(Path(lrcalc.__file__).parent / "zoo" / "water64.xyz").repeat(repeat)
    atoms.calc = LRCalculator(model, compile=compile)
    sigma = np.sqrt(atoms.get_masses() * units.kB * 300)[:, None]
    atoms.set_momenta(sigma * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    for _ in sys.stdin:
        start = time.process_time()
        dynamics.run(steps)
        print(json.dumps(time.process_time() - start), flush=True)


if __name__ == "__main__":
    main()
