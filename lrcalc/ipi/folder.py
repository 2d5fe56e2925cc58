"""Files of an earlier run in the folder of a new one: out of the way, but kept."""

import itertools
import re
from pathlib import Path

from lrcalc.ipi_files.document import read_document

LONGEST_PATH = 4096
"""Characters; longer texts in an input are numbers."""


def set_aside(input_file: Path, workdir: Path, prefix: str) -> list[Path]:
    """Rename what an earlier run wrote here: ``sim.dipole_1`` becomes ``#sim.dipole_1#0#``.

    i-PI renames so the files that it opens itself. Those it leaves (of beads or extras that the
    new run does not have) would be read as a part of the new run. Files that the input names,
    such as a checkpoint to start from, stay.

    Returns
    -------
    list of Path
        The new names.
    """
    base = workdir / prefix
    old = [path for path in base.parent.glob("*") if path.name.startswith(f"{base.name}.")]
    old.append(workdir / "RESTART")
    keep = {input_file.resolve(), *named_in(input_file, workdir)}
    moved = []
    for path in sorted(old):
        if not path.is_file() or path.resolve() in keep:
            continue
        backup = _backup(path)
        path.rename(backup)
        moved.append(backup)
    return moved


def named_in(input_file: Path, workdir: Path) -> set[Path]:
    """Paths that the texts of an input may be, and the values in its ``<parameters>``."""
    found = set()
    for node in read_document(input_file).iter():
        text = (node.text or "").strip()
        if not text or len(text) > LONGEST_PATH:
            continue
        values = [part.partition(":")[2].strip() for part in re.split("[,{}]", text)]
        found |= {(workdir / value).resolve() for value in (text, *values) if value}
    return found


def _backup(path: Path) -> Path:
    names = (path.with_name(f"#{path.name}#{n}#") for n in itertools.count())
    return next(name for name in names if not name.exists())
