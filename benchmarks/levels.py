"""Levels of the theory on several data sets, each under one small budget, from two seeds.

    python benchmarks/levels.py ../shared/data --out levels [--only NaCl SiO2]
    python benchmarks/levels.py --out levels --picture levels.png

Runs `lrcalc benchmark levels` (and prints its command) for one data set after the other; what is
trained already is not trained again. Then it prints a table in markdown: errors on kept-out frames
as means over seeds ± their standard error, and what each step of the hierarchy changed, with the
error of the difference. `--out levels` keeps all numbers in levels/table.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.io import read, write

LEVELS = ("sr", "q", "u", "uiu", "uQiqiu")
COLOURS = ("0.4", "#d95f02", "#1f77b4", "#2ca02c", "#9467bd")


class DataSet(NamedTuple):
    """Files, passes over their training frames, and what is special about them."""

    title: str
    files: tuple[str, ...]
    epochs: int
    options: tuple[str, ...] = ()


SETS = {
    "NaCl": DataSet("NaCl", ("crystals/NaCl_displaced_100.xyz.gz",), 14),
    "dimers": DataSet("charged dimers", ("molecules/charged_dimers_130.xyz.gz",), 10),
    "SiO2": DataSet("SiO2", ("crystals/SiO2_150.xyz.gz",), 9, ("--epsilon-infinity", "2.38")),
    "dipeptides": DataSet("dipeptides", ("molecules/dipeptides_train.xyz.gz",), 3),
    "water": DataSet("water", ("water/rpbe_d3_born_70.xyz.gz",), 9,
                     ("--epsilon-infinity", "1.78")),
    "BaTiO3": DataSet("BaTiO3", ("crystals/BaTiO3_55.xyz.gz",), 12,
                      ("--epsilon-infinity", "4.84")),
}  # fmt: skip
"""Epochs make about 1100 steps of one structure, of the larger ones 450 to 500."""


def prepared(data: Path, name: str, folder: Path) -> list[str]:
    """Files of a data set; charged dimers, which stand in large cells, as open structures."""
    files = [str(data / file) for file in SETS[name].files]
    if name != "dimers":
        return files
    frames = read(files[0], ":")
    for atoms in frames:
        atoms.set_cell(None)
        atoms.pbc = False
        atoms.info = {"charge": int(atoms.info["chargeA"]) + int(atoms.info["chargeB"])}
    write(folder / "dimers.xyz", frames)
    return ["dimers.xyz"]


def train(data: Path, name: str, folder: Path, seeds: int, levels: Sequence[str]) -> None:
    """Run the command for one data set."""
    words = ["benchmark", "levels", "--train", *prepared(data.absolute(), name, folder),
             "--test-every", "7", "--valid-every", "10", "--levels", *levels, "--seeds",
             str(seeds), "--epochs", str(SETS[name].epochs), "--batch-size", "1", "--channels",
             "16", "--hidden", "32", "--step-memory", "20", *SETS[name].options,
             "-o", name]  # fmt: skip
    print("lrcalc " + " ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", "lrcalc", *words], cwd=folder, check=True)


def short(value: Any) -> Any:
    """Five digits of a number."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def gather(folder: Path) -> dict[str, dict[str, Any]]:
    """All numbers of the data sets that are there, small."""
    table = {}
    for name in SETS:
        path = folder / f"{name}.json"
        if path.exists():
            content = json.loads(path.read_text())
            rows = [{k: short(v) for k, v in row.items()} for row in content["models"]]
            keys = ("frames", "tests", "epochs", "batch_size", "channels")
            table[name] = {"settings": {k: content["settings"][k] for k in keys}, "models": rows}
    return table


def statistics(rows: list[dict[str, Any]], level: str, key: str) -> tuple[float, float] | None:
    """Mean over seeds of a number and its standard error (NaN of one seed), or None."""
    values = [row[key] for row in rows if row["level"] == level and row.get(key) is not None]
    if not values:
        return None
    n = len(values)
    return float(np.mean(values)), float(np.std(values, ddof=1) / n**0.5) if n > 1 else math.nan


