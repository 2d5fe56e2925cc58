"""Extras of i-PI: what a driver sent beside forces, a header line and numbers for each step.

A frame that was cut when the run was killed is left out; once the run was resumed, the next
header stands on the same line, and the frame must be there again further down.
"""

import re
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcalc.ipi_files.branches import kept, replaced
from lrcalc.ipi_files.cells import Array
from lrcalc.ipi_files.text import open_text
from lrcalc.properties import extras
from lrcalc.units import ATOMIC

_HEADER = re.compile(
    r"#EXTRAS\w*\(([^()#\n]*)\)#[ \t]*Step:[ \t]*(\d+)(?:[ \t]*Bead:[ \t]*\d+)?[ \t]*$",
    re.MULTILINE,
)
_ALONE = re.compile(r"^[ \t]*#EXTRAS", re.MULTILINE)
_MARK = re.compile(r"^[ \t]*#", re.MULTILINE)
_LINE = re.compile(r"#EXTRAS[^\n]*")
_STEP = re.compile(r"Step:\s*(\d+)")
_NAME = re.compile(r"#EXTRAS\w*\(([^()#\n]*)\)")
_HEAD = 20000
"""Lines that are looked at to learn what a file holds."""
_PIECE = 1 << 24


class Layout(NamedTuple):
    """What a file of extras holds: name, numbers in a frame, steps of the first two that count."""

    name: str
    words: int
    steps: tuple[int, ...]


class Extras(NamedTuple):
    """Extras of one file: `name`, `steps` (T,) and `values` (T, …).

    Those of `lrcalc.properties` in its units and shapes, (T, *shape) or (T, N, *shape), BEC ordered
    [atom, field, displacement] as everywhere in lrcalc; others as printed.
    """

    name: str
    steps: NDArray[np.int64]
    values: Array


def extras_name(path: str | Path) -> str | None:
    """Name of i-PI's extra in a file, None if the file is of another kind."""
    with open_text(path) as file:
        found = _NAME.search(file.readline())
    return found[1].strip() if found else None


def layout(path: str | Path) -> Layout:
    """Look at the head of a file of extras.

    Raises
    ------
    ValueError
        If it has no frame, or holds text.
    """
    name = extras_name(path)
    with open_text(path) as file:
        text = "".join(islice(file, _HEAD))
    text = text[: text.rfind("\n") + 1]
    headers = list(_HEADER.finditer(text))
    if name is None or not headers:
        raise ValueError(f"{path} has no frames of extras: is it an extras file of i-PI?")
    if name == "raw":
        raise ValueError(
            f"{path} holds raw extras, the driver's own text: let i-PI write one quantity, as in"
            " <trajectory extra_type='dipole'> extras </trajectory>"
        )
    ends = [*(match.start() for match in headers[1:]), len(text)]
    sizes = [len(_body(text[m.end() : end])) for m, end in zip(headers, ends, strict=True)]
    left_out = _replaced(Path(path))
    steps = [int(match[2]) for match in headers]
    if not max(sizes):
        raise ValueError(f"{path} has no whole frame: is the file truncated?")
    if len(left_out):
        every = _all_steps(Path(path))
        steps = every[kept(every)][:2].tolist()
    return Layout(name, max(sizes), tuple(steps[:2]))


