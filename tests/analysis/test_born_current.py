"""Current of i-PI runs from Born charges and velocities, against the derivative of the dipole."""

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.io import read, write

from lrcalc.analysis.born_current import has_born_current, read_born_current
from lrcalc.analysis.intake import Reading
from lrcalc.cli import main
from lrcalc.ipi_files.extras import read_extras
from tests.sample_structures import water_box

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


@pytest.fixture(scope="module")
def crystal(tmp_path_factory):
    """A run of a skew cell that i-PI itself writes; its dipole would jump, its current does not."""
    folder = tmp_path_factory.mktemp("periodic")
    write(folder / "cell.xyz", water_box(), format="extxyz")
    line = f"--kind nve --structure {folder}/cell.xyz --model water --steps 40 --timestep 0.5"
    more = "--temperature 300 --extras BEC --dielectric-stride 1 --velocities-stride 1"
    assert main(["ipi-run", *line.split(), *more.split(), "--workdir", str(folder / "run")]) == 0
    return folder / "run"


def test_of_a_periodic_cell_it_is_charges_times_velocities(crystal, capsys):
    """Against files read here, J = Σ Z·v, and Wiener–Khinchin in numpy, on an absolute scale."""
    blocks = (crystal / "sim.BEC").read_text().split("#EXTRAS")[1:]
    rows = np.array([np.loadtxt(b.splitlines()[1:]) for b in blocks])
    frames = read(crystal / "sim.vel_0.extxyz", ":")
    atoms = frames[0]
    assert np.abs(np.array(atoms.cell) - np.diag(np.diag(atoms.cell))).max() > 0.5
    # i-PI's rows are coordinates of atoms, its columns directions of the dipole
    born = rows.reshape(len(rows), len(atoms), 3, 3)
    velocity = np.array([f.arrays["velocities"] for f in frames]) * units.fs  # Å/fs
    current = np.einsum("tiba,tib->ta", born, velocity)
    np.testing.assert_allclose(current_of(crystal), current, rtol=0, atol=1e-7)

    out = crystal.parent / "ir"
    options = [
        "--from-current",
        "--temperature",
        "300",
        "--resolution",
        "4000",
        "--maximum",
        "9000",
    ]
    assert main(["ir", str(crystal), *options, "-o", str(out)]) == 0
    assert "current from Born charges and velocities" in capsys.readouterr().out
    lines = Path(f"{out}-ir.csv").read_text().splitlines()
    lags = int(next(x for x in lines if x.startswith("# lags:")).split()[-1])
    table = np.loadtxt([x for x in lines if x[0] in "0123456789"], delimiter=",")
    moving = current - current.mean(0)
    n = len(moving)
    correlation = [(moving[: n - k] * moving[k:]).sum() / (n - k) for k in range(lags)]
    weights = np.cos(0.5 * np.pi * np.arange(lags) / lags) ** 2
    weights[0] *= 0.5  # trapezoid
    time = 0.5 * np.arange(lags)
    angular = 2.0 * np.pi * 2.99792458e-5 * table[:, 0]  # of cm⁻¹, in 1/fs
    integral = 0.5 * np.cos(np.outer(angular, time)) @ (weights * correlation)
    epsilon_0 = 8.8541878128e-12 / 1.602176634e-19 * 1e-10  # e/(V Å)
    light, thermal = 2997.92458, 8.617333262e-5 * 300.0  # Å/fs, eV
    absorption = 1e8 * integral / (3.0 * light * atoms.get_volume() * epsilon_0 * thermal)
    assert absorption.max() > 100.0
    np.testing.assert_allclose(table[:, 1], absorption, rtol=1e-4, atol=1e-4 * absorption.max())


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
