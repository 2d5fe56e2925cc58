"""Errors that name options of the command line where a message names arguments of functions."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def flag(name: str) -> str:
    """Return the option that sets ``name``."""
    return "--" + name.replace("_", "-")


def translate(text: str, options: Mapping[str, str]) -> str:
    """Name options where a message names arguments (in backticks); others stay."""
    return re.sub(r"`([a-z_.]+)`", lambda found: f"`{options.get(found[1], found[1])}`", text)


@contextmanager
def naming(options: Mapping[str, str]) -> Iterator[None]:
    """Let errors of the user name options: argument → option."""
    try:
        yield
    except FileNotFoundError as error:
        if error.filename is not None:  # of the operating system
            raise
        raise FileNotFoundError(translate(str(error), options)) from error
    except ValueError as error:
        raise ValueError(translate(str(error), options)) from error
