"""Force errors, Born charges, LO and TO of NaCl and MgO, trained with and without Born charges.

    python benchmarks/undetermined_charges.py ../shared/data/crystals --out charges
    python benchmarks/undetermined_charges.py --out charges --picture charges.png

It writes frames without labels, a perfect cell of eight atoms with the Born charges, and a folder
of phonopy's for the reference, and then runs lrcalc's own commands on them: `train` (energies and
forces), `train --born-weight` (the cell beside them), `fit-charges` (the first model, taught
afterwards), and `evaluate` and `modes` of each. What is done already is not done again.

Reference: force constants fitted (symfc) to the forces of all displaced cells, with the Born
charges and ε_∞ of the data; of models by finite displacements in cells of the same size, with
their own charges and ε_∞.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

METALS = {"NaCl": "Na", "MgO": "Mg"}
KINDS = {"plain": ("o", "C0", "energies and forces"),
         "fitted": ("^", "C1", "labelled cell, afterwards"),
         "labelled": ("s", "C2", "labelled cell from the start")}  # fmt: skip
SPLIT = ("--test-every", "10", "--valid-every", "9")
KEPT_OUT = "5::10"
"""Frames that --test-every 10 keeps out."""


def lrcalc(folder: Path, *words: str) -> str:
    """Run a command in a folder, and return what it prints."""
    print("lrcalc " + " ".join(words), flush=True)
    command = [sys.executable, "-m", "lrcalc", *words]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def prepare(data: Path, name: str, folder: Path) -> None:
    """Write frames without labels, the perfect cell with them, and phonopy's file."""
    frames = read(data / f"{name}_displaced_100.xyz.gz", ":")
    perfect = frames[0].copy()
    length = perfect.cell.lengths()[0]
    # ideal sites of rock salt: multiples of a quarter of the edge of the supercell
    perfect.positions = np.rint(perfect.positions / (length / 4)) * (length / 4)
    shifts = np.array([a.positions - perfect.positions for a in frames])
    shifts -= np.rint(shifts / length) * length
    forces = np.array([a.get_forces() for a in frames])
    # harmonic: 0.002 and 0.009 meV/atom of scatter over the frames
    energies = [a.get_potential_energy() for a in frames] + 0.5 * (shifts * forces).sum((1, 2))
    cell = perfect[(perfect.get_scaled_positions() < 0.499).all(1)]
    cell.cell = perfect.cell / 2
    cell.calc = SinglePointCalculator(
        cell, energy=float(np.mean(energies)) / 8, forces=np.zeros((8, 3))
    )
    write(folder / f"{name}-cell.xyz", cell)
    write_phonopy(folder / f"{name}-dft", cell, perfect, shifts, forces)
    for atoms in frames:
        del atoms.arrays["REF_born"]
    write(folder / f"{name}-frames.xyz", frames)


