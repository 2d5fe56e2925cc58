"""Time and error of the electrostatics: direct sum against particle mesh, and batches.

Run ``python benchmarks/electrostatics.py [--largest 98304] [--repeat 5] [--threads 1]
[--clock wall|cpu] [--output FOLDER]``.
Prints the tables of the README and writes ``electrostatics.png`` and ``electrostatics.json``.
Systems: random atoms at the density of water, single precision, σ = 1 Å, k_c = π Å⁻¹, accuracy
1e-5; times are energy + forces at constant cell, as in a simulation, minimum and median of the
repeats.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lrcalc import Ewald
from lrcalc.electrostatics.mesh_size import choose_mesh, mesh_error
from lrcalc.multipoles import Multipoles

DENSITY = 192 / 12.42**3  # atoms per Å³ in water
K_CUTOFF = 3.141592653589793
CLOCK = time.process_time  # set by --clock
LEVELS = {"q": 0, "u": 1, "uQ": 2, "uQiqiu": 2}


def water(atoms, level, dtype=torch.float32, seed=0):
    """Random positions, cell and multipoles of a level."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    length = (atoms / DENSITY) ** (1 / 3)
    positions = torch.rand(atoms, 3, generator=generator, dtype=dtype) * length
    charge = 0.3 * random(atoms)
    charge = charge - charge.mean()
    if level == "q":
        return positions, torch.eye(3, dtype=dtype) * length, Multipoles(charge)
    q = 0.1 * random(atoms, 3, 3)
    q = q + q.transpose(1, 2)
    q = q - q.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3, dtype=dtype)
    respond = level == "uQiqiu"
    multipoles = Multipoles(
        charge,
        0.1 * random(atoms, 3),
        q if "Q" in level else None,
        1e-3 * random(atoms).square() if respond else None,
        0.05 * random(atoms).square() if respond else None,
    )
    return positions, torch.eye(3, dtype=dtype) * length, multipoles


def forces(ewald, positions, cell, multipoles):
    x = positions.clone().requires_grad_()
    return torch.autograd.grad(ewald(x, cell, multipoles, check=False).energy.sum(), x)[0]


def timed(function, repeat):
    """Minimum and median in ms, after one call to warm up (none if it takes long)."""
    if repeat > 2:
        function()
    times = []
    for _ in range(repeat):
        start = CLOCK()
        function()
        times.append(1e3 * (CLOCK() - start))
    return min(times), sorted(times)[len(times) // 2]


def scaling(sizes, repeat):
    rows = []
    for level in ("q", "uQiqiu"):
        for atoms in sizes:
            parts = water(atoms, level)
            row = {"level": level, "atoms": atoms}
            for method in ("direct", "mesh"):
                if method == "direct" and atoms > 6144:
                    continue

                ewald = Ewald(k_cutoff=K_CUTOFF, method=method)

                def run(ewald=ewald, parts=parts):
                    forces(ewald, *parts)

                row[method] = timed(run, 2 if atoms > 20000 else repeat)
            rows.append(row)
            shown = {
                k: f"{v[0]:.1f} ({v[1]:.1f}) ms" for k, v in row.items() if k in ("direct", "mesh")
            }
            print(f"{level:7s} {atoms:6d} atoms  {shown}", flush=True)
    return rows


def accuracy_table():
    """Relative rms force error of the mesh against the converged direct sum, 384 atoms."""
    rows = []
    for level, multipole in LEVELS.items():
        parts = water(384, level, torch.float64)
        for accuracy in (1e-3, 1e-4, 1e-5, 1e-6, 1e-8):
            exact, found = (
                forces(Ewald(method=method, accuracy=accuracy), *parts)
                for method in ("direct", "mesh")
            )
            k = (-2.0 * torch.tensor(accuracy, dtype=torch.float64).log()).sqrt().item()
            order, spacing = choose_mesh(1.0, k, accuracy, multipole, float(f"{DENSITY:.1e}"))
            bound = mesh_error(1.0, k, order, spacing, multipole)
            error = float((found - exact).norm() / exact.norm())
            rows.append((level, accuracy, order, spacing, bound, error))
            print(
                f"{level:7s} asked {accuracy:.0e}  order {order:2d}  spacing {spacing:.2f} Å"
                f"  estimate {bound:.1e}  measured {error:.1e}",
                flush=True,
            )
    return rows


def training(repeat, structures=8, atoms=192):
    """Energy, forces and their gradient by the multipoles: one batch against a loop."""
    parts = [water(atoms, "u", seed=s) for s in range(structures)]
    r = torch.cat([p[0] for p in parts])
    cell = torch.stack([p[1] for p in parts])
    charge = torch.cat([p[2].charge for p in parts]).requires_grad_()
    dipole = torch.cat([p[2].dipole for p in parts]).requires_grad_()
    batch = torch.arange(structures).repeat_interleave(atoms)
    ewald = Ewald()

    def step(x, box, q, u, batch):
        x = x.clone().requires_grad_()
        energy = ewald(x, box, Multipoles(q, u), batch=batch, check=False).energy.sum()
        (f,) = torch.autograd.grad(energy, x, create_graph=True)
        return torch.autograd.grad(f.square().sum(), (charge, dipole))

    def loop():
        for s in range(structures):
            here = slice(s * atoms, (s + 1) * atoms)
            step(r[here], cell[s], charge[here], dipole[here], None)

    together = timed(lambda: step(r, cell, charge, dipole, batch), repeat)
    one_by_one = timed(loop, repeat)
    print(
        f"training step {structures} x {atoms}: batch {together[0]:.1f} ms, "
        f"loop {one_by_one[0]:.1f} ms, ratio {one_by_one[0] / together[0]:.2f}"
    )
    return {"batch": together, "loop": one_by_one}


def draw(rows, path):
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for level, colour in (("q", "tab:blue"), ("uQiqiu", "tab:red")):
        for method, style in (("direct", "s--"), ("mesh", "o-")):
            points = [
                (x["atoms"], x[method][0]) for x in rows if x["level"] == level and method in x
            ]
            axes.loglog(*zip(*points, strict=True), style, color=colour, label=f"{level}, {method}")
    axes.set(xlabel="atoms", ylabel="energy + forces / ms")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=98304)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument(
        "--clock",
        choices=("cpu", "wall"),
        default="wall",
        help="cpu: processor time, for one thread on a machine that others use too",
    )
    parser.add_argument("--output", type=Path, default=Path("."))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    global CLOCK
    CLOCK = time.process_time if arguments.clock == "cpu" else time.perf_counter
    print(
        f"{arguments.clock} time, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    sizes = [
        n
        for n in (192, 768, 1536, 3072, 6144, 12288, 24576, 49152, 98304)
        if n <= arguments.largest
    ]
    rows = scaling(sizes, arguments.repeat)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"largest memory {memory:.1f} GB")
    results = {
        "scaling": rows,
        "memory_GB": memory,
        "training": training(arguments.repeat),
        "accuracy": accuracy_table(),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    draw(rows, arguments.output / "electrostatics.png")
    (arguments.output / "electrostatics.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
