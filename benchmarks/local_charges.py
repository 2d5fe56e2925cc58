"""Why local charges learn slowly, and what several hops change (docs/local-charges.md).

    python benchmarks/local_charges.py filter SHARED/data/molecules/dipeptides_train.xyz.gz \
        --picture docs/pictures/local_charges_filter.png
    python benchmarks/local_charges.py train dipeptides_train.xyz.gz --keep 50 --epochs 200 \
        --born spice_born_dipeptides.xyz.gz --config '{"level": "q", "transfer_hops": 8}' \
        --json out/q_hops8.json
    python benchmarks/local_charges.py table out/*.json

`filter` needs no training (``--results`` draws those of `train` beside it). Emissions c make
charges q = F c, so a step of steepest descent on the charges' gradient g changes them by -F Fᵀ g,
where atomic charges change by -g. Printed is what that does to the pattern that a field asks for
(charges growing along the molecule), and to the mean diagonals of Born tensors, if the file has
any: 1 is as fast as atomic charges.

`train` fits one model; frames are kept out evenly, and are looked at once, at the end.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import torch
from tqdm import tqdm

from lrcalc import from_ase, predict
from lrcalc.models.options import DEFAULTS
from lrcalc.models.transfers import handed_out, transfer_weights
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.training.data import make_frames, read_structures
from lrcalc.training.fit import fit
from lrcalc.training.settings import TrainingSettings

FAMILIES = {
    "q_local": ("1 hop (default)", 1, (0.25, 0.8), 3.5),
    "q_broad": ("1 hop, broad", 1, (0.8, 2.5), 5.0),
    "q_hops6m": ("6 hops, medium", 6, (0.5, 1.5), 3.5),
    "q_hops4w": ("4 hops, broad", 4, (0.8, 2.5), 5.0),
    "q_hops8w": ("8 hops, broad", 8, (0.8, 2.5), 5.0),
}  # fmt: skip
"""Name of the result → what it is called, hops, decays (Å) and cutoff (Å) of the shares."""


def operator(atoms, hops, decay, cutoff):
    """F of ``q = F c``, shape (N, N), for shares that nothing has been learned of."""
    system = from_ase(atoms)
    pairs = build_pairs(system, cutoff)
    distance = torch.linalg.vector_norm(pair_vectors(system, pairs), dim=1)
    nothing = torch.zeros(len(distance), 7, 1, dtype=torch.float64)
    weight = transfer_weights(distance, nothing, torch.tensor([decay]).double(), cutoff)
    unit = torch.eye(len(atoms), dtype=torch.float64)
    rows = []
    for emitted in unit:
        amount = handed_out(emitted[:, None], weight, pairs.i, pairs.j, hops)
        charge = torch.zeros(len(atoms), dtype=torch.float64)
        rows.append(charge.index_add(0, pairs.i, amount).index_add(0, pairs.j, -amount))
    return torch.stack(rows, dim=1).numpy()


def speeds(frames, hops, decays, cutoff):
    """How fast the field's pattern, the Born charges' and the average one are learned.

    Mean over four channels, whose decays lie between the given ones.
    """
    found = []
    for atoms in tqdm(frames, disable=None, leave=False):
        made = [operator(atoms, hops, decay, cutoff) for decay in np.linspace(*decays, 4)]
        speed = np.mean([f @ f.T for f in made], axis=0)
        arm = atoms.positions - atoms.positions.mean(0)
        row = [np.sum(arm * (speed @ arm)) / np.sum(arm * arm), np.nan, speed.trace() / len(atoms)]
        if "REF_born" in atoms.arrays:
            charge = atoms.arrays["REF_born"].reshape(-1, 3, 3).trace(axis1=1, axis2=2) / 3
            charge = charge - charge.mean()
            row[1] = charge @ speed @ charge / (charge @ charge)
        found.append(row)
    return np.mean(found, axis=0)


def show_filter(args):
    """Print and draw the speeds of all families, beside what trainings of them reached."""
    frames = read_structures(args.file)[:: args.every]
    reached = {p.stem: json.loads(p.read_text())["kept"]["dipole"]["r2"] for p in args.results}
    rows = [(key, name, *speeds(frames, *how)) for key, (name, *how) in FAMILIES.items()]
    print(f"{'':16} {'along a field':>14} {'Born pattern':>13} {'average':>8} {'dipole R²':>10}")
    for key, name, *values in rows:
        shown = " ".join(f"{v:{w}.3f}" for v, w in zip(values, (14, 13, 8), strict=True))
        print(f"{name:16} {shown} {reached.get(key, np.nan):10.3f}")
    if args.picture:
        picture_of_filter(rows, reached, args.picture)


def picture_of_filter(rows, reached, path):
    """Draw the speed of learning charges along a field, and dipoles after equal trainings."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True, layout="constrained")
    names = [row[1] for row in rows]
    axes[0].barh(names, [row[2] for row in rows], color="tab:blue")
    axes[0].axvline(1.0, color="k", lw=0.8)
    axes[0].set_xlabel("speed for charges along a field\n(atomic charges: 1)")
    axes[1].barh(names, [reached.get(row[0], 0.0) for row in rows], color="tab:orange")
    if "q_atomic" in reached:
        axes[1].axvline(reached["q_atomic"], color="k", lw=0.8)
    axes[1].set_xlabel("R² of kept-back dipoles, level q\n(line: atomic charges)")
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=150)


