"""Water at constant temperature in LAMMPS on several ranks, and in one process by `lrcalc md`.

Mean energy and radial distribution must be the same within their errors (of blocks):

    python benchmarks/lammps_water.py                     # 1536 waters, 20 ps: many hours
    python benchmarks/lammps_water.py --repeat 1 1 1 --picoseconds 3

The start is the bundled box of 64 waters, repeated; both runs draw velocities of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lrcalc
from lrcalc.analysis.lammps import read_dump
from lrcalc.analysis.lammps_series import column
from lrcalc.dynamics import Settings, Simulation
from lrcalc.lammps.input_text import Output
from lrcalc.lammps.inputs import write_input
from lrcalc.structures import read_structure

TIMESTEP, TEMPERATURE = 0.5, 300.0  # fs, K
FRAME = 40  # steps between frames of positions
ROW = 4  # steps between energies
BLOCKS = 8
BIN = 0.1  # Å


def start(repeat):
    """Boxes of 64 waters side by side, without velocities."""
    atoms = read_structure("water64").repeat(repeat)
    atoms.arrays.pop("momenta", None)
    return atoms


def in_lammps(atoms, steps, ranks, folder):
    """Energies (eV) every `ROW` steps and positions every `FRAME` of a run on several ranks."""
    output = Output(stride=ROW, dump=FRAME, restart=0, thermo=1000)
    write_input("nvt", atoms, folder, steps=steps, timestep=TIMESTEP, temperature=TEMPERATURE,
                seed=11, ranks=ranks, output=output)  # fmt: skip
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, "-n", str(ranks), sys.executable, "-m", "lrcalc", "lammps", "-in", "in.lmp"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    energies = column(folder / "run.series", "enthalpy_eV")
    return energies, [frame.positions for frame in read_dump(folder / "run.dump")]


def in_one_process(atoms, steps):
    """Return the same of `lrcalc md`'s simulation."""
    simulation = Simulation(
        atoms.copy(), lrcalc.LRCalculator("water"), Settings("nvt", TIMESTEP, TEMPERATURE, seed=12)
    )
    energies, frames = [], []
    while True:
        if simulation.steps % ROW == 0:
            energies.append(simulation.atoms.get_potential_energy())
        if simulation.steps % FRAME == 0:
            frames.append(simulation.atoms.positions.copy())
        if simulation.steps == steps:
            return np.array(energies), frames
        simulation.step()


def distribution(positions, numbers, cell, pair):
    """Radial distribution (bins,) of a frame between two elements, up to half the smallest edge."""
    first, second = (positions[numbers == z] for z in pair)
    edges = np.arange(0.0, 0.5 * np.diag(cell).min(), BIN)
    counts = np.zeros(len(edges) - 1)
    for place in first:
        apart = second - place
        apart -= np.round(apart / np.diag(cell)) * np.diag(cell)
        distance = np.linalg.norm(apart, axis=1)
        counts += np.histogram(distance[distance > 1e-9], edges)[0]
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    return counts / (len(first) * len(second) / np.linalg.det(cell) * shells)


def blocks(values):
    """Mean of rows and its standard error, from blocks."""
    parts = np.array([part.mean(axis=0) for part in np.array_split(np.asarray(values), BLOCKS)])
    return parts.mean(axis=0), parts.std(axis=0, ddof=1) / np.sqrt(BLOCKS)


def main():
    """Run both, print and write a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, nargs=3, default=(2, 3, 4), help="of 64 waters")
    parser.add_argument("--picoseconds", type=float, default=20.0, help="after equilibration")
    parser.add_argument("--equilibrate", type=float, default=0.5, help="ps that are left out")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    atoms = start(args.repeat)
    steps = round(1000 * (args.picoseconds + args.equilibrate) / TIMESTEP)
    left_out = round(1000 * args.equilibrate / TIMESTEP)
    print(f"{len(atoms) // 3} waters, {steps} steps, lrcalc {lrcalc.__version__}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        for name, run in (
            (f"LAMMPS, {args.ranks} ranks", lambda: in_lammps(atoms, steps, args.ranks, workdir)),
            ("one process", lambda: in_one_process(atoms, steps)),
        ):
            began = time.perf_counter()
            energies, frames = run()
            spent = time.perf_counter() - began
            energy, error = blocks(1e3 * energies[left_out // ROW :] / len(atoms))
            found[name] = {"energy": energy, "error": error, "seconds_per_step": spent / steps}
            print(
                f"{name:18} {energy:.3f} ± {error:.3f} meV/atom, {1e3 * spent / steps:.1f} ms/step"
            )
            for label, pair in (("OO", (8, 8)), ("OH", (8, 1)), ("HH", (1, 1))):
                kept = frames[left_out // FRAME :]
                values = [distribution(x, atoms.numbers, np.array(atoms.cell), pair) for x in kept]
                found[name][label] = blocks(values)
    one, other = found.values()
    apart = (one["energy"] - other["energy"]) / np.hypot(one["error"], other["error"])
    print(f"energies differ by {apart:+.1f} of their error")
    for label in ("OO", "OH", "HH"):
        (a, ea), (b, eb) = one[label], other[label]
        known = np.hypot(ea, eb) > 1e-3
        rms = np.sqrt(np.mean(((a - b)[known] / np.hypot(ea, eb)[known]) ** 2))
        where = int(np.argmax(np.where(np.arange(len(a)) * BIN > 2.0, a, 0)))
        print(
            f"g_{label}: largest beyond 2 Å {a[where]:.2f} ± {ea[where]:.2f} and {b[where]:.2f} ± "
            f"{eb[where]:.2f} at {BIN * (where + 0.5):.2f} Å; differ by {rms:.2f} of their error "
            f"(root mean square of {known.sum()} bins), {np.abs(a - b)[known].max():.2f} at most"
        )
    if args.json:
        args.json.write_text(json.dumps(found, default=lambda x: np.asarray(x).tolist(), indent=1))


if __name__ == "__main__":
    main()
