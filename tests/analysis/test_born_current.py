"""Current of i-PI runs from Born charges and velocities, against the derivative of the dipole."""

import shutil
from itertools import pairwise

import numpy as np
import pytest
from ase.build import molecule

from lrcalc.analysis.born_current import has_born_current, read_born_current
from lrcalc.analysis.intake import Reading
from lrcalc.cli import main
from lrcalc.ipi_files.extras import read_extras

STEP = 0.1  # fs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one water that writes all at each step; the dipole is one without a cell."""
    folder = tmp_path_factory.mktemp("current")
    molecule("H2O").write(folder / "water.xyz")
    line = f"--kind nve --structure {folder}/water.xyz --model water --steps 60 --timestep {STEP}"
    more = "--extras dipole BEC --dielectric-stride 1 --velocities-stride 1"
    assert main(["ipi-run", *line.split(), *more.split(), "--workdir", str(folder / "run")]) == 0
    return folder / "run"


def current_of(folder):
    (series,) = read_born_current([folder], Reading(no_progress=True)).series
    return np.concatenate(list(series.chunks()))


def test_it_is_the_derivative_of_the_dipole(run):
    assert has_born_current([run])
    current = current_of(run)
    dipole = read_extras(next(run.glob("sim.dipole*"))).values
    slope = (dipole[2:] - dipole[:-2]) / (2 * STEP)
    assert np.abs(slope).max() > 1e-3
    np.testing.assert_allclose(current[1:-1], slope, atol=2e-3 * np.abs(slope).max())


def test_ir_takes_it(run, capsys):
    out = str(run.parent / "ir")
    options = ["--from-current", "--volume", "30", "--temperature", "300", "--resolution", "12000",
               "--maximum", "20000"]  # fmt: skip
    assert main(["ir", str(run), *options, "-o", out]) == 0
    assert "current from Born charges and velocities" in capsys.readouterr().out


def thinned(run, folder, name, every):
    """Copy of a run with a file of which only some frames are there."""
    shutil.copytree(run, folder)
    path = next(folder.glob(name))
    lines = path.read_text().splitlines(keepends=True)
    marks = [k for k, line in enumerate(lines) if "EXTRAS" in line] + [len(lines)]
    blocks = ["".join(lines[a:b]) for a, b in pairwise(marks)]
    path.write_text("".join(every(blocks)))
    return folder


def test_other_steps_are_refused(run, tmp_path):
    folder = thinned(run, tmp_path / "thin", "sim.BEC*", lambda blocks: blocks[::2])
    with pytest.raises(ValueError, match="Born charges every 2 steps .* velocities every 1"):
        current_of(folder)


def test_missing_frames_are_told(run, tmp_path):
    gap = thinned(run, tmp_path / "gap", "sim.BEC*", lambda b: [*b[:20], *b[25:]])
    with pytest.raises(ValueError, match="frames are missing"):
        current_of(gap)


def test_a_run_that_was_killed_gives_what_both_have(run, tmp_path):
    cut = thinned(run, tmp_path / "cut", "sim.BEC*", lambda blocks: blocks[:30])
    np.testing.assert_array_equal(current_of(cut), current_of(run)[:30])


def test_without_born_charges_it_says_how_to_get_them(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "bare")
    next((tmp_path / "bare").glob("sim.BEC*")).unlink()
    assert not has_born_current([tmp_path / "bare"])
    assert main(["ir", str(tmp_path / "bare"), "--from-current", "-o", str(tmp_path / "x")]) == 2
    assert "--extras BEC --dielectric-stride 4 --velocities-stride 4" in capsys.readouterr().err
