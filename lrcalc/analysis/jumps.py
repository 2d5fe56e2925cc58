"""Jumps of a cell dipole between two frames: found, named, and undone where the cell is known.

The dipole of a periodic cell is defined up to e times a lattice vector (King-Smith & Vanderbilt,
Phys. Rev. B 47, 1651 (1993)); where spins are paired the quantum is twice that. A program that
folds ions back into the cell, or takes another branch of the Berry phase, makes it jump by such a
quantum, and one jump outweighs a whole spectrum. The branch may be another one in every frame: what
is typical is therefore taken from steps to the nearest branch, where these are small beside the
cell.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lrcalc.analysis.correlator import Series, as_trajectories, wrong_columns

SUSPICIOUS = 20.0
"""A step of so many median steps is a jump; of a Gaussian process one in 10⁹ exceeds four."""
LATTICE = 8.0
"""So many median steps are a jump if they exceed half a lattice vector as well."""
LARGE = 2.0
"""Steps of this root mean square, e Å, may be changes of branch."""
SMALLEST = 0.2
"""Nothing below this is a jump, e Å."""

Record = dict[str, list[int]]
"""Frames before which jumps were undone, by source."""


def undo_jumps(
    chunks: Iterable[np.ndarray],
    cell: np.ndarray | None = None,
    *,
    source: str = "dipole",
    record: Record | None = None,
) -> Iterator[np.ndarray]:
    """Frames of a dipole without its jumps by e times a lattice vector.

    Parameters
    ----------
    chunks
        (n, 3) e Å, in order.
    cell
        (3, 3), rows in Å; if None, a jump cannot be undone and is an error.
    record
        Gets the numbers of the frames before which a jump was undone, under ``source``.

    Raises
    ------
    ValueError
        For a jump without a cell, or one that is no lattice vector times e.
    """
    found: list[int] = []
    if record is not None:
        record[source] = found
    last: np.ndarray | None = None
    typical, start = 0.0, 0
    taken = np.zeros(3)
    for chunk in chunks:
        joined = chunk if last is None else np.concatenate([last, chunk])
        steps = np.diff(joined, axis=0)
        first = start - (0 if last is None else 1)
        last, start = joined[-1:], start + len(chunk)
        size = np.linalg.norm(steps, axis=1)
        if len(size) and np.isfinite(size).any():
            typical = max(typical, typical_step(steps, cell, f"{source}, frames from {first}"))
        jumps = np.flatnonzero(is_jump(size, typical, cell))
        shift = np.zeros_like(joined)
        for index in jumps:
            vector = _quantum(steps[index], typical, cell, f"{source}, frame {first + index + 1}")
            shift[index + 1 :] += vector
            found.append(int(first + index + 1))
        shift += taken
        taken = shift[-1].copy() if len(shift) else taken
        unfolded = joined - shift
        yield unfolded[len(joined) - len(chunk) :]


unfold = undo_jumps
"""Its earlier name."""


def nearest(steps: np.ndarray, cell: np.ndarray, part: float = 1.0) -> np.ndarray:
    """Return steps (n, 3), e Å, without the nearest multiples of ``part`` of lattice vectors."""
    vectors = part * np.asarray(cell, dtype=float)
    return steps - np.round(steps @ np.linalg.inv(vectors)) @ vectors


def typical_step(steps: np.ndarray, cell: np.ndarray | None, where: str) -> float:
    """Return the median size of steps (n, 3), to the nearest branch if that is small beside a cell.

    Raises
    ------
    ValueError
        If steps are small beside the cell only up to halves of lattice vectors: such jumps, of
        paired ions or of a wrong quantum, cannot be told from motion.
    """
    plain = float(np.nanmedian(np.linalg.norm(steps, axis=1)))
    if cell is None:
        return plain
    shortest = float(np.linalg.norm(cell, axis=1).min())
    for part in (1.0, 0.5):
        size = float(np.nanmedian(np.linalg.norm(nearest(steps, cell, part), axis=1)))
        if size < part * shortest / (2.0 * LATTICE):
            if part == 1.0:
                return size
            raise ValueError(
                f"{where}: the median step of the dipole is {plain:.3g} e Å, and up to multiples "
                f"of half a lattice vector times e it is {size:.3g} e Å: its branch is another one "
                "in every frame, and halves of the quantum cannot be undone. Write the dipole on "
                "one branch, or keep it as it is (`jumps='keep'`, --keep-jumps)"
            )
    return plain


def is_jump(size: np.ndarray, typical: float, cell: np.ndarray | None) -> np.ndarray:
    """Which steps of these sizes (e Å) are jumps, beside a ``typical`` one."""
    if typical <= 0:
        return np.zeros(len(size), dtype=bool)
    jump = size > SUSPICIOUS * typical
    if cell is not None:
        half = 0.5 * float(np.linalg.norm(cell, axis=1).min())
        jump |= (size > half) & (size > LATTICE * typical)
    return jump & (size > SMALLEST)


def _quantum(step: np.ndarray, typical: float, cell: np.ndarray | None, where: str) -> np.ndarray:
    size = float(np.linalg.norm(step))
    told = (
        f"{where}: the dipole jumps by {size:.3g} e Å, {size / typical:.0f} times the median step"
    )
    keep = "or keep it as it is (`jumps='keep'`, --keep-jumps)"
    if cell is None:
        raise ValueError(
            f"{told}. If it is a lattice vector times e, give the cell to have it undone "
            f"(`cell`, --cell-from), {keep}"
        )
    vector = np.round(step @ np.linalg.inv(cell)) @ np.asarray(cell, dtype=float)
    if np.linalg.norm(step - vector) > max(LATTICE * typical, SMALLEST) or not vector.any():
        raise ValueError(
            f"{told}, and that is no lattice vector times e: were atoms folded back into the cell, "
            f"or two runs joined? Use unfolded positions, cut the run there, {keep}"
        )
    return vector


def guarded(
    data: Any, cell: np.ndarray | None, record: Record | None = None, *, name: str = "dipole"
) -> list[Series]:
    """Whatever holds dipoles as Series that :func:`undo_jumps`."""
    if isinstance(data, Series):
        if data.columns != 3:
            raise ValueError(wrong_columns(data.source, data.columns, 3, name))
        source, chunks = data.source, data.chunks
        stream = lambda: undo_jumps(chunks(), cell, source=source, record=record)  # noqa: E731
        return [data._replace(chunks=stream)]
    if isinstance(data, list | tuple) and data and isinstance(data[0], Series):
        return [one for item in data for one in guarded(item, cell, record, name=name)]
    runs = as_trajectories(data, 3, name)
    titles = [name if len(runs) == 1 else f"{name} of run {i}" for i in range(1, len(runs) + 1)]
    return [
        one
        for chunks, title in zip(runs, titles, strict=True)
        for one in guarded(Series(chunks, 3, title), cell, record)
    ]


def continuous(data: Any, cell: np.ndarray | None, jumps: str, record: Record) -> Any:
    """Dipoles :func:`guarded` against jumps, or as they are where ``jumps`` is ``keep``."""
    if jumps not in ("unfold", "keep"):
        raise ValueError(f"`jumps` is {jumps!r} but must be 'unfold' or 'keep'")
    return data if jumps == "keep" else guarded(data, cell, record)


def notes(record: Record) -> list[str]:
    """Say which jumps were undone."""
    told = []
    for source, frames in record.items():
        if frames:
            some = ", ".join(map(str, frames[:5])) + (", …" if len(frames) > 5 else "")
            told.append(
                f"{source}: {len(frames)} jump{'s' if len(frames) > 1 else ''} by e times a "
                f"lattice vector undone, before frame {some}"
            )
    return told


def unconnected(steps: np.ndarray) -> list[str]:
    """Say if frames of a dipole do not follow one another, from ⟨Δ(0)·Δ(0)⟩ and ⟨Δ(0)·Δ(1)⟩, e² Å².

    Of unconnected frames each step undoes half of the last one. Small ones are no matter of
    branches.
    """
    if not (steps[0] > LARGE**2 and steps[1] < -0.4 * steps[0]):
        return []
    return [
        f"WARNING: the dipole changes by {np.sqrt(steps[0]):.3g} e Å from frame to frame, and each "
        "step undoes half of the last: its branch is another one in every frame (give the cell to "
        "have that undone), or the frames are too far apart; this is no spectrum"
    ]
