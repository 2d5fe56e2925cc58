"""What the demo can afford, and what its table then says."""

import pytest

from lrcalc.analysis.correlation import WINDOWS, lags_for
from lrcalc.commands.demo import affordable_resolution, affordable_steps


def test_steps_fit_the_time_within_limits():
    assert affordable_steps(0.03, 180.0) == 6000
    assert affordable_steps(1.0, 180.0) == 2000
    assert affordable_steps(1e-3, 180.0) == 10000


@pytest.mark.parametrize("frames", [1000, 3000, 5000])
def test_there_are_four_blocks_for_the_errors(frames):
    assert "hann" in WINDOWS
    assert frames // lags_for(affordable_resolution(frames), 1.0, "hann") >= 4
