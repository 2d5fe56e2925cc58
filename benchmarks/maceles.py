"""A converted MACE-LES model, and lrcalc's own `water`, against the MACE model in it.

python benchmarks/maceles.py FILE.model [--rounds 5] [--boxes 1 2] [--threads 1]

Boxes of 192 atoms of water (2: twice in each direction, 1536), float32, interleaved: MACE's own
energy and forces (its layers as mace-torch 0.3.16 evaluates them, through the file's weights,
without charges: what the published model takes is more), the sum over waves of the published
equation with its gradient (plainly in torch: the package that the published model takes it from is
not on PyPI), ours with charges, all Born charges, and the bundled `water` with compiled functions.
CPU times of one thread, wall times of several. Needs mace-torch (`make test-mace`'s environment).
"""

import argparse
import math
import time

import numpy as np
import torch

from lrcalc import Evaluator
from lrcalc.models.adapters import mace_convert
from lrcalc.structures import read_structure

ENERGY, BORN = ["energy", "forces"], ["born_effective_charges"]
STRENGTH = 90.4756
"""1/(2 ε0), eV Å/e²."""


def without_charges(path):
    """Return the file's MACE, evaluated by mace-torch's blocks and without electrostatics."""
    known, mace_convert.couplings_of = mace_convert.couplings_of, lambda *_: None
    kinds, mace_convert.KINDS = mace_convert.KINDS, {"MACELES": "sr"}
    checked, mace_convert.refuse_unused = mace_convert.refuse_unused, lambda *_, **__: None
    try:
        return mace_convert.convert(path, trust_pickle=True).float()
    finally:
        mace_convert.couplings_of, mace_convert.KINDS = known, kinds
        mace_convert.refuse_unused = checked


class Waves:
    """``(1/2V) Σ v̂(k) |S(k)|²`` of charges, as physics §1 has it, and its gradient."""

    def __init__(self, atoms, sigma=1.0, k_cutoff=math.pi):
        cell = torch.tensor(np.asarray(atoms.cell), dtype=torch.float32)
        inverse = 2.0 * math.pi * torch.linalg.inv(cell).T
        most = [math.ceil(k_cutoff * float(a.norm()) / (2.0 * math.pi)) for a in cell]
        grid = torch.cartesian_prod(*(torch.arange(-n, n + 1.0) for n in most))
        code = ((grid[:, 0] * 1e3 + grid[:, 1]) * 1e3) + grid[:, 2]
        waves = grid[code > 0] @ inverse  # one of each pair
        square = waves.square().sum(1)
        self.waves, square = waves[square <= k_cutoff**2], square[square <= k_cutoff**2]
        front = 2.0 * STRENGTH / float(cell.det())
        self.weight = 2.0 * front * torch.exp(-0.5 * (sigma**2) * square) / square
        self.charge = torch.randn(len(atoms), generator=torch.Generator().manual_seed(0))

    def __call__(self, structures, wanted):
        """Gradients by positions and charges, of the first structure."""
        positions = torch.tensor(structures[0].positions, dtype=torch.float32).requires_grad_()
        charge = self.charge.clone().requires_grad_()
        phase = positions @ self.waves.T
        real, imaginary = charge @ torch.cos(phase), charge @ torch.sin(phase)
        energy = 0.5 * (self.weight * (real**2 + imaginary**2)).sum()
        return torch.autograd.grad(energy, [positions, charge])


def compare(path, box, rounds, threads):
    """Print times and ratios of one size."""
    atoms = read_structure("water64").repeat((box, box, box))
    theirs = Evaluator(without_charges(path))
    ours = Evaluator(mace_convert.convert(path, trust_pickle=True).float())
    native = Evaluator("water", compile=True)
    cases = {
        "MACE without charges, energy + forces": (theirs, ENERGY),
        "the published sum over waves": (Waves(atoms), ENERGY),
        "converted, energy + forces": (ours, ENERGY),
        "converted, all Born charges": (ours, BORN),
        "lrcalc's own `water`, energy + forces": (native, ENERGY),
    }
    clock = time.process_time if threads == 1 else time.perf_counter
    times = {name: [] for name in cases}
    for k in range(rounds + 1):
        for name, (evaluator, wanted) in cases.items():
            for turn in range(1 if evaluator is theirs else 3):  # after another caches are cold
                start = clock()
                evaluator([atoms], wanted)
                if k and (turn or evaluator is theirs):
                    times[name].append(clock() - start)
    base, waves, forces, born, own = (float(np.median(t)) for t in times.values())
    print(f"{len(atoms)} atoms, {threads} thread(s)")
    for name, t in times.items():
        print(f"{name:40} {1e3 * np.median(t):8.1f} ms (fastest {1e3 * min(t):.1f})")
    print(f"energy + forces against MACE without charges: {forces / base:.2f}")
    print(f"MACE without charges against lrcalc's own `water`: {base / own:.0f}")
    print(f"... with the published sum: {(base + waves) / own:.0f}")
    print(f"Born charges against a force call: {born / forces:.2f} (of MACE: {born / base:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--boxes", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for box in args.boxes:
        compare(args.file, box, args.rounds, args.threads)


if __name__ == "__main__":
    main()
