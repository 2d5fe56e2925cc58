"""One reader for each kind of file that holds plain numbers: i-PI extras, columns, npz, HDF5."""

import gzip
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import TextIO, cast

import numpy as np

from lrcalc.analysis.correlator import Series

CHUNK = 65536
"""Frames read at a time."""

_STEP = re.compile(r"Step:\s*(\d+)")
_EXTRA = re.compile(r"#EXTRAS\w*\((\w+)\)")
_HEADER = re.compile(r"#EXTRAS[^\n]*")
_HEADER_KEPT = re.compile(r"(#EXTRAS[^\n]*)")


def open_text(path: Path) -> TextIO:
    """Open a text file, unpacked on the way if its name ends in .gz."""
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", errors="replace"))
    return path.open(errors="replace")


def kind_of(path: str | Path) -> str:
    """Suffix of a file's name, that before .gz if it is packed."""
    return Path(Path(path).name.removesuffix(".gz")).suffix


def extras_name(path: Path) -> str | None:
    """Name of i-PI's extra in a file, None if the file is of another kind."""
    with open_text(path) as file:
        found = _EXTRA.search(file.readline())
    return found[1] if found else None


def read_ipi_extras(path: Path, *, factor: float, columns: int) -> Series:
    """i-PI ``extras`` or ``extras_component_raw``: a header line, then numbers, for each step.

    Several rows a step are beads and are averaged. Steps must be evenly spaced. A run that was
    resumed from a checkpoint wrote some steps twice: the later ones count. A frame that was cut
    when the run was killed is left out.
    """
    with open_text(path) as file:
        lines = list(islice(file, 20000))
    steps = [int(m[1]) for line in lines if (m := _STEP.search(line))][:2]
    body = takewhile(lambda line: "#EXTRAS" not in line, lines[1:])
    words = sum(len(line.split()) for line in body)
    stride = steps[1] - steps[0] if len(steps) == 2 else 1
    if stride < 1:
        raise ValueError(f"{path}: step {steps[1]} follows step {steps[0]}")

    def chunks() -> Iterator[np.ndarray]:
        expected = steps[0] if steps else 0
        rest, last, heads = "", False, 0
        written_twice = _replaced(path, stride)
        with open_text(path) as file:
            while not last:
                added = file.read(1 << 24)
                last = not added
                text = _whole(rest, words) if last else rest + added
                # cut before the last header: its numbers may not all be here yet
                cut = len(text) if last else text.rfind("\n", 0, text.rfind("#EXTRAS")) + 1
                part, rest = text[:cut], text[cut:]
                found = np.array(_STEP.findall(part), dtype=int)
                if not len(found):
                    continue
                if len(written_twice):
                    part = _mended(part, words)
                numbers = _numbers(_HEADER.sub(" ", part), path)
                width = numbers.size / len(found)
                if not numbers.size or width % columns:
                    raise ValueError(
                        f"{path}: {width:g} numbers a step but a multiple of {columns} is "
                        "expected; is the last step complete, and is this the right extra?"
                    )
                frames = numbers.reshape(len(found), -1, columns).mean(1) * factor
                if len(written_twice):
                    kept = ~np.isin(heads + np.arange(len(found)), written_twice)
                    heads += len(found)
                    frames, found = frames[kept], found[kept]
                wanted = expected + stride * np.arange(len(found))
                if (found != wanted).any():
                    bad = int(np.argmax(found != wanted))
                    raise ValueError(
                        f"{path}: step {wanted[bad]} expected but {found[bad]} found: frames are "
                        "missing; give the parts as separate files"
                    )
                expected += stride * len(found)
                yield frames

    return Series(chunks, columns, str(path), None, stride)


def _whole(text: str, words: int) -> str:
    """Text without its last frame if that has fewer numbers than the first, or no end of line."""
    head = max(text.rfind("#EXTRAS"), 0)
    body = text[head:].partition("\n")[2]
    return text if body.endswith("\n") and len(body.split()) >= words else text[:head]


def _mended(text: str, words: int) -> str:
    """Frames that a kill cut short, filled up: they were written again and will be left out."""
    parts = _HEADER_KEPT.split(text)
    for k in range(2, len(parts), 2):
        if len(parts[k].split()) != words and "Step" in parts[k - 1]:
            parts[k] = "\n" + "nan " * words + "\n"
    return "".join(parts)


def _replaced(path: Path, stride: int) -> np.ndarray:
    """Numbers of the frames that a later frame of the same or an earlier step replaces."""
    if _complete(path, stride):
        return np.empty(0, dtype=int)
    parts, rest = [], ""
    with open_text(path) as file:
        while added := file.read(1 << 24):
            text = rest + added
            cut = text.rfind("\n") + 1
            parts.append(np.array(_STEP.findall(text[:cut]), dtype=int))
            rest = text[cut:]
    return replaced_frames(np.concatenate(parts) if parts else np.empty(0, dtype=int))


def replaced_frames(steps: np.ndarray) -> np.ndarray:
    """Numbers of the frames that a later frame of the same or an earlier step replaces."""
    if len(steps) < 2 or (np.diff(steps) > 0).all():
        return np.empty(0, dtype=int)
    later = np.minimum.accumulate(steps[::-1])[::-1]
    return np.flatnonzero(steps[:-1] >= later[1:])


def _complete(path: Path, stride: int) -> bool:
    """Whether the last step is where it belongs if every frame takes as many bytes as the first.

    Saves a pass over files of an uninterrupted run.
    """
    if path.suffix == ".gz":
        return False
    with path.open("rb") as file:
        head = file.readline()
        while (line := file.readline()) and b"#EXTRAS" not in line:
            pass
        frame = file.tell() - len(line)
        count, left = divmod(path.stat().st_size, max(frame, 1))
        if left:
            return False
        file.seek((count - 1) * frame)
        ends = [_STEP.search(text.decode(errors="replace")) for text in (head, file.readline())]
    first, last = (int(end[1]) if end else -1 for end in ends)
    return last == first + stride * (count - 1)


def _numbers(text: str, path: Path) -> np.ndarray:
    """Blank-separated numbers; four times as quick as converting word by word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for unread text
        try:
            return np.fromstring(text, dtype=float, sep=" ")
        except (DeprecationWarning, ValueError):
            pass
    words = text.split()
    bad = next((word for word in words if not _is_number(word)), "?")
    raise ValueError(f"{path}: could not read {bad!r} as a number")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_columns(path: Path, factor: float, use_columns: Sequence[int] | None) -> Series:
    """Plain columns, blanks or commas between them; ``#`` starts a comment."""

    def rows(lines: list[str]) -> np.ndarray:
        kept = [line for line in (raw.partition("#")[0] for raw in lines) if line.strip()]
        if not kept:
            return np.empty((0, 0))
        separator = "," if "," in kept[0] else None
        width = len(kept[0].split(separator))
        text = " ".join(kept)
        values = _numbers(text.replace(",", " ") if separator else text, path)
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
    try:
        import h5py
    except ImportError:
        raise ValueError("reading HDF5 needs h5py: pip install 'lrcalc[hdf5]'") from None
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
