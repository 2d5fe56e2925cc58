"""Reading series, the commands, and what they refuse."""

import argparse
import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory
from ase.units import fs

from lrcalc import units
from lrcalc.analysis import read_runs, read_series
from lrcalc.analysis.cells import cell_volume
from lrcalc.analysis.output import read_curve, write_atomic
from lrcalc.analysis.series import bead_groups, frame_spacing, read_ipi_velocities
from lrcalc.commands.spectra import ROWS
from tests.analysis.signals import langevin


def run(name, *arguments):
    parser = argparse.ArgumentParser()
    ROWS[name].add_arguments(parser)
    return ROWS[name].run(parser.parse_args([str(a) for a in arguments]))


def extras(path, values, name="dipole", stride=2, start=0):
    """As i-PI's outputs.py prints them."""
    with path.open("w") as file:
        for i, row in enumerate(values):
            file.write(f" #EXTRAS({name})# Step:  {start + i * stride:10d} \n")
            file.write(" ".join(f"{x:16.8e}" for x in row) + "\n")
    return path


def all_frames(series):
    return np.concatenate(list(series.chunks()))


DIPOLE = langevin(np.random.default_rng(0), 12_000, 1.0, 1600.0, 0.01, 300.0)[0]


def test_ipi_extras_and_beads(tmp_path):
    a = extras(tmp_path / "run.dip_0", DIPOLE / units.BOHR)
    extras(tmp_path / "run.dip_1", 3 * DIPOLE / units.BOHR)
    one = read_series(a)
    assert one.stride == 2
    assert np.allclose(all_frames(one), DIPOLE, atol=1e-7)
    files = [tmp_path / "run.dip_1", a]
    assert bead_groups(files) == [[a, tmp_path / "run.dip_1"]]
    (mean,) = read_runs(files)
    assert np.allclose(all_frames(mean), 2 * DIPOLE, atol=1e-7)
    assert len(read_runs(files, beads="separate")) == 2
    assert frame_spacing([one], None, 0.5) == 1.0
    with pytest.raises(ValueError, match="timestep"):
        frame_spacing([one], None)
    extras(tmp_path / "run.dip_1", DIPOLE[:-5])
    with pytest.raises(ValueError, match="different numbers"):
        all_frames(read_runs(files)[0])


def test_component_raw_with_several_beads(tmp_path):
    path = tmp_path / "raw"
    with path.open("w") as file:
        for i in range(5):
            file.write(f" #EXTRAS_COMPONENT_RAW(dipole)# Step:  {i:10d}  Bead:  {0:5d}  \n")
            file.write("1.0 2.0 3.0\n3.0 4.0 5.0\n")
    assert np.allclose(all_frames(read_series(path)), np.array([2.0, 3, 4]) * units.BOHR)


@pytest.mark.parametrize("kind", ["missing", "columns", "word", "nan"])
def test_broken_extras(tmp_path, kind):
    path = extras(tmp_path / "d", DIPOLE[:100])
    lines = path.read_text().splitlines()
    messages = {"missing": "missing", "word": "could not"}
    if kind == "missing":
        del lines[40:42]
    elif kind == "columns":
        lines = [line if "#" in line else line + " 1.0" for line in lines]
    elif kind == "word":
        lines[41] = "one two three"
    else:
        lines[41] = "nan 0 0"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=messages.get(kind, "numbers a step|NaN")):
        run("ir", path, "--md-timestep", 0.5, "--volume", 1000, "--temperature", 300,
            "--resolution", 800, "-o", tmp_path / "x")  # fmt: skip
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("end", ["1.0 2.0\n", "1.0 2.0 3.", "1.0\n", ""])
def test_frame_cut_by_a_kill_is_left_out(tmp_path, end):
    path = extras(tmp_path / "d", DIPOLE[:100] / units.BOHR)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], end]))
    assert np.allclose(all_frames(read_series(path)), DIPOLE[:99], atol=1e-7)
    path.write_text("\n".join([*lines[:-2], " #EXTRAS(dip"]))
    assert len(all_frames(read_series(path))) == 99


