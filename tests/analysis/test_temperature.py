"""Temperature of a run at constant energy: that of its own table."""

import numpy as np

from lrcalc.analysis.ipi_folder import table_temperature


def test_the_table_beside_the_frames_tells_the_mean_temperature(tmp_path):
    (tmp_path / "run.csv").write_text("step,time_fs,temperature_K\n0,0,300\n2,1,310\n4,2,nan\n")
    for frames in ("run.xyz", "run.traj"):
        value, source = table_temperature(tmp_path / frames)
        np.testing.assert_allclose(value, 305.0)
        assert source == f"mean of {tmp_path / 'run.csv'}"


def test_other_tables_tell_nothing(tmp_path):
    assert table_temperature(tmp_path / "run.xyz") is None
    (tmp_path / "run.csv").write_text("step,T\n0,300\n")
    assert table_temperature(tmp_path / "run.xyz") is None
    (tmp_path / "run.csv").write_text("step,temperature_K\n")
    assert table_temperature(tmp_path / "run.xyz") is None
    assert table_temperature(tmp_path / "run.csv") is None
