"""Says in one sentence why a run failed, from what i-PI and its clients printed."""

import re
from collections.abc import Iterable
from pathlib import Path

HARMLESS = ("i-PI has finished", "i-PI has disappeared", "stopped by", "waiting")
"""What clients say without having failed."""

TRACEBACK = "Traceback (most recent call last)"


def own_words(text: str) -> list[str]:
    """Messages of drivers and clients, without those that tell of no failure."""
    return [
        line.strip().partition(": ")[2]
        for line in text.splitlines()
        if line.startswith(("lrcalc: ", "lrcalc ipi: "))
        and not any(harmless in line for harmless in HARMLESS)
    ]


def last_words(text: str) -> str:
    """Return the message of the last exception without the code that led to it; else the end."""
    _, mark, trace = text.rpartition(TRACEBACK)
    lines = [line for line in trace.splitlines() if line.strip()]
    if mark:
        message = next((line for line in lines if not line.startswith((" ", ":"))), "")
        if message:
            # names of other exceptions say more than their messages: KeyError: 'x'
            return re.sub(r"^(ValueError|FileNotFoundError): ", "", message).strip()
    return " | ".join(line.strip() for line in lines[-3:])


def diagnosis(logs: Iterable[str], server: str) -> str:
    """Return the reason of a failure.

    Parameters
    ----------
    logs : iterable of str
        What the clients printed.
    server : str
        What i-PI printed.
    """
    said = [words for text in (*logs, server) for words in own_words(text)]
    return said[0] if said else last_words(server)


def read_from(log: Path, start: int = 0) -> str:
    """Text of a log from a byte on; empty if there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(start)
        return stream.read().decode(errors="replace")
