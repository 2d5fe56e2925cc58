"""LO and TO at Γ of NaCl and MgO: DFT against models trained with and without Born charges.

    python benchmarks/undetermined_charges.py --shared ../shared --models FOLDER --out table.json
    python benchmarks/undetermined_charges.py --out table.json --picture charges.png

Reference: force constants fitted (symfc) to the forces of the displaced supercells of phonopy's
test data, with their Born charges and ε_∞. Models: FOLDER/{NaCl,MgO}-{plain,born-displaced,
born-cell}*.pt, without labels, and with them at a displaced frame or at the perfect crystal; their
force constants are fitted to their own forces on the same cells, so that both are treated alike.
LO has the non-analytical term of the model's own Born charges at the card's ε_∞.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import read

from lrcalc.evaluator import Evaluator

KEPT_OUT = [k for k in range(100) if k % 10 == 5]
"""Frames that `lrcalc train --test-every 10` keeps out; forces are judged on these alone."""

FRAMES = [k for k in range(100) if k % 10 != 5][::4]
"""Displaced cells whose forces make the force constants, none of them kept out: 20 give those of
all 100 to 0.1 cm⁻¹."""


def crystal(name: str, shared: Path) -> tuple[Any, list[Any], np.ndarray, np.ndarray]:
    """Perfect supercell, all displaced cells, Born charges and ε_∞ of a data set."""
    frames = read(shared / f"data/crystals/{name}_displaced_100.xyz.gz", ":")
    perfect = frames[0].copy()
    edge = perfect.cell.lengths()[0] / 4
    # ideal sites of rock salt: multiples of a quarter of the edge of the supercell
    perfect.positions = np.rint(perfect.positions / edge) * edge
    born = perfect.arrays["REF_born"].reshape(-1, 3, 3)
    return perfect, frames, born, np.asarray(frames[0].info["epsilon_infinity"])


def optical(perfect: Any, frames: list[Any], forces: np.ndarray, born: np.ndarray,
            epsilon: np.ndarray) -> dict[str, float]:  # fmt: skip
    """TO and LO at Γ, and LO at the zone boundary X, cm⁻¹."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(numbers=perfect.numbers, cell=perfect.cell.array,
                        scaled_positions=perfect.get_scaled_positions())  # fmt: skip
    primitive = [[0, 0.25, 0.25], [0.25, 0, 0.25], [0.25, 0.25, 0]]
    phonon = Phonopy(cell, np.eye(3), primitive_matrix=primitive, log_level=0)
    shifts = np.array([a.positions - perfect.positions for a in frames])
    length = perfect.cell.lengths()[0]
    shifts -= np.rint(shifts / length) * length
    phonon.dataset = {"displacements": shifts, "forces": forces}
    phonon.produce_force_constants(fc_calculator="symfc")
    kinds = [int(np.flatnonzero(perfect.numbers == z)[0]) for z in phonon.primitive.numbers]
    charges = np.array([np.eye(3) * born[perfect.numbers == perfect.numbers[k]].trace(
        axis1=1, axis2=2).mean() / 3 for k in kinds])  # fmt: skip
    phonon.nac_params = {"born": charges, "dielectric": epsilon, "factor": 14.399652}
    result = {}
    phonon.run_qpoints([[0, 0, 0]], nac_q_direction=[0.5, 0.0, 0.5])
    waves = np.sort(phonon.qpoints.frequencies[0]) * 33.35641
    result["TO"], result["LO"] = float(waves[3]), float(waves[-1])
    phonon.run_qpoints([[0.5, 0.0, 0.5]])
    result["LO at X"] = float(np.sort(phonon.qpoints.frequencies[0])[-1] * 33.35641)
    return result


def of_model(path: Path, perfect: Any, frames: list[Any]) -> dict[str, Any]:
    """Force error, Born charge and modes of a model."""
    evaluator = Evaluator(path, dtype="float64")
    forces, kept = (
        np.array([evaluator([frames[k]], ["forces"])[0]["forces"] for k in chosen])
        for chosen in (FRAMES, KEPT_OUT)
    )
    (rest,) = evaluator([perfect], ["forces", "born_effective_charges"])
    born = rest["born_effective_charges"]
    labels = np.array([frames[k].get_forces() for k in KEPT_OUT])
    epsilon = evaluator.epsilon_infinity * np.eye(3)
    metal = perfect.numbers == perfect.numbers.min() if 8 not in perfect.numbers else (
        perfect.numbers != 8)  # fmt: skip
    report = evaluator.potential.metadata.get("identifiability")
    return {
        "forces": float(np.sqrt(np.mean((kept - labels) ** 2))),
        "Z": float(born[metal].trace(axis1=1, axis2=2).mean() / 3),
        "report": report and report["verdict"],
        **optical(perfect, [frames[k] for k in FRAMES], forces - rest["forces"], born, epsilon),
    }


def picture(table: dict[str, Any], path: Path) -> None:
    """LO at Γ against the Born charge: DFT, models of energies and forces, and with one label."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.0, 3.4), layout="constrained")
    styles = {"-plain": ("o", "C0", "energies and forces"),
              "-born-displaced": ("^", "C1", "label at a displaced frame"),
              "-born-cell": ("s", "C2", "label at the perfect crystal")}  # fmt: skip
    for axis, (name, rows) in zip(axes, table.items(), strict=True):
        dft = rows["DFT"]
        for kind, (marker, colour, text) in styles.items():
            chosen = [row for model, row in rows.items() if kind in model]
            axis.plot([r["Z"] for r in chosen], [r["LO"] for r in chosen], marker, color=colour,
                      label=text, linestyle="none", markersize=9)  # fmt: skip
        axis.plot(dft["Z"], dft["LO"], "k*", markersize=8, label="DFT")
        charge = np.linspace(0, 1.15 * max(r["Z"] for r in rows.values()), 100)
        slope = (dft["LO"] ** 2 - dft["TO"] ** 2) / dft["Z"] ** 2
        axis.plot(charge, np.sqrt(dft["TO"] ** 2 + slope * charge**2), "k-", linewidth=0.7,
                  label="DFT's TO, any Z")  # fmt: skip
        axis.axhline(dft["TO"], color="0.6", linewidth=0.7, linestyle="--")
        axis.set(title=name, xlabel="Born charge of the metal (e)", ylabel="LO at Γ (cm⁻¹)")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure all models of the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--models", type=Path, help="folder; without it the table is drawn")
    parser.add_argument("--out", type=Path, required=True, help="table, JSON")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    if args.picture:
        picture(json.loads(args.out.read_text()), args.picture)
    if not args.models:
        return
    table: dict[str, Any] = {}
    for name in ("NaCl", "MgO"):
        perfect, frames, born, epsilon = crystal(name, args.shared)
        some = [frames[k] for k in FRAMES]
        forces = np.array([a.get_forces() for a in some])
        table[name] = {"DFT": {
            "Z": float(abs(born[0].trace()) / 3), **optical(perfect, some, forces, born, epsilon)
        }}  # fmt: skip
        for path in sorted(args.models.glob(f"{name}-*.pt")):
            if not path.name.endswith(".state.pt") and "-try" not in path.name:
                table[name][path.stem] = of_model(path, perfect, frames)
        for model, row in table[name].items():
            print(name, model, {k: round(v, 4) if isinstance(v, float) else v
                                for k, v in row.items()}, flush=True)  # fmt: skip
    args.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
