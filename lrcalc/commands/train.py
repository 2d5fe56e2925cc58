"""`lrcalc train`: from labelled structures to a model file."""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.commands import _options
from lrcalc.commands._backbone_options import add_backbone_arguments
from lrcalc.commands._charges_report import report_charges
from lrcalc.commands._environments import keep_environments
from lrcalc.commands._train_start import FITTED, Prepared, prepare
from lrcalc.models.options import CONTACTS, DEFAULTS, LEVELS, PRIORS
from lrcalc.progress import progress_bar
from lrcalc.training.settings import LEARNING_RATES, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrcalc.models.potential import Potential
    from lrcalc.training.data import Frame
    from lrcalc.training.ranks import Ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_data_arguments(
        parser.add_argument_group("data (extended xyz with energy, forces, optionally stress)")
    )
    add_model_arguments(parser.add_argument_group("model"))
    how = parser.add_argument_group("training")
    _options.add_fit_arguments(how, TrainingSettings(), *FITTED)
    add_learning_rate(how)
    how.add_argument(
        "--ensemble", type=int, default=0, metavar="K",
        help="readouts to train anew on the same features, an eighth of the epochs each, for an "
        "error bar of Born charges (3 will do)",
    )  # fmt: skip
    how.add_argument("--restart", action="store_true", help="ignore a state left by a killed run")
    _options.add_output_arguments(parser)


def add_learning_rate(how: _options.Group) -> None:
    """Declare the one setting whose default hangs on the backbone."""
    others = ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items())
    how.add_argument(
        "--learning-rate",
        type=float,
        help=f"{_options.MEANING['learning_rate']} (default "
        f"{TrainingSettings().learning_rate:g}; {others})",
    )


def add_data_arguments(data: _options.Group) -> None:
    """Declare what is read, and which frames of it."""
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


def add_model_arguments(model: _options.Group) -> None:
    """Declare what is trained."""
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
    model.add_argument(
        "--oxidation-states",
        nargs="+",
        default=[],
        metavar="X=E",
        help="charges (e) that ions carry through a periodic cell, held fixed, so that currents "
        "of Born charges conduct as theirs: of every species, e.g. H=1 O=-2 (local charges)",
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
        choices=[*PRIORS, CONTACTS],
        default="none",
        help="zbl: the screened repulsion of nuclei, to which the rest is learned: no atoms "
        "fall into one another where the data are silent; zbl-contacts: only between elements "
        "that are not bonded in the training frames",
    )
    model.add_argument(
        "--pressure-offset",
        type=float,
        default=0.0,
        metavar="GPA",
        help="added to the pressures of all labels, in GPa: a constant that they lack, as with the "
        "basis of a cell of another size (Pulay stress)",
    )
    model.add_argument(
        "--wall",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="atoms that come closer than in any training frame repel one another",
    )
    model.add_argument("--anisotropic", action="store_true", help="tensor polarizabilities")
    model.add_argument(
        "--epsilon-infinity",
        type=float,
        help="electronic permittivity of the material (water 1.78, molecules 1; default: what the "
        "frames state, else 1)",
    )


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

    check_device(args.device)
    frames = _options.frames_of(args.frames)
    output = _options.check_options(args)
    prepared = prepare(args, frames)
    started = time.perf_counter()
    best, epochs = fitted(args, prepared, output, ranks)
    if ranks.rank == 0:
        pictures = report_errors(args, best, prepared, output)
        training = prepared.split["training"]
        told = keep_environments(best, training, output, device=args.device, data=args.train)
        print(told)
        minutes = (time.perf_counter() - started) / 60
        done = f"{epochs} epochs in {minutes:.1f} min"
        if not epochs:
            done = "nothing left to train: give more --epochs or --patience, or --restart"
        seen = " and ".join(map(str, pictures))
        print(
            f"\n{output} ({output.stat().st_size / 1e3:.0f} kB): {done}; curve in "
            f"{output.with_suffix('.csv')}; {seen}"
        )
        report_test(best, prepared)
    return 0


def fitted(
    args: argparse.Namespace, prepared: Prepared, output: Path, ranks: Ranks
) -> tuple[Potential, int]:
    """Train behind a progress bar, with a learning curve; the model, and epochs of this run."""
    from lrcalc.training.fit import fit
    from lrcalc.training.pictures import curve_picture

    split, settings = prepared.split, prepared.settings
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
            split["training"], split["validation"], prepared.config, settings, output,
            labelled=split["labelled"], labelled_valid=split["labelled_validation"],
            metadata=prepared.metadata, report=report, note=bar.write, restart=args.restart,
            ranks=ranks, pretrained=prepared.pretrained, freeze=args.freeze,
        )  # fmt: skip
    return best, epochs


def report_errors(
    args: argparse.Namespace, best: Potential, prepared: Prepared, output: Path
) -> list[Path]:
    """Say how good the model is and what is doubtful about data and charges; the pictures."""
    from lrcalc.training.afterwards import describe_model_stress
    from lrcalc.training.born_order import describe_transposed
    from lrcalc.training.history import describe_overfitting, read_history
    from lrcalc.training.pictures import curve_picture

    split, settings = prepared.split, prepared.settings
    train, valid = split["training"], split["validation"]
    pictures = [curve_picture(output), parity(best, valid, args.device, output)]
    doubts = [
        describe_model_stress(best, [*valid, *train], args.device),
        describe_overfitting(read_history(output.with_suffix(".csv"))),
        *describe_transposed(best, train, valid, split["labelled"], settings),
    ]
    for warning in filter(None, doubts):
        print(f"\nwarning: {warning}")
    report_charges(best, split, settings, output, args.ensemble)
    return pictures


def report_test(best: Potential, prepared: Prepared) -> None:
    """Print the errors of the frames that were kept out, if there are any."""
    from lrcalc.training.loop import validate

    frames = prepared.split["test"]
    if not frames:
        return
    errors = validate(best, frames, prepared.settings, _no_shift(frames))
    print(
        "kept-out frames: "
        + json.dumps({k[6:]: round(1e3 * v, 3) for k, v in errors.items() if math.isfinite(v)})
        + " (meV/atom, meV/Å, meV/Å³; energies without file shift)"
    )


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
