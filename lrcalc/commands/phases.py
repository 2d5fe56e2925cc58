"""`lrcalc phases train | familiar | label | denoise`: the phase of each atom."""

from __future__ import annotations

import argparse

from lrcalc.commands._parser import HelpFormatter, Parser
from lrcalc.commands._phases_familiar import FAMILIAR
from lrcalc.commands._phases_label import DENOISE, LABEL
from lrcalc.commands._phases_train import TRAIN

PARTS = {"train": TRAIN, "familiar": FAMILIAR, "label": LABEL, "denoise": DENOISE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the four."""
    parts = parser.add_subparsers(
        dest="what", required=True, metavar="WHAT", parser_class=Parser,
        help="train, familiar, label or denoise, each with options of its own (lrcalc phases label "
        "--help)",
    )  # fmt: skip
    for name, part in PARTS.items():
        own = parts.add_parser(
            name, help=part.help, description=part.help, epilog=f"example: {part.example}",
            formatter_class=HelpFormatter,
        )  # fmt: skip
        part.add_arguments(own)


def run(args: argparse.Namespace) -> int:
    """Run one of the four."""
    return PARTS[args.what].run(args)
