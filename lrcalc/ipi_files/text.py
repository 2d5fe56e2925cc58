"""Text files, packed or not."""

import gzip
from pathlib import Path
from typing import TextIO, cast


def open_text(path: str | Path) -> TextIO:
    """Open a text file, unpacked on the way if its name ends in .gz."""
    path = Path(path)
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", errors="replace"))
    return path.open(errors="replace")


def kind_of(path: str | Path) -> str:
    """Suffix of a file's name, that before .gz if it is packed."""
    return Path(Path(path).name.removesuffix(".gz")).suffix