def stream(path: str | Path) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Yield steps (n,) and numbers (n, words), in i-PI's units, of the frames of the later branch.

    Raises
    ------
    ValueError
        If a frame is cut and not written again, or holds something else than numbers.
    """
    path = Path(path)
    words, left_out = layout(path).words, _replaced(path)
    rest, last, number = "", False, 0
    with open_text(path) as file:
        while not last:
            added = file.read(_PIECE)
            last = not added
            text = _without_cut_end(rest, words) if last else rest + added
            # cut before the last header: its numbers may not all be here yet
            cut = len(text) if last else text.rfind("\n", 0, text.rfind("#EXTRAS")) + 1
            part, rest = text[:cut], text[cut:]
            if not len(left_out) and (found := _regular(part, words)) is not None:
                yield found
                continue
            headers = list(_HEADER.finditer(part))
            if not headers:
                continue
            keep = ~np.isin(number + np.arange(len(headers)), left_out)
            number += len(headers)
            steps = np.array([int(match[2]) for match in headers], dtype=np.int64)
            if keep.any():
                yield steps[keep], _values(part, headers, words, keep, path)[keep]


def read_extras(path: str | Path) -> Extras:
    """Read a file of extras (``sim.dipole_0``) of one bead, or of a force component."""
    found = layout(path)
    parts = list(stream(path))
    steps = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, dtype=np.int64)
    if not len(steps):
        raise ValueError(f"{path} has no whole frame: is the file truncated?")
    return Extras(found.name, steps, shaped(found.name, np.concatenate([p[1] for p in parts])))


def shaped(name: str, values: Array) -> Array:
    """Shapes and units of lrcalc for numbers (T, words) as i-PI writes them."""
    entry = extras().get(name)
    if entry is None:
        return values
    values = values * ATOMIC[entry.unit]
    atoms = (-1,) if entry.per_atom else ()
    shaped = values.reshape(len(values), *atoms, *entry.shape)
    return shaped.transpose(0, 1, 3, 2) if name == "BEC" else shaped


def _body(text: str) -> list[str]:
    """Words between two headers, without the begin of a header that was cut."""
    return _MARK.split(text)[0].split()


def _without_cut_end(text: str, words: int) -> str:
    """Text without its last line and frame, where these are not complete."""
    text = text[: text.rfind("\n") + 1]
    head = max(text.rfind("#EXTRAS"), 0)
    return text if len(text[head:].partition("\n")[2].split()) >= words else text[:head]


def _regular(part: str, words: int) -> tuple[NDArray[np.int64], Array] | None:
    """Return steps and numbers of a part whose frames are all whole: quick; None of any other."""
    count = part.count("#EXTRAS")
    alone = part.count("\n #EXTRAS") + part.startswith((" #EXTRAS", "#EXTRAS"))
    steps = _STEP.findall(part)
    if not count == alone == len(steps):
        return None
    try:
        found = numbers(_LINE.sub(" ", part), "")
    except ValueError:
        return None
    if not count or found.size != words * count:
        return None
    return np.array(steps, dtype=np.int64), found.reshape(count, words)


def _values(
    part: str, headers: list[re.Match[str]], words: int, keep: NDArray[np.bool_], path: Path
) -> Array:
    """Numbers (n, words) of whole frames; those that do not count need not be whole."""
    if len(_ALONE.findall(part)) == len(headers) == part.count("#EXTRAS"):
        try:
            found = numbers(_HEADER.sub(" ", part), path)
        except ValueError:
            if keep.all():
                raise
        else:
            if found.size == words * len(headers):
                return found.reshape(len(headers), words)
    found = np.full((len(headers), words), np.nan)
    ends = [*(match.start() for match in headers[1:]), len(part)]
    for row, (match, end) in enumerate(zip(headers, ends, strict=True)):
        body = part[match.end() : end]
        if not keep[row]:
            continue
        # a header stands on a line of its own, unless the numbers before it were cut
        before = body.rpartition("\n")[2].strip(" \t") if row + 1 < len(headers) else ""
        on_one_line = bool(before) and not before.startswith("#")
        entries = _body(body)
        if on_one_line or len(entries) != words:
            raise ValueError(
                f"the frame of step {match[2]} in {path} is cut or differs in size, and the run"
                " was not resumed before it: the file is damaged"
            )
        found[row] = numbers(" ".join(entries), path)
    return found


def _replaced(path: Path) -> NDArray[np.int64]:
    """Numbers of the frames that are not of the later branch."""
    if _undisturbed(path):
        return np.empty(0, dtype=np.int64)
    return replaced(_all_steps(path))


def _all_steps(path: Path) -> NDArray[np.int64]:
    """Return the steps of all headers in a file."""
    parts, rest = [], ""
    with open_text(path) as file:
        while added := file.read(_PIECE):
            text = rest + added
            cut = text.rfind("\n") + 1
            parts += [int(match[2]) for match in _HEADER.finditer(text[:cut])]
            rest = text[cut:]
    return np.array(parts, dtype=np.int64)


def _undisturbed(path: Path) -> bool:
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
        second = line
        count, left = divmod(path.stat().st_size, max(frame, 1))
        if left:
            return False
        file.seek((count - 1) * frame)
        ends = [_HEADER.search(one.decode(errors="replace")) for one in (head, second)]
        final = _HEADER.search(file.readline().decode(errors="replace"))
    if count < 2 or final is None or any(end is None for end in ends):
        return count < 2 and final is not None
    first, next_one = (int(end[2]) for end in ends if end is not None)
    return int(final[2]) == first + (next_one - first) * (count - 1)


def numbers(text: str, path: object) -> Array:
    """Blank-separated numbers; four times as quick as converting word by word.

    Raises
    ------
    ValueError
        For a word that is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for unread text
        try:
            return np.fromstring(text, dtype=float, sep=" ")
        except (DeprecationWarning, ValueError):
            pass
    bad = next((word for word in text.split() if not _is_number(word)), "?")
    raise ValueError(f"{path}: could not read {bad!r} as a number")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