def scores(found, reference):
    """R², R² after one factor, that factor, and mean absolute error."""
    x, y = np.ravel(found), np.ravel(reference)
    spread = np.sum((y - y.mean()) ** 2)
    factor = float(x @ y / max(x @ x, 1e-30))
    return {
        "r2": float(1 - np.sum((x - y) ** 2) / spread),
        "r2_scaled": float(1 - np.sum((factor * x - y) ** 2) / spread),
        "factor": factor, "mae": float(np.abs(x - y).mean()),
    }  # fmt: skip


def dipole_of(atoms):
    """Return the reference dipole of a structure, or None."""
    here = {**atoms.calc.results, **atoms.info}
    return next((here[k] for k in ("REF_dipole", "dipole") if k in here), None)


def evaluate(model, structures, frames, device):
    """Errors of forces, dipoles (open structures) and Born charges, as far as there are labels."""
    open_ones = not any(a.pbc.any() for a in structures)
    has_born = all("REF_born" in a.arrays for a in structures)
    has_dipole = open_ones and all(dipole_of(a) is not None for a in structures)
    names = ["forces", "charges"] + ["dipole"] * has_dipole
    names += ["born_effective_charges"] * has_born
    if model.ewald is None:
        names = ["forces"]
    found = {name: [] for name in names}
    for frame in frames:
        system = frame.system.to(device, torch.float64)
        for name, value in predict(model, system, properties=names).items():
            if name in found:
                found[name].append(value.detach().cpu().numpy().reshape(-1, *value.shape[1:]))
    got = {name: np.concatenate(values) for name, values in found.items()}
    forces = np.concatenate([f.forces.numpy() for f in frames])
    errors = {"forces": float(1e3 * np.sqrt(np.mean((got["forces"] - forces) ** 2)))}
    if "dipole" in got:
        errors["dipole"] = scores(got["dipole"], [dipole_of(a) for a in structures])
    if "born_effective_charges" in got:
        born = got["born_effective_charges"]
        reference = np.concatenate([a.arrays["REF_born"].reshape(-1, 3, 3) for a in structures])
        off = ~np.eye(3, dtype=bool)
        errors["born"] = scores(born, reference)
        errors["born_off_diagonal"] = scores(born[:, off], reference[:, off])
    if "charges" in got:
        numbers = np.concatenate([a.numbers for a in structures])
        errors["charges"] = {
            int(z): [float(q.mean()), float(q.std())]
            for z in np.unique(numbers) for q in [got["charges"][numbers == z]]
        }  # fmt: skip
    return errors


