"""Inputs and structure files: what is written, and what is refused before anything is."""

import contextlib
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from ase.units import Bohr

from lrcalc.checkpoint import model_path, save
from lrcalc.ipi import DriverSettings, Outputs, Pulse, Transport, write_input
from lrcalc.ipi.structures import orient, read_structure, write_ipi_xyz
from tests.conftest import random_potential
from tests.ipi.helpers import waters
from tests.sample_structures import water_box

FIELD = (0.03, -0.05, 0.1)


def test_structure_files(tmp_path):
    atoms = waters()
    write_ipi_xyz(tmp_path / "init.xyz", atoms)
    back = read_structure(tmp_path / "init.xyz")
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-11)
    np.testing.assert_allclose(np.array(back.cell), np.array(atoms.cell), atol=1e-11)
    assert back.symbols.get_chemical_formula() == atoms.symbols.get_chemical_formula()
    lines = (tmp_path / "init.xyz").read_text().splitlines()
    (tmp_path / "short.xyz").write_text("\n".join(lines[:-2]))
    with pytest.raises(ValueError, match="truncated"):
        read_structure(tmp_path / "short.xyz")


def test_orientation():
    atoms = waters()
    np.testing.assert_array_equal(orient(atoms).rotation, np.eye(3))
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    again, rotation = orient(turned)
    np.testing.assert_allclose(np.array(again.cell), np.array(atoms.cell), atol=1e-12)
    np.testing.assert_allclose(again.positions, atoms.positions, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    turned.cell = turned.cell[[1, 0, 2]]
    with pytest.raises(ValueError, match="left-handed"):
        orient(turned)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("nvp", {}, "the choice is nve"),
        ("nve", {"beads": 0}, "`beads` is 0"),
        ("nve", {"steps": -1}, "`steps` is -1"),
        ("nve", {"timestep": 0.0}, "`timestep` is 0"),
        ("efield", {}, "needs `electric_field`"),
        ("pulse", {}, "needs `pulse`"),
        (
            "pulse",
            {"pulse": Pulse(FIELD), "settings": DriverSettings(electric_field=FIELD)},
            "twice",
        ),
        ("pulse", {"pulse": Pulse(FIELD), "ensemble": "npt"}, "`ensemble` is 'npt'"),
        ("nvt", {"restart": "nowhere"}, "nowhere"),
        ("nve", {"outputs": Outputs(checkpoint=0)}, r"`outputs.checkpoint` is 0.*large stride"),
        ("nve", {"outputs": Outputs(properties=0)}, r"`outputs.properties` is 0.*large stride"),
        ("nve", {"outputs": Outputs(dipole=-1)}, r"`outputs.dipole` is -1 but must be"),
        ("nve", {"outputs": Outputs(positions=2.5)}, r"`outputs.positions` is 2.5 but must be"),
        ("nve", {"outputs": Outputs(velocities=-5)}, r"`outputs.velocities` is -5 but must be"),
        ("nve", {"outputs": Outputs(dielectric=-2)}, r"`outputs.dielectric` is -2 but must be"),
        ("nve", {"steps": 2.5}, "`steps` is 2.5"),
        ("nve", {"seed": -3}, "`seed` is -3"),
        ("nve", {"seed": 2**32}, "`seed` is 4294967296"),
        ("nve", {"temperature": np.inf}, "`temperature` is inf"),
        ("nve", {"timestep": np.nan}, "`timestep` is nan"),
        ("npt", {"pressure": np.nan}, "`pressure` is nan"),
        ("nvt", {"pressure": 100.0}, "`pressure` is 100.0 GPa, but the cell is fixed"),
        ("npt", {"pressure": 1.0, "ensemble": "nvt"}, "`pressure` is 1.0 GPa, but the cell"),
        ("nve", {"pulse": Pulse(FIELD)}, "`pulse` is not used by kind 'nve'"),
        # i-PI: the envelope is on if peak > 0 and sigma is finite, and off without a word
        ("pulse", {"pulse": Pulse(FIELD, width=5.0)}, "peak` is 0 fs.*never ends.*15 fs"),
        ("pulse", {"pulse": Pulse(FIELD, peak=-1.0, width=5.0)}, "peak` is -1 fs"),
        ("pulse", {"pulse": Pulse(FIELD, peak=np.nan, width=5.0)}, "peak` is nan fs"),
        ("pulse", {"pulse": Pulse(FIELD, peak=25.0)}, "peak` is 25 fs, but without"),
        ("pulse", {"pulse": Pulse(FIELD, peak=25.0, width=0.0)}, "width` is 0 fs"),
        ("pulse", {"pulse": Pulse(FIELD, peak=25.0, width=-8.0)}, "width` is -8 fs"),
        ("pulse", {"pulse": Pulse(FIELD, peak=25.0, width=np.inf)}, "width` is inf fs"),
        ("pulse", {"pulse": Pulse((0.0, 0.0, np.inf))}, "amplitude` is .*inf"),
        ("pulse", {"pulse": Pulse(FIELD, frequency=-1.0)}, "frequency` is -1"),
        ("nve", {"transport": Transport("tcp")}, "`transport` is 'tcp'"),
        ("nve", {"transport": Transport("unix", "a&b")}, "address` is 'a&b'"),
        ("nve", {"transport": Transport("unix", "a/b")}, "address` is 'a/b'"),
        ("nve", {"transport": Transport("unix", "a" * 90)}, "at most 80"),
        ("nve", {"transport": Transport("inet", "h", 99999)}, "port` is 99999"),
        ("te-pigs", {"transport": Transport("inet", "h", 65535)}, "2 ports in a row"),
        ("nve", {"settings": DriverSettings(model="nonsense")}, "no bundled model 'nonsense'"),
        ("nve", {"settings": DriverSettings(model="SiO2")}, "'SiO2' knows O Si, .* has H"),
        ("nve", {"settings": DriverSettings(device="gpu0")}, "`device` is 'gpu0'"),
        ("nve", {"pes_file": "/a&b/pes.py"}, "`pes_file` is '/a&b/pes.py'"),
    ],
)
def test_bad_inputs(tmp_path, kind, options, message):
    folder = tmp_path / "run"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_input(kind, waters(), folder, **options)
    assert not folder.exists()


