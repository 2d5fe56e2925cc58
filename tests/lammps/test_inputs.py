"""Inputs and data files of `lrcalc lammps-input`: LAMMPS and ASE read them; runs start as ASE's."""

import json
from functools import partial

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.units import fs

from lrcalc.cli import main
from lrcalc.fields import DISPLACEMENT, FIELD, VOLTAGE, Field
from lrcalc.lammps.data_file import oriented, species_of
from lrcalc.lammps.input_text import Output, ranges
from lrcalc.lammps.inputs import write_input
from lrcalc.lammps.kinds import KINDS
from lrcalc.structures import read_structure
from lrcalc.trajectory import write_extxyz
from lrcalc.units import BOLTZMANN
from tests.lammps.running import ROOT, mpirun, needs_lammps

TURN = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
TURN *= np.sign(np.linalg.det(TURN))
CELL = np.array([[6.0, 0.5, 0.1], [1.4, 5.6, -0.3], [-0.6, 0.9, 6.4]])


def water(cell=CELL, pbc=True, n=4, seed=1):
    """Waters, turned, each in one piece over the faces of the cell, with velocities."""
    rng = np.random.default_rng(seed)
    centres = [(0.1, 0.2, 0.1), (0.6, 0.2, 0.6), (0.2, 0.7, 0.5), (0.7, 0.7, 0.05)][:n]
    one = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    positions = [
        np.array(c) @ cell + one @ np.linalg.qr(rng.normal(size=(3, 3)))[0] for c in centres
    ]
    atoms = Atoms("OH2" * n, np.concatenate(positions), cell=cell, pbc=pbc)
    atoms.set_velocities(rng.normal(size=(len(atoms), 3)) * 0.01 / fs)  # Å/fs
    return atoms


def turned(atoms):
    again = atoms.copy()
    again.set_cell(np.array(atoms.cell) @ TURN.T)
    again.positions = atoms.positions @ TURN.T
    again.set_momenta(atoms.get_momenta() @ TURN.T)
    return again


