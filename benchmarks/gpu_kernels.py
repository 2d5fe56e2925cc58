"""Each part of a step with fused kernels and without, on a GPU: agreement, times, memory, profile.

    python benchmarks/gpu_kernels.py [--out FOLDER]

A minute. Prints for boxes of water of 1536, 12 288 and 98 304 atoms milliseconds forward +
backward of what kernels do, the same by torch (LRCALC_KERNELS=0), a whole call with pairs given,
and what the GPU is busy with; then the densities for other numbers of pairs and warps of a program,
and products for other numbers of lanes. FOLDER gets the profiles.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from lrcalc import zoo
from lrcalc.checkpoint import load
from lrcalc.kernels.trial import VERDICTS
from lrcalc.models.native.fast import Kernels
from lrcalc.models.native.fused import density as densities
from lrcalc.models.native.fused import products
from lrcalc.models.native.products import sort_by_species
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.prediction import Options, call_model, predict
from lrcalc.system import from_ase

BANDWIDTH = 3.35e12
"""Bytes a second of an H100's memory."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-kernels"), help="of profiles")
    out = parser.parse_args().out
    if not torch.cuda.is_available():
        raise SystemExit("needs a GPU: torch.cuda.is_available() says no")
    out.mkdir(parents=True, exist_ok=True)
    print(torch.__version__, torch.cuda.get_device_name())
    agree()
    model = load("water").cuda().float()
    for n in (2, 4, 8):
        parts(model, box(n), out)
    tune(model, box(8))
    for key, reason in VERDICTS.items():
        print("tried", *key[:1], key[2], "used" if reason is None else reason)


def kernels(on):
    os.environ["LRCALC_KERNELS"] = "1" if on else "0"


def box(n):
    """Water, n³ times 192 atoms, not quite periodic."""
    from ase.io import read

    system = from_ase(read(zoo.structure_file("water64")) * (n, n, n), device="cuda")
    noise = torch.randn(system.positions.shape, generator=torch.Generator().manual_seed(0))
    return system._replace(positions=system.positions + 0.01 * noise.double().cuda())


def milliseconds(function, times=8):
    """Mean of some calls after a first, by CUDA events: what the GPU waits for is in it."""
    function()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(times):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / times


def backward(values, inputs):
    """Make a function that takes the gradient of values with random weights."""
    slopes = [torch.randn_like(x) for x in values]
    return lambda: torch.autograd.grad(values, inputs, slopes, retain_graph=True)


def both(function, inputs):
    """Milliseconds of a function that returns tensors, and of their gradient."""
    values = [x for x in function() if x.requires_grad]
    return milliseconds(function), milliseconds(backward(values, inputs))


def agree():
    """Compare with torch: whole calls, both precisions."""
    for dtype, sizes in ((torch.float64, (1, 2)), (torch.float32, (1, 2, 4))):
        model = load("water").cuda().to(dtype)
        for n in sizes:
            system = box(n)
            pairs = build_pairs(system, model.cutoff)
            names = ("energy", "forces", "stress", "born_effective_charges")[: 4 if n == 1 else 2]
            kernels(True)
            found = predict(model, system, pairs, None, names)
            kernels(False)
            known = predict(model, system, pairs, None, names)
            worst = {
                k: float((found[k] - known[k]).abs().max() / known[k].abs().max()) for k in names
            }
            errors = ", ".join(f"{k} {x:.1e}" for k, x in worst.items())
            print(f"{str(dtype)[6:]}, {len(system.numbers)} atoms: {errors} (relative)")


