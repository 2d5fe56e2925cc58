"""`lrcalc select`: frames that are worth computing or keeping."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrcalc.commands._information import (
    add_bandwidth_argument,
    add_descriptor_arguments,
    add_frames_argument,
    form_of,
    frames_given,
    reference_given,
)
from lrcalc.progress import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", metavar="DATA", help="structures or a trajectory")
    parser.add_argument("--keep", type=int, required=True, metavar="N", help="frames to keep")
    parser.add_argument(
        "--reference", nargs="+", metavar="DATA|MODEL",
        help="what is there already: frames that are new beside it come first",
    )  # fmt: skip
    add_frames_argument(parser)
    add_descriptor_arguments(parser)
    add_bandwidth_argument(parser)
    parser.add_argument(
        "-o", "--output", default="selected", metavar="PREFIX",
        help="PREFIX.xyz, in the order of selection, and PREFIX-selection.csv, .png, .json",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Choose, write the frames and how much of the entropy they keep."""
    from lrcalc.analysis.output import check_prefix
    from lrcalc.information.kept import kept_entropy
    from lrcalc.trajectory import write_extxyz

    form = form_of(args)
    check_prefix(args.output, [".xyz", "-selection.csv"], "--output")
    frames = list(frames_given(args.data, args.frames))
    if Path(f"{args.output}.xyz").exists() and Path(f"{args.output}.xyz").samefile(args.data):
        raise ValueError(f"`--output` would replace {args.data}; give another name")
    beside = reference_given(args) if args.reference else None
    with progress_bar(args.keep, unit="frame", leave=False) as bar:
        result = kept_entropy(
            frames, args.keep, form, h=args.bandwidth, beside=beside, told=bar.update
        )
    write_extxyz(f"{args.output}.xyz", [frames[k] for k in result.order.astype(int)])
    files = result.save(args.output)
    print(result.table())
    print("  wrote " + ", ".join(map(str, [f"{args.output}.xyz", *files])))
    return 0
