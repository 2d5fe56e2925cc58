"""The cell, time step and files that a run really had, not those that lie beside it."""

import gzip
import json
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from lrcalc import units
from lrcalc.analysis.cells import file_cell, read_cell, read_checkpoint_cell, run_cell
from lrcalc.analysis.frames import read_ipi_velocities
from lrcalc.analysis.ipi_folder import read_run
from tests.analysis.test_files import all_frames, extras, run
from tests.analysis.test_runs import CELL, DIPOLE, write_run

OTHER = 1.2 * CELL
VOLUME = abs(np.linalg.det(CELL))


def restart(path, cell):
    """As i-PI writes it: vectors are columns, atomic units."""
    numbers = ", ".join(f"{x:.12e}" for x in cell.T.ravel() / units.BOHR)
    path.write_text(
        "<simulation verbosity='low'>\n  <system>\n"
        f"    <cell shape='(3, 3)'>\n [ {numbers} ]\n</cell>\n  </system>\n</simulation>\n"
    )
    return path


def without_positions(folder, **options):
    write_run(folder, full=False, **options)
    (folder / "sim.pos_0.extxyz").unlink()
    return folder


def xyz(path, cells):
    with path.open("w") as file:
        for cell in cells:
            rows = " ".join(map(str, np.ravel(cell)))
            file.write(f'1\nLattice="{rows}" Properties=species:S:1:pos:R:3\nO 0 0 0\n')
    return path


@pytest.mark.parametrize("name", ["RESTART", "sim.checkpoint", "../before/RESTART"])
def test_constant_energy_after_constant_pressure(tmp_path, name):
    """The structure file is only a template there; the cell is that of the checkpoint."""
    folder = without_positions(tmp_path / "nve")
    (tmp_path / "before").mkdir()
    restart(folder / name, OTHER)
    text = (folder / "input.xml").read_text().replace("> RESTART <", "> ../before/RESTART <")
    (folder / "input.xml").write_text(text)
    xyz(folder / "init.xyz", [CELL])
    assert np.allclose(read_checkpoint_cell(folder / name), OTHER, rtol=1e-9)
    found = run_cell(read_run(folder))
    assert np.allclose(found.vectors, OTHER, rtol=1e-9)
    assert found.volume == pytest.approx(1.2**3 * VOLUME)
    assert run("ir", folder, "--no-progress", "-o", tmp_path / "o") == 0
    told = json.loads((tmp_path / "o-ir.json").read_text())["settings"]
    assert told["volume_A3"] == pytest.approx(1.2**3 * VOLUME)
    (folder / name).write_text("<simulation></simulation>")
    with pytest.raises(ValueError, match="no volume known.*--volume"):
        run("ir", folder, "--no-progress")


def test_structure_file_that_the_run_starts_from(tmp_path):
    folder = without_positions(tmp_path / "nve")
    xyz(folder / "start.xyz", [CELL])
    xyz(folder / "init.xyz", [OTHER])
    text = (folder / "input.xml").read_text()
    text = text.replace("mode='chk'> RESTART", "mode='xyz'> start.xyz")
    (folder / "input.xml").write_text(text)
    assert np.allclose(run_cell(read_run(folder)).vectors, CELL)


