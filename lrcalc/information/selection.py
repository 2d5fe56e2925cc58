"""Which environments, or frames, to keep: the next is the one farthest from what is kept.

Greedy in δH (`lrcalc.information.entropy`): the first is the most typical, and each next one has
the largest δH with respect to those kept so far. With sums of kernels that is nearly the farthest
point; it reaches the same diversity with fewer points than chance does, and is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lrcalc.information.entropy import log_density, squared_distances
from lrcalc.information.given import check_mappings


class Selection(NamedTuple):
    """Frames in the order in which they were taken.

    Attributes
    ----------
    order : ndarray, shape (K,), int
        Indices of the frames.
    novelty : ndarray, shape (K,)
        Mean δH of the environments of each with respect to those taken before, of the most novel
        tenth of its atoms; NaN for the first.
    covered : ndarray, shape (K,)
        Part (0 to 1) of all environments that lie within what was taken so far (δH below 0).
    """

    order: np.ndarray
    novelty: np.ndarray
    covered: np.ndarray


NOVEL = 0.1
"""Part of a frame's atoms that decides how new it is: the mean over all hides a defect."""


def farthest(x: np.ndarray, count: int, first: int | None = None) -> np.ndarray:
    """Return indices of ``count`` points of ``x`` (N, d), each the farthest from those before it.

    Starts at ``first``, or at the point nearest to the mean.
    """
    if count >= len(x):
        return np.arange(len(x))
    mean = x.mean(0, keepdims=True)
    here = int(squared_distances(x, mean)[:, 0].argmin()) if first is None else first
    chosen = [here]
    nearest = squared_distances(x, x[here : here + 1])[:, 0]
    while len(chosen) < count:
        here = int(nearest.argmax())
        chosen.append(here)
        np.minimum(nearest, squared_distances(x, x[here : here + 1])[:, 0], out=nearest)
    return np.array(chosen)


def select_frames(
    frames: Sequence[dict[int, np.ndarray]],
    count: int,
    h: float,
    told: Callable[[int], object] = lambda step: None,
    *,
    known: Mapping[int, np.ndarray] | None = None,
) -> Selection:
    """Greedy choice of ``count`` frames by the δH of their environments.

    Parameters
    ----------
    frames : sequence of dict
        Of each frame: atomic number → descriptors (n, d).
    count : int
        Frames to keep.
    h : float
        Bandwidth, 1/Å.
    told : callable, optional
        Called with 1 after each step.
    known : mapping, optional
        Atomic number → descriptors that are there already (`Reference.environments`): the first
        frame is then the one that is most novel beside them, not the most typical.

    Returns
    -------
    Selection
        Cost: one pass over all environments a step.

    Raises
    ------
    ValueError
        If fewer than one frame, or more than there are, shall be kept.
    """
    check_mappings(frames, "frames")
    if not 1 <= count <= len(frames):
        raise ValueError(f"`keep` is {count} but must be from 1 to the {len(frames)} frames")
    owner = np.concatenate([np.full(sum(map(len, f.values())), n) for n, f in enumerate(frames)])
    species = sorted({z for frame in frames for z in frame})
    pools = {z: np.concatenate([f[z] for f in frames if z in f]) for z in species}
    place = {z: np.concatenate([np.full(len(f.get(z, ())), n) for n, f in enumerate(frames)])
             for z in species}  # fmt: skip
    density = {z: np.full(len(pools[z]), -np.inf) for z in species}  # ln Σ K over what is kept
    centre = {z: pools[z].mean(0, keepdims=True) for z in species}
    typical = np.zeros(len(frames))
    for z in species:
        far = squared_distances(pools[z], centre[z])[:, 0]
        np.add.at(typical, place[z], far)
    here = int((typical / np.bincount(owner, minlength=len(frames))).argmin())
    order, novelty, covered = [here], [np.nan], []
    if known is not None:
        for z in species:
            if z in known:
                density[z] = log_density(pools[z], known[z], h)
        score = _novelty(density, place, len(frames))
        here = int(score.argmax())
        order, novelty = [here], [float(score[here])]
    while True:
        for z in species:
            if z in frames[here]:
                new = log_density(pools[z], frames[here][z], h)
                density[z] = np.logaddexp(density[z], new)
        covered.append(float(np.mean(np.concatenate([density[z] > 0 for z in species]))))
        told(1)
        if len(order) == count:
            return Selection(np.array(order), np.array(novelty), np.array(covered))
        score = _novelty(density, place, len(frames))
        score[order] = -np.inf
        here = int(score.argmax())
        order.append(here)
        novelty.append(float(score[here]))


def _novelty(
    density: dict[int, np.ndarray], place: dict[int, np.ndarray], n_frames: int
) -> np.ndarray:
    """Mean δH of the most novel atoms of each frame."""
    delta = -np.concatenate(list(density.values()))
    owner = np.concatenate(list(place.values()))
    order = np.lexsort((-delta, owner))
    delta, owner = delta[order], owner[order]
    sizes = np.bincount(owner, minlength=n_frames)
    rank = np.arange(len(owner)) - (np.cumsum(sizes) - sizes)[owner]
    top = rank < np.ceil(NOVEL * sizes)[owner]
    total = np.bincount(owner[top], np.minimum(delta[top], 1e9), minlength=n_frames)
    return total / np.maximum(np.bincount(owner[top], minlength=n_frames), 1)
