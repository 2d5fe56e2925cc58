"""Pictures of what runs have left, kept and become: labels, ticks, marks."""

import numpy as np
import pytest

from lrcalc.information.extrapolation import Extrapolation, _stretch
from lrcalc.information.judging import COMMITTEE, DELTA_H, FEATURES
from lrcalc.information.kept import Kept
from lrcalc.information.phase_fractions import of_rows, runs_of


def run(labels, limit=(5.0, 2.0), n=6, timed=False, largest=None):
    """Judged frames, made up."""
    x = np.linspace(0.5, 3.0, n) if largest is None else np.asarray(largest, dtype=float)
    time = np.arange(n) * 2.0 if timed else np.full(n, np.nan)
    outside = (x > limit[0]).astype(int)
    return Extrapolation(
        np.arange(n), time, x, x / 2, x / 3, x / 2, outside, 0 * x, (), limit, {}, labels
    )


@pytest.mark.parametrize("labels", [DELTA_H, FEATURES, COMMITTEE])
def test_labels_lie_within_their_panels(labels):
    figure = run(labels).figure(title="a run")
    figure.canvas.draw()
    panels = [axis.get_window_extent() for axis in figure.axes]
    told = [axis.yaxis.label.get_window_extent() for axis in figure.axes]
    for panel, label in zip(panels, told, strict=True):
        assert panel.y0 <= label.y0 <= label.y1 <= panel.y1
        assert label.x0 >= 0
    legend = figure.axes[0].get_legend().get_window_extent()
    assert legend.y0 >= panels[0].y1  # on no curve
    assert not legend.overlaps(figure.axes[0].title.get_window_extent())


@pytest.mark.parametrize("limit", [-7.0, -1e-300, 0.0, 1e-300, 5.0, np.inf])
@pytest.mark.parametrize("largest", [[-3, -2, -1], [0, 0, 0], [1, 2, 3], [1, 2, 1e4]])
def test_any_limit_and_any_scores_can_be_drawn(limit, largest):
    figure = run(DELTA_H, (limit, limit), n=3, largest=largest).figure()
    figure.canvas.draw()
    for axes in figure.axes:
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
        assert axes.get_ylim()[0] != axes.get_ylim()[1]


def test_what_goes_far_beyond_is_drawn_by_its_logarithm():
    for limit in (-1.0, 0.0, 2.0):
        figure = run(DELTA_H, (limit, limit), n=4, largest=[1, 2, 3, 1e4]).figure()
        assert [axis.get_yscale() for axis in figure.axes[:2]] == ["symlog", "symlog"]
        figure = run(DELTA_H, (limit, limit), n=4, largest=[1, 2, 3, 4]).figure()
        assert [axis.get_yscale() for axis in figure.axes[:2]] == ["linear", "linear"]


def test_where_a_run_leaves_for_good_the_limit_is_seen():
    figure = run(DELTA_H, (5.0, 2.5), n=4, largest=[1, 300, 400, 500]).figure()
    assert [axis.get_yscale() for axis in figure.axes[:2]] == ["symlog", "symlog"]


def test_no_limit_is_said_so():
    assert run(DELTA_H, (5.0, np.inf)).summary["around"].remark == "no limit"


def kept(n):
    order = np.arange(n)
    number = np.unique(np.linspace(1, n, 3).astype(int))
    h = number / n
    return Kept(order, 0.0 * order, (order + 1) / n, number, h, h, 1.0, {})


def rows(steps):
    return [(k, np.nan, 0.9, 1.0, 1.0, 2.0, n, 1.0) for k, n in enumerate(steps)]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 30])
def test_frames_are_counted_in_whole_numbers(n):
    for figure in (kept(n).figure(), run(DELTA_H, n=n).figure(), of_rows(rows([0] * n), ["fcc"])
                   .figure()):  # fmt: skip
        figure.canvas.draw()
        axis = figure.axes[-1]
        low, high = axis.get_xlim()
        ticks = [x for x in axis.get_xticks() if low <= x <= high]
        assert ticks
        assert all(x == int(x) for x in ticks)


@pytest.mark.parametrize("steps", [[0, 4, 4, 0, 4], [4], [0], [4, 4], [0, 0, 4]])
def test_denoised_frames_are_shaded(steps):
    figure = of_rows(rows(steps), ["fcc"]).figure()
    figure.canvas.draw()
    runs = runs_of(np.array(steps) > 0)
    assert [k for first, last in runs for k in range(first, last + 1)] == list(
        np.flatnonzero(steps)
    )
    for axis in figure.axes:
        spans = [(p.get_x(), p.get_x() + p.get_width()) for p in axis.patches]
        assert len(spans) == len(runs)
        for k, n in enumerate(steps):
            assert any(low < k < high for low, high in spans) == (n > 0)
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words.count("after denoising") == bool(runs)


def test_a_scale_needs_scores_that_differ_from_zero():
    from lrcalc.analysis.plots import new_figure

    _, axis = new_figure()
    _stretch(axis, np.zeros(3), 0.0)
    assert axis.get_yscale() == "linear"
