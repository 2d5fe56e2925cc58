"""Time of a step of a batch of replicas: torch-sim, `lrcalc md --engine torch`, and ASE one by one.

python benchmarks/torchsim.py [--device cuda] [--rounds 5] [--json FILE]

Velocity Verlet at constant energy, in all; they take turns, and medians are printed with the
smallest and largest of the rounds. Without torch-sim (`pip install 'lrcalc[torchsim]'`) the other
two are measured.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from lrcalc import LRCalculator, load
from lrcalc.integrators import RunSettings
from lrcalc.replicas.run import Replicas
from lrcalc.structures import read_structure
from lrcalc.structures.formats import find
from lrcalc.velocities import draw_velocities

try:
    import torch_sim as ts

    from lrcalc.torchsim import TorchSimModel
except ModuleNotFoundError:
    ts = None

CASES = (
    ("molecule", 1), ("molecule", 16), ("molecule", 64),
    ("small box", 1), ("small box", 8), ("water64", 1), ("water64", 4),
)  # fmt: skip


def replicas(name, count):
    structures = []
    for seed in range(count):
        if name == "molecule":
            atoms = molecule("H2O")
        else:
            atoms = read_structure(find("water64", "structure"))
            if name == "small box":  # 24 atoms: a corner, in a cell of its own
                atoms = atoms[:24]
                atoms.set_cell(np.diag([7.0, 7.5, 8.0]))
                atoms.set_scaled_positions(lattice_of_molecules(atoms))
        rng = np.random.default_rng(seed)
        draw_velocities(atoms, 300.0, rng, np.zeros(len(atoms), dtype=bool))
        structures.append(atoms)
    return structures


def lattice_of_molecules(atoms):
    """Fractional positions of 8 waters (O, H, H in turn) on a lattice of 2 x 2 x 2."""
    sites = np.stack(np.meshgrid(*[[0.25, 0.75]] * 3, indexing="ij"), -1).reshape(-1, 3)
    water = molecule("H2O").positions
    length = atoms.cell.lengths()
    return (sites[:, None] + (water / length)[None]).reshape(-1, 3)


def torch_sim_steps(model, structures):
    """Take one step of all replicas, again and again."""
    state = ts.io.atoms_to_state(structures, model.device, model.dtype)
    momenta = np.concatenate([a.get_momenta() for a in structures])
    state.momenta = torch.as_tensor(momenta, device=model.device)
    time_unit = ts.units.MetalUnits.time * 1e-3
    dt = torch.tensor(0.5 * time_unit, dtype=model.dtype, device=model.device)
    heat = torch.tensor(0.025, dtype=model.dtype, device=model.device)
    if hasattr(ts, "nve_step"):
        held = [ts.nve_init(state, model, kT=heat)]
        step = lambda now: ts.nve_step(now, model, dt=dt)  # noqa: E731
    else:
        begin, step = ts.integrators.nve(model, dt=dt, kT=heat)
        held = [begin(state)]

    def advance():
        held[0] = step(held[0])
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return advance


def replica_steps(potential, structures, device):
    """Take one step of all replicas by our own integrators."""
    atoms = structures[0].copy()
    atoms.set_momenta(np.zeros_like(atoms.positions))  # each draws its own
    calculator = LRCalculator(potential, device=device, watch=False)
    run = Replicas(atoms, calculator, RunSettings("nve"), len(structures))
    run.look()

    def advance():
        run.step()
        if run.device.type == "cuda":
            torch.cuda.synchronize()

    return advance


def ase_steps(potential, structures, device):
    """Take one step of each replica, each with a calculator of its own."""
    runs = []
    for atoms in structures:
        atoms.calc = LRCalculator(potential, device=device, watch=False)
        runs.append(VelocityVerlet(atoms, timestep=0.5 * units.fs))

    def advance():
        for run in runs:
            run.run(1)

    return advance


def seconds(advance, steps):
    start = time.perf_counter()
    for _ in range(steps):
        advance()
    return (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    version = "none" if ts is None else "0.6" if hasattr(ts, "nve_step") else "0.3"
    print(f"torch-sim {version}, torch {torch.__version__}, {args.device}, "
          f"{torch.get_num_threads()} thread(s), {args.dtype}")  # fmt: skip
    print("ms a step of all replicas, median (range); in brackets times as fast as ASE")
    rows = []
    for name, count in CASES:
        potential = load("water", dtype=dtype)
        structures = replicas(name, count)
        ways = {"ase": ase_steps(potential, structures, args.device),
                "engine torch": replica_steps(potential, structures, args.device)}  # fmt: skip
        if ts is not None:
            model = TorchSimModel(potential, device=args.device, compute_stress=False)
            ways["torch-sim"] = torch_sim_steps(model, structures)
        times = {way: [] for way in ways}
        for advance in ways.values():
            seconds(advance, 3)  # warm
        for _ in range(args.rounds):
            for way, advance in ways.items():
                times[way].append(1e3 * seconds(advance, args.steps))
        told = [f"{name:10s} {len(structures[0]):4d} atoms x {count:3d}"]
        for way, found in times.items():
            ratio = np.median(times["ase"]) / np.median(found)
            spread = f"({min(found):.1f}-{max(found):.1f})"
            told.append(f"{way} {np.median(found):.1f} {spread} [{ratio:.2f}]")
        print(" | ".join(told), flush=True)
        rows.append({"structure": name, "atoms": len(structures[0]), "replicas": count, **times})
    if args.json:
        args.json.write_text(json.dumps({"device": args.device, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
