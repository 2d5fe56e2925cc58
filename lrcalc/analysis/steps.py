"""Steps of atoms from frame to frame, whole where a program folded atoms back into the cell."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

FAR = 0.4
"""A step of more than so much of a cell vector cannot be told from one the other way round."""


class Walked:
    """What was found while steps were read.

    Attributes
    ----------
    folded : int
        Steps across faces of the cell.
    drift : float
        How far the centre of mass moved, Å, in the run where it moved furthest.
    still : ndarray of bool or None
        Atoms that never moved.
    """

    still: np.ndarray | None = None

    def __init__(self) -> None:
        self.folded, self.drift = 0, 0.0

    def look(self, steps: np.ndarray) -> None:
        """Take note of the atoms that do not move in these steps (n, N, 3)."""
        still = np.asarray(~np.any(steps, axis=(0, 2)))
        self.still = still if self.still is None else self.still & still

    def notes(self, removed: bool) -> list[str]:
        """Say what was done about it."""
        told = []
        if self.folded:
            told.append(
                f"{self.folded} steps across the cell's faces unwrapped, to the nearest image"
            )
        held = np.flatnonzero(() if self.still is None else self.still)
        if len(held):
            told.append(
                f"{len(held)} atoms never move (atom {held[0]} is the first) but "
                "count in the mean of their species"
                + ("; beside held atoms nothing drifts: use `drift` keep" if removed else "")
            )
        if removed:
            told.append(f"motion of the centre of mass removed: {self.drift:.2g} Å in all")
        elif self.drift > 0.1:
            told.append(f"the centre of mass moves by {self.drift:.2g} Å, which counts")
        return told


def steps_of(
    masses: np.ndarray,
    cell: np.ndarray | None,
    every: int,
    remove: bool,
    walked: Walked,
    pbc: Sequence[bool] = (True, True, True),
) -> Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]:
    """Positions (n, 3N) as displacements (n, 3N) over ``every`` frames, unwrapped.

    Parameters
    ----------
    masses
        (N,) of any unit.
    cell
        (3, 3), rows in Å, if it does not change.
    remove
        Take the motion of the centre of mass off.
    walked
        Gets what was found on the way.
    pbc
        Directions of the cell in which atoms are folded back.

    Raises
    ------
    ValueError
        While reading, for atoms that were folded back without a cell, and steps too long to tell.
    """
    share = masses / masses.sum()
    inverse = None if cell is None else np.linalg.inv(cell)

    def stream(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        last = np.zeros((0, len(masses), 3))
        rest = np.zeros((0, 3 * len(masses)))
        moved, start = np.zeros(3), 0
        for chunk in chunks:
            joined = np.concatenate([last, chunk.reshape(len(chunk), -1, 3)])
            steps = np.diff(joined, axis=0)
            last, where, start = joined[-1:], start, start + len(chunk)
            if not len(steps):
                continue
            steps = _unwrapped(steps, cell, inverse, walked, where, pbc)
            walked.look(steps)
            centre = np.einsum("i,tia->ta", share, steps)
            moved = moved + centre.sum(0)
            if remove:
                steps = steps - centre[:, None]
            rest = np.concatenate([rest, steps.reshape(len(steps), -1)])
            whole = len(rest) // every * every
            if whole:
                yield rest[:whole].reshape(whole // every, every, -1).sum(1)
                rest = rest[whole:]
        walked.drift = max(walked.drift, float(np.linalg.norm(moved)))

    return stream


def _unwrapped(
    steps: np.ndarray,
    cell: np.ndarray | None,
    inverse: np.ndarray | None,
    walked: Walked,
    start: int,
    pbc: Sequence[bool],
) -> np.ndarray:
    """Return steps (n, N, 3) to the nearest image; ``start`` is the number of the first frame."""
    if cell is None or inverse is None:
        size = np.linalg.norm(steps, axis=2)
        typical = float(np.sqrt(np.mean(np.minimum(size, 10 * np.median(size)) ** 2)))
        bad = np.argwhere(size > max(20 * typical, 2.0))
        if len(bad):
            raise ValueError(
                f"atom {bad[0, 1]} moves by {size[tuple(bad[0])]:.3g} Å between frames "
                f"{start + bad[0, 0]} and {start + bad[0, 0] + 1}, others by {typical:.2g} Å: it "
                "was folded back into the cell; give the cell (`cell`, --cell-from) if it does not "
                "change, else positions that are not folded"
            )
        return steps
    parts = steps @ inverse * np.array(pbc, dtype=float)
    turns = np.round(parts)
    walked.folded += int(turns.any(2).sum())
    far = np.argwhere((np.abs(parts - turns) > FAR).any(2))
    if len(far):
        raise ValueError(
            f"atom {far[0, 1]} moves by nearly half of the cell between frames "
            f"{start + far[0, 0]} and {start + far[0, 0] + 1}, which way round cannot be told: "
            "write frames more often, or positions that are not folded"
        )
    return np.asarray(steps - turns @ cell)
