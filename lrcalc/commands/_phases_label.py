"""`lrcalc phases label` and `lrcalc phases denoise`: what a model of phases says of structures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lrcalc.commands._information import add_frames_argument, frames_given
from lrcalc.commands._phases_part import Part
from lrcalc.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", help="structure or trajectory")
    parser.add_argument(
        "--model", required=True, metavar="NAME|M.pt", help="metals, ice, or a file of one's own"
    )
    add_frames_argument(parser)
    parser.add_argument(
        "--length", type=float, metavar="L",
        help="cube root of the volume per atom, Å, for models without species (default: from the "
        "8th to 24th neighbours)",
    )  # fmt: skip


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lrcalc phases label`."""
    _add_common(parser)
    parser.add_argument(
        "--denoise-steps", type=int, metavar="N",
        help="steps of denoising before labels are read, each about four times as long as the "
        "labels; 0 for none (default: 4 in frames whose labels would be uncertain, from noise of "
        "15 %% of the distance of neighbours on)",
    )  # fmt: skip
    parser.add_argument(
        "--no-unknown",
        action="store_false",
        dest="unknown",
        help="name the best phase of atoms, too, that are in none of the crystals the model knows",
    )
    parser.add_argument(
        "-o", "--output", default="phases", metavar="PREFIX",
        help="PREFIX.xyz with columns phase, phase_probability, phase_familiar, logits, info key "
        "denoise_steps, and PREFIX-phases.csv, .png, .json; PREFIX may end in .xyz",
    )  # fmt: skip


def add_denoise_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `lrcalc phases denoise`."""
    _add_common(parser)
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="steps at most")
    parser.add_argument(
        "-o", "--output", default="denoised.xyz", metavar="OUT.xyz",
        help="each frame as it is, and after each step",
    )  # fmt: skip


def label(args: argparse.Namespace) -> int:
    """Label all atoms of all frames; write them, parts of phases, picture; print a table."""
    import numpy as np

    from lrcalc.analysis.output import check_prefix
    from lrcalc.files import replacing
    from lrcalc.information.phase_fractions import counted, of_rows
    from lrcalc.information.phase_labels import UNKNOWN
    from lrcalc.information.phase_labels import label as labels_of
    from lrcalc.information.phases import load
    from lrcalc.trajectory import write_extxyz

    if args.denoise_steps is not None and args.denoise_steps < 0:
        raise ValueError(f"`--denoise-steps` is {args.denoise_steps} but must be 0 or more")
    prefix = args.output.removesuffix(".xyz")
    check_prefix(prefix, [".xyz", "-phases.csv"], "--output")
    model = load(args.model)
    _check_output(f"{prefix}.xyz", args.input)
    phases = model.phases
    if args.unknown and model.familiar is not None:
        phases = (*phases, UNKNOWN)
    rows = []
    with (
        progress_bar(unit="frame", leave=False) as bar,
        replacing(f"{prefix}.xyz") as temporary,
    ):
        for number, atoms in enumerate(frames_given(args.input, args.frames)):
            told = f"frame {number} of {args.input}"
            found = labels_of(
                model, atoms, steps=args.denoise_steps, length=args.length, unknown=args.unknown,
                name=told,
            )  # fmt: skip
            atoms.arrays |= {
                "phase": np.array(found.phase), "phase_probability": found.probability,
                "logits": found.logits,
            }  # fmt: skip
            atoms.arrays.pop("phase_familiar", None)  # of another model, in frames labelled before
            if found.familiar is not None:
                atoms.arrays["phase_familiar"] = found.familiar
            atoms.info["denoise_steps"] = found.steps
            write_extxyz(temporary, atoms, append=number > 0)
            time = float(atoms.info.get("time_fs", np.nan))
            rows.append(counted(number, time, found, phases))
            bar.update()
        if not rows:
            raise ValueError(f"{args.input} has no such frames (`--frames` {args.frames})")
    steps = "by need" if args.denoise_steps is None else args.denoise_steps
    result = of_rows(rows, phases, input=args.input, model=args.model, denoise_steps=steps)
    files = result.save(prefix, title=f"{args.input}, model {args.model}")
    print(result.table())
    print("  wrote " + ", ".join(map(str, [f"{prefix}.xyz", *files])))
    return 0


def denoise(args: argparse.Namespace) -> int:
    """Follow the score of each frame; write all steps; print log P̂ and how far atoms moved."""
    from lrcalc.analysis.output import check_target
    from lrcalc.files import replacing
    from lrcalc.information.phase_labels import denoise as steps_of
    from lrcalc.information.phases import load
    from lrcalc.trajectory import write_extxyz

    check_target(args.output, "--output")
    if not args.output.endswith((".xyz", ".extxyz")):
        raise ValueError(
            f"`--output` is {args.output!r} but must end in .xyz: extended xyz is written"
        )
    if args.steps < 1:
        raise ValueError(f"`--steps` is {args.steps} but must be at least 1")
    model = load(args.model)
    _check_output(args.output, args.input)
    written = 0
    print(f"{'frame':>6} {'step':>5} {'log P̂ / atom':>14} {'factor':>7} {'moved, rms (Å)':>15}")
    with progress_bar(unit="step", leave=False) as bar, replacing(args.output) as temporary:
        for number, atoms in enumerate(frames_given(args.input, args.frames)):
            told = f"frame {number} of {args.input}"
            found = steps_of(model, atoms, steps=args.steps, length=args.length, name=told)
            for k, step in enumerate(found):
                write_extxyz(temporary, _moved(atoms, step, number, k), append=written > 0)
                written += 1
                value = step.log_probability / len(atoms)
                print(f"{number:6} {k:5} {value:14.5f} {step.factor:7.3g} {step.moved:15.4f}")
                bar.update()
        if not written:
            raise ValueError(f"{args.input} has no such frames (`--frames` {args.frames})")
    print(f"  wrote {args.output} ({written} structures)")
    return 0


def _moved(atoms: Atoms, step: Any, frame: int, number: int) -> Atoms:
    from lrcalc.structures import bare

    moved = bare(atoms)
    moved.positions = step.positions
    moved.info |= {
        "frame": frame, "denoise_step": number, "log_probability": step.log_probability,
    }  # fmt: skip
    return moved


def _check_output(output: str, source: str) -> None:
    from pathlib import Path

    if Path(output).exists() and Path(source).exists() and Path(output).samefile(source):
        raise ValueError(f"`--output` would replace {source}; give another name")


LABEL = Part(
    "name the phase of each atom of a structure or trajectory",
    "lrcalc phases label run.xyz --model metals -o labelled",
    add_label_arguments,
    label,
)
DENOISE = Part(
    "move atoms to the crystal that they are most probably a disordered form of",
    "lrcalc phases denoise hot.xyz --model metals --steps 4 -o cold.xyz",
    add_denoise_arguments,
    denoise,
)
