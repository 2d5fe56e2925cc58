"""Selections of frames, and runs beside references."""

import numpy as np
import pytest

from lrcalc.information.extrapolation import extrapolation
from lrcalc.information.kept import kept_entropy
from lrcalc.information.reference import make_reference
from lrcalc.information.selection import farthest, select_frames
from tests.information.test_reference import shaken


def test_farthest_points_of_clusters():
    """One of each cluster before a second of any."""
    rng = np.random.default_rng(0)
    centres = 10.0 * np.eye(5)
    x = np.concatenate([c + 0.1 * rng.normal(size=(20, 5)) for c in centres])
    assert set(farthest(x, 5) // 20) == set(range(5))
    assert np.array_equal(farthest(x[:3], 5), [0, 1, 2])


def test_greedy_takes_each_kind_first():
    """Frames of three kinds, very unequal in number: one of each comes first."""
    rng = np.random.default_rng(1)
    kinds = [0] * 12 + [1] * 2 + [2]
    frames = [{29: kind + 0.05 * rng.normal(size=(9, 4))} for kind in kinds]
    chosen = select_frames(frames, 5, 0.2)
    assert {kinds[k] for k in chosen.order[:3]} == {0, 1, 2}
    assert len(set(chosen.order)) == 5
    assert (np.diff(chosen.covered) >= 0).all()
    assert chosen.novelty[1] > chosen.novelty[3]


def test_beside_what_is_known_the_most_novel_comes_first():
    rng = np.random.default_rng(2)
    frames = [{29: kind + 0.05 * rng.normal(size=(9, 4))} for kind in (0, 0, 3, 1, 0)]
    chosen = select_frames(frames, 2, 0.2, known={29: 0.05 * rng.normal(size=(50, 4))})
    assert chosen.order.tolist() == [2, 3]
    assert chosen.novelty[0] > chosen.novelty[1] > 0


def test_selection_keeps_more_entropy_than_chance():
    frames = shaken(25, 0.02) + shaken(5, 0.2, seed=1)
    kept = kept_entropy(frames, 6)
    assert kept.entropy[-1] > kept.chance[-1]
    assert (kept.order[:3] >= 25).sum() >= 2  # the rare hot ones
    assert kept.entropy[-1] <= kept.whole + 1e-9
    with pytest.raises(ValueError, match="`keep` is 31"):
        kept_entropy(frames, 31)
    with pytest.raises(ValueError, match="`keep` is 0"):
        kept_entropy(frames, 0)


def test_extrapolation_finds_the_frame_and_the_atom(tmp_path):
    reference = make_reference(shaken(40, 0.1))
    run = shaken(6, 0.1, seed=7)
    for k, atoms in enumerate(run):
        atoms.info["time_fs"] = 5.0 * k
    run[4].positions[3] += 0.9
    result = extrapolation(run, reference)
    assert result.frame[result.outside > 0].tolist() == [4]
    assert 3 in result.first
    assert result.columns["time_fs"][4] == 20.0
    assert "atoms" in result.table()
    files = result.save(tmp_path / "run")
    assert all(path.stat().st_size for path in files)
    with pytest.raises(ValueError, match="no frames"):
        extrapolation([], reference)
    with pytest.raises(ValueError, match="`every` is 0"):
        extrapolation(run, reference, every=0)
