"""`lrcalc COMMAND`: collects the commands and turns errors of the user into one line."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from decimal import Decimal

COMMANDS = {
    "demo": "demo", "info": "info", "evaluate": "evaluate", "train": "train",
    "fit-polarizability": "fit_polarizability", "md": "md",
    "ipi": "ipi", "ipi-input": "ipi_input", "ipi-run": "ipi_run",
    "ir": "spectra", "raman": "spectra",
    "dielectric": "spectra", "vdos": "spectra", "conductivity": "spectra", "sfg": "spectra",
    "modes": "modes",
}  # fmt: skip
"""Command → module of `lrcalc.commands`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit status: 0, 2 for bad input (with one line on standard error), 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="lrcalc",
        description="Long-range electrostatics and electric response for ML potentials.",
    )
    from lrcalc import __version__

    parser.add_argument("--version", action="version", version=f"lrcalc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # only the module of the command that runs is imported in full: `lrcalc info` stays quick
    wanted = arguments[0] if arguments and arguments[0] in COMMANDS else None
    for name, module_name in COMMANDS.items():
        if wanted is not None and name != wanted:
            continue
        module = importlib.import_module(f"lrcalc.commands.{module_name}")
        row = getattr(module, "ROWS", {}).get(name)
        text, example = (row.help, row.example) if row else (module.HELP, module.EXAMPLE)
        child = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        (row or module).add_arguments(child)
        child.set_defaults(run=(row or module).run)
    options = parser.parse_args([plain(a) for a in arguments])
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"lrcalc {options.command}: {describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lrcalc {options.command}: interrupted", file=sys.stderr)
        return 130


def plain(argument: str) -> str:
    """Write ``-1e-3`` as ``-0.001``: argparse takes a minus sign and an exponent for an option."""
    if re.fullmatch(r"-(\d+\.?\d*|\.\d+)[eE][-+]?\d{1,3}", argument):
        return format(Decimal(argument), "f")
    return argument


def describe(error: Exception) -> str:
    """Return the message of an error; of the operating system's own, with the file first."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    raise SystemExit(main())
