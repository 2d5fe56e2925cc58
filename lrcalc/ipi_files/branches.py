"""Which frames of a file count when a run was interrupted and resumed.

A run that continues from a checkpoint writes the steps since then again, and perhaps ends before
the step that it had reached first. Only the later branch is one trajectory: a frame counts unless
a frame of the same or of an earlier step follows it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 2**62
"""Step of a frame whose header is cut."""


class Frame(NamedTuple):
    """One frame of a file: its step, what it holds, whether it is whole."""

    step: int
    content: Any
    whole: bool


def replaced(steps: Sequence[float] | NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of the frames that a later frame of the same or an earlier step replaces."""
    found = np.asarray(steps)
    if len(found) < 2 or (np.diff(found) > 0).all():
        return np.empty(0, dtype=np.int64)
    later = np.minimum.accumulate(found[::-1])[::-1]
    return np.flatnonzero(found[:-1] >= later[1:]).astype(np.int64)


def kept(steps: Sequence[float] | NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of the frames of the later branch, in the order of steps."""
    return np.setdiff1d(np.arange(len(steps)), replaced(steps))


def later_branch(frames: Sequence[Frame], path: object) -> list[Frame]:
    """Return the whole frames of the later branch, in the order of steps.

    Raises
    ------
    ValueError
        If there is none, or a frame is cut and neither the last nor written again.
    """
    after = None
    for frame in reversed(frames):
        if frame.whole:
            after = frame.step
        elif after is not None and after > frame.step:
            raise ValueError(
                f"the frame of step {frame.step} in {path} is cut or differs in size, and the run"
                " was not resumed before it: the file is damaged"
            )
    whole = [frame for frame in frames if frame.whole]
    if not whole:
        raise ValueError(f"{path} has no whole frame: is the file truncated?")
    return [whole[index] for index in kept([frame.step for frame in whole])]
