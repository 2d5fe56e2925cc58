"""What a step of `pair_style lrcalc` would take on many ranks, from parts measured on one.

    OMP_NUM_THREADS=1 python benchmarks/lammps_scaling.py

Measured (CPU time of one core, bundled water): a step of one rank by size, transforms by size of
the mesh, and what is exchanged: rows that go to ghosts and back, bytes that are summed over ranks.
The rest is arithmetic with the assumptions below; docs/scaling.md says what they are.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import torch

from lrcalc.lammps.exchange import Part
from lrcalc.lammps.host import start
from lrcalc.structures import read_structure

DENSITY = 0.1002  # atoms per Å³
REACH = 6.0  # Å: cutoff 5 and skin 1
RANKS_A_NODE = 64
NETWORK = 25e9  # bytes/s into a node, and out
MEMORY = 200e9  # bytes/s of a node, summing what its ranks have
LATENCY = 5e-6  # s of a message between nodes
PER_RANK = 2500  # atoms
OWN_WIDTH = 6  # positions to ghosts and forces back, which LAMMPS itself exchanges


class Counts(NamedTuple):
    """Of one step: sums and exchanges over ranks, transforms."""

    seconds: float
    sums: int
    summed: int
    """Bytes."""
    exchanges: int
    width: int
    """Numbers that travel for each ghost, all exchanges together."""
    mesh: tuple[int, ...]
    transforms: int


def measured(repeat, steps=3):
    """Run a few steps of water on one rank."""
    atoms = read_structure("water64").repeat(repeat)
    box = np.diag(atoms.cell)
    sums, widths, meshes = [], [], []
    reduced, exchanged, forward, backward = (
        Part._reduced, Part._exchanged, torch.fft.rfftn, torch.fft.irfftn,
    )  # fmt: skip

    def count_sum(self, values, operation):
        sums.append(values.numel() * values.element_size())
        return reduced(self, values, operation)

    def count_exchange(self, flat, like, count, *, reverse):
        widths.append(flat.shape[1])
        return exchanged(self, flat, like, count, reverse=reverse)

    def count_forward(values, *more, **named):
        meshes.append(tuple(values.shape[-3:]))
        return forward(values, *more, **named)

    def count_backward(values, *more, **named):
        meshes.append(())
        return backward(values, *more, **named)

    lmp = start(["-log", "none", "-screen", "none"])
    lmp.commands_string(f"""
