"""Water at constant temperature in LAMMPS on several ranks, and in one process by `lrcalc md`.

Mean energy and radial distribution must be the same within their errors (of blocks):

    python benchmarks/lammps_water.py --compile           # 1536 waters, 20 ps: hours
    python benchmarks/lammps_water.py --repeat 1 1 1 --picoseconds 3

The start is the bundled box of 64 waters, repeated; both runs draw velocities of their own. What a
run leaves is kept in --folder, and a side that is there whole is not run again, of a longer one its
beginning is taken; --only runs one side (the two can go side by side), and --reference-picoseconds
shortens that of one process. The box relaxes for long (the energy falls by 3 meV an atom in the
first 3 ps, and goes on): compare the same stretch of time.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

import lrcalc
from lrcalc.analysis.lammps import read_dump
from lrcalc.analysis.lammps_series import column
from lrcalc.dynamics import Settings, Simulation
from lrcalc.files import replacing
from lrcalc.lammps.input_text import Output
from lrcalc.lammps.inputs import write_input
from lrcalc.progress import progress_bar
from lrcalc.structures import read_structure

TIMESTEP, TEMPERATURE = 0.5, 300.0  # fs, K
FRAME = 40  # steps between frames of positions
ROW = 4  # steps between energies
APART = 4  # every so many frames of positions for a distribution
BLOCKS = 8
BIN, FURTHEST = 0.1, 8.0  # Å
PAIRS = {"OO": (8, 8), "OH": (8, 1), "HH": (1, 1)}


def start(repeat):
    """Boxes of 64 waters side by side, without velocities."""
    atoms = read_structure("water64").repeat(repeat)
    atoms.arrays.pop("momenta", None)
    return atoms


def in_lammps(atoms, steps, folder, ranks, compiled):
    """Run on several ranks: a series of energies every `ROW` steps, a dump every `FRAME`."""
    output = Output(stride=ROW, dump=FRAME, restart=0, thermo=1000)
    write_input("nvt", atoms, folder, steps=steps, timestep=TIMESTEP, temperature=TEMPERATURE,
                seed=11, ranks=ranks, output=output, settings={"compile": compiled})  # fmt: skip
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, "-n", str(ranks), sys.executable, "-m", "lrcalc", "lammps", "-in", "in.lmp"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    energies = column(folder / "run.series", "enthalpy_eV")
    return energies, np.array([frame.positions for frame in read_dump(folder / "run.dump")])


def in_one_process(atoms, steps, folder, compiled):
    """Return the same of `lrcalc md`'s simulation."""
    calculator = lrcalc.LRCalculator("water", compile=compiled)
    settings = Settings("nvt", TIMESTEP, TEMPERATURE, seed=12)
    simulation = Simulation(atoms.copy(), calculator, settings)
    energies, frames = [], []
    with progress_bar(steps, unit="step", title="md") as bar:
        while True:
            if simulation.steps % ROW == 0:
                energies.append(simulation.atoms.get_potential_energy())
            if simulation.steps % FRAME == 0:
                frames.append(simulation.atoms.positions.copy())
            if simulation.steps == steps:
                break
            simulation.step()
            bar.update(1)
    return np.array(energies), np.array(frames)


