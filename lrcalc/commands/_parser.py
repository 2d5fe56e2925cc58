"""The parser of a command: every default in the help, the nearest word for one that is wrong."""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import textwrap
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from lrcalc.commands._table import COMMANDS


def command_parser(name: str) -> Parser:
    """Build the parser of a command, with its module's function in ``run``."""
    command = COMMANDS[name]
    module = importlib.import_module(f"lrcalc.commands.{command.module}")
    parser = Parser(
        prog=f"lrcalc {name}",
        description=command.help,
        epilog=f"example: {command.example}",
        formatter_class=HelpFormatter,
    )
    made = getattr(module, "ROWS", {}).get(name, module)
    made.add_arguments(parser)
    parser.set_defaults(command=name, run=made.run)
    return parser


def nearest(word: str, known: Collection[str]) -> str:
    """Say which known words this one may stand for: ``; did you mean …?``, or nothing."""
    plain = {k.lstrip("-").lower(): k for k in known if len(k.lstrip("-")) > 1}
    sought = word.lstrip("-").lower()
    found = (
        difflib.get_close_matches(sought, plain, n=2, cutoff=0.7)
        or [k for k in plain if len(sought) > 2 and sought in k][:2]
        or [k for k in plain if sought == "".join(part[0] for part in k.split("-"))]
        or difflib.get_close_matches(sought, plain, n=1, cutoff=0.5)
    )
    return f"; did you mean {' or '.join(plain[k] for k in found)}?" if found else ""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help that ends in the default where there is one and the text does not say it."""

    def format_help(self) -> str:
        """Help with no line wider than the terminal, lists of choices included."""
        lines = super().format_help().split("\n")
        return "\n".join(part for line in lines for part in folded(line, self._width))

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        kind = action.type if isinstance(action.type, type) else str
        return {int: "N", float: "X"}.get(kind) or action.dest.upper()

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        nothing = action.default in (None, "", argparse.SUPPRESS) or action.default is False
        if nothing or action.default == [] or "default" in text:
            return text
        if action.default is True:  # of an option that turns off, True reads as if it were given
            both = isinstance(action, argparse.BooleanOptionalAction)
            return f"{text} (default {action.option_strings[0]})" if both else text
        shown = f"{action.default:g}" if isinstance(action.default, float) else "%(default)s"
        return f"{text} (default {shown})"


def folded(line: str, width: int) -> list[str]:
    """Break a line that is too wide; a command line so that the shell takes it whole."""
    if len(line) <= width:
        return [line]
    spaced = re.sub(r",(?=\w)", ", ", line) if "{" in line else line
    indent = " " * min(len(line) - len(line.lstrip()) + 4, width // 2)
    parts = textwrap.wrap(
        spaced, width - 2, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    last = " \\" if line.startswith("example: ") else ""
    return [*(part + last for part in parts[:-1]), parts[-1]]


class Parser(argparse.ArgumentParser):
    """A parser that looks at the names of options first, and complains in a line or two."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse an unknown option before anything else is missed or refused."""
        for word in args or ():
            if word == "--":
                break
            if self._is_unknown(word):
                name = word.split("=")[0]
                self.error(f"no option {name}{nearest(name, self.options())}")
        return super().parse_known_args(args, namespace)

    def options(self) -> list[str]:
        """Every spelling of every option, those of parts included."""
        own = [name for action in self._actions for name in action.option_strings]
        return own + [
            name
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for part in action.choices.values()
            for name in part.options()
            if name not in own
        ]

    def _is_unknown(self, word: str) -> bool:
        # what begins like a negative number is a value, as is what holds a blank
        if not re.match(r"-[^\d.\s]\S*$", word):
            return False
        name = word.split("=")[0]
        if name.startswith("--"):  # may be shortened
            return not any(option.startswith(name) for option in self.options())
        return name not in self.options() and name[:2] not in self.options()

    def error(self, message: str) -> NoReturn:
        """End with the message, an example and where to read on; status 2."""
        lines = [f"{self.prog}: {message}", f"all options: {self.prog} --help"]
        if self.epilog and "required" in message:
            lines.insert(1, self.epilog)
        self.exit(2, "\n".join(lines) + "\n")
