"""Files of a run: what it starts from, what may be replaced, what is continued."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

GROWING = (".xyz", ".csv")
"""What every frame is added to."""


def read_start(given: str) -> tuple[Path, Atoms, list[str]]:
    """Structure that a run starts from, without what holds for that frame alone.

    Returns
    -------
    path : Path
    atoms : Atoms
        With total charge, masses, constraints, boundary and velocities of the file.
    notes : list of str
        Which frame it is, what of it is used and what cannot be.
    """
    from lrcalc.structures import bare, describe_intake, read_structure
    from lrcalc.structures.formats import find

    path = find(given, "structure")
    atoms = read_structure(path)
    frame = [f"{path}: its last frame is the start"] if has_more_frames(path) else []
    return path, bare(atoms), [*frame, *describe_intake(atoms)]


def has_more_frames(path: Path) -> bool:
    """Whether a file that can be read has more than one frame."""
    from lrcalc.structures import read_structures

    try:
        return len(read_structures(path, slice(0, 2))) > 1
    except ValueError:  # in a frame that is not the one used
        return True


def run_files(out: str, *, traj: bool, replicas: int = 1) -> dict[str, Path]:
    """Name the files of a run by their endings.

    Of several replicas, each has frames and a table of its own, ``NAME-1.xyz``, ``NAME-1.csv``, …;
    the state and the picture are of all.
    """
    output = Path(out)
    if output.name in ("", ".."):
        raise ValueError(f"`--out` is {out!r} but must end in a name, such as {output / 'md'}")
    each = [".xyz", ".csv", *([".traj"] if traj else [])]
    endings = [part + ending for part in parts(replicas) for ending in each]
    return {end: output.with_name(output.name + end) for end in [*endings, ".png", ".npz"]}


def parts(replicas: int) -> list[str]:
    """Name what stands before the endings of each replica's files; nothing for a single one."""
    width = len(str(replicas))
    return [""] if replicas == 1 else [f"-{k:0{width}d}" for k in range(1, replicas + 1)]


def growing(files: Mapping[str, Path]) -> list[str]:
    """List the endings of the files that every frame is added to."""
    return [ending for ending in files if ending.endswith(GROWING)]


def tables(files: Mapping[str, Path]) -> list[Path]:
    """List the tables of the replicas, in their order."""
    return [path for ending, path in files.items() if ending.endswith(".csv")]


def check_targets(files: Mapping[str, Path], structure: Path, *, restart: bool) -> None:
    """Refuse to replace the structure file ever, and other files unless told to.

    Where there is a state the files belong to the run that will be continued.
    """
    there = [path for path in files.values() if path.exists()]
    for path in there:
        if path.samefile(structure):
            raise ValueError(
                f"{path} is the structure file, and `--out` would replace it; give another name"
            )
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give another `--out`")
    if there and not restart and not files[".npz"].exists():
        raise ValueError(
            f"{', '.join(map(str, there))} would be replaced, and there is no state "
            f"{files['.npz']} to continue from; give another `--out`, or --restart to replace"
        )


def hold(table: Path) -> IO[str]:
    """Keep others from running under this name, as long as the returned file is open."""
    file = table.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ValueError(
            f"another run is writing {table}; wait for it, stop it, or give another `--out`"
        ) from error
    except OSError:
        pass  # a file system without locks
    return file


def clear(files: Mapping[str, Path]) -> IO[str]:
    """Make room for a new run and `hold` it; the state goes first, or it would miss its files."""
    try:
        files[".npz"].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"`--out`: {error}; give another folder") from error
    lock = hold(tables(files)[0])
    files[".npz"].unlink(missing_ok=True)
    for ending in growing(files):
        if ending.endswith(".csv"):
            files[ending].touch()  # what is open stays the file
            os.truncate(files[ending], 0)
        else:
            files[ending].unlink(missing_ok=True)
    return lock


def sizes(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Bytes of the growing files, as entries of the state."""
    return {"size" + end: np.array(files[end].stat().st_size) for end in growing(files)}


def cut(files: Mapping[str, Path], state: Mapping[str, np.ndarray]) -> IO[str]:
    """Cut off what was written after the state, which the run will write again; `hold` it.

    Raises
    ------
    ValueError
        If a file is missing or shorter than when the state was saved, or another run has it.
        Nothing is cut then.
    """
    way_out = "put the file back, or start anew (--restart)"
    lengths = {files[ending]: int(state["size" + ending]) for ending in growing(files)}
    for path, length in lengths.items():
        if not path.is_file():
            raise ValueError(f"{path} is missing but the state is there; {way_out}")
        found = path.stat().st_size
        if found < length:
            raise ValueError(
                f"{path} has {found} bytes but had {length} when the state was saved: it was "
                f"shortened or replaced since; {way_out}"
            )
    lock = hold(tables(files)[0])
    for path, length in lengths.items():
        os.truncate(path, length)
    return lock