def kept(run, atoms, steps, folder, *more):
    """Energies, positions and seconds a step of a run, from its file if it has one."""
    file = folder / "result.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        energies, frames = run(atoms, steps, folder, *more)
        seconds = (time.perf_counter() - began) / steps
        with replacing(file) as path:
            np.savez(path, energies=energies, frames=frames, seconds=seconds)
    with np.load(file) as found:
        if len(found["energies"]) < steps // ROW + 1:
            raise SystemExit(f"{file} is of a shorter run: give another --folder")
        energies, frames = found["energies"][: steps // ROW + 1], found["frames"]
        return energies, frames[: steps // FRAME + 1], float(found["seconds"])


def distribution(positions, numbers, edges, pair):
    """Radial distribution (bins,) of a frame between two elements, up to `FURTHEST`."""
    first, second = (cKDTree(positions[numbers == z] % edges, boxsize=edges) for z in pair)
    radii = np.arange(0.0, FURTHEST + 0.5 * BIN, BIN)
    within = first.count_neighbors(second, radii)  # an atom and itself are in all of them
    shells = 4 / 3 * np.pi * np.diff(radii**3)
    return np.diff(within) / (first.n * second.n / np.prod(edges) * shells)


def blocks(values):
    """Mean of rows and its standard error, from blocks."""
    parts = np.array([part.mean(axis=0) for part in np.array_split(np.asarray(values), BLOCKS)])
    return parts.mean(axis=0), parts.std(axis=0, ddof=1) / np.sqrt(BLOCKS)


def summary(atoms, energies, frames, seconds, left_out):
    """Mean energy (meV an atom) and radial distributions of a run with their errors."""
    energy, error = blocks(1e3 * energies[left_out // ROW :] / len(atoms))
    found = {"energy": energy, "error": error, "seconds_per_step": seconds}
    for label, pair in PAIRS.items():
        found[label] = blocks(
            [
                distribution(positions, atoms.numbers, atoms.cell.lengths(), pair)
                for positions in frames[left_out // FRAME :: APART]
            ]
        )
    return found


def compare(one, other):
    """Print how far two runs are apart, in their errors."""
    apart = (one["energy"] - other["energy"]) / np.hypot(one["error"], other["error"])
    print(f"energies differ by {apart:+.1f} of their error")
    for label in PAIRS:
        (a, ea), (b, eb) = one[label], other[label]
        known = np.hypot(ea, eb) > 1e-3
        rms = np.sqrt(np.mean(((a - b)[known] / np.hypot(ea, eb)[known]) ** 2))
        where = int(np.argmax(np.where(np.arange(len(a)) * BIN > 2.0, a, 0)))
        print(
            f"g_{label}: largest beyond 2 Å {a[where]:.2f} ± {ea[where]:.2f} and {b[where]:.2f} ± "
            f"{eb[where]:.2f} at {BIN * (where + 0.5):.2f} Å; differ by {rms:.2f} of their error "
            f"(root mean square of {known.sum()} bins), {np.abs(a - b)[known].max():.2f} at most"
        )


def main():
    """Run both, print and write a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, nargs=3, default=(2, 3, 4), help="of 64 waters")
    parser.add_argument("--picoseconds", type=float, default=20.0, help="after equilibration")
    parser.add_argument("--reference-picoseconds", type=float, help="the same in one process")
    parser.add_argument("--equilibrate", type=float, default=0.5, help="ps that are left out")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="C++ for the local part, both sides")
    parser.add_argument("--only", choices=("lammps", "md"), help="run this side, compare nothing")
    parser.add_argument("--folder", type=Path, default=Path("lammps-water"), help="to keep runs in")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    args = parser.parse_args()
    atoms = start(args.repeat)
    left_out = round(1000 * args.equilibrate / TIMESTEP)
    length = {"lammps": args.picoseconds, "md": args.reference_picoseconds or args.picoseconds}
    steps = {side: left_out + round(1000 * ps / TIMESTEP) for side, ps in length.items()}
    if min(steps.values()) - left_out < BLOCKS * APART * FRAME:
        parser.error(f"give {BLOCKS * APART * FRAME * TIMESTEP / 1000:g} ps at least, for errors")
    print(f"{len(atoms) // 3} waters, {steps} steps, lrcalc {lrcalc.__version__}", flush=True)
    runs = {"lammps": (in_lammps, args.ranks, args.compile), "md": (in_one_process, args.compile)}
    found = {}
    for side, (run, *more) in runs.items():
        if args.only in (None, side):
            parts = kept(run, atoms, steps[side], args.folder / side, *more)
            found[side] = part = summary(atoms, *parts, left_out)
            print(
                f"{side:7} {part['energy']:.3f} ± {part['error']:.3f} meV/atom, "
                f"{1e3 * part['seconds_per_step']:.1f} ms/step",
                flush=True,
            )
    if len(found) == 2:
        compare(found["lammps"], found["md"])
    if args.json:
        args.json.write_text(json.dumps(found, default=lambda x: np.asarray(x).tolist(), indent=1))


if __name__ == "__main__":
    main()
