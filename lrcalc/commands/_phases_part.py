"""What `lrcalc phases` is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Part(NamedTuple):
    """One of its commands: help, a line that works, options, what it does."""

    help: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
