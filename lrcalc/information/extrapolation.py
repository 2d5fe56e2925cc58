"""How far a run has gone from data: δH of all its atoms, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.analysis.result import AnalysisResult, Quantity
from lrcalc.information.given import frames_of_given
from lrcalc.information.judging import DELTA_H, Judge, Labels

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

MOST_ATOMS = 8
"""Atoms that are named where there are many."""


class _Extrapolation(NamedTuple):
    frame: np.ndarray
    """(T,) number of the frame in the run."""
    time: np.ndarray
    """(T,) fs, NaN where frames do not say."""
    largest: np.ndarray
    """(T,) of ``own`` over the atoms, nats."""
    high: np.ndarray
    """(T,) 99 % quantile of ``own``, nats."""
    mean: np.ndarray
    """(T,) of ``own``, nats."""
    around: np.ndarray
    """(T,) largest of ``around``, nats."""
    outside: np.ndarray
    """(T,) number of atoms outside."""
    unusual: np.ndarray
    """(T,) part of the atoms beyond what 99 % of unseen training environments have."""
    first: tuple[int, ...]
    """Atoms outside in the first frame that has any."""
    limits: tuple[float, float]
    """Of ``own``, the largest over the species, and of ``around``, nats."""
    settings: dict[str, Any]
    labels: Labels = DELTA_H
    """Of the score; other scores may have other units than nats."""


class Extrapolation(_Extrapolation, AnalysisResult):
    """δH (or another score) of a run with respect to a reference, against time.

    Examples
    --------
    >>> from lrcalc.information.extrapolation import extrapolation
    >>> from lrcalc.information.reference import make_reference
    >>> from lrcalc.structures import read_structure
    >>> water = read_structure("water64")
    >>> apart = water.copy()
    >>> apart.positions[0, 2] += 2.0
    >>> result = extrapolation([water, apart], make_reference([water]))
    >>> int(result.frame[result.outside > 0][0])
    1
    """

    __slots__ = ()
    kind = "extrapolation"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Frame, time, scores, counts."""
        return {
            "frame": self.frame, "time_fs": self.time,
            **dict(zip(self.labels.columns, (self.largest, self.high, self.mean, self.around),
                       strict=True)),
            "atoms_outside": self.outside, "part_unusual": self.unusual,
        }  # fmt: skip

    @property
    def summary(self) -> dict[str, Quantity]:
        """Where it leaves, and how far it goes."""
        gone, labels = np.flatnonzero(self.outside), self.labels
        found = {
            "largest": Quantity(float(self.largest.max()), unit=labels.units[0],
                                symbol=f"largest {labels.own}",
                                remark=_told_limit(self.limits[0])),
            "around": Quantity(float(self.around.max()), unit=labels.units[1],
                               symbol=f"largest {labels.around}",
                               remark=_told_limit(self.limits[1])),
            "unusual": Quantity(float(self.unusual.mean()), symbol="part of unusual atoms",
                                remark="of unseen frames of the data 0.01"),
            "frames_outside": Quantity(float(len(gone)), symbol="frames with atoms outside",
                                       remark=f"of {len(self.frame)}"),
        }  # fmt: skip
        if len(gone):
            named = ", ".join(map(str, self.first[:MOST_ATOMS]))
            more = f" and {len(self.first) - MOST_ATOMS} more" * (len(self.first) > MOST_ATOMS)
            when = self.time[gone[0]]
            at = f" at {when:g} fs" if np.isfinite(when) else ""
            found["first"] = Quantity(
                float(self.frame[gone[0]]), symbol="first frame outside",
                remark=f"atoms {named}{more}{at}",
            )  # fmt: skip
        return found

    def figure(self, *, title: str = "") -> Figure:
        """Draw the score of the atoms, that of their surroundings, how many are outside."""
        from lrcalc.analysis.plots import axis_label, new_figure, whole_ticks

        timed = bool(np.isfinite(self.time).all()) and len(self.time) > 1
        x = self.time / 1e3 if timed else self.frame
        figure, (top, middle, bottom) = new_figure(3, height=7.0)
        for values, name in ((self.largest, "largest"), (self.high, "99 %"), (self.mean, "mean")):
            top.plot(x, values, lw=1.2, label=name, marker="." if len(x) < 40 else "")
        top.axhline(self.limits[0], color="0.4", ls="--", lw=1, label="limit")
        _stretch(top, self.largest, self.limits[0])
        top.set_ylabel(axis_label(f"{self.labels.own} of atoms", self.labels.units[0]))
        top.set_title(title, fontsize=10)
        top.legend(frameon=False, ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.08))
        middle.plot(x, self.around, lw=1.2, marker="." if len(x) < 40 else "")
        middle.axhline(self.limits[1], color="0.4", ls="--", lw=1)
        _stretch(middle, self.around, self.limits[1])
        middle.set_ylabel(axis_label(f"largest {self.labels.around}", self.labels.units[1]))
        bottom.plot(x, self.outside, lw=1.2, marker="." if len(x) < 40 else "")
        bottom.set_ylim(-0.02 * max(self.outside.max(), 1), 1.1 * max(self.outside.max(), 1))
        bottom.set_ylabel("atoms outside")
        bottom.set_xlabel("time (ps)" if timed else "frame")
        whole_ticks(bottom.yaxis)
        if not timed:
            whole_ticks(bottom.xaxis)
        figure.align_ylabels([top, middle, bottom])
        return figure


