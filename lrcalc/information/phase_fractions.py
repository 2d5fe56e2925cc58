"""Which part of a run is in which phase, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrcalc.analysis.result import AnalysisResult, Quantity
from lrcalc.information.phase_labels import Labelled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = 8
"""Phases that have a curve of their own."""


class _Fractions(NamedTuple):
    frame: np.ndarray
    """(T,) number of the frame in the run."""
    time: np.ndarray
    """(T,) fs, NaN where frames do not say."""
    fraction: np.ndarray
    """(T, C) part of the atoms in each phase."""
    probability: np.ndarray
    """(T,) mean over the atoms of the probability of their phase."""
    log_probability: np.ndarray
    """(T,) log P̂ per atom."""
    familiar: np.ndarray
    """(T,) mean over the atoms of how familiar they are, NaN where the model does not say."""
    length: np.ndarray
    """(T,) Å, unit of lengths."""
    steps: np.ndarray
    """(T,) of denoising, at most, before the labels were read."""
    phases: tuple[str, ...]
    settings: dict[str, Any]


class PhaseFractions(_Fractions, AnalysisResult):
    """Parts of a run in the phases of a model, against time."""

    __slots__ = ()
    kind = "phases"

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Frame, time, parts, and how sure the model is."""
        parts = {f"part_{name}": self.fraction[:, c] for c, name in enumerate(self.phases)}
        return {
            "frame": self.frame, "time_fs": self.time, "mean_probability": self.probability,
            "log_probability_per_atom": self.log_probability, "mean_familiar": self.familiar,
            "length_A": self.length, "denoise_steps": self.steps, **parts,
        }  # fmt: skip

    @property
    def summary(self) -> dict[str, Quantity]:
        """Mean parts of the phases that are there, first and last frame beside them."""
        mean = self.fraction.mean(0)
        found = {
            f"part_{self.phases[c]}": Quantity(
                float(mean[c]), symbol=f"part {self.phases[c]}",
                remark=f"first frame {self.fraction[0, c]:.3f}, last {self.fraction[-1, c]:.3f}",
            )
            for c in np.argsort(-mean)[:DRAWN] if mean[c] > 0
        }  # fmt: skip
        found["probability"] = Quantity(
            float(self.probability.mean()), symbol="mean probability of the labels",
            remark=f"least of a frame {self.probability.min():.3f}",
        )  # fmt: skip
        if denoised := int(np.count_nonzero(self.steps)):
            found["denoised"] = Quantity(
                denoised, symbol="frames read after denoising",
                remark=f"{int(self.steps.max())} steps at most; 0 for labels as they are",
            )  # fmt: skip
        return found

    def figure(self, *, title: str = "") -> Figure:
        """Draw the parts of the phases, and how sure the labels are."""
        from lrcalc.analysis.plots import new_figure, whole_ticks

        timed = bool(np.isfinite(self.time).all()) and len(self.time) > 1
        x = self.time / 1e3 if timed else self.frame
        marker = "." if len(x) < 40 else ""
        figure, (top, bottom) = new_figure(2, height=5.4)
        order = [c for c in np.argsort(-self.fraction.max(0)) if self.fraction[:, c].max() > 0]
        for c in order[:DRAWN]:
            top.plot(x, self.fraction[:, c], lw=1.3, marker=marker, label=self.phases[c])
        if rest := order[DRAWN:]:
            top.plot(x, self.fraction[:, rest].sum(1), lw=1.0, color="0.5", label="others")
        _shade([top, bottom], x, self.steps > 0, "after denoising")
        top.set_ylim(-0.02, 1.04)
        top.set_ylabel("part of the atoms")
        top.set_title(title, fontsize=10)
        top.legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.05))
        bottom.plot(x, self.probability, lw=1.3, marker=marker)
        bottom.set_ylim(min(0.5, float(self.probability.min()) - 0.02), 1.02)
        bottom.set_ylabel("mean probability\nof the labels")
        bottom.set_xlabel("time (ps)" if timed else "frame")
        if not timed:
            whole_ticks(bottom.xaxis)
        figure.align_ylabels([top, bottom])
        return figure


def _shade(axes: Sequence[Any], x: np.ndarray, marked: np.ndarray, label: str) -> None:
    """Shade panels around the frames ``marked`` (T,) at ``x``; the first has it in its legend."""
    beyond = 0.02 * (x[-1] - x[0]) or 0.25
    edges = np.concatenate([[x[0] - beyond], (x[1:] + x[:-1]) / 2, [x[-1] + beyond]])
    for axis in axes:
        for number, (first, last) in enumerate(runs_of(marked)):
            axis.axvspan(
                edges[first], edges[last + 1], color="0.88", lw=0, zorder=0,
                label=label if number == 0 else None,
            )  # fmt: skip


def runs_of(marked: np.ndarray) -> list[tuple[int, int]]:
    """First and last of each run of True in ``marked`` (T,)."""
    change = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [
        (int(first), int(end) - 1) for first, end in zip(change[::2], change[1::2], strict=True)
    ]


def fractions(
    labelled: Sequence[tuple[int, float, Labelled]], phases: Sequence[str], **settings: Any
) -> PhaseFractions:
    """Count labels.

    Parameters
    ----------
    labelled : sequence of (int, float, Labelled)
        Number and time (fs, or NaN) of each frame, and what it was given; only counts are kept.
    phases : sequence of str

    Raises
    ------
    ValueError
        For no frames.
    """
    if not labelled:
        raise ValueError("there are no frames; give a structure or a trajectory")
    rows = [counted(frame, time, found, phases) for frame, time, found in labelled]
    return of_rows(rows, phases, **settings)


def counted(frame: int, time: float, found: Labelled, phases: Sequence[str]) -> tuple[float, ...]:
    """Row of one frame, so that labels of a long run need not be kept."""
    names = np.array(found.phase)
    n = len(names)
    parts = [float((names == name).sum()) / n for name in phases]
    mean = float(found.probability.mean())
    known = float("nan") if found.familiar is None else float(found.familiar.mean())
    return (frame, time, mean, found.log_probability / n, known, found.length, found.steps, *parts)


def of_rows(
    rows: Sequence[tuple[float, ...]], phases: Sequence[str], **settings: Any
) -> PhaseFractions:
    """Join the rows of `counted`."""
    frame, time, probability, value, familiar, length, steps, *parts = np.array(rows, dtype=float).T
    return PhaseFractions(
        frame, time, np.array(parts).T, probability, value, familiar, length, steps.astype(int),
        tuple(phases), {**settings, "frames": len(rows)},
    )  # fmt: skip
