"""`lrcalc extrapolation`: what of a run lies outside of data."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from lrcalc.commands._information import (
    add_bandwidth_argument,
    add_descriptor_arguments,
    add_frames_argument,
    frames_given,
    reference_given,
)
from lrcalc.commands._watch import add_score_arguments
from lrcalc.progress import progress_bar

if TYPE_CHECKING:
    from lrcalc.information.judging import Judge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_", metavar="RUN", help="trajectory, or structures")
    parser.add_argument(
        "--reference", nargs="+", metavar="DATA|MODEL",
        help="data files, or a model that carries its training environments",
    )  # fmt: skip
    add_score_arguments(parser, "two models or more")
    parser.add_argument("--model", help="whose features are compared, with data as --reference")
    parser.add_argument("--limit", type=float, metavar="X",
                        help="of the score of an atom (nats; of a committee eV/Å) instead of the "
                        "limits of the reference")  # fmt: skip
    add_frames_argument(parser)
    add_descriptor_arguments(parser)
    add_bandwidth_argument(parser)
    parser.add_argument(
        "-o", "--output", default="run", metavar="PREFIX",
        help="PREFIX-extrapolation.csv, .png, .json",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Judge all frames; print, write table and picture."""
    from lrcalc.analysis.output import check_prefix
    from lrcalc.information.extrapolation import extrapolation
    from lrcalc.structures.species import find_unknown, refuse_unknown

    check_prefix(args.output, ["-extrapolation.csv"], "--output")
    judge = judge_given(args)
    # a second time through the file, which is nothing beside what frames take to be judged
    numbered = enumerate(frames_given(args.run_, args.frames))
    refuse_unknown(
        [find_unknown(numbered, judge.species, args.run_)], judge.species,
        "the reference knows", "leave these frames out, or give data with them",
    )  # fmt: skip
    with progress_bar(unit="frame", leave=False) as bar:
        result = extrapolation(frames_given(args.run_, args.frames), judge, told=bar.update)
    beside = ", ".join(args.reference or args.committee)
    files = result.save(args.output, title=f"{args.run_} beside {beside}")
    print(result.table())
    for name, value in judge.described.items():
        print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    print("  wrote " + ", ".join(map(str, files)))
    return 0


def judge_given(args: argparse.Namespace) -> Judge:
    """Return the score that was asked for.

    Raises
    ------
    ValueError
        For options that are missing, or that the score has no use for.
    """
    from lrcalc.evaluator import Evaluator
    from lrcalc.information.choosing import check_score, open_judge

    score = check_score(args.score, args.committee)
    if args.limit is not None and not math.isfinite(args.limit):
        raise ValueError(f"`--limit` is {args.limit} but must be a number")
    if score != "committee" and not args.reference:
        raise ValueError("`--reference` is missing: give data files, or a model")
    for name in ("nearest", "cutoff", "components", "bandwidth"):
        given = getattr(args, name)
        if score != "delta-h" and given is not None and given is not False:
            raise ValueError(f"`--{name}` is of δH and has no effect on {score!r}: leave it out")
    if args.model is not None and score == "delta-h":
        raise ValueError("`--model` has no effect on δH, which needs none: leave it out")
    if score == "delta-h":
        reference = reference_given(args)
        return reference if args.limit is None else reference.with_limit(args.limit)
    own = None if args.model is None else Evaluator(args.model, allow_net_charge=True)
    return open_judge(
        score, args.reference or [], own=own, own_name=args.model or "",
        committee=args.committee or [], limit=args.limit,
    )  # fmt: skip
