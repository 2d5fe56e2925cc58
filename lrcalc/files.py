"""Files that are whole or not there at all: the one way in which lrcalc replaces a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path in the same folder that takes the place of ``path`` at the end.

    Whoever reads ``path`` meanwhile, or after a crash, finds the earlier file. If the block
    raises, the temporary file is removed and ``path`` stays as it was.

    Parameters
    ----------
    path : path-like
        The file to write or to replace.

    Yields
    ------
    Path
        Hidden, of this process alone, and with the suffix of ``path``, because ASE, matplotlib
        and numpy choose the format by it.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} for {path.name}; make it first")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
