"""Errors of models trained on frames that `lrcalc select` keeps, and on frames drawn at random.

    python benchmarks/selection.py ../shared/data/crystals/SiO2_150.xyz.gz

Frames of two temperatures; the pool to select from has few of the hot ones, as data that come one
run after the other do. Every training takes the same number of steps.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import write

from lrcalc.training.data import read_structures

STEPS, FEW, TESTED = 600, 10, 15
COUNTS, SEEDS = (10, 20, 40), (0, 1)


def lrcalc(*words):
    subprocess.run([sys.executable, "-m", "lrcalc", *words], check=True, capture_output=True)


def forces_error(frames, seed, folder):
    """Root mean square error (meV/Å) on the tested frames of a model trained on ``frames``."""
    data, model = folder / "train.xyz", folder / "model.pt"
    write(data, frames)
    lrcalc("train", "--train", str(data), "--valid", str(data), "--level", "sr", "--channels", "16",
           "--epochs", str(STEPS // len(frames)), "--seed", str(seed), "--restart",
           "--out", str(model))  # fmt: skip
    lrcalc("evaluate", str(model), str(folder / "test.xyz"), "--json", str(folder / "errors.json"))
    report = json.loads((folder / "errors.json").read_text())
    return 1e3 * report["kept_out"]["forces"]["rmse"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--hot", type=float, default=2.4, help="rms force of hot frames, eV/Å")
    args = parser.parse_args()
    frames = read_structures(args.data)
    for atoms in frames:  # a short-ranged model has nothing to say of them
        atoms.arrays.pop("REF_born", None)
        atoms.info.pop("REF_polarizability", None)
    rms = np.array([np.sqrt((a.get_forces() ** 2).mean()) for a in frames])
    hot, cold = np.flatnonzero(rms > args.hot), np.flatnonzero(rms <= args.hot)
    draw = np.random.default_rng(0)
    draw.shuffle(hot)
    draw.shuffle(cold)
    pool = sorted(np.concatenate([hot[TESTED : TESTED + FEW], cold[TESTED:]]))
    print(f"{len(pool)} frames to select from, {FEW} of them hot; {2 * TESTED} tested, half hot")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "test.xyz", [frames[k] for k in sorted([*hot[:TESTED], *cold[:TESTED]])])
        write(folder / "pool.xyz", [frames[k] for k in pool])
        lrcalc("select", str(folder / "pool.xyz"), "--keep", str(max(COUNTS)), "-o",
               str(folder / "kept"))  # fmt: skip
        kept = read_structures(folder / "kept.xyz")
        for count in COUNTS:
            found = {"selected": [], "at random": []}
            for seed in SEEDS:
                found["selected"].append(forces_error(kept[:count], seed, folder))
                some = np.random.default_rng(100 + seed).choice(pool, count, replace=False)
                found["at random"].append(forces_error([frames[k] for k in some], seed, folder))
            told = "; ".join(
                f"{how} {', '.join(f'{x:.0f}' for x in errors)}" for how, errors in found.items()
            )
            print(f"{count} frames, forces, meV/Å: {told}", flush=True)


if __name__ == "__main__":
    main()
