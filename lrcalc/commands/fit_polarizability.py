"""`lrcalc fit-polarizability`: give a finished model a polarizability surface."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from tqdm import tqdm

from lrcalc import __version__
from lrcalc.training.polarizability import LOCAL_FIELDS, UNITS, Settings

NAME = "fit-polarizability"
HELP = "teach a model the polarizability of structures for which it was computed"
EXAMPLE = "lrcalc fit-polarizability --model water --data alpha.xyz --unit A3 --out water-raman.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", required=True, help="bundled name or model file; stays as it is")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="F",
        help='extended xyz with polarizability="xx xy xz yx ..." (or REF_polarizability)',
    )
    parser.add_argument("--unit", required=True, choices=sorted(UNITS), help="of the data")
    parser.add_argument(
        "--local-field",
        default="none",
        choices=LOCAL_FIELDS,
        help="clausius-mossotti: the data are molecular polarizabilities, corrected for the local "
        "field; they are turned back into the response to the macroscopic field",
    )
    parser.add_argument("--valid-every", type=int, default=10, metavar="K")
    parser.add_argument(
        "--test-every",
        type=int,
        default=0,
        metavar="K",
        help="keep every K-th frame of each file out of training and validation",
    )
    defaults = Settings()
    parser.add_argument("--hidden", type=int, default=defaults.hidden)
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--weight-decay", type=float, default=defaults.weight_decay)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--out", required=True, metavar="M.pt", help="model file to write")
    parser.add_argument("--licence", default="not stated", help="of the data; goes into the card")
    parser.add_argument("--source", default="", help="origin of the data; goes into the card")


def run(args: argparse.Namespace) -> int:
    """Fit, report errors on kept-out frames, write the model."""
    from lrcalc.checkpoint import load, save
    from lrcalc.evaluation import polarizability_errors
    from lrcalc.training.data import fingerprint
    from lrcalc.training.polarizability import fit_surface, make_samples

    output = Path(args.out)
    if output.suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    for name in ("valid_every", "epochs", "hidden", "batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"`--{name.replace('_', '-')}` is {getattr(args, name)}; at least 1")
    potential = load(args.model)
    parts = split(args.data, args.unit, args.local_field, args.valid_every, args.test_every)
    print(f"{len(parts['train'][0])} training, {len(parts['valid'][0])} validation, "
          f"{len(parts['test'][0])} test frames")  # fmt: skip
    samples = {name: make_samples(potential, *parts[name]) for name in ("train", "valid")}
    settings = Settings(
        args.hidden, args.epochs, args.batch_size, args.learning_rate, args.weight_decay, args.seed
    )
    with tqdm(total=settings.epochs, unit="epoch", dynamic_ncols=True) as bar:

        def report(row: dict[str, float]) -> None:
            bar.update()
            bar.set_postfix_str(f"RMSE {row['train']:.4f}/{row['valid']:.4f} e Å²/V")

        fitted = fit_surface(potential, samples["train"], samples["valid"], settings, report)
    used = [fingerprint(a) for name in ("train", "valid") for a in parts[name][0]]
    shown = "test" if parts["test"][0] else "valid"
    errors = polarizability_errors(fitted, *parts[shown])
    fitted.metadata["polarizability"] = {
        "data": [Path(f).name for f in args.data],
        "source": args.source,
        "licence": args.licence,
        "unit": args.unit,
        "local_field": args.local_field,
        "kept_out": f"every {args.test_every}th frame of each file" if args.test_every else "none",
        "errors": {"frames": shown, **{k: v._asdict() for k, v in errors.items()}},
        "trained_on": used,
        "lrcalc": __version__,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save(fitted, output)
    title = "kept-out" if shown == "test" else "validation"
    print(f"\n{len(parts[shown][0])} {title} frames, e Å²/V")
    print(f"{'':14}{'n':>7}{'RMSE':>10}{'MAE':>10}{'R²':>9}")
    for name, e in errors.items():
        print(f"{name:14}{e.n:7d}{e.rmse:10.4f}{e.mae:10.4f}{e.r2:9.4f}")
    print(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")
    return 0


def split(
    paths: list[str], unit: str, local_field: str, valid_every: int, test_every: int
) -> dict[str, tuple[list[Atoms], list[np.ndarray]]]:
    """Read all files; structures and polarizabilities (e Å²/V) of train, valid and test.

    The same frames are kept out as by `lrcalc train --test-every`.
    """
    from lrcalc.training.data import read_structures
    from lrcalc.training.polarizability import KEYS, reference_polarizability

    parts: dict[str, tuple[list[Atoms], list[np.ndarray]]] = {
        name: ([], []) for name in ("train", "valid", "test")
    }
    for path in paths:
        kept = 0
        for index, atoms in enumerate(read_structures(path)):
            try:
                alpha = reference_polarizability(atoms, unit, local_field)
            except ValueError as error:
                raise ValueError(f"{path}: frame {index}: {error}") from error
            if alpha is None:
                raise ValueError(
                    f"{path}: frame {index} has no polarizability; its comment line needs "
                    f"{KEYS[1]}= or {KEYS[0]}= with nine numbers"
                )
            if test_every and index % test_every == test_every // 2:
                name = "test"
            else:
                kept += 1
                name = "valid" if kept % valid_every == 0 else "train"
            parts[name][0].append(atoms)
            parts[name][1].append(alpha)
    return parts
