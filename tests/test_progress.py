"""A bar on a terminal, lines in a file."""

import io
import sys

import pytest

from lrcalc import progress
from lrcalc.progress import duration, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(10, unit="step", title="run") as bar:
        bar.update(10)
        bar.set_postfix_str("T 300 K")
    assert "run: 100%" in sys.stderr.getvalue()
    assert "T 300 K" in sys.stderr.getvalue()


def test_a_file_gets_lines_that_become_rare(capsys, clock):
    with progress_bar(10000, unit="step", title="run") as bar:
        for step in range(10000):
            clock[0] += 1.0
            bar.set_postfix_str(f"T {step % 2} K")
            bar.update()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert "\r" not in err
    assert lines[0] == "run: 10 of 10000 steps, 10.0 s, 2 h 46 min left, T 1 K"
    assert lines[1].startswith("run: 20 of 10000 steps")
    assert lines[-1] == "run: 10000 of 10000 steps, 2 h 46 min, T 1 K"
    assert 150 < len(lines) < 220


def test_what_is_done_before_the_first_line_gets_one(capsys, clock):
    with progress_bar(6, unit="frame", initial=4) as bar:
        bar.update()
        bar.write("of its own")
        bar.update()
    out, err = capsys.readouterr()
    assert out == "of its own\n"
    assert err == "6 of 6 frames, 0.0 s\n"
    with progress_bar(unit="frame") as bar:
        bar.update()
    assert capsys.readouterr().err == "1 frame, 0.0 s\n"


def test_what_was_done_before_does_not_count_as_speed(capsys, clock):
    with progress_bar(200, unit="step", initial=100) as bar:
        clock[0] += 20
        bar.update(50)
    assert capsys.readouterr().err == "150 of 200 steps, 20.0 s, 20.0 s left\n"


@pytest.mark.parametrize("options", [{"disable": True}, {"leave": False}])
def test_silence(capsys, clock, options):
    with progress_bar(6, unit="frame", **options) as bar:
        bar.update(6)
    assert capsys.readouterr() == ("", "")


def test_durations():
    assert [duration(t) for t in (8.46, 725, 12000)] == ["8.5 s", "12 min 5 s", "3 h 20 min"]
