"""`lrcalc extrapolation`: what of a run lies outside of data."""

from __future__ import annotations

import argparse

from lrcalc.commands._information import (
    add_bandwidth_argument,
    add_descriptor_arguments,
    add_frames_argument,
    frames_given,
    reference_given,
)
from lrcalc.progress import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_", metavar="RUN", help="trajectory, or structures")
    parser.add_argument(
        "--reference", nargs="+", required=True, metavar="DATA|MODEL",
        help="data files, or a model that carries its training environments",
    )  # fmt: skip
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

    check_prefix(args.output, ["-extrapolation.csv"], "--output")
    reference = reference_given(args)
    with progress_bar(unit="frame", leave=False) as bar:
        result = extrapolation(frames_given(args.run_, args.frames), reference, told=bar.update)
    files = result.save(args.output, title=f"{args.run_} beside {', '.join(args.reference)}")
    print(result.table())
    print(f"  bandwidth {reference.h:.4g} 1/Å; reference of {reference.about.get('frames')} frames")
    print("  wrote " + ", ".join(map(str, files)))
    return 0