def train(args):
    """Fit one model and write what it does on frames that it has not seen."""
    config = {"cutoff": 5.0, "channels": 32, "hidden": 64, **json.loads(args.config)}
    structures = read_structures(args.file)
    frames = make_frames(structures, args.file, config["cutoff"], allow_images=True)
    kept = np.linspace(0, len(frames) - 1, args.keep).round().astype(int)
    rest = [k for k in range(len(frames)) if k not in set(kept.tolist())]
    valid = rest[:: max(2, len(rest) // args.valid)]
    fitted = [frames[k] for k in rest if k not in set(valid)]
    settings = TrainingSettings(
        epochs=args.epochs, batch_size=args.batch, learning_rate=args.learning_rate,
        seed=args.seed, device=args.device, patience=args.epochs, max_minutes=args.max_minutes,
    )  # fmt: skip
    done = []
    started = time.perf_counter()
    args.json.parent.mkdir(parents=True, exist_ok=True)
    model = fit(
        fitted, [frames[k] for k in valid], config, settings, args.json.with_suffix(".pt"),
        metadata={"epsilon_infinity": args.epsilon_infinity}, report=done.append, restart=True,
    ).to(args.device)  # fmt: skip
    result = {
        "name": args.json.stem, "data": pathlib.Path(args.file).name, "config": config,
        "seed": args.seed, "training": len(fitted), "epochs": len(done), "batch": args.batch,
        "seconds": round(time.perf_counter() - started),
        "kept": evaluate(
            model, [structures[k] for k in kept], [frames[k] for k in kept], args.device
        ),
    }  # fmt: skip
    if args.born:
        known = set(model.species)
        others = [
            a for a in read_structures(args.born)
            if set(a.numbers.tolist()) <= known and not a.info.get("charge")
        ]  # fmt: skip
        them = make_frames(others, args.born, config["cutoff"])
        result["born"] = evaluate(model, others, them, args.device)
    args.json.write_text(json.dumps(result))
    print(json.dumps(result))


def table(args):
    """Print a row for each result."""
    results = [json.loads(p.read_text()) for p in args.files]
    print("| model | data | epochs | forces meV/Å | dipole R² (after one factor) | Born R² |")
    print("|---|---|---|---|---|---|")
    for r in results:
        dipole, born = r["kept"].get("dipole"), r.get("born", r["kept"]).get("born")
        said = f"{dipole['r2']:.3f} ({dipole['r2_scaled']:.3f})" if dipole else "–"
        also = f"{born['r2']:.3f}" if born else "–"
        print(f"| {r['name']} | {r['data'].partition('.')[0]} | {r['epochs']} | "
              f"{r['kept']['forces']:.1f} | {said} | {also} |")  # fmt: skip


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    how = commands.add_parser("filter")
    how.set_defaults(run=show_filter)
    how.add_argument("file")
    how.add_argument("--every", type=int, default=30)
    how.add_argument("--results", type=pathlib.Path, nargs="*", default=[])
    how.add_argument("--picture", type=pathlib.Path)
    how = commands.add_parser("train")
    how.set_defaults(run=train)
    how.add_argument("file")
    how.add_argument("--born", help="other structures with Born charges, to be evaluated too")
    how.add_argument("--config", default="{}", help=f"options, of {', '.join(DEFAULTS)}, ...")
    how.add_argument("--keep", type=int, default=50)
    how.add_argument("--valid", type=int, default=16)
    how.add_argument("--epochs", type=int, default=100)
    how.add_argument("--batch", type=int, default=16)
    how.add_argument("--learning-rate", type=float, default=5e-3)
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--device", default="cpu")
    how.add_argument("--max-minutes", type=float, default=0.0)
    how.add_argument("--epsilon-infinity", type=float, default=1.0)
    how.add_argument("--json", type=pathlib.Path, required=True)
    how = commands.add_parser("table")
    how.set_defaults(run=table)
    how.add_argument("files", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
