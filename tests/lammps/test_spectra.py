"""From a run on two ranks to spectra, by the commands, without saying anything twice."""

import json

import numpy as np
import pytest

from lrcalc.analysis import infrared, read_series
from lrcalc.analysis.lammps_series import column
from lrcalc.cli import main
from lrcalc.lammps.input_text import Output
from lrcalc.lammps.inputs import write_input
from tests.lammps.running import mpirun, needs_lammps
from tests.lammps.test_inputs import STRUCTURES

pytestmark = needs_lammps

STEP = 0.25  # fs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of 240 steps, everything written at each second."""
    folder = tmp_path_factory.mktemp("run")
    output = Output(stride=1, dump=2, restart=0, thermo=100, current=True)
    write_input("nve", STRUCTURES["turned"], folder, steps=240, timestep=STEP, output=output,
                settings={"dtype": "float64"})  # fmt: skip
    done = mpirun(2, "-m", "lrcalc", "lammps", "-in", "in.lmp", cwd=folder, timeout=170)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    return folder


def all_frames(path, quantity):
    return np.concatenate(list(read_series(path, quantity).chunks()))


def test_the_current_is_the_derivative_of_the_dipole(run):
    """Σ Z·v against central differences of the dipole.

    Verlet's velocities are central differences of positions, so that only what is not linear in
    them is left, of the square of the step.
    """
    dipole, current = (all_frames(run / "run.series", name) for name in ("dipole", "current"))
    difference = (dipole[2:] - dipole[:-2]) / (2 * STEP)
    assert np.abs(difference - current[1:-1]).max() < 2e-3 * np.abs(current).max()


def test_commands_need_no_options(run, tmp_path, capsys):
    series, dump = str(run / "run.series"), str(run / "run.dump")
    out = ["--no-progress", "-o", str(tmp_path / "o")]
    coarse = ["--resolution", "1500", "--maximum", "5000"]
    assert main(["ir", series, *coarse, *out]) == 0
    said = capsys.readouterr().out
    mean = column(series, "temperature_K").mean()
    assert f"temperature {mean:.1f} K: mean of {series}" in said
    found = json.loads((tmp_path / "o-ir.json").read_text())["settings"]
    lines = (tmp_path / "o-ir.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")][1:]
    table = np.array(rows, dtype=float)
    judge = infrared(
        all_frames(series, "dipole"), timestep=STEP, temperature=mean, resolution=1500.0,
        volume=STRUCTURES["turned"].get_volume(), maximum=5000.0,
    )  # fmt: skip
    assert found["volume_A3"] == pytest.approx(STRUCTURES["turned"].get_volume())
    np.testing.assert_allclose(table[:, 1], judge.n_alpha, rtol=1e-4, atol=1e-2)
    assert main(["ir", series, "--from-current", *coarse, *out]) == 0
    assert main(["dielectric", series, *coarse, *out]) == 0
    assert main(["vdos", dump, *coarse, *out]) == 0
    assert main(["conductivity", dump, "--charges", "O=-2,H=1", *out]) == 2
    assert "too short for a conductivity" in capsys.readouterr().err  # volume and T are known