def far(atoms):
    """Whole molecules on other branches."""
    moved = atoms.copy()
    shift = np.repeat(np.random.default_rng(6).integers(-2, 3, (len(atoms) // 3, 3)), 3, axis=0)
    moved.positions += shift @ np.array(atoms.cell)
    return moved


def heavy(atoms):
    isotopes = atoms.copy()
    masses = isotopes.get_masses()
    masses[[1, 2, 4]] = 2.014
    isotopes.set_masses(masses)
    isotopes.arrays["momenta"] = atoms.get_velocities() * masses[:, None]
    return isotopes


LYING = np.array([[12.0, 0, 0], [0, 6.0, 0], [1.0, 2.0, 6.5]])
STRUCTURES = {
    "cube": water(np.diag([6.0, 6.5, 7.0])),
    "tilted": water(),
    "turned": turned(water()),
    "far": far(turned(water())),
    "skewed": water(np.array([[6.0, 0, 0], [11.0, 6.0, 0], [-9.0, 8.0, 6.5]])),
    "isotopes": heavy(water()),
    "slab-c": turned(water(np.array([[6.0, 0, 0], [1.2, 6.0, 0], [3, 2, 14.0]]), (1, 1, 0))),
    "slab-b": turned(water(np.array([[6.0, 0, 0], [1.2, 14.0, 2], [0.5, 0, 6.0]]), (1, 0, 1))),
    "slab-a": turned(water(LYING, (0, 1, 1))),
    "open": turned(water(np.diag([6.0, 6.5, 7.0]), pbc=False)),
}
"""Name → structure."""


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What LAMMPS has read of the files of all structures."""
    folder = tmp_path_factory.mktemp("data")
    for name, atoms in STRUCTURES.items():
        write_input("nve", atoms, folder / name)
    done = mpirun(1, ROOT / "tests/lammps/reading.py", folder, cwd=folder, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "out.json").read_text())


@needs_lammps
@pytest.mark.parametrize("name", STRUCTURES)
def test_lammps_reads_the_structure(read, name):
    atoms, found = STRUCTURES[name], read[1][name]
    positions = np.array(found["positions"])
    # it is the same body: all distances, velocities between atoms, in the same handedness
    rotation, shift = rigid(atoms.positions, positions)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(atoms.positions @ rotation.T + shift, positions, atol=1e-11)
    velocities = atoms.get_velocities() * 1e3 * fs  # Å/ps
    np.testing.assert_allclose(velocities @ rotation.T, found["velocities"], atol=1e-11)
    np.testing.assert_allclose(found["masses"], atoms.get_masses(), rtol=1e-9)
    assert found["periodic"] == atoms.pbc.tolist()
    cell = np.array(atoms.cell) @ rotation.T
    ours = np.array(found["cell"])
    same = np.linalg.lstsq(cell[atoms.pbc].T, ours[atoms.pbc].T, rcond=None)[0]
    np.testing.assert_allclose(same, np.round(same), atol=1e-11)  # the same lattice
    assert abs(np.linalg.det(np.round(same))) == pytest.approx(1.0)
    np.testing.assert_allclose(cell[atoms.pbc].T @ same, ours[atoms.pbc].T, atol=1e-11)
    lean = np.abs(ours[[1, 2, 2], [0, 0, 1]]) / np.diag(ours)[[0, 0, 1]]
    assert lean.max() < 0.5 + 1e-6
    np.testing.assert_allclose(rotation, oriented(atoms).rotation, atol=1e-10)
    if name == "far":
        assert np.abs(found["images"]).max() == 2


@pytest.mark.parametrize("name", STRUCTURES)
def test_ase_and_we_read_the_data_file(tmp_path, name):
    atoms = STRUCTURES[name]
    write_input("nve", atoms, tmp_path)
    expected = oriented(atoms).atoms
    ours = read_structure(tmp_path / "run.data")
    judge = ase.io.read(tmp_path / "run.data", format="lammps-data", units="metal")
    for found in (ours, judge):
        np.testing.assert_allclose(found.positions, expected.positions, atol=1e-11)
        np.testing.assert_allclose(found.get_velocities(), expected.get_velocities(), rtol=1e-9)
        np.testing.assert_array_equal(found.numbers, atoms.numbers)
    np.testing.assert_allclose(ours.get_masses(), atoms.get_masses(), rtol=1e-9)


def rigid(one, other):
    """Rotation and shift that carry the positions of one onto the other (Kabsch)."""
    a, b = one - one.mean(0), other - other.mean(0)
    u, _, v = np.linalg.svd(b.T @ a)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    return rotation, other.mean(0) - rotation @ one.mean(0)


def test_types_are_elements_with_a_mass():
    found = species_of(heavy(water()))
    assert found.symbols == ("O", "H", "H")
    assert found.masses == pytest.approx((15.999, 2.014, 1.008))
    assert ranges([0, 1, 2, 5, 7, 8]) == ["1:3", "6", "8:9"]


FIXED = FixAtoms([0, 1, 2])
REFUSED = [
    ("nvt", {"pressure": 0.1}, "cell is fixed"),
    ("npt", {"structure": STRUCTURES["open"]}, "not periodic in all directions"),
    ("relax", {"structure": STRUCTURES["slab-c"]}, "not periodic throughout"),
    ("efield", {}, "needs `electric_field`"),
    ("dfield", {"field": Field(FIELD, (0, 0, 0.1))}, "needs `electric_displacement`"),
    ("efield", {"field": Field(VOLTAGE, (0, 0, 0.1))}, "needs `electric_field`"),
    ("nvt", {"field": Field(VOLTAGE, (0, 0, 0.1))}, "not held in LAMMPS"),
    ("nvt", {"field": Field(FIELD, lambda t: (0, 0, t))}, "changes in time"),
    ("dfield", {"structure": STRUCTURES["slab-c"], "field": Field(DISPLACEMENT, (0, 0, 0.01))},
     "three periodic directions"),
    ("nve", {"structure": Atoms("NaCl", [[0, 0, 0], [2.8, 0, 0]])}, "knows H O"),
    ("nve", {"structure": Atoms("OH", [[0, 0, 0], [1, 0, 0]], cell=[9, 9, 9], pbc=(1, 0, 0))},
     "one periodic direction"),
    ("nve", {"steps": 0}, "`steps` is 0"),
    ("nve", {"ranks": 0}, "`ranks` is 0"),
    ("nve", {"seed": 10**9}, "`seed` is 1000000000"),
    ("nve", {"timestep": -1.0}, "`timestep` is -1"),
    ("nvt", {"temperature": 0.0}, "`temperature` is 0"),
    ("nvt", {"temperature": np.nan}, "`temperature` is nan"),
    ("nvt", {"thermostat_time": 0.0}, "`thermostat_time` is 0"),
    ("minimize", {"timestep": 0.5}, "`timestep` has no effect"),
    ("minimize", {"ensemble": "nvt"}, "`ensemble` is 'nvt'"),
    ("minimize", {"velocities": "thermal"}, "`velocities` has no effect"),
    ("nve", {"output": Output(thermo=0)}, "`output.thermo` is 0"),
    ("nve", {"output": Output(stride=-1)}, "`output.stride` is -1"),
    ("nve", {"name": "a b"}, "`name` is 'a b'"),
    ("nve", {"settings": {"dtype": "float16"}}, "`dtype` is 'float16'"),
    ("nve", {"settings": {"accuracy": 0.0}}, "`accuracy` is 0"),
    ("nve", {"settings": {"accuracy": 5.0}}, "`accuracy` is 5.0 but .*1e-14 to 0.1"),
    ("nve", {"settings": {"block": 0}}, "`block` is 0"),
    ("nve", {"settings": {"epsilon_infinity": 0.5}}, "`epsilon_infinity` is 0.5"),
    ("nve", {"model": "no-such-model"}, "no-such-model"),
    ("melt", {}, "`kind` is 'melt'"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "more", "message"), REFUSED)
def test_what_cannot_run_is_refused(tmp_path, kind, more, message):
    more = dict(more)
    atoms = more.pop("structure", STRUCTURES["tilted"])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_input(kind, atoms, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_the_total_charge_goes_with_the_structure(tmp_path):
    ion = water()
    ion.info["charge"] = -1.0
    written = write_input("nve", ion, tmp_path, settings={"block": 64, "compile": True})
    style = next(x for x in written.path.read_text().splitlines() if "pair_style" in x)
    assert style.split()[1:] == [
        "lrcalc",
        "water",
        "dtype",
        "float32",
        "block",
        "64",
        "compile",
        "charge",
        "-1",
    ]
    with pytest.raises(ValueError, match="periodic with a net charge"):
        write_input("efield", ion, tmp_path, field=Field(FIELD, (0, 0, 0.1)))


def test_fixed_atoms_and_a_moving_cell(tmp_path):
    atoms = water()
    atoms.set_constraint(FIXED)
    for kind in ("npt", "relax"):
        with pytest.raises(ValueError, match="3 fixed atoms|has constraints"):
            write_input(kind, atoms, tmp_path)
    atoms.set_constraint(FixAtoms(range(12)))
    with pytest.raises(ValueError, match="no atom that is free"):
        write_input("nve", atoms, tmp_path)


@pytest.mark.parametrize("name", ["turned", "slab-c", "cube"])
def test_the_field_turns_with_the_structure(tmp_path, name):
    """E·(moments of the atoms) is the same number before and after."""
    atoms, field = STRUCTURES[name], np.array([0.01, -0.03, 0.07])
    written = write_input("efield", atoms, tmp_path, field=Field(FIELD, field))
    words = next(x for x in written.path.read_text().splitlines() if "pair_style" in x).split()
    there = np.array([float(x) for x in words[words.index("field") + 1 :][:3]])
    found = read_structure(tmp_path / "run.data")
    centred = [x - x.mean(0) for x in (atoms.positions, found.positions)]
    np.testing.assert_allclose(centred[0] @ field, centred[1] @ there, atol=1e-12)
    assert any("the field with it" in note for note in written.notes) == (name != "cube")


# ------------------------------------------------------------------- runs

SMALL = Output(stride=1, dump=2, restart=5, thermo=1)
RUNS = {
    "nve": ("turned", {}),
    "nvt": ("cube", {"velocities": "thermal"}),
    "npt": ("tilted", {"pressure": 0.1}),
    "efield": ("turned", {"field": Field(FIELD, (0.02, -0.01, 0.05))}),
    "dfield": ("far", {"field": Field(DISPLACEMENT, (0.001, 0.002, -0.003))}),
    "minimize": ("slab-c", {"steps": 3}),
    "relax": ("skewed", {"steps": 3}),
    "open": ("open", {"kind": "nve", "field": Field(FIELD, (0.02, -0.01, 0.05))}),
    "slab": ("slab-a", {"kind": "nvt", "output": SMALL._replace(current=True)}),
}
"""Name → structure and options."""


@needs_lammps
@pytest.mark.parametrize("name", RUNS)
def test_every_kind_runs_and_starts_where_ase_does(tmp_path, name):
    """Two ranks: the first line of the log is energy and dipole of `LRCalculator`."""
    import lrcalc
    from lrcalc.analysis.lammps_log import read_log
    from lrcalc.analysis.lammps_series import column, read_head

    where, options = RUNS[name]
    atoms = STRUCTURES[where]
    arguments = {"kind": name, "steps": 6, "output": SMALL, "settings": {"dtype": "float64"}}
    arguments |= options
    kind = arguments.pop("kind")
    write_input(kind, atoms, tmp_path, **arguments)
    done = mpirun(2, "-m", "lrcalc", "lammps", "-in", "in.lmp", cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    warnings = [x for x in done.stdout.splitlines() if "WARNING" in x]
    assert all("extra global DOFs" in x or "skew is large" in x for x in warnings), warnings
    assert (name == "relax") == bool(warnings)  # of its cell, and of what box/relax is for
    table = read_log(tmp_path / "log.lammps").tables[-1]
    calculator = lrcalc.LRCalculator("water", dtype="float64", field=options.get("field"))
    judge = atoms.copy()
    judge.calc = calculator
    energy = judge.get_potential_energy()
    assert table.column("PotEng")[0] == pytest.approx(energy, rel=1e-7)  # eight digits
    if KINDS[kind].ensemble:
        assert column(tmp_path / "run.series", "enthalpy_eV")[0] == pytest.approx(energy, abs=1e-9)
    dipole = oriented(atoms).rotation @ calculator.get_property("dipole", judge)
    found = [table.column(f"c_lr[{k}]")[0] for k in (1, 2, 3)]
    np.testing.assert_allclose(found, dipole, rtol=1e-6, atol=1e-6)
    assert (tmp_path / "run.end.data").is_file()
    if KINDS[kind].ensemble:
        assert table.column("Step")[-1] == 6
        warm = column(tmp_path / "run.series", "temperature_K")
        np.testing.assert_allclose(warm, table.column("Temp"), rtol=1e-5)
        told = read_head(tmp_path / "run.series").conditions
        assert told.ensemble == (kind if kind in ("nve", "npt") else "nvt")
        assert told.temperature == (None if kind == "nve" else 300.0)
    else:
        assert table.column("PotEng")[-1] < table.column("PotEng")[0]


@needs_lammps
def test_fixed_atoms_stay_and_do_not_count(tmp_path):
    """They have no velocity; the temperature is that of the others, all their motion counted."""
    from lrcalc.analysis.lammps import read_dump
    from lrcalc.analysis.lammps_series import column

    atoms = STRUCTURES["cube"].copy()
    atoms.set_constraint(FIXED)
    write_input("nvt", atoms, tmp_path, steps=6, velocities="thermal", output=SMALL)
    done = mpirun(2, "-m", "lrcalc", "lammps", "-in", "in.lmp", cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    frames = list(read_dump(tmp_path / "run.dump"))
    for frame in frames:
        np.testing.assert_allclose(frame.positions[:3], frames[0].positions[:3], atol=1e-10)
        assert not frame.velocities[:3].any()
        assert np.abs(frame.velocities[3:]).min() > 0
    kinetic = 0.5 * (frames[0].masses[:, None] * frames[0].velocities ** 2).sum() / fs**2
    warm = column(tmp_path / "run.series", "temperature_K")
    assert warm[0] == pytest.approx(300.0, rel=1e-5)
    assert 2 * kinetic / (3 * 9 * BOLTZMANN) == pytest.approx(warm[0], rel=1e-5)


@needs_lammps
def test_a_run_that_was_resumed_is_one_run(tmp_path):
    """Rows, frames and state of ten steps are those of five and, from a restart, the rest."""
    from lrcalc.analysis.series import read_series

    write = partial(write_input, "nve", STRUCTURES["turned"], output=SMALL,
                    settings={"dtype": "float64"})  # fmt: skip
    run = ["-m", "lrcalc", "lammps", "-in", "in.lmp"]
    write(tmp_path / "whole", steps=10)
    write(tmp_path / "parts", steps=7)
    for folder in ("whole", "parts"):
        assert mpirun(2, *run, cwd=tmp_path / folder, timeout=60).returncode == 0
    write(tmp_path / "parts", steps=10)
    run += ["-var", "restart", "run.restart.1"]  # of step 5: two steps are done again
    done = mpirun(2, *run, cwd=tmp_path / "parts", timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    for quantity, name in (("dipole", "run.series"), ("velocities", "run.dump")):
        one, other = (
            np.concatenate(list(read_series(tmp_path / folder / name, quantity).chunks()))
            for folder in ("whole", "parts")
        )
        assert len(one) == (11 if quantity == "dipole" else 6)
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


# ----------------------------------------------------------------- command


def test_the_command_writes_notes_and_warnings(tmp_path, capsys):
    write_extxyz(tmp_path / "start.xyz", STRUCTURES["turned"])
    command = ["lammps-input", "--structure", str(tmp_path / "start.xyz"), "--workdir",
               str(tmp_path / "run")]  # fmt: skip
    assert main([*command, "--kind", "npt", "--field", "0", "0", "0.1", "--ranks", "8"]) == 0
    said = capsys.readouterr()
    assert "mpirun -n 8 lrcalc lammps -in in.lmp" in said.out
    assert "not made for constant pressure" in said.err
    assert "depends on the branch of the dipole" in " ".join(said.err.split())
    assert "turned into LAMMPS' frame" in said.err
    assert "starts with the velocities of the structure" in said.err
    text = (tmp_path / "run/in.lmp").read_text()
    assert text.isascii()
    assert "balance" in text
    assert main([*command, "--kind", "nvt", "--voltage", "0", "0", "1"]) == 2
    assert "`--voltage` is not held in LAMMPS" in capsys.readouterr().err
    assert main([*command, "--kind", "nvt", "--stride", "-1"]) == 2
    assert "`--stride` is -1" in capsys.readouterr().err
    data = tmp_path / "run/run.data"
    command[2] = str(data)
    assert main([*command, "--kind", "nvt"]) == 2
    assert "which would be replaced" in capsys.readouterr().err


def test_a_model_file_is_found_from_the_folder_of_the_run(tmp_path, monkeypatch):
    from lrcalc.checkpoint import model_path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model.pt").write_bytes(model_path("water").read_bytes())
    write_input("nve", STRUCTURES["cube"], tmp_path / "run", model="my model.pt")
    text = (tmp_path / "run/in.lmp").read_text()
    assert f'pair_style      lrcalc "{tmp_path}/my model.pt" dtype float32' in text