def test_plain_columns_npz_hdf5(tmp_path):
    np.savetxt(tmp_path / "a.txt", np.column_stack([np.arange(50), DIPOLE[:50]]), header="t x y z")
    np.savetxt(tmp_path / "a.csv", DIPOLE[:50], delimiter=",")
    np.savez(tmp_path / "a.npz", dipole=DIPOLE[:50], timestep=0.5)
    assert np.allclose(
        all_frames(read_series(tmp_path / "a.txt", use_columns=[1, 2, 3])), DIPOLE[:50]
    )
    assert np.allclose(all_frames(read_series(tmp_path / "a.csv")), DIPOLE[:50])
    npz = read_series(tmp_path / "a.npz")
    assert npz.timestep == 0.5
    assert frame_spacing([npz], None) == 0.5
    debye = read_series(tmp_path / "a.npz", unit="debye")
    assert np.allclose(all_frames(debye), DIPOLE[:50] * units.DEBYE)
    with pytest.raises(ValueError, match="says"):
        frame_spacing([npz], 1.0)
    with pytest.raises(ValueError, match="no array"):
        read_series(tmp_path / "a.npz", key="moment")
    with pytest.raises(ValueError, match="unit"):
        read_series(tmp_path / "a.npz", unit="furlong")
    with pytest.raises(FileNotFoundError):
        read_series(tmp_path / "none.txt")
    (tmp_path / "b.txt").write_text("1 2 3\n4 5\n")
    with pytest.raises(ValueError, match="columns expected"):
        read_series(tmp_path / "b.txt")
    (tmp_path / "c.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="no numbers"):
        read_series(tmp_path / "c.txt")
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dipole"] = DIPOLE[:50]
    assert np.allclose(all_frames(read_series(tmp_path / "a.h5")), DIPOLE[:50])


def test_ase_dipole_and_current(tmp_path):
    rng = np.random.default_rng(1)
    born = rng.normal(size=(2, 3, 3))
    velocities = rng.normal(size=(6, 2, 3)) * 0.01
    with Trajectory(tmp_path / "a.traj", "w") as file:
        for i in range(6):
            atoms = Atoms("OH", positions=rng.normal(size=(2, 3)), info={"time_fs": 0.5 * i})
            atoms.set_velocities(velocities[i] / fs)
            atoms.calc = SinglePointCalculator(
                atoms, energy=0.0, dipole=DIPOLE[i], born_effective_charges=born
            )
            file.write(atoms)
    dipole = read_series(tmp_path / "a.traj")
    assert dipole.timestep == pytest.approx(0.5)
    assert np.allclose(all_frames(dipole), DIPOLE[:6])
    current = all_frames(read_series(tmp_path / "a.traj", "current"))
    # first index of born: the component of the dipole
    assert np.allclose(current, np.einsum("iab,tib->ta", born, velocities))
    with pytest.raises(ValueError, match="no polarizability"):
        all_frames(read_series(tmp_path / "a.traj", "polarizability"))


def test_frames_that_have_it_are_evenly_apart(tmp_path):
    """As ``lrcalc md --born-every 3 --polarizability-every 2`` writes them."""
    rng = np.random.default_rng(4)
    born, tensors = rng.normal(size=(2, 3, 3)), rng.normal(size=(12, 3, 3))
    velocities = rng.normal(size=(12, 2, 3)) * 0.01

    def write(path, frames):
        with Trajectory(path, "w") as file:
            for i in frames:
                atoms = Atoms(
                    "OH", positions=np.eye(3)[:2], info={"time_fs": 0.5 * i}, cell=[9] * 3
                )
                atoms.set_velocities(velocities[i] / fs)
                if i % 2 == 0:
                    atoms.info["polarizability"] = tensors[i].reshape(-1)
                results = {"born_effective_charges": born} if i % 3 == 0 else {}
                atoms.calc = SinglePointCalculator(atoms, energy=0.0, dipole=DIPOLE[i], **results)
                file.write(atoms)
        return path

    path = write(tmp_path / "a.traj", range(12))
    polarizability = read_series(path, "polarizability")
    assert polarizability.timestep == pytest.approx(1.0)
    assert np.allclose(all_frames(polarizability), tensors[::2].reshape(-1, 9))
    current = read_series(path, "current")
    assert current.timestep == pytest.approx(1.5)
    assert np.allclose(all_frames(current), np.einsum("iab,tib->ta", born, velocities[::3]))
    assert len(all_frames(read_series(path))) == 12
    assert cell_volume(path) == pytest.approx(729.0)
    uneven = write(tmp_path / "b.traj", [0, 2, 4, 5, 6, 8])
    with pytest.raises(ValueError, match="frame 3: no polarizability"):
        all_frames(read_series(uneven, "polarizability"))
    with pytest.raises(ValueError, match="frame 3: time 2.5 fs where 3 fs is due"):
        all_frames(read_series(uneven))


def test_ipi_velocities(tmp_path):
    path = tmp_path / "run.vel_0.xyz"
    v = np.random.default_rng(2).normal(size=(4, 3, 3))
    with path.open("w") as file:
        for i, frame in enumerate(v):
            file.write(
                f"3\n# CELL(abcABC): 20 20 20 90 90 90 Step: {i} velocities{{atomic_unit}}\n"
            )
            for symbol, row in zip("OHH", frame, strict=True):
                file.write(f"{symbol} " + " ".join(f"{x:.8e}" for x in row) + "\n")
    series, species = read_ipi_velocities(path)
    assert species == ["O", "H", "H"]
    whole = path.read_text()
    path.write_text(
        whole + whole[:90].replace("Step: 0", "Step: 4")
    )  # killed while writing the fifth frame
    # one atomic unit of velocity is 2187.69 km/s = 21.8769 Å/fs
    assert np.allclose(all_frames(series), 21.87691 * v.reshape(4, 9), rtol=1e-6)


def test_ir_command(tmp_path, capsys):
    path = extras(tmp_path / "run.dip_0", DIPOLE / units.BOHR)
    init = tmp_path / "init.xyz"
    init.write_text("1\n# CELL(abcABC): 10 10 10 90 90 90 cell{angstrom}\nO 0 0 0\n")
    measured = tmp_path / "measured.csv"
    measured.write_text("cm-1,alpha-n\n0,0\n1600,20\n4000,0\n")
    options = ["--md-timestep", 0.5, "--cell-from", init, "--temperature", 300, "--water"]
    options += ["--experiment", measured, "--no-progress", "-o", tmp_path / "w"]
    assert run("ir", path, *options) == 0
    out = capsys.readouterr().out
    assert "peak of n·α" in out
    assert "measured" in out
    data = json.loads((tmp_path / "w-ir.json").read_text())
    assert abs(data["peaks"][0]["wavenumber"] - 1600) < 10
    assert data["settings"]["volume_A3"] == pytest.approx(1000.0)
    header = (tmp_path / "w-ir.csv").read_text().splitlines()
    assert header[0].startswith("# lrcalc")
    assert any(line.startswith("# timestep_fs: 1.0") for line in header)
    assert (tmp_path / "w-ir.png").stat().st_size > 5000
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
    with pytest.raises(ValueError, match="--volume"):
        run("ir", path, "--timestep", 1, "--temperature", 300)


def test_other_commands(tmp_path, capsys):
    rng = np.random.default_rng(3)
    current = langevin(rng, 12_000, 1.0, 100.0, 0.1, 300.0)[1]
    np.savez(tmp_path / "a.npz", dipole=DIPOLE, current=current, timestep=1.0)
    pol = np.zeros((len(DIPOLE), 9))
    pol[:, [0, 4, 8]] = DIPOLE
    np.savez(tmp_path / "p.npz", polarizability=pol, timestep=1.0)
    v = np.hstack([current, current[::-1]])
    np.savez(tmp_path / "v.npz", velocities=v, timestep=1.0)
    Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]], cell=[10] * 3).write(tmp_path / "s.xyz")
    common = ["--temperature", 300, "--no-progress", "-o", tmp_path / "o"]
    a = tmp_path / "a.npz"
    assert run("dielectric", a, "--volume", 1000, "--epsilon-infinity", 1.5, *common) == 0
    assert run("conductivity", a, "--volume", 1000, "--cutoff", 1000, *common) == 0
    assert run("raman", tmp_path / "p.npz", "--form", "reduced", *common) == 0
    assert run("vdos", tmp_path / "v.npz", "--structure", tmp_path / "s.xyz", *common[2:]) == 0
    assert (
        run("sfg", "--polarizability", tmp_path / "p.npz", "--dipole", a, "--area", 50, *common)
        == 0
    )
    assert "ε(0)" in capsys.readouterr().out
    for name in ("dielectric", "conductivity", "raman", "vdos", "sfg"):
        for suffix in ("csv", "png", "json"):
            assert (tmp_path / f"o-{name}.{suffix}").stat().st_size > 50
    with pytest.raises(ValueError, match="structure"):
        run("vdos", tmp_path / "v.npz", *common[2:])


