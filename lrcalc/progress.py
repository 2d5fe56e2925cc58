"""How far a long job is: a bar on a terminal, plain lines in a log file.

A bar redraws its line, which in the output of a batch job is one line of a megabyte. There a line
is written after ten seconds, and then every ten seconds or fiftieth of the time so far: about fifty
in the first eight minutes and four hundred in a day.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, Self, TextIO

FIRST = 10.0
"""Seconds to the first line."""

PART = 0.02
"""Part of the time so far that passes between later lines."""


class Progress(Protocol):
    """What a job tells: the methods of `tqdm` that are used here.

    Attributes
    ----------
    n : float
        Done so far.
    """

    n: float

    def update(self, n: float = 1) -> Any:
        """Count what was done since."""

    def set_postfix_str(self, s: str, refresh: bool = True) -> Any:
        """Say how things stand."""

    def write(self, s: str) -> Any:
        """Write a line of its own."""

    def close(self) -> Any:
        """End."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *error: object) -> Any:
        """End."""


def progress_bar(
    total: float | None = None,
    *,
    unit: str,
    title: str = "",
    initial: float = 0,
    leave: bool = True,
    disable: bool = False,
) -> Progress:
    """Return a bar if standard error is a terminal, else plain lines in it.

    Parameters
    ----------
    total : float, optional
        Of what is to be done; None if nobody knows.
    unit : str
        What is counted, in the singular.
    title : str, optional
    initial : float, optional
        What was done before.
    leave : bool, optional
        Keep the bar, or write a last line, when it is done.
    disable : bool, optional
        Show nothing.
    """
    if disable or sys.stderr.isatty():
        from tqdm import tqdm

        bar: Progress = tqdm(
            total=total, unit=unit, desc=title or None, initial=initial, leave=leave,
            disable=disable, dynamic_ncols=True,
        )  # fmt: skip
        return bar
    return Lines(total, unit, title, initial, leave)


class Lines:
    """Lines in place of a bar; use `progress_bar`, which has the parameters."""

    def __init__(
        self,
        total: float | None,
        unit: str,
        title: str = "",
        initial: float = 0,
        leave: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self.total, self.unit, self.title, self.leave = total, unit, title, leave
        self.n = self.first = initial
        self.stream = sys.stderr if stream is None else stream
        self.postfix = ""
        self.begun = time.monotonic()
        self.due = FIRST
        self.told = initial - 1

    def update(self, n: float = 1) -> None:
        """Count; write a line if it is time."""
        self.n += n
        passed = time.monotonic() - self.begun
        if passed >= self.due:
            self.due = passed + max(FIRST, PART * passed)
            self._tell(passed)

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        """Keep the text for the next line."""
        self.postfix = s

    def write(self, s: str) -> None:
        """Write a line of its own, to standard output as a bar does."""
        print(s, flush=True)

    def close(self) -> None:
        """Write the last line."""
        if self.leave and self.n != self.told:
            self._tell(time.monotonic() - self.begun)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """End, also where an error has ended it."""
        self.close()

    def _tell(self, passed: float) -> None:
        self.told = self.n
        whole = "" if self.total is None else f" of {self.total:g}"
        words = [f"{self.n:g}{whole} {self.unit}{'' if self.n == 1 and not whole else 's'}"]
        words.append(duration(passed))
        done = self.n - self.first
        if self.total is not None and done > 0 and self.n < self.total:
            words.append(f"{duration(passed * (self.total - self.n) / done)} left")
        title = f"{self.title}: " if self.title else ""
        print(title + ", ".join([*words, *filter(None, [self.postfix])]), file=self.stream,
              flush=True)  # fmt: skip


def duration(seconds: float) -> str:
    """``8.5 s``, ``12 min 5 s``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
