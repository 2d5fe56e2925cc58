"""Water on a GPU: energy + forces of runs, what the card is busy with, and what it could do.

Run: ``python benchmarks/gpu.py [--model water] [--most-seconds 10] [--json FILE]``. Without a GPU
``--device cpu --compile`` gives the times of a processor; `benchmarks/cost.py` draws both.

A case is a run of velocity Verlet (NVE, 0.5 fs, 300 K); what is timed is the whole call, numpy
arrays in and out, pairs included. A call that searches for pairs is told apart; `mean` has them at
the rate at which they come. The floor is the time of the operations counted by torch
(multiplications and additions, all in float32 units outside of the tensor cores) plus that of the
bytes that have to pass through the memory at least: pairs once, densities and products a few times,
the mesh and its transforms.
"""

import argparse
import json
import os
import time
import traceback

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lrcalc import Evaluator, Field
from lrcalc.frames import Frames
from lrcalc.structures import read_structure
from lrcalc.units import BOLTZMANN

PLAIN = ("energy", "forces")
REPEATS = {
    192: (1, 1, 1), 1536: (2, 2, 2), 12288: (4, 4, 4), 98304: (8, 8, 8), 998784: (17, 17, 18),
}  # fmt: skip
FS = 0.09822694788464063
"""In ASE's unit of time, Å (u/eV)^½."""

PEAK = {"H100": (67e12, 3.35e12), "H200": (67e12, 4.8e12), "A100": (19.5e12, 2.0e12)}
"""Operations (float32, no tensor cores) and bytes a second of cards, by their makers' sheets."""


def water(atoms):
    """Frames of so many atoms of the bundled box, repeated."""
    box = read_structure("water64").repeat(REPEATS[atoms])
    rng = np.random.default_rng(0)
    positions = box.positions + rng.normal(scale=0.01, size=box.positions.shape)
    return Frames(box.numbers, box.pbc, 0.0, np.asarray(box.cell)[None], positions[None]), box


def beads(count):
    """Frames of a ring polymer of 192 atoms."""
    frames, box = water(192)
    rng = np.random.default_rng(1)
    spread = rng.normal(scale=0.03, size=(count, len(box), 3))
    return frames._replace(
        cells=np.repeat(frames.cells, count, 0), positions=frames.positions + spread
    ), box


class Run:
    """Velocity Verlet on frames, with the time that each call took."""

    def __init__(self, evaluator, frames, masses, names):
        self.evaluator, self.frames, self.names = evaluator, frames, names
        self.mass = masses[:, None]
        rng = np.random.default_rng(2)
        self.velocity = rng.normal(size=frames.positions.shape)
        self.velocity *= np.sqrt(BOLTZMANN * 300.0 / self.mass)
        self.searched, self.seconds, self.conserved = [], [], []
        self.call(note=False)

    def call(self, *, note=True):
        """Ask for forces; return energy and kinetic energy, eV."""
        stage = self.evaluator.steps.stage
        before = 0 if stage is None else stage.searches
        start = time.perf_counter()
        results = self.evaluator.of_frames(self.frames, self.names)
        took = time.perf_counter() - start
        self.forces = np.stack([x["forces"] for x in results])
        energy = sum(x["energy"] for x in results)
        kinetic = 0.5 * float((self.mass * self.velocity**2).sum())
        stage = self.evaluator.steps.stage
        if note:
            self.seconds.append(took)
            self.searched.append(stage is not None and stage.searches > before)
        return energy, kinetic

    def step(self, *, note=True, fs=0.5):
        """Make a step."""
        dt = fs * FS
        self.velocity += 0.5 * dt * self.forces / self.mass
        positions = self.frames.positions + dt * self.velocity
        self.frames = self.frames._replace(positions=positions)
        energy, _ = self.call(note=note)
        self.velocity += 0.5 * dt * self.forces / self.mass
        self.conserved.append(energy + 0.5 * float((self.mass * self.velocity**2).sum()))


