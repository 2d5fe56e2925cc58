"""`lrcalc train`: from labelled structures to a model file."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc import __version__
from lrcalc.commands import _options
from lrcalc.commands._backbone_options import add_backbone_arguments, backbone_config
from lrcalc.models.options import BROAD_TRANSFERS, DEFAULTS, LEVELS, PRIORS
from lrcalc.progress import progress_bar
from lrcalc.training.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrcalc.models.potential import Potential
    from lrcalc.training.data import Frame
    from lrcalc.training.ranks import Ranks

FITTED = tuple(key for key in TrainingSettings._fields if key != "energy_boost")
"""Settings that have an option."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    data = parser.add_argument_group("data (extended xyz with energy, forces, optionally stress)")
    data.add_argument("--train", nargs="+", required=True, metavar="F", help="training files")
    data.add_argument("--valid", nargs="+", default=[], metavar="F", help="validation files")
    _options.add_split_arguments(data, 20, "without --valid: ")
    _options.add_label_arguments(data)
    data.add_argument(
        "--frames",
        default=":",
        metavar="INDEX",
        help="frames of each training file to use, as in ASE: 3, :100, 3::7",
    )
    data.add_argument(
        "--max-force",
        type=float,
        metavar="F",
        help="leave out frames with a larger force on an atom, eV/Å (default: none)",
    )
    data.add_argument(
        "--allow-images", action="store_true", help="accept cells smaller than the cutoff"
    )
    model = parser.add_argument_group("model")
    model.add_argument("--level", default="u", choices=sorted(LEVELS), help="multipoles read out")
    model.add_argument(
        "--charges",
        default="auto",
        choices=["auto", "local", "atomic"],
        help="local: handed from atom to atom, so that neutral molecules stay neutral; atomic: of "
        "each atom, neutral as a whole; auto: atomic if all training structures are open, else "
        "local",
    )
    model.add_argument(
        "--transfer-hops",
        type=int,
        default=DEFAULTS["transfer_hops"],
        metavar="N",
        help="how often local charges are handed on: 8 learn dipoles of large molecules as atomic "
        "charges do, 1 is better in liquids and crystals (docs/local-charges.md)",
    )
    add_backbone_arguments(model)
    model.add_argument(
        "--smearing", type=float, default=DEFAULTS["smearing"], help="σ of the Gaussians, Å"
    )
    model.add_argument(
        "--k-cutoff",
        type=float,
        default=None,
        help="of the reciprocal sum, Å⁻¹ (default: converged; π reproduces published models)",
    )
    model.add_argument(
        "--prior",
        choices=PRIORS,
        default="none",
        help="zbl: the screened repulsion of nuclei, to which the rest is learned: no atoms "
        "fall into one another where the data are silent",
    )
    model.add_argument("--anisotropic", action="store_true", help="tensor polarizabilities")
    model.add_argument(
        "--epsilon-infinity",
        type=float,
        help="electronic permittivity of the material (water 1.78, molecules 1; default: what the "
        "frames state, else 1)",
    )
    how = parser.add_argument_group("training")
    _options.add_fit_arguments(how, TrainingSettings(), *FITTED)
    how.add_argument(
        "--ensemble", type=int, default=0, metavar="K",
        help="readouts to train anew on the same features, an eighth of the epochs each, for an "
        "error bar of Born charges (3 will do)",
    )  # fmt: skip
    how.add_argument("--restart", action="store_true", help="ignore a state left by a killed run")
    _options.add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train, report, and write model, learning curve (CSV, PNG), parity plots and card.

    Started by ``torchrun``, several processes train together; the first one reports and writes.
    """
    from lrcalc.training.ranks import device_of, ranks_of_this_run

    with ranks_of_this_run() as ranks:
        args.device = device_of(args.device, ranks)
        if ranks.rank == 0:
            return train(args, ranks)
        with redirect_stdout(StringIO()):
            return train(args, ranks)


def train(args: argparse.Namespace, ranks: Ranks) -> int:
    """Train with other ranks; the first of them reports and writes."""
    from lrcalc.models.requests import check_device
    from lrcalc.training.afterwards import describe_model_stress
    from lrcalc.training.born_order import describe_transposed
    from lrcalc.training.charge_family import choose_charges
    from lrcalc.training.electrical import describe_labelled, wanted_labels
    from lrcalc.training.fit import fit
    from lrcalc.training.history import describe_overfitting, read_history
    from lrcalc.training.loop import validate
    from lrcalc.training.permittivity import permittivity_of
    from lrcalc.training.pictures import curve_picture
    from lrcalc.training.split import read_split

    check_device(args.device)
    frames = _options.frames_of(args.frames)
    output = _options.check_options(args)
    config = {
        key: getattr(args, key)
        for key in ("level", "charges", "smearing", "k_cutoff", "anisotropic", "prior")
    }
    backbone, pretrained = backbone_config(args)
    config |= backbone
    if args.transfer_hops > 1:
        config |= {"transfer_hops": args.transfer_hops, **BROAD_TRANSFERS}
    settings = TrainingSettings(**{key: getattr(args, key) for key in FITTED})
    split = read_split(
        args.train, args.valid, config["cutoff"], args.valid_every, args.test_every,
        allow_images=args.allow_images, keys=_options.label_keys(args), level=args.level,
        frames=frames,
        max_force=math.inf if args.max_force is None else args.max_force,
        wanted=wanted_labels(settings, args.level),
    )  # fmt: skip
    epsilon = permittivity_of(split["stated"], args.epsilon_infinity, args.level)
    warnings = [f"warning: {w}" for w in split["warnings"]]
    config["charges"], reason = choose_charges(args.charges, split["training"], args.level)
    if args.transfer_hops > 1 and config["charges"] == "atomic":
        raise ValueError(
            f"`--transfer-hops` is {args.transfer_hops}, but atomic charges are handed to nobody"
            f"{f' ({reason})' if reason else ''}; give --charges local, or leave it out"
        )
    choice = f"charges: {config['charges']} ({reason})"
    for line in [*split["notes"], *warnings, *epsilon.lines, *[choice] * bool(reason)]:
        print(line)
    print(f"{len(split['training'])} training, {len(split['validation'])} validation, "
          f"{len(split['test'])} test frames"
          f"{describe_labelled(split['labelled'])}")  # fmt: skip
    metadata = {
        "epsilon_infinity": epsilon.value,
        "epsilon_infinity_from": epsilon.origin,
        **({"charges_from": reason} if reason else {}),
        "data": [Path(f).name for f in args.train],
        "source": args.source,
        "licence": args.licence,
        "kept_out": _options.kept_out(args),
        "trained_on": split["hashes"],
        "lrcalc": __version__,
        "command": command_line(args),
    }
    started = time.perf_counter()
    epochs = 0
    with progress_bar(settings.epochs, unit="epoch", disable=ranks.rank > 0) as bar:

        def report(row: dict[str, float]) -> None:
            nonlocal epochs
            epochs += 1
            bar.update(int(row["epoch"]) - bar.n)
            bar.set_postfix_str(
                f"F {1e3 * row['train_forces']:.1f}/{1e3 * row['valid_forces']:.1f} meV/Å, "
                f"E {1e3 * row['valid_energy']:.2f} meV/atom"
            )
            if int(row["epoch"]) % 10 == 0 and ranks.rank == 0:
                curve_picture(output)

        best = fit(
            split["training"], split["validation"], config, settings, output,
            labelled=split["labelled"], labelled_valid=split["labelled_validation"],
            metadata=metadata, report=report, note=bar.write, restart=args.restart,
            ranks=ranks, pretrained=pretrained, freeze=args.freeze,
        )  # fmt: skip
    if ranks.rank > 0:
        return 0
    pictures = [curve_picture(output), parity(best, split["validation"], args.device, output)]
    misfit = describe_model_stress(best, [*split["validation"], *split["training"]], args.device)
    overfitted = describe_overfitting(read_history(output.with_suffix(".csv")))
    transposed = describe_transposed(
        best, split["training"], split["validation"], split["labelled"], settings
    )
    for warning in filter(None, [misfit, overfitted, transposed]):
        print(f"\nwarning: {warning}")
    report_charges(best, split, settings, output, args.ensemble)
    minutes = (time.perf_counter() - started) / 60
    done = f"{epochs} epochs in {minutes:.1f} min"
    if not epochs:
        done = "nothing left to train: give more --epochs or --patience, or --restart"
    print(f"\n{output} ({output.stat().st_size / 1e3:.0f} kB): {done}; "
          f"curve in {output.with_suffix('.csv')}; {' and '.join(map(str, pictures))}")  # fmt: skip
    if split["test"]:
        errors = validate(best, split["test"], settings, _no_shift(split["test"]))
        print(
            "kept-out frames: "
            + json.dumps({k[6:]: round(1e3 * v, 3) for k, v in errors.items() if math.isfinite(v)})
            + " (meV/atom, meV/Å, meV/Å³; energies without file shift)"
        )
    return 0


def report_charges(
    best: Potential, split: dict[str, Any], settings: TrainingSettings, output: Path, ensemble: int
) -> None:
    """Say whether the data determine the charges, and write it into the card."""
    from lrcalc.checkpoint import save
    from lrcalc.models.card import charges_lines
    from lrcalc.training.identifiability import identifiability

    begun = time.perf_counter()
    found = identifiability(
        best, split["training"], split["validation"], settings, ensemble=ensemble
    )
    if found is None:
        return
    best.metadata["identifiability"] = found.card()
    save(best, output)
    print(f"report on the charges, {(time.perf_counter() - begun) / 60:.1f} min:")
    for line in charges_lines(best.metadata):
        loud = found.verdict == "not determined"
        print(f"{'warning: ' if loud else ''}{line}")


def parity(best: Potential, frames: Sequence[Frame], device: str, output: Path) -> Path:
    """Print the errors of the validation frames; draw model against labels beside the model."""
    from lrcalc.model_errors import errors
    from lrcalc.training.afterwards import predictions
    from lrcalc.training.pictures import parity_picture

    values = predictions(best, frames, device)
    found = {name: errors(*pair) for name, pair in values.items()}
    energy, forces = found["energy"], found["forces"]
    print(
        f"\nvalidation ({len(frames)} frames): energy {1e3 * energy.rmse:.3g} meV/atom (R² "
        f"{energy.r2:.4g} of what the composition leaves), forces {1e3 * forces.rmse:.3g} meV/Å "
        f"(R² {forces.r2:.4g})"
    )
    return parity_picture(values, found, output.with_name(f"{output.stem}-parity.png"))


def _no_shift(frames: list[Frame]) -> Any:
    import torch

    return torch.zeros(1 + max(f.source for f in frames), dtype=torch.float64)


def command_line(args: argparse.Namespace) -> str:
    """Reconstruct the command, with file names but not the folders of this machine."""
    words = ["lrcalc train"]
    for key, value in sorted(vars(args).items()):
        if key in ("command", "run", "restart", "out"):
            continue
        if value is None or value is False or value in ([], ""):  # but not 0, which is a setting
            continue
        flag = "--" + key.replace("_", "-")
        if key in ("train", "valid", "backbone_file"):
            files = value if isinstance(value, list) else [value]
            words.append(flag + " " + " ".join(Path(f).name for f in files))
        elif isinstance(value, list):
            words.append(" ".join([flag, *(shlex.quote(v) for v in value)]))
        elif value is True:
            words.append(flag)
        else:
            words.append(f"{flag} {json.dumps(value) if ' ' in str(value) else value}")
    return " ".join(words)
