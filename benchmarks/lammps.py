"""Speed and memory of LAMMPS with lrcalc: one rank against ASE, compiled, two ranks against one.

    python benchmarks/lammps.py [--rounds 5] [--only ase|compile|ranks|memory] [--compile]

Water, NVE, 0.5 fs, float32. What is compared runs a few steps each in turn, in the same processes,
so that a machine that grows slower does so for both; a ratio is the median over rounds. Two ranks
want two idle cores: wall time is measured, and CPU time too, of which MPI spends some in waiting.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# this folder must not hide the package of the same name
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]

AGAINST_ASE, RANKS, MEMORY = 2, 3, 4
"""Repetitions of `water64` (192 atoms) along each axis: 1536, 5184, 12288 atoms."""

PARTS = ["ase", "compile", "ranks", "memory"]
WORD = {False: "", True: "compile"}

INPUT = """units metal
atom_style atomic
region box block 0 {a:.16g} 0 {a:.16g} 0 {a:.16g}
create_box 2 box
mass 1 1.008
mass 2 15.999
pair_style lrcalc water {words}
pair_coeff * * H O
neighbor 1.0 bin
thermo 1000000
timestep 0.0005
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--compile", action="store_true", help="compiled functions throughout")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        serve(args)
        return
    mpirun = Path(sys.executable).parent / "mpirun"
    for part in PARTS if args.only is None else [args.only]:
        ranks = "1" if part in ("ase", "compile") else "2"
        words = ["--worker", "--only", part, "--rounds", str(args.rounds)]
        words += ["--compile"] if args.compile else []
        command = [str(mpirun), "-n", ranks, sys.executable, "-m", "mpi4py", __file__, *words]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def serve(args) -> None:
    part = {"ase": against_ase, "compile": compiled, "ranks": one_and_two, "memory": memory}
    part[args.only](args.rounds, args.compile)


def water(repetitions: int):
    from lrcalc.structures import read_structure
    from lrcalc.zoo import structure_file

    atoms = read_structure(structure_file("water64")).repeat((repetitions,) * 3)
    atoms.rattle(0.02, seed=1)
    atoms.wrap()
    return atoms


def started(atoms, words: str = "", communicator=None):
    from lrcalc.lammps.host import start

    lmp = start(["-log", "none", "-screen", "none"], communicator=communicator)
    lmp.commands_string(INPUT.format(a=atoms.cell[0, 0], words=words))
    n, kinds = len(atoms), np.where(atoms.numbers == 1, 1, 2)
    lmp.create_atoms(n, np.arange(1, n + 1), kinds, atoms.positions.ravel())
    lmp.commands_string("velocity all create 300 1\nfix move all nve\nrun 1 post no\n")
    return lmp


def timed(run) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def stepping(lmp, steps: int):
    def run() -> None:
        lmp.lrcalc.serve()
        lmp.command(f"run {steps} pre no post no")  # as many energies as steps

    return run


def report(name: str, one, other, steps: int) -> None:
    """Print times of both in ms a step, and the median ratio of the rounds, wall and CPU."""
    for kind, which in (("wall", 0), ("CPU", 1)):
        a, b = ([1e3 * x[which] / steps for x in times] for times in (one, other))
        ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
        print(
            f"{name:46s} {kind:5s}{statistics.median(a):9.1f} {statistics.median(b):9.1f}  "
            f"ratio {ratio:.3f}",
            flush=True,
        )


def against_ase(rounds: int, compile: bool, steps: int = 5) -> None:
    from ase import units
    from ase.md.velocitydistribution import thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    from lrcalc import LRCalculator

    atoms = water(AGAINST_ASE)
    lmp = started(atoms, WORD[compile])
    atoms.calc = LRCalculator("water", compile=compile)
    thermalize_momenta(atoms, 300.0, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    dynamics.run(1)
    pairs = [
        (timed(stepping(lmp, steps)), timed(lambda: dynamics.run(steps))) for _ in range(rounds)
    ]
    report(f"{len(atoms)} atoms: LAMMPS, ASE (ms/step)", *zip(*pairs, strict=True), steps)


def compiled(rounds: int, _: bool, steps: int = 5) -> None:
    atoms = water(AGAINST_ASE)
    plain, fast = (started(atoms, words) for words in WORD.values())
    pairs = [(timed(stepping(fast, steps)), timed(stepping(plain, steps))) for _ in range(rounds)]
    report(f"{len(atoms)} atoms: compiled, not (ms/step)", *zip(*pairs, strict=True), steps)


def one_and_two(rounds: int, compile: bool, steps: int = 4) -> None:
    from mpi4py import MPI

    world, atoms = MPI.COMM_WORLD, water(RANKS)
    both = started(atoms, WORD[compile])
    alone = started(atoms, WORD[compile], communicator=MPI.COMM_SELF) if world.rank == 0 else None
    pairs = []
    for _ in range(rounds):
        one = timed(stepping(alone, steps)) if alone is not None else (0.0, 0.0)
        quiet_barrier(world)
        pairs.append((one, timed(stepping(both, steps))))
    if world.rank == 0:
        report(f"{len(atoms)} atoms: 1 rank, 2 ranks (ms/step)", *zip(*pairs, strict=True), steps)


def quiet_barrier(world) -> None:
    """Wait without keeping a core busy, which another rank may want."""
    request = world.Ibarrier()
    while not request.Test():
        time.sleep(0.05)


def memory(_: int, compile: bool) -> None:
    from mpi4py import MPI

    world, atoms = MPI.COMM_WORLD, water(MEMORY)
    lmp = started(atoms, f"block 1024 {WORD[compile]}")
    lmp.command("run 2 post no")
    peaks = world.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if world.rank == 0:
        print(f"{len(atoms)} atoms, 2 ranks, block 1024: peak MB of each rank", peaks)


if __name__ == "__main__":
    main()