def measure(evaluator, frames, box, names, seconds, most=200):
    """Time the calls of a run, and tell what else there is."""
    cuda = evaluator.device != "cpu"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    run = Run(evaluator, frames, box.get_masses(), names)
    for _ in range(3):
        run.step(note=False)
    ready = time.perf_counter() - start
    end = time.perf_counter() + seconds
    while len(run.seconds) < most and (time.perf_counter() < end or len(run.seconds) < 3):
        run.step()
    ms, searched = 1e3 * np.array(run.seconds), np.array(run.searched)
    plain = ms[~searched] if (~searched).any() else ms
    found = {
        "calls": len(ms), "ms": float(np.median(plain)), "mean_ms": float(ms.mean()),
        "search_ms": float(np.median(ms[searched])) if searched.any() else None,
        "searches": int(searched.sum()), "ready_s": ready, "reason": evaluator.steps.reason,
        "per_atom_us": 1e3 * float(ms.mean()) / frames.positions[..., 0].size,
    }  # fmt: skip
    if cuda:
        found["peak_GB"] = torch.cuda.max_memory_allocated() / 1e9
        found["reserved_GB"] = torch.cuda.max_memory_reserved() / 1e9
    energies = np.array(run.conserved[3:])
    if len(energies) > 10:
        found["scatter_meV_per_atom"] = 1e3 * float(energies.std()) / frames.positions[..., 0].size
    return found, run