@pytest.mark.parametrize("unit", ["angstrom3", "atomic_unit"])
def test_mean_volume_of_a_run_at_constant_pressure(tmp_path, capsys, unit):
    folder = write_run(tmp_path / "npt", mode="npt", full=False)
    volumes = VOLUME * np.linspace(1.0, 0.6, 50)
    scale = 1.0 if unit == "angstrom3" else units.BOHR**3
    with (folder / "sim.out").open("w") as file:
        file.write(f"# column   1     --> step : x\n# column   2     --> volume{{{unit}}} : y\n")
        file.writelines(f"  {i}  {v / scale:.10e}\n" for i, v in enumerate(volumes))
    assert run("ir", folder, "--no-progress", "-o", tmp_path / "o") == 0
    told = json.loads((tmp_path / "o-ir.json").read_text())["settings"]
    assert told["volume_A3"] == pytest.approx(0.8 * VOLUME, rel=1e-6)
    assert "the volume varies by 50.0 %" in capsys.readouterr().out
    # without that column: the frames
    (folder / "sim.out").unlink()
    head = (folder / "sim.pos_0.extxyz").read_text().splitlines()
    lines = [" ".join(map(str, (CELL * (1 + 0.1 * i)).ravel())) for i in range(3)]
    frames = [head[1].replace(head[1].split('"')[1], numbers) for numbers in lines]
    (folder / "sim.pos_0.extxyz").write_text(
        "".join(f"2\n{comment}\nO 0 0 0\nH 0 0 1\n" for comment in frames)
    )
    mean = VOLUME * np.mean([1, 1.1**3, 1.2**3])
    assert run_cell(read_run(folder)).volume == pytest.approx(mean)
    # with neither: not the start's
    (folder / "sim.pos_0.extxyz").unlink()
    restart(folder / "RESTART", CELL)
    assert run_cell(read_run(folder)) is None
    with pytest.raises(ValueError, match="cell of .*npt moves.*--volume"):
        run("ir", folder, "--no-progress")


@pytest.mark.parametrize("suffix", [".extxyz", ".xyz.gz", ".traj"])
def test_mean_volume_of_a_trajectory(tmp_path, capsys, suffix):
    frames = []
    for i, moment in enumerate(DIPOLE[:500]):
        atoms = Atoms("O", positions=[[0, 0, 0]], cell=[10 + 0.003 * i] * 3, pbc=True)
        atoms.info["dipole"] = moment
        frames.append(atoms)
    path = tmp_path / f"a{suffix}"
    write(path, frames, format="traj" if suffix == ".traj" else "extxyz")
    if suffix == ".traj":  # which drops info from the cell's point of view, not the cell
        assert file_cell(path).spread > 0.3
    mean = np.mean([atoms.get_volume() for atoms in frames])
    options = ["--timestep", 1, "--temperature", 300, "--no-progress", "-o", tmp_path / "o"]
    assert run("ir", path, *options) == 0
    told = json.loads((tmp_path / "o-ir.json").read_text())["settings"]
    assert told["volume_A3"] == pytest.approx(mean)
    assert "the volume varies by" in capsys.readouterr().out
    assert np.allclose(read_cell(path), 10 * np.eye(3))


def test_runs_with_different_cells_are_refused(tmp_path):
    first = write_run(tmp_path / "1", full=False)
    second = write_run(tmp_path / "2", full=False)
    assert run("ir", first, second, "--no-progress", "-o", tmp_path / "o") == 0
    text = (second / "sim.pos_0.extxyz").read_text()
    bigger = " ".join(map(str, (1.01 * CELL).ravel()))
    (second / "sim.pos_0.extxyz").write_text(text.replace(text.split('"')[1], bigger))
    with pytest.raises(ValueError, match="different cells.*pos_0.*pos_0"):
        run("ir", first, second, "--no-progress")
    assert run("ir", first, second, "--volume", 700, "--keep-jumps", "--no-progress", "-o",
               tmp_path / "o") == 0  # fmt: skip


def test_beads_of_an_earlier_run_are_left_out(tmp_path, capsys):
    folder = write_run(tmp_path / "q", full=False)
    extras(folder / "sim.dipole_1", 5 * DIPOLE / units.BOHR)
    found = read_run(folder)
    assert found.outputs["dipole"] == [folder / "sim.dipole_0"]
    assert found.ignored == (folder / "sim.dipole_1",)
    assert run("ir", folder, "--no-progress", "-o", tmp_path / "o") == 0
    assert "left out, since this one has 1 bead: sim.dipole_1" in capsys.readouterr().out
    text = (folder / "input.xml").read_text().replace("nbeads='1'", "nbeads='2'")
    (folder / "input.xml").write_text(text)
    assert len(read_run(folder).outputs["dipole"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--timestep", 0.5], "--timestep is 0.5 fs but frames are 1 fs apart"),
        (["--timestep", 2], "leave it out"),
        (["--md-timestep", 1], "--md-timestep is 1 fs but .*input.xml says 0.5 fs"),
        (["--columns=-3,-2,-1"], "--columns is '-3,-2,-1'"),
        (["--columns", "1:4"], "--columns is '1:4'"),
        (["--columns", "0,1,2"], "--columns is given but .*sim.dipole_0 is no text file"),
        (["--key", "dipole"], "--key is 'dipole' but .*sim.dipole_0 is no .npz"),
    ],
)
def test_what_contradicts_the_run_is_refused(tmp_path, options, message):
    folder = write_run(tmp_path / "run", full=False)
    with pytest.raises(ValueError, match=message):
        run("ir", folder, "--no-progress", *options)