def test_pulse_that_ends_is_written(tmp_path):
    pulse = Pulse(FIELD, frequency=3400.0, peak=15.0, width=5.0)
    text = write_input("pulse", waters(), tmp_path, pulse=pulse).read_text()
    assert "<peak units='femtosecond'> 15 </peak>" in text
    assert "<sigma units='femtosecond'> 5 </sigma>" in text


def test_one_periodic_direction_is_refused_before_the_run(tmp_path):
    wire = waters()
    wire.pbc = (False, False, True)
    with pytest.raises(ValueError, match="one periodic direction is not supported with charges"):
        write_input("nvt", wire, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_slab_has_no_virial(tmp_path):
    """The model refuses a stress without three periodic directions; only npt needs one."""
    slab = waters()
    slab.pbc = (True, True, False)
    assert "virial: False" in write_input("nvt", slab, tmp_path).read_text()
    assert "virial" not in write_input("nvt", waters(), tmp_path).read_text()
    with pytest.raises(ValueError, match="periodic in all directions"):
        write_input("npt", slab, tmp_path)


def test_atomic_charges_in_a_field_have_no_virial(tmp_path):
    """Their stress is refused by the driver, at the first step; only a barostat needs one."""
    save(random_potential(waters(), charges="atomic", cutoff=3.0), tmp_path / "atomic.pt")
    bare = DriverSettings(model=str(tmp_path / "atomic.pt"))
    held = bare._replace(electric_field=FIELD)
    for kind, settings, left_out in (
        ("efield", held, True), ("nve", held, True), ("nvt", bare, False),
        ("efield", DriverSettings(electric_field=FIELD), False),
    ):  # fmt: skip
        text = write_input(kind, waters(), tmp_path / "run", settings=settings).read_text()
        assert ("virial: False" in text) == left_out
    # a model that is not on this machine is not looked at
    away = held._replace(model="away.pt")
    assert "virial" not in write_input("efield", waters(), tmp_path, settings=away).read_text()
    with pytest.raises(ValueError, match=r"barostat.*no stress in a field.*fixed cell.*local"):
        write_input("npt", waters(), tmp_path / "npt", settings=held)
    assert not (tmp_path / "npt").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.xyz", "", "`structure` .*empty.xyz' cannot be read"),
        ("empty", "", "`structure` .*empty' cannot be read"),
        ("noise.cif", "noise", "`structure` .*noise.cif' cannot be read"),
        ("init.xyz", "two\n# CELL(H): 1 0 0 0 1 0 0 0 1\n", "`structure` .* cannot be read"),
        ("nan.xyz", "1\n\nH nan 0 0\n", "not finite"),
    ],
)
def test_structures_that_are_none(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        write_input("nve", tmp_path / name, tmp_path / "run")


def test_xml_is_escaped(tmp_path):
    """A folder may be called anything, as long as i-PI does not have to write it again."""
    state = tmp_path / "a & b <c>" / "RESTART"
    state.parent.mkdir()
    atoms = waters()
    state.write_text(restart_text(atoms))
    path = write_input("nve", atoms, tmp_path / "run", restart=state)
    root = ElementTree.parse(path).getroot()
    assert root.findtext(".//file").strip() == str(state)


def restart_text(atoms, beads=(0.0,)):
    """A RESTART as i-PI writes it, with each bead moved along x (bohr)."""
    positions = np.array([(atoms.positions / Bohr + [x, 0, 0]).reshape(-1) for x in beads])
    cell = np.array(atoms.cell).T / Bohr

    def array(values):
        return f"[ {', '.join(f'{x:.12e}' for x in np.ravel(values))} ]"

    return (
        "<simulation><step>7</step><total_steps>9</total_steps><system><beads>"
        f"<q> {array(positions)} </q><names> [ {', '.join(atoms.symbols)} ] </names></beads>"
        f"<cell> {array(cell)} </cell></system></simulation>"
    )


def test_a_restart_gives_cell_and_positions_to_the_structure_file(tmp_path):
    """Readers take cell, volume and species from it: that of the run, not of an earlier start."""
    start, later = waters(), waters()
    later.set_cell(np.array(start.cell) * 0.95, scale_atoms=True)
    state = tmp_path / "RESTART"
    state.write_text(restart_text(later, beads=(-0.5, 0.5)))
    write_input("nvt", start, tmp_path / "run", restart=state)
    found = read_structure(tmp_path / "run" / "init.xyz")
    np.testing.assert_allclose(np.array(found.cell), np.array(later.cell), atol=1e-9)
    np.testing.assert_allclose(found.positions, later.positions, atol=1e-9)
    assert found.get_volume() < 0.9 * start.get_volume()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<simulation>", "is no RESTART of i-PI"),
        ("<simulation><total_steps>9</total_steps></simulation>", "has no positions"),
        (restart_text(waters(3)), r"9 atoms \(.*\), `structure` has 12"),
    ],
)
def test_restarts_that_do_not_fit(tmp_path, text, message):
    (tmp_path / "RESTART").write_text(text)
    with pytest.raises(ValueError, match=message):
        write_input("nvt", waters(), tmp_path / "run", restart=tmp_path / "RESTART")
    with pytest.raises(FileNotFoundError, match="is no file: give the RESTART"):
        write_input("nvt", waters(), tmp_path / "run", restart=tmp_path)


