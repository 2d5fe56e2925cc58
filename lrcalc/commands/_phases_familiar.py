"""`lrcalc phases familiar`: what a model of phases does not know."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.commands._phases_part import Part

if TYPE_CHECKING:
    from lrcalc.information.phase_familiar import Found
    from lrcalc.information.phases import PhaseModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", required=True, metavar="NAME|M.pt", help="a trained model")
    parser.add_argument(
        "--structures", nargs="+", required=True, metavar="FILE",
        help="the perfect crystals it was trained on",
    )  # fmt: skip
    parser.add_argument(
        "--out", required=True, metavar="M.pt", help="model file to write; labels and score stay"
    )
    parser.add_argument(
        "--copies", type=int, default=8, metavar="N",
        help="noisy copies of each crystal, and as many structures that are none of them",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of noise and structures")


def run(args: argparse.Namespace) -> int:
    """Learn which atoms are in none of a model's crystals; write it and what it misses."""
    from lrcalc.information.phases import load, save
    from lrcalc.structures import read_structures

    output = Path(args.out)
    if output.suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no folder {output.parent} for `--out`; make it first")
    if args.copies < 1:
        raise ValueError(f"`--copies` is {args.copies} but must be at least 1")
    if args.seed < 0:
        raise ValueError(f"`--seed` is {args.seed} but must be 0 or more")
    model = load(args.model)
    frames = [atoms for name in args.structures for atoms in read_structures(name)]
    learned(model, frames, copies=args.copies, seed=args.seed)
    save(model, output)
    print(f"  wrote {output}")
    return 0


def learned(model: PhaseModel, frames: list[Any], **how: int) -> Found:
    """Learn, print and put into the card what is known and what is missed."""
    from lrcalc.information.phase_familiar import learn

    device = next(model.parameters()).device
    found = learn(model.cpu(), frames, **how)
    model.to(device)
    print("unknown, of atoms of known crystals (the worst phase), by noise:")
    for level, part in found.false.items():
        print(f"  {100 * level:4.0f} %: {100 * part:5.2f} % ({found.worst[level]})")
    print(
        f"of structures that are none of them, taken for known: {100 * found.missed:.2f} % of atoms"
    )
    model.metadata["familiar"] = {
        "unknown_of_known": {f"{level:g}": round(part, 5) for level, part in found.false.items()},
        "known_of_strangers": round(found.missed, 5), **how,
    }  # fmt: skip
    return found


FAMILIAR = Part(
    "learn which atoms are in none of a model's crystals (train does so at its end)",
    "lrcalc phases familiar --model mine.pt --structures crystals.xyz --out mine.pt",
    add_arguments,
    run,
)
