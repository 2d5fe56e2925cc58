"""Sums of products of long series, streamed in blocks: what every correlation starts from.

A series is cut into blocks. Block b adds ``raw_b[k] = sum_t [x_i(t) x_j(t+k) + x_i(t-k) x_j(t)]/2``
over its own t, where the partner may lie in another block: every pair of frames counts once, half
of it at each end, and nothing wraps around (linear, not circular). At most 64 blocks are kept; when
there are more, neighbours are joined, so memory depends on the number of lags and not on the length
of the trajectory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from lrcalc.run_conditions import RunConditions

MAXIMUM_BLOCKS = 64
_LARGEST_PIECE = 16384

Chunks = Callable[[], Iterator[np.ndarray]]


class Series(NamedTuple):
    """One trajectory's frames as a stream, in the library's units."""

    chunks: Chunks
    """Starts a new pass over the frames: an iterator of (n, columns) arrays."""
    columns: int
    source: str = "array"
    timestep: float | None = None
    """fs between frames, if the file says so."""
    stride: int | None = None
    """Integrator steps between frames, if the file says so."""
    conditions: RunConditions | None = None
    """Of the run, if it says them: see :mod:`lrcalc.analysis.conditions`."""


class Blocks(NamedTuple):
    """Correlation sums of B blocks, P pairs of columns and K lags."""

    raw: np.ndarray
    """(B, P, K) sums of products, mean removed if asked."""
    products: np.ndarray
    """(B, K) number of products in each sum."""
    frames: int
    """Frames read."""
    mean: np.ndarray
    """(columns,) mean over all frames."""

    @property
    def correlation(self) -> np.ndarray:
        """(P, K) correlation function over all blocks."""
        return self.raw.sum(0) / self.products.sum(0)


def as_trajectories(data: Any, columns: int | None, name: str) -> list[Chunks]:
    """Whatever a user has (array, list of arrays, Series, list of Series) as streams of chunks."""
    if isinstance(data, Series):
        if columns is not None and data.columns != columns:
            raise ValueError(wrong_columns(data.source, data.columns, columns, name))
        return [data.chunks]
    nested = isinstance(data, list | tuple) and len(data) > 0
    if nested and (isinstance(data[0], Series) or np.ndim(data[0]) == 2):
        return [stream for item in data for stream in as_trajectories(item, columns, name)]
    if np.iscomplexobj(data):
        raise ValueError(f"`{name}` is complex but must be real")
    array = np.asarray(data, dtype=float)
    if array.ndim != 2 or (columns is not None and array.shape[1] != columns):
        raise ValueError(
            f"`{name}` has shape {array.shape} but must be (frames, {columns or 'columns'}); "
            "several trajectories are given as a list of such arrays"
        )
    return [lambda: iter((array,))]


def wrong_columns(source: str, found: int, columns: int, name: str) -> str:
    """Say that a file has too many or too few columns for a quantity, and the way out."""
    told = f"{source} has {found} columns but `{name}` needs {columns}"
    if columns == 9 and found == 6:
        return (
            f"{told}: xx xy xz yx yy yz zx zy zz. Six of a symmetric tensor can be named twice, "
            "e.g. --columns 0,5,4,5,1,3,4,3,2 for xx yy zz yz xz xy"
        )
    if found > columns:
        some = ",".join(str(found - columns + i) for i in range(columns))
        return f"{told}: name them, e.g. --columns {some} if the time comes first"
    return told


def check_frames_finite(chunk: np.ndarray, start: int) -> None:
    """Refuse NaN and infinity in frames (n, columns), of which the first is number ``start``."""
    bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
    if len(bad):
        raise ValueError(
            f"frame {start + bad[0]} holds NaN or infinity "
            f"({len(bad)} such frames in this chunk); cut the trajectory there"
        )


class Correlator:
    """Accumulates the correlation of pairs of columns from chunks of frames.

    Parameters
    ----------
    columns
        Number of columns of each chunk.
    lags
        Number of lags K; the longest is K - 1.
    pairs
        (i, j) for ⟨x_i(0) x_j(t)⟩; each column with itself by default.
    mean
        ``trajectory`` removes each trajectory's own mean, ``all`` the common mean, ``none`` none.
    groups
        (pairs,) group of each pair; the sums of a group are added up, which saves memory where
        there are thousands of columns. Needs ``mean="none"``.
    """

    def __init__(
        self,
        columns: int,
        lags: int,
        pairs: Sequence[tuple[int, int]] | None = None,
        mean: str = "trajectory",
        groups: Sequence[int] | None = None,
    ) -> None:
        if mean not in ("trajectory", "all", "none"):
            raise ValueError(f"`mean` is {mean!r} but must be 'trajectory', 'all' or 'none'")
        self.columns, self.lags, self.mean = columns, lags, mean
        self.left, self.right = np.array(pairs or [(c, c) for c in range(columns)]).T
        if groups is not None and mean != "none":
            raise ValueError("`groups` needs `mean` to be 'none'")
        # One row of 0 and 1 per group.
        members = None if groups is None else np.asarray(groups)
        self.members = members if members is None else np.equal.outer(np.unique(members), members)
        self.block_length = lags
        self.done: list[list[np.ndarray]] = []
        self.total, self.frames = np.zeros(columns), 0
        self._start()

    def _start(self) -> None:
        self.first = len(self.done)
        self.waiting: list[np.ndarray] = []
        self.waiting_frames = 0
        self.past = np.zeros((0, self.columns))
        self.offset: np.ndarray | None = None
        self.trajectory_sum, self.trajectory_frames = np.zeros(self.columns), 0
        self.block: list[np.ndarray] | None = None
        self.block_frames = 0

    def update(self, chunk: np.ndarray) -> None:
        """Add the next frames (n, columns) of the current trajectory."""
        chunk = np.asarray(chunk, dtype=float)
        if chunk.ndim != 2 or chunk.shape[1] != self.columns:
            raise ValueError(f"frames have shape {chunk.shape} but must be (n, {self.columns})")
        if not len(chunk):
            return
        check_frames_finite(chunk, self.trajectory_frames)
        if self.offset is None:
            # A large constant part would cost digits in the sums; any constant will do.
            self.offset = chunk.mean(0) if self.mean == "trajectory" else np.zeros(self.columns)
        shifted = chunk - self.offset
        self.trajectory_sum += shifted.sum(0)
        self.trajectory_frames += len(chunk)
        self.waiting.append(shifted)
        self.waiting_frames += len(chunk)
        while self.waiting_frames >= self._piece() + self.lags - 1:
            frames = np.concatenate(self.waiting)
            while len(frames) >= self._piece() + self.lags - 1:
                piece = self._piece()
                self._add(frames[: piece + self.lags - 1], piece)
                frames = frames[piece:]
            self.waiting, self.waiting_frames = [frames], len(frames)

    def _piece(self) -> int:
        return min(self.block_length - self.block_frames, max(_LARGEST_PIECE, self.lags))

    def _add(self, frames: np.ndarray, piece: int) -> None:
        """Add sums over t in the first ``piece`` frames; those before and after are partners only.

        Half of a product counts where its early frame is and half where its late one is. Were it
        counted by the early frame alone, ``x(t)`` would meet a filter that looks ahead only; a line
        then reaches far beyond its width with a term that is a total derivative: nothing in the
        sum, but a multiple of the true scatter in every block.
        """
        middle, lag = len(self.past), np.arange(self.lags)
        columns = np.ascontiguousarray(np.concatenate([self.past, frames]).T)
        end, length = middle + piece, columns.shape[1]
        self.past = columns[:, max(0, end - self.lags + 1) : end].T
        size = next_fast_len(length + self.lags, real=True)
        every = rfft(columns, size)
        columns_inside = np.zeros_like(columns)
        columns_inside[:, middle:end] = columns[:, middle:end]
        inside = rfft(columns_inside, size)
        power = inside[self.left].conj() * every[self.right]
        power += inside[self.right] * every[self.left].conj()
        if self.members is not None:
            power = self.members.astype(float) @ power
        raw = irfft(power, size)[:, : self.lags]
        if self.mean == "none":
            columns = columns[:0, :]
        running = np.zeros((len(columns), length + 1))
        np.cumsum(columns, axis=1, out=running[:, 1:])
        # partners after: t from `middle` on; partners before: t up to `end`
        after = np.clip(length - lag - middle, 0, piece)
        before = np.clip(end - np.maximum(middle, lag), 0, piece)
        first, far = np.maximum(middle - lag, 0), np.minimum(middle + lag, length)
        early = running[:, middle + after] - running[:, [middle]]
        early += running[:, first + before] - running[:, first]
        late = running[:, np.minimum(far + after, length)] - running[:, far]
        late += running[:, [end]] - running[:, end - before]
        sums = [0.5 * raw, 0.5 * early, 0.5 * late, 0.5 * (after + before)]
        if self.block is None:
            self.block = sums
        else:
            for old, new in zip(self.block, sums, strict=True):
                old += new
        self.block_frames += piece
        if self.block_frames >= self.block_length:
            self._close()

    def _close(self) -> None:
        if self.block is not None:
            self.done.append(self.block)
        self.block, self.block_frames = None, 0
        while len(self.done) > MAXIMUM_BLOCKS:
            # Blocks of this trajectory still wait for their mean: join only among their own kind.
            self.done = _join(self.done[: self.first]) + _join(self.done[self.first :])
            self.first = (self.first + 1) // 2
            self.block_length *= 2

    def finish(self) -> None:
        """End of a trajectory: use the frames that waited for partners."""
        if self.trajectory_frames == 0:
            raise ValueError("the trajectory has no frames")
        if self.trajectory_frames < 2 * self.lags:
            raise ValueError(
                f"a trajectory of {self.trajectory_frames} frames is too short for correlations "
                f"over {self.lags} frames: ask for a resolution at least "
                f"{2 * self.lags / self.trajectory_frames:.2g} times coarser, or run longer"
            )
        frames = np.concatenate(self.waiting)
        while len(frames):
            piece = min(self._piece(), len(frames))
            if len(frames) - piece < self.lags:
                piece = len(frames)  # a stub of a block would have no long lags
            self._add(frames[: piece + self.lags - 1], piece)
            frames = frames[piece:]
        if self.block is not None:
            self._close()
        if self.mean == "trajectory":
            mean = self.trajectory_sum / self.trajectory_frames
            for block in self.done[self.first :]:
                self._remove(block, mean)
        if self.offset is not None:
            self.total += self.trajectory_sum + self.offset * self.trajectory_frames
        self.frames += self.trajectory_frames
        self._start()

    def _remove(self, block: list[np.ndarray], mean: np.ndarray) -> None:
        raw, early, late, count = block
        a, b = mean[self.left][:, None], mean[self.right][:, None]
        raw += count * a * b - a * late[self.right] - b * early[self.left]

    def result(self) -> Blocks:
        """Everything read so far."""
        if not self.done:
            raise ValueError("no frames were given")
        mean = self.total / self.frames
        if self.mean == "all":
            for block in self.done:
                self._remove(block, mean)
                block[1] *= 0.0
                block[2] *= 0.0
        return Blocks(
            np.array([b[0] for b in self.done]),
            np.array([b[3] for b in self.done]),
            self.frames,
            mean,
        )


def _join(blocks: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    joined = []
    for index in range(0, len(blocks), 2):
        group = blocks[index : index + 2]
        joined.append([sum(parts[1:], parts[0]) for parts in zip(*group, strict=True)])
    return joined