def _told_limit(limit: float) -> str:
    return f"limit {limit:.3g}" if np.isfinite(limit) else "no limit"


def _stretch(axis: Any, values: np.ndarray, limit: float) -> None:
    """Make the axis logarithmic beyond twice the limit, where values go far beyond.

    A limit of next to nothing, or below zero, is no scale: the median of the values is one.
    """
    usual = float(np.median(np.abs(values)))
    near = 2 * (limit if limit > 1e-3 * usual else usual)
    if values.max() > 2.5 * near > 0:
        axis.set_yscale("symlog", linthresh=near)


def extrapolation(
    frames: Iterable[Atoms],
    reference: Judge,
    *,
    every: int = 1,
    told: Callable[[int], object] = lambda step: None,
) -> Extrapolation:
    """Judge every atom of a run, one frame in memory at a time.

    Parameters
    ----------
    frames : iterable of Atoms
        ``info["time_fs"]`` is their time, where they have it (`lrcalc md` writes it).
    reference : Judge
        `Reference` (δH), `FeatureReference` or `Committee`.
    every : int, optional
        Look at each so many-th frame.
    told : callable, optional
        Called with 1 after each frame.

    Raises
    ------
    ValueError
        For no frames, or a frame that cannot be judged, which is named.
    """
    if not hasattr(reference, "scores"):
        raise TypeError(
            f"`reference` is {reference!r} but must be a Reference, FeatureReference or Committee: "
            "lrcalc.information.intake.open_reference([NAME or FILE])"
        )
    frames = frames_of_given(frames)
    if every < 1:
        raise ValueError(f"`every` is {every} but must be 1 or more")
    rows: list[tuple[float, ...]] = []
    first: tuple[int, ...] = ()
    for k, atoms in enumerate(frames):
        if k % every:
            continue
        scores = reference.scores(atoms, f"frame {k} of the run")
        if not first:
            first = tuple(int(k) for k in np.flatnonzero(scores.outside))
        rows.append((
            k, float(atoms.info.get("time_fs", np.nan)), scores.own.max(),
            np.quantile(scores.own, 0.99), scores.own.mean(), scores.around.max(),
            scores.outside.sum(), 1.0 - scores.usual.mean(),
        ))  # fmt: skip
        told(1)
    if not rows:
        raise ValueError("the run has no frames; give a trajectory")
    number, time, largest, high, mean, around, out, unusual = np.array(rows, dtype=float).T
    limits = max(reference.limit.values()), reference.limit_around
    settings = {
        "score": reference.labels.score, **reference.described, "frames": len(rows),
        "every": every, "notes": [],
    }  # fmt: skip
    return Extrapolation(
        number, time, largest, high, mean, around, out, unusual, first, limits, settings,
        reference.labels,
    )  # fmt: skip