def busy(run, calls=3, top=15):
    """GPU-busy time of a call and its largest kernels, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    run.step()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        for _ in range(calls):
            run.step()
        torch.cuda.synchronize()
    kernels = {}
    for event in found.events():
        if "CUDA" in str(event.device_type):
            name = event.name[:90]
            took, count = kernels.get(name, (0.0, 0))
            kernels[name] = (took + event.self_device_time_total / 1e3 / calls, count + 1)
    rows = sorted(((ms, n / calls, name) for name, (ms, n) in kernels.items()), reverse=True)
    return sum(x[0] for x in rows), sum(x[1] for x in rows), rows[:top]


class Operations(TorchDispatchMode):
    """Count the operations of matrix products, two for a multiplication and an addition."""

    total = 0.0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        out = function(*arguments, **(keywords or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.total += count(*arguments, **(keywords or {}), out_val=out)
        return out


def counted(model, names):
    """Operations of a call for one atom of 192, of the plain torch code on the CPU."""
    frames, box = water(192)
    evaluator = Evaluator(model)
    evaluator.of_frames(frames, names)
    with Operations() as operations:
        evaluator.of_frames(frames, names)
    return operations.total / len(box)


def floor(evaluator, flops, atoms, card):
    """Milliseconds that operations and bytes take at least; None for a card that is not known."""
    known = [x for name, x in PEAK.items() if name in card]
    if not known:
        return None
    backbone = evaluator.potential.backbone
    pairs = 52 * atoms
    plan = evaluator.potential.ewald.remembered.groups.groups[0].plan
    points, order = (np.prod(plan.sizes), plan.order) if hasattr(plan, "sizes") else (0, 0)
    moved = 4.0 * (
        pairs * 2 * 4  # neighbour and shift, in the forward and the backward pass
        + atoms * 16 * backbone.channels * 2 * 4  # densities and products, written and read twice
        + points * 10  # the mesh, four times through each of its transforms and the filter
        + atoms * order**3 * 2 * 2  # points that atoms touch, and back
    )
    operations, bandwidth = known[0]
    return 1e3 * (flops / operations + moved / bandwidth)


def say(name, found, base=None):
    """One row."""
    if "error" in found:
        print(f"{name:26} {found['error'][:90]}", flush=True)
        return
    search = "-" if found["search_ms"] is None else f"{found['search_ms']:.2f}"
    ratio = "" if base is None else f"{found['ms'] / base:6.2f}x"
    print(
        f"{name:26}{found['ms']:9.2f}{found['mean_ms']:9.2f}{search:>9}"
        f"{found['searches']:>5}/{found['calls']:<4}{found.get('peak_GB', 0):6.2f}"
        f"{found.get('reserved_GB', 0):7.2f}{found['ready_s']:7.1f} {ratio:7} "
        f"{(found['reason'] or '')[:40]}",
        flush=True,
    )


def cases(args):
    """Name, frames, properties, field, whether by recorded steps."""
    sizes = [n for n in REPEATS if n <= args.most_atoms]
    field = Field("electric_field", (0.0, 0.0, 0.01))
    for n in sizes:
        yield f"{n}", lambda n=n: water(n), PLAIN, None, True
    if args.most_atoms >= 6144:
        yield "32 x 192", lambda: beads(32), PLAIN, None, True
    for n in (n for n in sizes if n in (192, 1536, 12288)):
        yield f"{n} + Born charges", lambda n=n: water(n), (
            *PLAIN, "born_effective_charges",
        ), None, True  # fmt: skip
        yield f"{n} + stress", lambda n=n: water(n), (*PLAIN, "stress"), None, True
        yield f"{n} in a field", lambda n=n: water(n), (*PLAIN, "dipole"), field, True
    for n in (n for n in sizes if n <= 12288):
        yield f"{n} not recorded", lambda n=n: water(n), PLAIN, None, False
    for n in (n for n in sizes if 1000 < n < 10**5):
        yield f"{n} not fused", lambda n=n: water(n), PLAIN, None, True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="water")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="on a CPU: C++ for the local part")
    parser.add_argument("--most-seconds", type=float, default=10.0, help="of a case")
    parser.add_argument("--all-seconds", type=float, default=600.0, help="no case begins later")
    parser.add_argument("--most-atoms", type=int, default=10**6)
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--profile", default="1536,98304", help="cases, by name; empty for none")
    parser.add_argument("--top", type=int, default=15, help="kernels of a profile")
    parser.add_argument("--json", help="file for the numbers")
    args = parser.parse_args()
    cuda = args.device != "cpu"
    card = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"{card}, torch {torch.__version__}, model {args.model}, float32")
    print(
        f"{'atoms':26}{'ms':>9}{'mean':>9}{'search':>9}{'calls':>9}{'GB':>6}{'held':>7}{'ready':>7}"
    )
    kernels = os.environ.get("LRCALC_KERNELS", "1")
    begin, table, flops_per_atom = time.perf_counter(), {}, None
    for name, make, names, field, recorded in cases(args):
        if args.only and args.only not in name:
            continue
        if time.perf_counter() - begin > args.all_seconds:
            print(f"{name:26} no time left")
            continue
        try:
            os.environ["LRCALC_KERNELS"] = "0" if "not fused" in name else kernels
            frames, box = make()
            evaluator = Evaluator(args.model, device=args.device, field=field, compile=args.compile)
            evaluator.capture = recorded and cuda
            found, run = measure(evaluator, frames, box, names, args.most_seconds / 2)
            base = (
                table.get(name.split()[0], {}).get("ms") if " " in name and names != PLAIN else None
            )
            say(name, found, base)
            table[name] = found
            if name.isdigit():
                flops_per_atom = flops_per_atom or counted(args.model, names)
                atoms = frames.positions[..., 0].size
                found["flops"] = flops_per_atom * atoms
                found["floor_ms"] = floor(evaluator, found["flops"], atoms, card)
                if found["floor_ms"]:
                    print(
                        f"{'':6}floor {found['floor_ms']:.3f} ms ({found['flops']:.2e} operations)"
                    )
            if cuda and name in args.profile.split(","):
                total, launches, rows = busy(run, top=args.top)
                found["busy_ms"], found["kernels"] = total, [list(x) for x in rows]
                print(f"{'':6}busy {total:.3f} ms, {launches:.0f} kernels")
                for ms, count, kernel in rows:
                    print(f"{'':6}{ms:8.3f} ms {count:6.0f} {kernel}")
        except Exception as error:  # the next case is another one
            found = {"error": f"{type(error).__name__}: {error}".replace("\n", " ")}
            found["traceback"] = traceback.format_exc()
            table[name] = found
            say(name, found)
        run = evaluator = None
        if cuda:
            torch.cuda.empty_cache()
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"card": card, "torch": torch.__version__, "cases": table}, file, indent=1)


if __name__ == "__main__":
    main()
