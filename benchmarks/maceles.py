"""A converted MACE-LES model, and lrcalc's own `water`, against the MACE model in it.

python benchmarks/maceles.py FILE.model [--rounds 5]

192 atoms of water, float32, one thread, interleaved: MACE's own energy and forces (its
layers as mace-torch 0.3.16 evaluates them, through the file's weights, without charges: what the
published model takes is more), ours with charges, all Born charges, and the bundled `water` with
compiled functions. Needs mace-torch (`make test-mace`'s environment).
"""

import argparse
import time

import numpy as np
import torch

from lrcalc import Evaluator
from lrcalc.models.adapters import mace_convert
from lrcalc.structures import read_structure

ENERGY, BORN = ["energy", "forces"], ["born_effective_charges"]


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    atoms = read_structure("water64")
    theirs = Evaluator(without_charges(args.file))
    ours = Evaluator(mace_convert.convert(args.file, trust_pickle=True).float())
    native = Evaluator("water", compile=True)
    cases = {
        "MACE without charges, energy + forces": (theirs, ENERGY),
        "converted, energy + forces": (ours, ENERGY),
        "converted, all Born charges": (ours, BORN),
        "lrcalc's own `water`, energy + forces": (native, ENERGY),
    }
    times = {name: [] for name in cases}
    for k in range(args.rounds + 1):
        for name, (evaluator, wanted) in cases.items():
            start = time.process_time()
            evaluator([atoms], wanted)
            if k:
                times[name].append(time.process_time() - start)
    base, forces, born, own = (float(np.median(t)) for t in times.values())
    for name, t in times.items():
        print(f"{name:40} {1e3 * np.median(t):8.0f} ms (fastest {1e3 * min(t):.0f})")
    print(f"energy + forces against MACE without charges: {forces / base:.2f}")
    print(f"MACE without charges against lrcalc's own `water`: {base / own:.0f}")
    print(f"Born charges against a force call: {born / forces:.2f} (of MACE: {born / base:.2f})")


if __name__ == "__main__":
    main()