def test_a_model_is_found_from_the_folder_of_the_run(tmp_path, monkeypatch):
    """i-PI runs there, and a path given from elsewhere would lead to nothing."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(model_path("water"), tmp_path / "m.pt")
    path = write_input("nve", waters(), "run", settings=DriverSettings(model="m.pt"))
    assert f"model: {tmp_path / 'm.pt'}" in path.read_text()
    # beside the input it stays as it was given: the folder may be moved
    path = write_input("nve", waters(), ".", settings=DriverSettings(model="m.pt"))
    assert "model: m.pt" in path.read_text()


@pytest.mark.parametrize(("pressure", "said"), [(101.325, True), (-0.2, True), (1e-4, False)])
def test_a_pressure_that_looks_like_mpa_is_told(tmp_path, pressure, said):
    told = pytest.warns(UserWarning, match="in GPa.*MPa would be")
    with told if said else contextlib.nullcontext():
        write_input("npt", "water64", tmp_path, pressure=pressure)


def test_a_model_without_charges_records_no_dipole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atoms = water_box(n=2)
    save(random_potential(atoms, level="sr", cutoff=3.0), tmp_path / "short.pt")
    settings = DriverSettings(model="short.pt")
    with pytest.warns(UserWarning, match="no dipole is recorded"):
        path = write_input("nve", atoms, workdir="run", settings=settings)
    assert "dipole" not in path.read_text()
    with pytest.raises(ValueError, match="short-ranged.*dipole cannot be had"):
        write_input("nve", atoms, workdir="run", settings=settings._replace(extras=("dipole",)))