units metal
atom_style atomic
region box block 0 {box[0]:.16g} 0 {box[1]:.16g} 0 {box[2]:.16g}
create_box 2 box
mass 1 15.999
mass 2 1.008
pair_style lrcalc water
pair_coeff * * O H
neighbor 1.0 bin
timestep 0.0005
fix 1 all nve
thermo 1000
""")
    atoms.wrap()
    kinds = np.where(atoms.numbers == 8, 1, 2).tolist()
    count = len(atoms)
    lmp.create_atoms(count, list(range(1, count + 1)), kinds, atoms.positions.ravel())
    lmp.command("velocity all create 300 1")
    lmp.command("run 1 post no")  # plans are made once
    Part._reduced, Part._exchanged = count_sum, count_exchange
    torch.fft.rfftn, torch.fft.irfftn = count_forward, count_backward
    try:
        before = time.process_time()
        lmp.command(f"run {steps} pre no post no")
        spent = (time.process_time() - before) / steps
    finally:
        Part._reduced, Part._exchanged = reduced, exchanged
        torch.fft.rfftn, torch.fft.irfftn = forward, backward
    lmp.close()
    return count, Counts(
        spent, len(sums) // steps, sum(sums) // steps, len(widths) // steps,
        sum(widths) // steps, next((m for m in meshes if m), ()), len(meshes) // steps,
    )  # fmt: skip


def transform(points, repeats=3):
    """CPU seconds of one real transform of so many points an edge."""
    values = torch.rand(points, points, points)
    torch.fft.rfftn(values)
    before = time.process_time()
    for _ in range(repeats):
        torch.fft.irfftn(torch.fft.rfftn(values), values.shape)
    return (time.process_time() - before) / (2 * repeats)


def forecast(atoms, counts, per_atom, points_an_atom, fft):
    """Parts of a step (s) of so many atoms, and the memory of the mesh on a rank (bytes)."""
    ranks = max(1, round(atoms / PER_RANK))
    nodes = max(1, round(ranks / RANKS_A_NODE))
    edge = (atoms / ranks / DENSITY) ** (1 / 3)
    ghosts = DENSITY * ((edge + 2 * REACH) ** 3 - edge**3)
    points = atoms * points_an_atom
    one_transform = fft * points * np.log2(points)
    summed = 4 * points
    hops = np.log2(max(ranks, 2))
    halo = 8 * (counts.width + OWN_WIDTH) * ghosts * min(ranks, RANKS_A_NODE) / NETWORK
    tree = counts.sums * LATENCY * hops
    return {
        "ranks": ranks,
        "local": per_atom * atoms / ranks,
        "halo": halo + 6 * counts.exchanges * LATENCY,
        "sum": tree + 2 * summed / NETWORK * (nodes > 1) + min(ranks, RANKS_A_NODE)
        * summed / MEMORY,
        "FFT replicated": counts.transforms * one_transform,
        "FFT in slabs": counts.transforms
        * (one_transform / ranks + 2 * summed / nodes / NETWORK + LATENCY * min(ranks, 512)),
        "mesh": 5 * summed,
    }  # fmt: skip


def main():
    """Measure, then print a table of forecasts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, nargs="+", default=(2, 3), help="of 64 waters")
    parser.add_argument("--edges", type=int, nargs="+", default=(64, 128, 192))
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = [measured((k, k, k)) for k in args.repeat]
    for atoms, counts in found:
        print(
            f"{atoms} atoms: {1e6 * counts.seconds / atoms:.0f} µs an atom; mesh {counts.mesh}, "
            f"{counts.transforms} transforms; {counts.sums} sums of {counts.summed / 1e6:.2f} MB, "
            f"{counts.exchanges} exchanges of {counts.width} numbers a ghost"
        )
    slopes = []
    for edge in args.edges:
        seconds, points = transform(edge), edge**3
        slopes.append(seconds / (points * np.log2(points)))
        print(f"transform of {edge}³: {1e3 * seconds:.1f} ms, {1e9 * slopes[-1]:.2f} ns/(M log2 M)")
    atoms, counts = found[-1]
    points_an_atom = np.prod(counts.mesh) / atoms
    fft = slopes[-1]
    whole = np.prod(counts.mesh)
    per_atom = (counts.seconds - counts.transforms * fft * whole * np.log2(whole)) / atoms
    print(f"local part {1e6 * per_atom:.0f} µs an atom; {points_an_atom:.1f} points an atom\n")
    print(f"{'atoms':>9} {'ranks':>6} {'local':>7} {'halo':>6} {'sum':>7} {'FFT repl.':>10} "
          f"{'FFT slabs':>10} {'step now':>9} {'slabs':>7}  mesh of a rank")  # fmt: skip
    for atoms in (10_000, 100_000, 1_000_000, 10_000_000):
        part = forecast(atoms, counts, per_atom, points_an_atom, fft)
        ms = {name: 1e3 * value for name, value in part.items()}
        now = ms["local"] + ms["halo"] + ms["sum"] + ms["FFT replicated"]
        slabs = ms["local"] + 2 * ms["halo"] + ms["FFT in slabs"]
        print(
            f"{atoms:9} {part['ranks']:6} {ms['local']:7.0f} {ms['halo']:6.2f} {ms['sum']:7.1f} "
            f"{ms['FFT replicated']:10.1f} {ms['FFT in slabs']:10.2f} {now:9.0f} {slabs:7.0f}  "
            f"{part['mesh'] / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
