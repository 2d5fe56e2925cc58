r"""Time of energy and forces of water against the number of atoms, on a GPU and on a CPU.

    python benchmarks/gpu.py --json gpu.json                  # on a GPU
    OMP_NUM_THREADS=1 python benchmarks/gpu.py --device cpu --compile --json cpu.json \
        --most-atoms 98304
    python benchmarks/cost.py gpu.json cpu.json -o cost.png

Beside them what others take on an H100, not measured by these commands: see `OTHERS`.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from lrcalc.files import replacing

OTHERS = {
    "qNEP in GPUMD, H100, a whole step (arXiv:2601.19034)": {
        1536: 1.25, 12288: 1.6, 98304: 6.3, 786432: 49.0,
    },
    "published MACE-LES (128x0e, 2 layers, mace-torch), H100": {
        192: 31.0, 1536: 71.0, 12288: 485.0,
    },
}  # fmt: skip
"""Milliseconds on one H100 by number of atoms, energy and forces of water: of qNEP what its authors
state, of MACE-LES what was measured in November 2026."""


def times(path):
    """Name of the device, and milliseconds a call with its share of searches, by atoms."""
    found = json.loads(Path(path).read_text())
    rows = {int(k): v["mean_ms"] for k, v in found["cases"].items() if k.isdigit() and "ms" in v}
    floor = {int(k): v.get("floor_ms") for k, v in found["cases"].items() if k.isdigit()}
    return found["card"], rows, {k: v for k, v in floor.items() if v}


def main():
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", help="what benchmarks/gpu.py wrote by --json")
    parser.add_argument("-o", "--out", type=Path, default=Path("cost.png"))
    args = parser.parse_args()
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    panel = figure.subplots()
    for path in args.files:
        card, rows, floor = times(path)
        name = "one thread of a CPU, compiled" if card == "CPU" else card
        panel.loglog(*zip(*rows.items(), strict=True), "o-", label=f"lrcalc, {name}")
        if floor:
            label = "operations and bytes of lrcalc's model, H100"
            panel.loglog(*zip(*floor.items(), strict=True), ":", color="0.5", label=label)
    for label, rows in OTHERS.items():
        panel.loglog(*zip(*rows.items(), strict=True), "s--", ms=4, lw=1, label=label)
    panel.set(xlabel="atoms", ylabel="ms, energy + forces")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize=8)
    with replacing(args.out) as file:
        figure.savefig(file, dpi=130)
    print(args.out)


if __name__ == "__main__":
    main()