def told(found: tuple[float, float] | None) -> str:
    """Mean ± error to the digits that the error allows."""
    if found is None:
        return "–"
    mean, error = found
    if not math.isfinite(error):
        return f"{mean:.3g}"
    digits = min(4, max(0, 1 - math.floor(math.log10(error)))) if error > 0 else 3
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """Table of all data sets and levels; the last column compares with the row above."""
    lines = ["| data | level | forces, meV/Å | energy, meV/atom | Born R² | dipole R² | E + F, ms "
             "| training, min | forces against the row above |", "|---" * 9 + "|"]  # fmt: skip
    for name, content in table.items():
        before = None
        rows = content["models"]
        for level in dict.fromkeys(row["level"] for row in rows):
            keys = ("forces", "energy", "born", "dipole", "call", "minutes")
            found = {key: statistics(rows, level, key) for key in keys}
            forces = found["forces"]
            assert forces is not None
            step = "–"
            if before is not None:
                change = forces[0] - before[0]
                step = f"{change:+.2g} ± {math.hypot(forces[1], before[1]):.2g}"
            cells = [told(found[k]) for k in ("forces", "energy", "born", "dipole")]
            costs = [f"{found[k][0]:.2g}" if found[k] else "–" for k in ("call", "minutes")]
            title = SETS[name].title if before is None else ""
            lines.append("| " + " | ".join([title, level, *cells, *costs, step]) + " |")
            before = forces
    return "\n".join(lines)


def picture(table: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw errors of forces, and below of Born charges or dipoles: a dot a seed, a bar the mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 * len(table) + 0.6, 5.4), layout="constrained")
    panels = figure.subplots(2, len(table), squeeze=False)
    for column, (name, content) in enumerate(table.items()):
        rows = content["models"]
        electrical = "born" if any(row.get("born") is not None for row in rows) else "dipole"
        for axis, key in zip(panels[:, column], ("forces", electrical), strict=True):
            levels = list(dict.fromkeys(row["level"] for row in rows))
            seen = False
            for place, level in enumerate(levels):
                values = [row[key] for row in rows
                          if row["level"] == level and row.get(key) is not None]  # fmt: skip
                values = values if key == "forces" else [1 - value for value in values]
                if values:
                    seen = True
                    colour = COLOURS[LEVELS.index(level)]
                    axis.plot([place] * len(values), values, "o", color=colour, markersize=4,
                              alpha=0.7)  # fmt: skip
                    mean = float(np.mean(values))
                    axis.plot([place - 0.3, place + 0.3], [mean, mean], color=colour, linewidth=2)
            axis.set_xticks(range(len(levels)), levels, rotation=45, ha="right", fontsize="small")
            axis.set_xlim(-0.6, len(levels) - 0.4)
            axis.grid(True, axis="y", which="both", alpha=0.3)
            if key == "forces":
                axis.set_title(SETS[name].title)
                axis.margins(y=0.15)
            elif seen:
                axis.set_yscale("log")
                axis.set_title("Born charges" if key == "born" else "dipoles", fontsize="medium")
            else:
                axis.set_axis_off()
    panels[0, 0].set_ylabel("forces, RMSE (meV/Å)")
    panels[1, 0].set_ylabel("1 − R²")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Train, gather, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="folder; without it nothing is trained")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    path = args.out / "table.json"
    if args.data:
        args.out.mkdir(exist_ok=True)
        for name in args.only:
            train(args.data, name, args.out, args.seeds, args.levels)
            path.write_text(json.dumps(gather(args.out)) + "\n")
    table = json.loads(path.read_text())
    print(markdown(table))
    if args.picture:
        picture(table, args.picture)


if __name__ == "__main__":
    main()
