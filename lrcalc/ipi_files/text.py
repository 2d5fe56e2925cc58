"""Text files, packed or not."""

import gzip
import io
from pathlib import Path
from typing import TextIO, cast


def open_text(path: str | Path) -> TextIO:
    """Open a text file, unpacked on the way if its name ends in .gz."""
    path = Path(path)
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", errors="replace"))
    return path.open(errors="replace")


def seekable(path: str | Path) -> str | TextIO:
    """Return what ASE may jump about in: the path, or the text of a packed file, unpacked once."""
    if Path(path).suffix != ".gz":
        return str(path)
    with open_text(path) as file:
        return io.StringIO(file.read())


def kind_of(path: str | Path) -> str:
    """Suffix of a file's name, that before .gz if it is packed."""
    return Path(Path(path).name.removesuffix(".gz")).suffix