def write_phonopy(
    folder: Path, cell: Any, perfect: Any, shifts: np.ndarray, forces: np.ndarray
) -> None:
    """Displacements and forces as phonopy keeps them, in its order of atoms."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    unit = PhonopyAtoms(numbers=cell.numbers, cell=cell.cell.array, positions=cell.positions)
    phonon = Phonopy(unit, 2 * np.eye(3), primitive_matrix="F", log_level=0)
    sites = perfect.get_scaled_positions()
    away = phonon.supercell.scaled_positions[:, None] - sites
    order = np.abs(away - np.rint(away)).sum(-1).argmin(1)
    assert (perfect.numbers[order] == phonon.supercell.numbers).all()
    phonon.dataset = {"displacements": shifts[:, order], "forces": forces[:, order]}
    born = {z: cell.arrays["REF_born"].reshape(-1, 3, 3)[cell.numbers == z].mean(0)
            for z in set(cell.numbers)}  # fmt: skip
    phonon.nac_params = {"born": np.array([born[z] for z in phonon.primitive.numbers]),
                         "dielectric": cell.info["epsilon_infinity"],
                         "factor": 14.399652}  # fmt: skip
    folder.mkdir(exist_ok=True)
    phonon.save(folder / "phonopy_params.yaml", settings={"force_constants": False})


def make(folder: Path, name: str, kind: str, seed: int, args: argparse.Namespace) -> str:
    """Train a model, or teach one, unless it is there; return the name of its file."""
    model = f"{name}-{kind}-{seed}"
    frames, cell = f"{name}-frames.xyz", f"{name}-cell.xyz"
    if (folder / f"{model}.txt").exists():
        return model
    if kind == "fitted":
        said = lrcalc(folder, "fit-charges", f"{name}-plain-{seed}.pt", "--data", frames, cell,
                      *SPLIT, "--born-weight", "1", "--epochs", str(args.fit_epochs),
                      "--step-memory", "20", "--seed", str(seed), "-o", f"{model}.pt")  # fmt: skip
    else:
        more = {"labelled": [cell, "--born-weight", "1", "--allow-images"],
                "plain": ["--ensemble", str(args.ensemble)]}[kind]  # fmt: skip
        said = lrcalc(folder, "train", "--train", frames, *more, *SPLIT, "--channels", "12",
                      "--hidden", "32", "--step-memory", "20", "--epochs", str(args.epochs),
                      "--seed", str(seed), "--out", f"{model}.pt")  # fmt: skip
    (folder / f"{model}.txt").write_text(said)
    return model


def measured(folder: Path, name: str, model: str) -> dict[str, Any]:
    """Errors on kept-out frames, Born charge of the metal, TO and LO at Γ (cm⁻¹), the report."""
    from lrcalc.checkpoint import load

    errors, modes = folder / f"{model}-errors.json", folder / f"{model}-modes.json"
    if not errors.exists():
        lrcalc(folder, "evaluate", f"{model}.pt", f"{name}-frames.xyz", "--frames", KEPT_OUT,
               "--json", errors.name)  # fmt: skip
    if not modes.exists():
        lrcalc(folder, "modes", f"{name}-cell.xyz", "--model", f"{model}.pt", "--supercell",
               "2,2,2", "--primitive", "F", "--no-relax", "--json", modes.name, "-o",
               model)  # fmt: skip
    kept = json.loads(errors.read_text())["kept_out"]
    report = load(folder / f"{model}.pt").metadata.get("identifiability", {})
    return {
        "forces": 1e3 * kept["forces"]["rmse"],
        "energy": 1e3 * kept["energy_shifted"]["rmse"],
        "Z": charge(folder / f"{model}-BORN"),
        **optical(modes),
        "report": report.get("verdict"),
        "rest / error": report and report["rest"] and report["rest"] / report["error"],
        "spread": report.get("relative_spread") if report.get("members") else None,
    }


def optical(modes: Path) -> dict[str, float]:
    """TO and LO at Γ, cm⁻¹, of a file of `lrcalc modes`."""
    waves = json.loads(modes.read_text())["longitudinal"][0]["wavenumbers_cm1"]
    return {"TO": min(waves), "LO": max(waves)}


def charge(path: Path) -> float:
    """Born charge of the first atom in a BORN file, which is a metal; e."""
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return float(np.array(rows[1], float).reshape(3, 3).trace() / 3)


def picture(table: dict[str, Any], path: Path) -> None:
    """LO at Γ against the Born charge: DFT, models of energies and forces, and with one label."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="constrained")
    for axis, (name, rows) in zip(axes, table.items(), strict=True):
        dft = rows["DFT"]
        for kind, (marker, colour, text) in KINDS.items():
            chosen = [row for model, row in rows.items() if f"-{kind}-" in model]
            axis.plot([r["Z"] for r in chosen], [r["LO"] for r in chosen], marker, color=colour,
                      label=text, linestyle="none", markersize=9)  # fmt: skip
        axis.plot(dft["Z"], dft["LO"], "k*", markersize=8, label="DFT")
        wide = np.linspace(0, 1.15 * max(r["Z"] for r in rows.values()), 100)
        slope = (dft["LO"] ** 2 - dft["TO"] ** 2) / dft["Z"] ** 2
        axis.plot(wide, np.sqrt(dft["TO"] ** 2 + slope * wide**2), "k-", linewidth=0.7,
                  label="DFT's TO, any Z")  # fmt: skip
        axis.axhline(dft["TO"], color="0.6", linewidth=0.7, linestyle="--")
        axis.set(title=name, xlabel="Born charge of the metal (e)", ylabel="LO at Γ (cm⁻¹)")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Make and measure all models, crystal by crystal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="folder; without it a table is drawn")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--fit-epochs", type=int, default=6, help="of `fit-charges`")
    parser.add_argument("--ensemble", type=int, default=0, help="readouts for the report")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    path = args.out / "table.json"
    if args.data:
        args.out.mkdir(exist_ok=True)
        table: dict[str, Any] = {}
        for name in METALS:
            modes = args.out / f"{name}-dft.json"
            if not modes.exists():
                prepare(args.data, name, args.out)
                lrcalc(args.out, "modes", "--from", f"{name}-dft", "--json", modes.name)
            cell = read(args.out / f"{name}-cell.xyz")
            born = cell.arrays["REF_born"].reshape(-1, 3, 3)[cell.symbols == METALS[name]]
            table[name] = {"DFT": {"Z": float(born.mean(0).trace() / 3), **optical(modes)}}
        for seed, name, kind in itertools.product(range(args.seeds), METALS, args.kinds):
            model = make(args.out, name, kind, seed, args)
            table[name][model] = row = measured(args.out, name, model)
            print(model, {k: round(v, 4) if isinstance(v, float) else v
                          for k, v in row.items()}, flush=True)  # fmt: skip
            path.write_text(json.dumps(table, indent=1) + "\n")
    if args.picture:
        picture(json.loads(path.read_text()), args.picture)


if __name__ == "__main__":
    main()
