"""Whose line a warning is about: that of the user, however many of ours lie between."""

import sys

OURS = ("lrcalc", "ase", "torch", "contextlib")
"""Packages that call one another before a warning is given."""


def users_line() -> int:
    """``stacklevel`` of the first line outside of `OURS`, for a warning given where this is called.

    (Python 3.12 has ``skip_file_prefixes`` for it.)
    """
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and _package(frame.f_globals) in OURS:
        frame, level = frame.f_back, level + 1
    return level


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]
