"""Series of plain numbers: i-PI extras, columns, npz, HDF5."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.ipi_files import extras
from lrcalc.ipi_files.extras import extras_name, numbers
from lrcalc.ipi_files.text import kind_of, open_text
from lrcalc.optional import explained

__all__ = [
    "CHUNK",
    "extras_name",
    "kind_of",
    "open_text",
    "read_columns",
    "read_hdf5",
    "read_ipi_extras",
    "read_npz",
]

CHUNK = 65536
"""Frames read at a time."""


def read_ipi_extras(path: Path, *, factor: float, columns: int) -> Series:
    """i-PI ``extras`` or ``extras_component_raw``: a header line, then numbers, for each step.

    Several rows a step are beads and are averaged. Steps must be evenly spaced. What of a run
    that was resumed counts is said in :mod:`lrcalc.ipi_files.branches`.
    """
    found = extras.layout(path)
    stride = found.steps[1] - found.steps[0] if len(found.steps) == 2 else 1

    def chunks() -> Iterator[np.ndarray]:
        if found.words % columns:
            raise ValueError(
                f"{path}: {found.words} numbers a step but a multiple of {columns} is expected; "
                "is this the right extra?"
            )
        expected = found.steps[0]
        for steps, values in extras.stream(path):
            wanted = expected + stride * np.arange(len(steps))
            if (steps != wanted).any():
                bad = int(np.argmax(steps != wanted))
                raise ValueError(
                    f"{path}: step {wanted[bad]} expected but {steps[bad]} found: frames are "
                    "missing; give the parts as separate files"
                )
            expected += stride * len(steps)
            yield values.reshape(len(steps), -1, columns).mean(1) * factor

    return Series(chunks, columns, str(path), None, stride)


def read_columns(path: Path, factor: float, use_columns: Sequence[int] | None) -> Series:
    """Plain columns, blanks or commas between them; ``#`` starts a comment."""

    def rows(lines: list[str]) -> np.ndarray:
        kept = [line for line in (raw.partition("#")[0] for raw in lines) if line.strip()]
        if not kept:
            return np.empty((0, 0))
        separator = "," if "," in kept[0] else None
        width = len(kept[0].split(separator))
        text = " ".join(kept)
        values = numbers(text.replace(",", " ") if separator else text, path)
        if len(values) != width * len(kept):
            bad = next(line for line in kept if len(line.split(separator)) != width)
            raise ValueError(f"{path}: {width} columns expected but a row is {bad.strip()!r}")
        return values.reshape(len(kept), width)

    with open_text(path) as file:
        first = rows(list(islice(file, 1000)))
    if not first.size:
        raise ValueError(f"{path} holds no numbers")
    chosen = list(use_columns) if use_columns is not None else list(range(first.shape[1]))
    if max(chosen) >= first.shape[1]:
        raise ValueError(f"{path} has {first.shape[1]} columns but column {max(chosen)} was asked")

    def chunks() -> Iterator[np.ndarray]:
        width = first.shape[1]
        with open_text(path) as file:
            while lines := file.readlines(1 << 23):
                values = rows(lines)
                if not values.size:
                    continue
                if values.shape[1] != width:
                    raise ValueError(f"{path}: {values.shape[1]} columns where {width} were before")
                yield values[:, chosen] * factor

    return Series(chunks, len(chosen), str(path))


def read_npz(path: Path, key: str, factor: float) -> Series:
    """Read an array of an npz file, and ``timestep`` (fs) if it is there."""
    with np.load(path) as data:
        if key not in data:
            raise ValueError(f"{path} has no array {key!r}; it has {', '.join(data.files)}")
        timestep = float(data["timestep"]) if "timestep" in data else None
        array = np.asarray(data[key], dtype=float)
    array = array.reshape(len(array), -1)

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(array), CHUNK):
            yield array[start : start + CHUNK] * factor

    return Series(chunks, array.shape[1], str(path), timestep)


def read_hdf5(path: Path, key: str, factor: float) -> Series:
    """Read a dataset of an HDF5 file, and its attribute ``timestep`` (fs) if there is one."""
    with explained():
        import h5py
    with h5py.File(path) as file:
        if key not in file:
            raise ValueError(f"{path} has no dataset {key!r}; it has {', '.join(file)}")
        columns = int(np.prod(file[key].shape[1:]))
        attributes = file[key].attrs
        timestep = float(attributes["timestep"]) if "timestep" in attributes else None

    def chunks() -> Iterator[np.ndarray]:
        with h5py.File(path) as file:
            data = file[key]
            for start in range(0, len(data), CHUNK):
                part = np.asarray(data[start : start + CHUNK], dtype=float)
                yield part.reshape(len(part), columns) * factor

    return Series(chunks, columns, str(path), timestep)