def test_atomic_write_leaves_nothing_half(tmp_path):
    def fail(target):
        target.write_text("half")
        raise RuntimeError("disk full")

    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(RuntimeError):
        write_atomic(tmp_path / "a.csv", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "a.csv", fail)
    with pytest.raises(ValueError, match="two columns"):
        read_curve(tmp_path / "a.csv")


def test_a_measured_curve_is_read_whole_or_not_at_all(tmp_path):
    """A line that is damaged was left out of it, without a word."""
    path = tmp_path / "measured.csv"
    path.write_text(
        "Wavenumber (cm-1), alpha\n1 of 2\n3000, 0.5, 0.1\n\n# gap\n3100 0.7 # shoulder\n"
    )
    np.testing.assert_array_equal(read_curve(path), [[3000, 0.5], [3100, 0.7]])
    for damaged in ("32oo, 0.9", "3200", "3200; 0.9"):
        path.write_text(f"3000, 0.5\n{damaged}\n3300, 0.2\n")
        with pytest.raises(ValueError, match=f"line 2 is '{damaged}'"):
            read_curve(path)


@pytest.mark.parametrize(
    ("comment", "volume"),
    [
        ("CELL(abcABC): 10 10 10 90 90 90 cell{angstrom}", 1000.0),
        ("CELL(abcABC): 10 10 10 90 90 90 Step: 0", 1000.0 * units.BOHR**3),
        ("CELL(H): 10 1 0 0 10 2 0 0 10 cell{angstrom} positions{angstrom}", 1000.0),
        ('Lattice="10 0 0 0 10 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T"', 500.0),
    ],
)
def test_volume_of_a_structure_file(tmp_path, comment, volume):
    path = tmp_path / "init.xyz"
    path.write_text(
        f"1\n# {comment}\nO 0 0 0\n" if "CELL" in comment else f"1\n{comment}\nO 0 0 0\n"
    )
    assert cell_volume(str(path)) == pytest.approx(volume, rel=1e-9)


def test_no_cell(tmp_path):
    (tmp_path / "a.xyz").write_text("1\nwater\nO 0 0 0\n")
    with pytest.raises(ValueError, match="--volume"):
        cell_volume(str(tmp_path / "a.xyz"))
