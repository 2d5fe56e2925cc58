"""What i-PI and the driver cost beyond the model, and what batching gains.

    python benchmarks/ipi.py [--model water] [--waters 64] [--steps 60]

First with a model that costs nothing: milliseconds a step of i-PI, driver and transport. Then with
a real model: 32 beads in one call against one by one. Medians over steps; run it on a quiet
machine.
"""

import argparse
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
from ase import Atoms

from lrcalc.ipi import DriverSettings, Outputs, Transport, run_ipi, write_input
from lrcalc.ipi.driver import CPU_ATOMS, Engine, make_evaluator
from lrcalc.ipi.structures import read_structure
from lrcalc.units import BOHR

PES = Path(__file__).with_name("ipi_pes.py")


def box(waters):
    """Molecules on a lattice at the density of water; the bundled box if it has the same size."""
    if waters == 64:
        return read_structure("water64")
    rng = np.random.default_rng(0)
    edge = (waters * 29.9) ** (1 / 3)
    side = int(np.ceil(waters ** (1 / 3)))
    atoms = Atoms(cell=[edge] * 3, pbc=True)
    for index in range(waters):
        one = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.58, 0], [-0.76, 0.58, 0]])
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        cell = np.array([index % side, index // side % side, index // side**2])
        one.translate(cell * edge / side)
        atoms += one
    return atoms


def measure(
    atoms,
    mode,
    beads,
    *,
    batch=True,
    dipole=False,
    steps=60,
    null=True,
    model="water",
    atoms_per_call=0,
):
    """Medians over steps, in ms: the whole step, and the part outside the model's calls."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        os.environ["BENCH_TIMES"] = str(times)
        os.environ["BENCH_NULL"] = "1" if null else ""
        transport = Transport(mode, "b" + uuid.uuid4().hex[:8], batch=batch)
        path = write_input(
            "nvt", atoms, Path(folder) / "run", steps=steps, beads=beads, timestep=0.25,
            settings=DriverSettings(
                model=model, max_force=0.0, virial=False, atoms_per_call=atoms_per_call
            ),
            transport=transport,
            outputs=Outputs(properties=10, dipole=int(dipole), positions=0, checkpoint=1000),
            pes_file=PES,
        )  # fmt: skip
        client = [sys.executable, str(PES), f"--{mode}", "--address", transport.address]
        run_ipi(path, clients=[client] if mode != "ffdirect" else [], interval=0.5)
        start, end = np.loadtxt(times).T
    calls = 1 if batch else beads
    if batch and atoms_per_call:
        calls = -(-beads // max(1, atoms_per_call // len(atoms)))
    begin, stop = start[::calls], end[calls - 1 :: calls]
    model_time = (end - start)[: len(begin) * calls].reshape(-1, calls).sum(axis=1)
    whole = np.diff(begin)[5:]
    outside = whole - model_time[:-1][5:]
    assert len(stop) == len(begin)
    return 1e3 * np.median(whole), 1e3 * np.median(outside)


def own_share(atoms, beads, *, dipole=False, repeats=5):
    """Milliseconds of CPU that the driver itself takes a step: conversion, checks, extras."""

    def null(structures, properties):
        shapes = {"energy": (), "forces": (len(atoms), 3), "dipole": (3,)}
        return [{name: np.zeros(shapes[name]) for name in properties} for _ in structures]

    settings = DriverSettings(max_force=0.0, virial=False, extras=("dipole",) if dipole else ())
    engine = Engine(settings._replace(atoms_per_call=0), atoms, null)
    cells = [np.array(atoms.cell).T / BOHR] * beads
    positions = [atoms.positions / BOHR] * beads
    calls, times = max(1, 400 // beads), []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            engine(cells, positions)
        times.append((time.process_time() - start) / calls)
    return 1e3 * min(times)


def dipole_cost(atoms, model, repeats, beads=32):
    """Relative cost of a dipole in the driver's call with the model, and its standard error.

    The two drivers take turns call by call: from one run to the next a shared machine changes by
    more than what is asked for here.
    """
    engines = []
    for extras in ((), ("dipole",)):
        settings = DriverSettings(
            model=model, max_force=0.0, virial=False, atoms_per_call=CPU_ATOMS, extras=extras
        )
        engines.append(Engine(settings, atoms, make_evaluator(settings)))
    rng = np.random.default_rng(0)
    cells = [np.array(atoms.cell).T / BOHR] * beads
    times = np.empty((repeats + 2, 2))
    for turn in range(repeats + 2):
        moves = 0.02 * rng.normal(size=(beads, len(atoms), 3))
        positions = [(atoms.positions + move) / BOHR for move in moves]
        for k in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            engines[k](cells, positions)
            times[turn, k] = time.perf_counter() - start
    ratio = times[2:, 1] / times[2:, 0]
    return np.median(ratio) - 1, ratio.std() / repeats**0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="water")
    parser.add_argument("--waters", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--model-steps", type=int, default=25)
    parser.add_argument("--skip-model", action="store_true")
    options = parser.parse_args()
    atoms = box(options.waters)
    print(f"{len(atoms)} atoms; ms a step outside the model (target)")
    for mode, beads, target in (
        ("ffdirect", 1, "1.5"), ("unix", 1, ""), ("ffdirect", 32, "16"), ("unix", 32, ""),
    ):  # fmt: skip
        plain, extra = (
            measure(atoms, mode, beads, dipole=dipole, steps=options.steps)[1]
            for dipole in (False, True)
        )
        note = f"({target})" if target else ""
        print(
            f"{mode:9s} {beads:3d} beads: {plain:7.2f} {note:6s} with dipole written every step"
            f" {extra:7.2f}"
        )
    for beads in (1, 32):
        plain, extra = (own_share(atoms, beads, dipole=dipole) for dipole in (False, True))
        print(f"of which the driver's own, {beads:2d} beads: {plain:.3f}, with dipole {extra:.3f}")
    if options.skip_model:
        return
    print(f"model {options.model}: whole step, ms")
    common = {"null": False, "model": options.model, "steps": options.model_steps}
    single, _ = measure(atoms, "ffdirect", 32, batch=False, **common)
    whole, _ = measure(atoms, "ffdirect", 32, **common)
    parts, _ = measure(atoms, "ffdirect", 32, atoms_per_call=CPU_ATOMS, **common)
    print(f"32 beads one by one {single:8.1f}")
    print(f"32 beads in one call {whole:8.1f}: {single / whole:.2f} x faster")
    print(
        f"32 beads, {CPU_ATOMS} atoms a call {parts:8.1f}: {single / parts:.2f} x faster (default)"
    )
    cost, error = dipole_cost(atoms, options.model, options.model_steps)
    print(f"a dipole every step, 32 beads, model and driver: {cost:+.1%} ± {error:.1%}")


if __name__ == "__main__":
    main()