def parts(model, system, out):
    """Time all parts, with kernels and without."""
    pairs = build_pairs(system, model.cutoff)
    atoms, rows = len(system.numbers), len(pairs.i)
    print(f"{atoms} atoms, {rows} pairs; milliseconds forward + backward")
    for on in (True, False):
        kernels(on)
        times = fused_parts(model, system, pairs) if on else {}
        times |= common_parts(model, system, pairs)
        text = ", ".join(f"{k} {x[0]:.2f} + {x[1]:.2f}" for k, x in times.items())
        print(f"  {'kernels' if on else 'torch'}: {text}")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

        def whole():
            names = {"energy", "forces"}
            return call_model(model, system, pairs, None, names, Options(1.0)).results(names)

        spent = milliseconds(whole, 4)
        print(f"    whole {spent:.2f} ms, {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
        busy(whole, out / f"{atoms}-{'kernels' if on else 'torch'}.txt", 8 if on else 0)
        if on:
            least = {"rows": 20 * rows + 1024 * atoms, "describe": 4 * 32 * atoms * 243}
            share = {k: x / BANDWIDTH / (1e-3 * times[k][0]) for k, x in least.items()}
            print(
                "    of the memory's speed: " + ", ".join(f"{k} {x:.0%}" for k, x in share.items())
            )


def fused_parts(model, system, pairs):
    """Time what has kernels of its own in the backbone."""
    part, fast = model.backbone, Kernels()
    known = part.species_of_number[system.numbers]
    atoms = sort_by_species(known, len(part.species))
    vectors = pair_vectors(system, pairs).float().detach().requires_grad_()
    rows_of = row_function(part, known, atoms, pairs, vectors)
    rows = rows_of()[0].detach().requires_grad_()
    weight = part.mixing().detach()
    density = products.mixed_rows(rows, weight, atoms.counts).detach().requires_grad_()

    def describe():
        found = part.describe(density, atoms, calibrate=False, fast=fast)
        return found.hidden, found.features[0]

    return {
        "rows": both(rows_of, vectors),
        "mixed": both(lambda: (products.mixed_rows(rows, weight, atoms.counts),), rows),
        "describe": both(describe, density),
    }


def row_function(part, known, atoms, pairs, vectors):
    ends = torch.arange(len(known) + 1, device="cuda")
    at = densities.Neighbours(torch.searchsorted(pairs.i, ends), pairs.j, known, atoms.place)
    arguments = (part.cutoff, len(part.species), part.n_basis)
    return lambda: (densities.neighbour_rows(vectors, at, *arguments),)


def common_parts(model, system, pairs):
    """Time backbone, readout and mesh as the switch has it."""
    system = system._replace(once=True)
    positions = system.positions.detach().requires_grad_()
    vectors = pair_vectors(system, pairs).float().detach().requires_grad_()
    found = model.backbone(system, pairs, vectors)
    scalars, arrows = (x.detach().requires_grad_() for x in found[:2])
    given = found._replace(scalars=scalars, vectors=arrows)
    moments = model.interpret(given, system, pairs, vectors).multipoles
    charge, dipole = (x.detach().requires_grad_() for x in (moments.charge, moments.dipole))
    moments, single = moments._replace(charge=charge, dipole=dipole), positions.float().detach()
    single.requires_grad_()

    def read():
        values = model.interpret(given, system, pairs, vectors)
        return values.energies, values.multipoles.charge, values.multipoles.dipole

    def electrostatics():
        cell = system.cell.float()
        return (model.ewald(single, cell, moments, pbc=system.pbc, check=False).energy,)

    def from_positions():
        return (pair_vectors(system._replace(positions=positions), pairs).float(),)

    return {
        "vectors": both(from_positions, positions),
        "backbone": both(lambda: model.backbone(system, pairs, vectors)[:2], vectors),
        "readout": both(read, [vectors, scalars, arrows]),
        "electrostatics": both(electrostatics, [single, charge, dipole]),
    }


def busy(function, file, most):
    """Say what the GPU works at in one call."""
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        function()
        torch.cuda.synchronize()
    rows = [
        (x.self_device_time_total / 1e3, x.count, x.key)
        for x in profiled.key_averages()
        if x.self_device_time_total > 0 and str(x.device_type).endswith("CUDA")
    ]
    rows.sort(reverse=True)
    file.write_text("\n".join(f"{ms:9.3f} ms x{count} {key}" for ms, count, key in rows))
    total, launches = sum(x[0] for x in rows), sum(x[1] for x in rows)
    print(f"    busy {total:.2f} ms in {launches} launches")
    for ms, count, key in rows[:most]:
        print(f"      {ms:.2f} ms x{count} {key[:80]}")


def tune(model, system):
    """Other shapes of programs."""
    kernels(True)
    part, fast = model.backbone, Kernels()
    pairs = build_pairs(system, model.cutoff)
    known = part.species_of_number[system.numbers]
    atoms = sort_by_species(known, len(part.species))
    vectors = pair_vectors(system, pairs).float().detach().requires_grad_()
    function = row_function(part, known, atoms, pairs, vectors)
    usual, tried = dict(densities.SHAPE), []
    for shape in ((4, 1), (8, 1), (16, 1), (8, 2), (16, 2), (16, 4), (32, 4)):
        densities.SHAPE.update(dict.fromkeys(usual, shape))
        tried.append("{}: {:.2f} + {:.2f}".format(shape, *both(function, vectors)))
    densities.SHAPE.update(usual)
    print("rows by (pairs, warps): " + ", ".join(tried))
    density = torch.randn(16, len(known), part.channels, device="cuda", requires_grad=True)
    usual_block, tried = products.BLOCK, []
    for block in (32, 64, 128, 256):
        products.BLOCK = block
        times = both(lambda: fast.describe(part, atoms, density)[:1], density)
        tried.append("{}: {:.2f} + {:.2f}".format(block, *times))
    products.BLOCK = usual_block
    print("describe by lanes: " + ", ".join(tried))


if __name__ == "__main__":
    main()
