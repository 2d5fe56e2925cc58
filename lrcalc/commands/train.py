"""`lrcalc train`: from labelled structures to a model file."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lrcalc import __version__
from lrcalc.models.potential import DEFAULTS
from lrcalc.models.readout import LEVELS
from lrcalc.training.data import (
    Frame,
    describe_outliers,
    fingerprint,
    make_frames,
    read_structures,
)
from lrcalc.training.fit import Settings, fit, validate

NAME = "train"
HELP = "train a potential on energies, forces and stresses of an extended xyz file"
EXAMPLE = "lrcalc train --train water.xyz --level u --epochs 100 --out water.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data = parser.add_argument_group("data (extended xyz with energy, forces, optionally stress)")
    data.add_argument("--train", nargs="+", required=True, metavar="F", help="training files")
    data.add_argument("--valid", nargs="+", default=[], metavar="F", help="validation files")
    data.add_argument(
        "--valid-every",
        type=int,
        default=20,
        metavar="K",
        help="without --valid: every K-th training frame validates (default 20)",
    )
    data.add_argument(
        "--test-every",
        type=int,
        default=0,
        metavar="K",
        help="keep every K-th frame of each file out of training and validation",
    )
    data.add_argument(
        "--allow-images", action="store_true", help="accept cells smaller than the cutoff"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--level", default="u", choices=sorted(LEVELS), help="multipoles read out")
    model.add_argument("--charges", default="local", choices=["local", "atomic"])
    model.add_argument("--cutoff", type=float, default=DEFAULTS["cutoff"], help="Å")
    model.add_argument("--channels", type=int, default=DEFAULTS["channels"])
    model.add_argument("--hidden", type=int, default=DEFAULTS["hidden"])
    model.add_argument("--smearing", type=float, default=DEFAULTS["smearing"], help="σ, Å")
    model.add_argument(
        "--k-cutoff",
        type=float,
        default=None,
        help="Å⁻¹; default: converged (π reproduces published models)",
    )
    model.add_argument("--anisotropic", action="store_true", help="tensor polarizabilities")
    model.add_argument(
        "--epsilon-infinity",
        type=float,
        default=1.0,
        help="electronic permittivity of the material (water 1.78, molecules 1)",
    )
    how = parser.add_argument_group("training")
    defaults = Settings()
    how.add_argument("--epochs", type=int, default=defaults.epochs)
    how.add_argument("--batch-size", type=int, default=defaults.batch_size)
    how.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    how.add_argument("--energy-weight", type=float, default=defaults.energy_weight)
    how.add_argument("--forces-weight", type=float, default=defaults.forces_weight)
    how.add_argument("--stress-weight", type=float, default=defaults.stress_weight)
    how.add_argument("--weight-decay", type=float, default=defaults.weight_decay)
    how.add_argument("--ema", type=float, default=defaults.ema)
    how.add_argument("--patience", type=int, default=defaults.patience)
    how.add_argument("--seed", type=int, default=0)
    how.add_argument("--device", default="cpu")
    how.add_argument("--restart", action="store_true", help="ignore a state left by a killed run")
    parser.add_argument("--out", required=True, metavar="M.pt", help="model file to write")
    parser.add_argument("--licence", default="not stated", help="of the data; goes into the card")
    parser.add_argument("--source", default="", help="origin of the data; goes into the card")


def run(args: argparse.Namespace) -> int:
    """Train, report, and write model, learning curve (CSV, PNG) and card."""
    output = Path(args.out)
    if output.suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    output.parent.mkdir(parents=True, exist_ok=True)
    config = {
        key: getattr(args, key)
        for key in ("level", "charges", "cutoff", "channels", "hidden", "smearing", "k_cutoff",
                    "anisotropic")
    }  # fmt: skip
    settings = Settings(
        epochs=args.epochs, batch_size=args.batch_size, learning_rate=args.learning_rate,
        energy_weight=args.energy_weight, forces_weight=args.forces_weight,
        stress_weight=args.stress_weight, ema=args.ema, weight_decay=args.weight_decay,
        patience=args.patience,
        seed=args.seed, device=args.device,
    )  # fmt: skip
    split = split_files(
        args.train, args.valid, args.cutoff, args.valid_every, args.test_every,
        allow_images=args.allow_images,
    )  # fmt: skip
    note = describe_outliers(split["train"])
    if note:
        print(f"warning: {note}")
    print(f"{len(split['train'])} training, {len(split['valid'])} validation, "
          f"{len(split['test'])} test frames")  # fmt: skip
    metadata = {
        "epsilon_infinity": args.epsilon_infinity,
        "data": [Path(f).name for f in args.train],
        "source": args.source,
        "licence": args.licence,
        "kept_out": f"every {args.test_every}th frame of each file" if args.test_every else "none",
        "trained_on": split["hashes"],
        "lrcalc": __version__,
        "command": command_line(args),
    }
    started = time.perf_counter()
    with tqdm(total=settings.epochs, unit="epoch", dynamic_ncols=True) as bar:

        def report(row: dict[str, float]) -> None:
            bar.update(int(row["epoch"]) - bar.n)
            bar.set_postfix_str(
                f"F {1e3 * row['train_forces']:.1f}/{1e3 * row['valid_forces']:.1f} meV/Å, "
                f"E {1e3 * row['valid_energy']:.2f} meV/atom"
            )
            if int(row["epoch"]) % 10 == 0 or int(row["epoch"]) == settings.epochs:
                plot_curve(output)

        best = fit(
            split["train"], split["valid"], config, settings, output,
            metadata=metadata, report=report, restart=args.restart,
        )  # fmt: skip
    plot_curve(output)
    minutes = (time.perf_counter() - started) / 60
    print(f"\n{output} ({output.stat().st_size / 1e3:.0f} kB) after {minutes:.1f} min; "
          f"curve in {output.with_suffix('.csv')} and {output.with_suffix('.png')}")  # fmt: skip
    if split["test"]:
        errors = validate(best, split["test"], settings, _no_shift(split["test"]))
        print(
            "kept-out frames: "
            + json.dumps({k[6:]: round(1e3 * v, 3) for k, v in errors.items()})
            + " (meV/atom, meV/Å, meV/Å³; energies without file shift)"
        )
    return 0


def split_files(
    train: list[str],
    valid: list[str],
    cutoff: float,
    valid_every: int,
    test_every: int,
    *,
    allow_images: bool = False,
) -> dict[str, Any]:
    """Read all files and split their frames; keys train, valid, test, hashes."""
    parts: dict[str, Any] = {"train": [], "valid": [], "test": [], "hashes": []}
    for source, path in enumerate(train):
        structures = read_structures(path)
        frames = make_frames(structures, path, cutoff, source, allow_images=allow_images)
        kept = 0
        for index, frame in enumerate(frames):
            if test_every and index % test_every == test_every // 2:
                parts["test"].append(frame)
                continue
            kept += 1
            if not valid and kept % valid_every == 0:
                parts["valid"].append(frame)
            else:
                parts["train"].append(frame)
            parts["hashes"].append(fingerprint(structures[index]))
    for path in valid:
        structures = read_structures(path)
        parts["valid"] += make_frames(structures, path, cutoff, 0, allow_images=allow_images)
        parts["hashes"] += [fingerprint(a) for a in structures]
    return parts


def _no_shift(frames: list[Frame]) -> Any:
    import torch

    return torch.zeros(1 + max(f.source for f in frames), dtype=torch.float64)


def command_line(args: argparse.Namespace) -> str:
    """Reconstruct the command, with file names but not the folders of this machine."""
    words = ["lrcalc train"]
    for key, value in sorted(vars(args).items()):
        if key in ("command", "run", "restart", "out") or value in (None, False, [], ""):
            continue
        flag = "--" + key.replace("_", "-")
        if key in ("train", "valid"):
            words.append(flag + " " + " ".join(Path(f).name for f in value))
        elif value is True:
            words.append(flag)
        else:
            words.append(f"{flag} {json.dumps(value) if ' ' in str(value) else value}")
    return " ".join(words)


def plot_curve(output: Path) -> None:
    """Draw the learning curve next to the model."""
    import numpy as np
    from matplotlib.figure import Figure

    table = np.genfromtxt(output.with_suffix(".csv"), delimiter=",", names=True)
    table = np.atleast_1d(table)
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, key, unit in ((left, "forces", "meV/Å"), (right, "energy", "meV/atom")):
        axis.semilogy(table["epoch"], 1e3 * table[f"train_{key}"], label="training")
        axis.semilogy(table["epoch"], 1e3 * table[f"valid_{key}"], label="validation")
        axis.set(xlabel="epoch", ylabel=f"{key} RMSE ({unit})")
        axis.grid(True, which="both", alpha=0.3)
    left.legend(frameon=False)
    figure.savefig(output.with_suffix(".png"), dpi=120)
