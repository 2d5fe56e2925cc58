"""Water with beads: whether a model holds together where it was never trained.

    python benchmarks/beads.py --model water --temperature 300 600        # 20 ps each: hours
    python benchmarks/beads.py --model water --picoseconds 0.2 --folder /tmp/beads

The bundled box of 64 waters, 8 beads, PILE-G, by `lrcalc ipi-input` and `lrcalc ipi-run`. In the
frames of all beads: the shortest distance of two oxygens and of two hydrogens, the longest of a
hydrogen to the oxygen that is nearest to it, and how many oxygens do not have two hydrogens. A
model that collapses lets two oxygens fall into one another (below 2.2 Å); a bond is called broken
where a hydrogen left the oxygen that it began with, on most beads at once.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.geometry import get_distances
from matplotlib.figure import Figure

from lrcalc.files import replacing
from lrcalc.ipi_files.beads import bead_files
from lrcalc.ipi_files.folder import read_run, run_properties
from lrcalc.ipi_files.xyz import read_frames
from lrcalc.progress import progress_bar

FRAME = 20.0  # fs between frames
COLLAPSED = 2.2  # Å between oxygens; 2.4 is the shortest in a proton that two waters share


def run(folder, model, temperature, steps, beads, compiled, timestep):
    """Write the input and run it, or go on with a run that was stopped."""
    lrcalc = [sys.executable, "-m", "lrcalc"]
    if not (folder / "input.xml").exists():
        words = ["--kind", "pimd", "--beads", beads, "--timestep", timestep, "--steps", steps,
                 "--temperature", temperature, "--structure", "water64", "--model", model,
                 "--workdir", folder, "--stride", 20,
                 "--positions-stride", round(FRAME / timestep),
                 *(["--compile"] if compiled else [])]  # fmt: skip
        subprocess.run([*lrcalc, "ipi-input", *map(str, words)], check=True)
    if not (folder / "seconds").exists():
        begun = (folder / "sim.out").exists()
        words = ["--resume", folder, "--steps", steps] if begun else [folder / "input.xml"]
        began = time.perf_counter()
        subprocess.run([*lrcalc, "ipi-run", *map(str, words)], check=True)
        # of a run in several pieces nobody knows how long it took
        (folder / "seconds").write_text("nan" if begun else f"{time.perf_counter() - began}")
    return float((folder / "seconds").read_text())


def distances(frame):
    """Distances of oxygens, of hydrogens, and of hydrogens (rows) to oxygens."""
    symbols = np.array(frame.names)
    oxygen, hydrogen = frame.values[symbols == "O"], frame.values[symbols == "H"]
    periodic = {"cell": frame.cell, "pbc": True}
    of_same = [get_distances(x, **periodic)[1] for x in (oxygen, hydrogen)]
    for matrix in of_same:
        np.fill_diagonal(matrix, np.inf)
    return (*of_same, get_distances(hydrogen, oxygen, **periodic)[1])


def extremes(folder):
    """Rows (frames, beads, 4): shortest OO and HH, longest OH bond (Å), oxygens without two H.

    And the share of beads (frames, hydrogens) on which a hydrogen is not with its first oxygen.
    """
    files = bead_files(folder / "sim", "pos")
    rows, away = [], []
    with progress_bar(len(files), unit="bead", title="distances") as bar:
        for file in files:
            of_bead, elsewhere, first = [], [], None
            for frame in read_frames(file):
                oo, hh, ho = distances(frame)
                nearest = ho.argmin(axis=1)
                first = nearest if first is None else first
                counts = np.bincount(nearest, minlength=ho.shape[1])
                of_bead.append((oo.min(), hh.min(), ho.min(axis=1).max(), np.sum(counts != 2)))
                elsewhere.append(nearest != first)
            rows.append(of_bead)
            away.append(elsewhere)
            bar.update(1)
    shortest = min(map(len, rows))
    table = np.array([row[:shortest] for row in rows]).swapaxes(0, 1)
    return table, np.mean([row[:shortest] for row in away], axis=0)


def summary(folder, seconds, steps):
    """Return what is printed of a run, and its extremes."""
    table, away = extremes(folder)
    properties = run_properties(read_run(folder)).values
    half = len(properties["conserved"]) // 2
    picoseconds, conserved = 1e-3 * properties["time"][half:], properties["conserved"][half:]
    return {
        "frames": len(table),
        "shortest OO": float(table[..., 0].min()),
        "shortest HH": float(table[..., 1].min()),
        "longest OH": float(table[..., 2].max()),
        "most O without two H": int(table[..., 3].max()),
        "frames with a broken bond": int(np.sum((away > 0.5).any(axis=1))),
        "temperature": float(properties["temperature"][half:].mean()),
        "drift meV/atom/ps": float(1e3 * np.polyfit(picoseconds, conserved, 1)[0] / 192),
        "ms per step": 1e3 * seconds / steps,
    }, table


def picture(path, tables):
    """Extremes of distances against time, of each temperature."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for panel, (name, column, of) in zip(
        figure.subplots(1, 2),
        (("shortest O-O", 0, np.min), ("longest H to nearest O", 2, np.max)),
        strict=True,
    ):
        for label, table in tables.items():
            ps = np.arange(len(table)) * FRAME / 1000
            panel.plot(ps, of(table[..., column], axis=1), lw=0.7, label=label)
        panel.set(xlabel="time (ps)", ylabel=f"{name} on any bead (Å)")
        panel.legend(frameon=False)
    with replacing(path) as file:
        figure.savefig(file, dpi=130)


def main():
    """Run, print a table, write numbers and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="water")
    parser.add_argument("--temperature", type=float, nargs="+", default=(300.0, 600.0))
    parser.add_argument("--picoseconds", type=float, default=20.0)
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument(
        "--timestep", type=float, default=0.25,
        help="fs; at 0.5 the conserved quantity of 8 beads at 300 K drifts by 3 meV/atom/ps",
    )  # fmt: skip
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("beads"), help="to keep runs in")
    args = parser.parse_args()
    steps = round(1000 * args.picoseconds / args.timestep)
    found, tables = {}, {}
    for temperature in args.temperature:
        folder = args.folder / f"{Path(args.model).stem}-{temperature:g}K"
        compiled = not args.no_compile
        seconds = run(folder, args.model, temperature, steps, args.beads, compiled, args.timestep)
        label = f"{args.model}, {temperature:g} K"
        found[label], tables[label] = summary(folder, seconds, steps)
        print(label)
        for name, value in found[label].items():
            print(f"  {name:28} {value:.4g}")
        print(
            "  " + ("collapsed" if found[label]["shortest OO"] < COLLAPSED else "held"), flush=True
        )
    with replacing(args.folder / f"{Path(args.model).stem}.json") as file:
        file.write_text(json.dumps(found, indent=1))
    picture(args.folder / f"{Path(args.model).stem}.png", tables)


if __name__ == "__main__":
    main()
