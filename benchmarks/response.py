"""Born charges and polarizabilities of a model against density functional theory.

    python benchmarks/response.py water ../shared/data/water/rpbe_d3_born_70.xyz.gz \
        --picture born.png
    python benchmarks/response.py water bulk32_dipole_polarizability_300.xyz.gz --unit A3 \
        --local-field clausius-mossotti --picture polarizability.png

Frames that the model was trained on are left out (Born charges were never fitted, but the
structures were seen).
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lrcalc import Evaluator
from lrcalc.hashing import structure_hash
from lrcalc.model_errors import errors, reference_born
from lrcalc.models.requests import has_response
from lrcalc.training.data import read_structures
from lrcalc.training.polarizability import reference_polarizability
from lrcalc.training.settings import LOCAL_FIELDS, POLARIZABILITY_UNITS
from lrcalc.units import BOHR, DEBYE, EPSILON_0


def born(evaluator, structures, picture):
    model = [evaluator([a], ["born_effective_charges"])[0]["born_effective_charges"]
             for a in structures]  # fmt: skip
    model = np.concatenate(model)
    data = np.concatenate([reference_born(a) for a in structures])
    symbols = np.concatenate([a.symbols for a in structures])
    factor = (model * data).sum() / (model**2).sum()
    print(f"{len(structures)} frames; best single factor {factor:.3f}, "
          f"R² with it {errors(factor * model, data).r2:.4f}")  # fmt: skip
    print(f"{'':14}{'RMSE (e)':>10}{'MAE (e)':>10}{'R²':>9}")
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    diagonal = np.eye(3, dtype=bool)
    parts = {"diagonal": diagonal, "off-diagonal": ~diagonal}
    for axis, (part, mask) in zip(axes, parts.items(), strict=True):
        for symbol in ["all", *sorted(set(symbols))]:
            chosen = symbols == symbol if symbol != "all" else np.ones(len(symbols), bool)
            x, y = data[chosen][:, mask].ravel(), model[chosen][:, mask].ravel()
            e = errors(y, x)
            print(f"{symbol:3}{part:11}{e.rmse:10.4f}{e.mae:10.4f}{e.r2:9.4f}")
            if symbol != "all":
                thin = slice(None, None, max(1, len(x) // 3000))
                axis.plot(x[thin], y[thin], ".", ms=2, label=symbol, rasterized=True)
        ends = [data[:, mask].min(), data[:, mask].max()]
        axis.plot(ends, ends, "k-", lw=0.8)
        axis.set(xlabel="DFT (e)", ylabel="model (e)", title=f"Born charges, {part}")
        axis.legend(frameon=False, markerscale=4)
    if picture:
        figure.savefig(picture, dpi=110)


def polarizability(evaluator, structures, unit, local_field, picture):
    data = np.array([reference_polarizability(a, unit, local_field) for a in structures])
    model = np.array([evaluator([a], ["polarizability"])[0]["polarizability"] for a in structures])
    unit_matrix = np.eye(3)
    parts = [x.trace(axis1=1, axis2=2) / 3 for x in (data, model)]
    rest = [x - m[:, None, None] * unit_matrix for x, m in zip((data, model), parts, strict=True)]
    volume = np.array([a.get_volume() for a in structures])
    print(f"{len(structures)} frames; one factor {parts[0].mean() / parts[1].mean():.4f}")
    for name, mean in zip(("data", "model"), parts, strict=True):
        print(f"ε_∞ = 1 + α/(ε0 V), {name:5}: {(1 + mean / EPSILON_0 / volume).mean():.4f}")
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    rows = {"isotropic": parts, "anisotropic": [x.reshape(-1) for x in rest]}
    for axis, (name, (x, y)) in zip(axes, rows.items(), strict=True):
        e = errors(y, x)
        r = np.corrcoef(x, y)[0, 1]
        print(f"{name:12} RMSE {e.rmse:.4f}, spread {x.std():.4f} e Å²/V, correlation {r:.3f}, "
              f"R² {e.r2:.3f}")  # fmt: skip
        ends = [x.min(), x.max()]
        axis.plot(x, y, ".", ms=3, rasterized=True)
        axis.plot(ends, ends, "k-", lw=0.8)
        axis.set(xlabel="DFT (e Å²/V)", ylabel="model (e Å²/V)", title=f"{name}, r = {r:.2f}")
    if picture:
        figure.suptitle("polarizability of the cell, frames kept out")
        figure.savefig(picture, dpi=110)


def dipole(evaluator, structures):
    """Dipoles modulo the quantum e·a of the data, whose unit is fitted as one factor."""
    model, data, quantum = [], [], []
    for atoms in structures:
        whole = whole_molecules(atoms)
        model.append(evaluator([whole], ["dipole"])[0]["dipole"])
        data.append(np.asarray(atoms.info["REF_dipole"], float))
        quantum.append(atoms.cell.lengths())
    model, data, quantum = np.array(model), np.array(data), np.array(quantum)
    best = None
    for unit, size in (("e Å", 1.0), ("debye", DEBYE), ("e bohr", BOHR)):
        folded = size * data - quantum * np.rint((size * data - model) / quantum)
        r = np.corrcoef(model.ravel(), folded.ravel())[0, 1]
        factor = (model * folded).sum() / (model**2).sum()
        print(f"dipole if the data are in {unit}: correlation {r:.3f}, factor {factor:.3f}")
        best = max(best or r, r)
    return best


def whole_molecules(atoms):
    """Bring the hydrogens of water next to their oxygens."""
    new = atoms.copy()
    oxygen = np.flatnonzero(atoms.numbers == 8)
    for h in np.flatnonzero(atoms.numbers == 1):
        vectors = atoms.get_distances(h, oxygen, mic=True, vector=True)
        k = np.linalg.norm(vectors, axis=1).argmin()
        new.positions[h] = new.positions[oxygen[k]] - vectors[k]
    return new


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument(
        "--picture",
        type=Path,
        help="of Born charges, or of polarizabilities; of "
        "frames with both the latter has its name with `-polarizability`",
    )
    parser.add_argument("--unit", choices=sorted(POLARIZABILITY_UNITS), default="eA2/V")
    parser.add_argument("--local-field", choices=LOCAL_FIELDS, default="none")
    args = parser.parse_args()
    evaluator = Evaluator(args.model)
    structures = read_structures(args.data)
    metadata = evaluator.potential.metadata
    if reference_born(structures[0]) is not None:
        born(evaluator, kept_out(structures, metadata), args.picture)
    if "REF_dipole" in structures[0].info:
        dipole(evaluator, structures)
    if "REF_polarizability" in structures[0].info and has_response(evaluator.potential):
        frames = kept_out(structures, metadata.get("polarizability", metadata))
        picture = args.picture
        if picture and reference_born(structures[0]) is not None:
            picture = picture.with_stem(f"{picture.stem}-polarizability")
        polarizability(evaluator, frames, args.unit, args.local_field, picture)


def kept_out(structures, card):
    """Those that the part of the model with this card was not trained on."""
    seen = set(card.get("trained_on", []))
    return [a for a in structures if structure_hash(a) not in seen]


if __name__ == "__main__":
    main()
