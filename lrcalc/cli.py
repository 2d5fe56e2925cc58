"""`lrcalc COMMAND`: finds the command and turns errors of the user into one line."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from lrcalc.commands._table import COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Only the module of that command is imported, so that help, versions and mistakes are answered
    at once.

    Returns
    -------
    int
        Exit status: 0, 2 for bad input (with one line on standard error), 130 when interrupted.
    """
    arguments = [plain(a) for a in (sys.argv[1:] if arguments is None else arguments)]
    if arguments[:1] == ["help"]:  # as git and others take it
        arguments = [*arguments[1:2], "--help"]
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        print(versions())
        return 0
    from lrcalc.commands._parser import command_parser, nearest
    from lrcalc.optional import explained

    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        known = nearest(name, ["--help", "--version"] if what == "option" else COMMANDS)
        print(f"lrcalc: no {what} {name}{known}" if name else overview(), file=sys.stderr)
        if name:
            print("all commands: lrcalc --help", file=sys.stderr)
        return 2
    try:
        with explained(), plain_warnings(name):
            options = command_parser(name).parse_args(arguments[1:])
            return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"lrcalc {name}: {describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lrcalc {name}: interrupted", file=sys.stderr)
        return 130


@contextmanager
def plain_warnings(name: str) -> Iterator[None]:
    """Print our warnings as lines of a command; whose line of Python it was does not matter."""
    before = warnings.formatwarning

    def told(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        if category is UserWarning:
            return f"lrcalc {name}: warning: {message}\n"
        return before(message, category, *where, **more)

    warnings.formatwarning = told
    try:
        yield
    finally:
        warnings.formatwarning = before


def overview() -> str:
    """Help of `lrcalc` itself."""
    from textwrap import fill

    width = max(map(len, COMMANDS)) + 2
    return "\n".join([
        "usage: lrcalc COMMAND [options]\n",
        "Long-range electrostatics and electric response for ML potentials.\n",
        *(
            fill(command.help, 79, initial_indent=f"  {name:{width}}",
                 subsequent_indent=" " * (width + 2))
            for name, command in COMMANDS.items()
        ),
        "",
        "  lrcalc COMMAND --help    options of a command",
        "  lrcalc --version         of lrcalc, torch and Python",
    ])  # fmt: skip


def versions() -> str:
    """Versions of lrcalc, torch and Python, as installed: nothing is imported for them."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    from lrcalc import __version__

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    return f"lrcalc {__version__} (torch {torch}, Python {python_version()})"


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
