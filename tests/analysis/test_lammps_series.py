"""Series that `pair_style lrcalc` writes: columns, what fixes say, runs that were resumed."""

import json

import numpy as np
import pytest

from lrcalc.analysis.cells import file_cell
from lrcalc.analysis.intake import Reading
from lrcalc.analysis.intake import read as intake
from lrcalc.analysis.lammps_series import read_head
from lrcalc.analysis.series import read_series


def all_frames(series):
    return np.concatenate(list(series.chunks()))


HEAD = {
    "model": "water", "timestep_fs": 0.5, "every": 2, "cell": [[9, 0, 0], [1, 8, 0], [0, 0, 7]],
    "pbc": [True] * 3, "n_atoms": 6, "field": None, "epsilon_infinity": 1.78,
    "fixes": [["1", "nve", None], ["2", "temp/csvr", 310.0], ["out", "lrcalc", None]],
    "columns": ["step", "time_fs", "temperature_K", "enthalpy_eV", "volume_A3",
                "Mx_eA", "My_eA", "Mz_eA", "Ex_V/A", "Ey_V/A", "Ez_V/A"],
}  # fmt: skip


def series(path, steps, **changed):
    head = HEAD | changed
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(2000, len(head["columns"]) - 2))
    lines = ["# lrcalc lammps series 1", "# " + json.dumps(head), "# " + " ".join(head["columns"])]
    for count, step in enumerate(steps):
        row = [step, 0.5 * step, *rows[count]]
        row[4] = 504.0
        lines.append(" ".join(f"{x:.15g}" for x in row))
    path.write_text("\n".join(lines) + "\n")
    return path, rows


def test_a_series(tmp_path):
    path, rows = series(tmp_path / "run.series", range(100, 300, 2))
    found = read_series(path)
    assert (found.timestep, found.stride, found.columns) == (1.0, 2, 3)
    np.testing.assert_allclose(all_frames(found), rows[:100, 3:6], rtol=1e-12)
    told = found.conditions
    assert (told.ensemble, told.thermostat, told.temperature) == ("nvt", "svr", 310.0)
    assert (told.held, told.model, told.timestep) == ("", "water", 0.5)
    cell = file_cell(path)
    np.testing.assert_allclose(cell.vectors, HEAD["cell"])
    assert cell.constant
    data = intake([path], "dipole", Reading(analysis="infrared", wants_cell=True))
    assert (data.volume, data.temperature()) == (pytest.approx(504.0), 310.0)
    assert data.electronic_part(None, float) == 1.78
    with pytest.raises(ValueError, match=r"no current, only step .*say `current`"):
        read_series(path, "current")
    steps = list(range(0, 20, 2))
    with pytest.raises(ValueError, match="step 8 expected but 10 found"):
        read_series(series(path, [s for s in steps if s != 8])[0])
    path.write_text(path.read_text().replace("{", "", 1))
    with pytest.raises(ValueError, match="second line, which says how the run was made"):
        read_series(path)


def test_a_series_that_was_resumed_and_cut(tmp_path):
    """The later branch counts; a row that was cut does not."""
    path, rows = series(tmp_path / "run.series", [0, 2, 4, 6, 8, 4, 6, 8, 10])
    kept = [0, 1, 5, 6, 7, 8]
    np.testing.assert_allclose(all_frames(read_series(path)), rows[kept, 3:6], rtol=1e-12)
    whole = path.read_text()
    for cut in range(1, len(whole.splitlines()[-1]), 11):
        path.write_text(whole[:-cut])
        assert len(all_frames(read_series(path))) == 5


@pytest.mark.parametrize(
    ("fixes", "ensemble", "message"),
    [
        ([["1", "nve/omp", None]], "nve", None),
        ([["1", "nvt", 300.0]], "nvt", None),
        ([["1", "npt", 300.0]], "npt", None),
        ([["1", "nve", None], ["2", "langevin", 300.0]], "nvt", "acts on each atom"),
        ([], "", None),
    ],
)
def test_what_the_fixes_say(tmp_path, fixes, ensemble, message):
    path, _ = series(tmp_path / "run.series", range(0, 400, 2), fixes=fixes)
    assert read_head(path).conditions.ensemble == ensemble
    if message is None:
        intake([path], "dipole", Reading(analysis="infrared"))
    else:
        with pytest.raises(ValueError, match=message):
            intake([path], "dipole", Reading(analysis="infrared"))


def test_a_field_in_a_series(tmp_path):
    path, _ = series(tmp_path / "r", [0, 2], field={"electric_displacement": [0, 0, 0.01]})
    told = read_head(path).conditions
    assert told.at_constant_d
    assert told.value == (0.0, 0.0, 0.01)
    path, _ = series(tmp_path / "r", [0, 2], field={"magnetic": [0, 0, 0.01]})
    with pytest.raises(ValueError, match="magnetic"):
        read_head(path)


def test_a_dump_takes_its_conditions_from_the_series_beside(tmp_path):
    series(tmp_path / "run.series", range(0, 40, 2), fixes=[["1", "nve", None]])
    lines = "".join(
        f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 8\n"
        f"0 7\nITEM: ATOMS id element vx vy vz\n1 O 1 2 3\n" for step in range(0, 40, 2)
    )  # fmt: skip
    (tmp_path / "run.dump").write_text("ITEM: UNITS\nmetal\n" + lines)
    found = read_series(tmp_path / "run.dump", "velocities")
    assert found.conditions.ensemble == "nve"


def test_a_series_of_a_slab_keeps_its_area(tmp_path):
    """The volume of its box follows the outermost atom, the periods do not."""
    path, _ = series(tmp_path / "run.series", range(0, 40, 2), pbc=[True, True, False])
    path.write_text(path.read_text().replace(" 504 ", " 604 ", 7))
    cell = file_cell(path)
    np.testing.assert_allclose(cell.vectors, HEAD["cell"])
    assert cell.pbc == (True, True, False)
    assert "volume" not in cell.note