def test_what_agrees_with_the_run_is_taken(tmp_path):
    folder = write_run(tmp_path / "run", full=False)
    for options in (["--timestep", 1.0], ["--md-timestep", 0.5]):
        assert run("ir", folder, "--no-progress", "-o", tmp_path / "o", *options) == 0


def test_the_same_file_twice_is_refused(tmp_path):
    folder = write_run(tmp_path / "run", full=False)
    for files in ([folder, folder], [folder, folder / "sim.dipole_0"]):
        with pytest.raises(ValueError, match="given twice"):
            run("ir", *files, "--no-progress")


def velocity_frames(values, start=0):
    """Frames as i-PI writes them, format ase."""
    head = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:velocities:R:3'
    return "".join(
        f'2\n{head} ipi_comment="Step: {2 * (start + i)} Bead: 0 velocities{{ase}}  cell{{ase}}"\n'
        + "".join(f"O 0 0 0 {x:.8f} {y:.8f} {z:.8f}\n" for x, y, z in frame)
        for i, frame in enumerate(values)
    )


@pytest.mark.parametrize("cut", [0, 1, 5, 30, 60, 85, 120, 200])
@pytest.mark.parametrize("packed", [False, True])
def test_velocities_of_a_killed_and_resumed_run(tmp_path, cut, packed):
    """The later of two frames of a step counts, and one that was cut short does not."""
    v = np.random.default_rng(0).normal(size=(40, 2, 3))
    again = v[25:] + 1.0
    text = velocity_frames(v[:30])
    text = text[: len(text) - cut] + velocity_frames(again, start=25)
    path = tmp_path / ("sim.vel_0.extxyz" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    series, species = read_ipi_velocities(path)
    assert species == ["O", "O"]
    expected = np.concatenate([v[:25], again]).reshape(40, 6) * 0.09822694788
    assert np.allclose(all_frames(series), expected, atol=1e-8)


def test_frames_missing_after_a_cut_are_not_passed_over(tmp_path):
    v = np.zeros((20, 2, 3))
    path = tmp_path / "sim.vel_0.extxyz"
    path.write_text(velocity_frames(v[:10])[:-40] + velocity_frames(v[10:], start=10))
    with pytest.raises(ValueError, match="frame before step 20 is cut short"):
        all_frames(read_ipi_velocities(path)[0])


def test_packed_files(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    options = ["--timestep", 1, "--temperature", 300, "--no-progress", "-o", tmp_path / "o"]
    np.savetxt(tmp_path / "m.txt", DIPOLE)
    for name in (folder / "sim.dipole_0", folder / "sim.vel_0.extxyz", tmp_path / "m.txt"):
        with name.open("rb") as raw, gzip.open(tmp_path / f"{name.name}.gz", "wb") as packed:
            shutil.copyfileobj(raw, packed)
    for name in ("sim.dipole_0.gz", "m.txt.gz"):
        assert run("ir", tmp_path / name, "--volume", 700, *options) == 0
        data = json.loads((tmp_path / "o-ir.json").read_text())
        assert data["settings"]["frames"] == len(DIPOLE) - 1
    assert run("vdos", tmp_path / "sim.vel_0.extxyz.gz", *options[:2], *options[4:]) == 0
    (tmp_path / "m.npz.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="unpack it"):
        run("ir", tmp_path / "m.npz.gz", "--volume", 700, *options)
