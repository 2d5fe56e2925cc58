"""`lrcalc benchmark levels`: what each level of the theory brings, on one's own data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.commands import _options
from lrcalc.models.options import LEVELS, NATIVE_DEFAULTS
from lrcalc.progress import progress_bar
from lrcalc.training.settings import POLARIZABILITY_UNITS, TrainingSettings, check_numbers

if TYPE_CHECKING:
    from ase import Atoms

FITTED = ("epochs", "batch_size", "learning_rate", "weight_decay", "step_memory", "device")
"""Settings of all trainings that are options."""

USUAL = ("sr", "q", "u", "uiu")
"""Levels that are compared unless others are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what", choices=["levels"], help="levels: trainings of several levels and seeds"
    )
    data = parser.add_argument_group("data (extended xyz with energy and forces)")
    data.add_argument("--train", nargs="+", required=True, metavar="F", help="training files")
    data.add_argument(
        "--test", nargs="+", default=[], metavar="F",
        help="files to measure errors on (default: what --test-every keeps out)",
    )  # fmt: skip
    data.add_argument(
        "--frames", default=":", metavar="INDEX",
        help="frames of each training file to use, as in ASE: :100, 3::7",
    )  # fmt: skip
    _options.add_split_arguments(data, 20)
    _options.add_label_arguments(data)
    data.add_argument(
        "--polarizability-unit", choices=sorted(POLARIZABILITY_UNITS),
        help="compare polarizabilities too, which are in this unit",
    )  # fmt: skip
    models = parser.add_argument_group("models")
    models.add_argument(
        "--levels", nargs="+", choices=sorted(LEVELS), metavar="LEVEL",
        help=f"among {', '.join(sorted(LEVELS))} (default {' '.join(USUAL)})",
    )  # fmt: skip
    models.add_argument(
        "--charges", nargs="+", choices=["auto", "local", "atomic"],
        metavar="KIND", help="among auto, local, atomic; several are compared (default auto)",
    )  # fmt: skip
    models.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each")
    for name in ("cutoff", "channels", "hidden"):
        value = NATIVE_DEFAULTS[name]
        models.add_argument(
            f"--{name}", type=type(value), default=value, help="of the native backbone"
        )
    models.add_argument("--anisotropic", action="store_true", help="tensor polarizabilities")
    models.add_argument(
        "--epsilon-infinity", type=float,
        help="electronic permittivity of the material (default: what the frames state, else 1)",
    )  # fmt: skip
    how = parser.add_argument_group("training, the same of all")
    _options.add_fit_arguments(how, TrainingSettings(epochs=30, batch_size=4), *FITTED)
    parser.add_argument(
        "-o", "--output", required=True, metavar="PREFIX",
        help="for PREFIX.csv, .json, .png and the models in PREFIX-models/; run again, it goes on",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Train all, measure them on frames kept out, print a table, write files and picture."""
    from lrcalc.levels.report import describe, describe_one, save
    from lrcalc.levels.trainings import Measured, entrants, measure, train_one
    from lrcalc.training.history import read_history
    from lrcalc.training.permittivity import permittivity_of

    args.levels = args.levels or list(USUAL)
    args.charges = args.charges or ["auto"]
    check_numbers({k: v for k, v in vars(args).items() if k != "device"}, _options.flag)
    if args.seeds < 1:
        raise ValueError(f"`--seeds` is {args.seeds} but must be at least 1")
    split, structures = read(args)
    epsilon = permittivity_of(split["stated"], args.epsilon_infinity, max(args.levels, key=len))
    alphas = polarizabilities(structures, args.polarizability_unit)
    names = ("cutoff", "channels", "hidden", "anisotropic")
    config = {name: getattr(args, name) for name in names}
    settings = TrainingSettings(**{name: getattr(args, name) for name in FITTED})
    folder = Path(f"{args.output}-models")
    folder.mkdir(parents=True, exist_ok=True)
    line_up = entrants(args.levels, args.charges, args.seeds, split["training"])
    for line in [*split["notes"], *(f"warning: {w}" for w in split["warnings"]), *epsilon.lines]:
        print(line)
    print(
        f"{len(split['training'])} training, {len(split['validation'])} validation, "
        f"{len(structures)} test frames; {len(line_up)} models of {settings.epochs} epochs"
    )
    metadata = {
        "epsilon_infinity": epsilon.value, "epsilon_infinity_from": epsilon.origin,
        "data": [Path(f).name for f in args.train], "kept_out": _options.kept_out(args),
        "trained_on": split["hashes"],
    }  # fmt: skip
    told = {name: getattr(args, name) for name in ("test_every", "valid_every", *names)}
    told |= {"files": metadata["data"], "index": args.frames, "frames": len(split["training"]),
             "tests": len(structures), "epsilon_infinity": epsilon.value,
             **settings._asdict()}  # fmt: skip
    measured: list[Measured] = []
    with progress_bar(len(line_up) * settings.epochs, unit="epoch") as bar:
        # a seed of all before the next seed: stopped halfway, there is something to compare
        for place, entrant in enumerate(sorted(line_up, key=lambda one: one.seed)):
            bar.set_postfix_str(f"{entrant.name}, seed {entrant.seed}")

            def report(row: dict[str, float], place: int = place) -> None:
                bar.update(place * settings.epochs + int(row["epoch"]) - bar.n)

            best = train_one(
                entrant, split, config, settings, folder, metadata=metadata, report=report
            )
            bar.update((place + 1) * settings.epochs - bar.n)
            values = measure(
                best, structures, lambda atoms: alphas.get(id(atoms)), device=args.device
            )
            history = read_history(entrant.file(folder).with_suffix(".csv"))
            values["minutes"] = float(history["seconds"].sum()) / 60
            measured.append(Measured(entrant, values))
            bar.write(describe_one(measured[-1]))
            measured.sort(key=lambda one: line_up.index(one.entrant))
            paths = save(measured, told, args.output)  # after each: a table of what there is
    print("\n" + describe(measured))
    print("means over seeds ± their standard error; errors of frames that nothing was chosen by")
    print("wrote " + ", ".join(map(str, paths)))
    return 0


def read(args: argparse.Namespace) -> tuple[dict[str, Any], list[Atoms]]:
    """Frames to train on and to validate with, and structures to measure on.

    Raises
    ------
    ValueError
        If there are none to measure on, or they have other elements.
    """
    from lrcalc.training.data import check_species, make_frames, read_structures
    from lrcalc.training.split import assign, read_split

    keys = _options.label_keys(args)
    kept: list[Atoms] = []

    def keep(structures: list[Atoms]) -> None:
        parts = assign(len(structures), args.valid_every, args.test_every)
        kept.extend(a for a, part in zip(structures, parts, strict=True) if part == "test")

    if not (args.test or args.test_every):
        raise ValueError("no frames to measure on: give --test FILES or --test-every K")
    split = read_split(
        args.train, [], args.cutoff, args.valid_every, args.test_every, keys=keys, complete=keep,
        level=max(args.levels, key=len), frames=_options.frames_of(args.frames),
    )  # fmt: skip
    for path in args.test:
        structures = read_structures(path, keys)
        frames = make_frames(structures, path, args.cutoff)
        check_species(split["training"], frames, "test")
        kept += structures
    return split, kept


def polarizabilities(structures: list[Atoms], unit: str | None) -> dict[int, Any]:
    """Polarizabilities (3, 3), e Å²/V, by the identity of the structure, if a unit was given."""
    from lrcalc.training.polarizability import reference_polarizability

    if unit is None:
        return {}
    found = {id(a): reference_polarizability(a, unit) for a in structures}
    if all(alpha is None for alpha in found.values()):
        raise ValueError(
            "--polarizability-unit is given, but no test frame has a polarizability (info "
            "REF_polarizability, nine numbers); leave it out"
        )
    return found
