"""What a structure file says reaches i-PI whole, or stops with a message that names it."""

import re

import numpy as np
import pytest
from ase.constraints import FixAtoms, FixedPlane
from ase.units import fs

from lrcalc import LRCalculator
from lrcalc.cli import main
from lrcalc.ipi import DriverSettings, Pulse, read_properties, run_ipi, write_input
from lrcalc.ipi.client import Client
from lrcalc.ipi.driver import Engine
from lrcalc.ipi.start import plan_start
from lrcalc.ipi.structures import orient, write_ipi_xyz
from lrcalc.structures import fixed_atoms, read_structure, total_charge
from lrcalc.units import BOHR, HARTREE
from tests.ipi.helpers import toy_input, waters
from tests.structures.samples import dressed, ion, saved

AMU = 1822.888486
ATOMIC_TIME = 0.024188843265857


def array_of(text, tag):
    """Numbers of an array in an input or RESTART, by a reader of three lines."""
    found = re.search(rf"<{tag}\b[^>]*>\s*\[([^\]]*)\]", text)
    return np.array([float(x) for x in found[1].replace(",", " ").split()])


@pytest.mark.parametrize("turned", [False, True])
def test_the_input_has_all_that_the_structure_says(tmp_path, turned):
    atoms = ion(turned=turned)
    path = write_input("nve", saved(tmp_path / "a.xyz", atoms), tmp_path / "run")
    text = path.read_text()
    np.testing.assert_allclose(array_of(text, "masses"), atoms.get_masses())
    assert array_of(text, "fixatoms").tolist() == [4]
    assert "<fixcom> False </fixcom>" in text
    back = read_structure(tmp_path / "run" / "init.xyz")
    rotation = orient(atoms).rotation
    assert np.allclose(rotation, np.eye(3)) is not turned
    np.testing.assert_allclose(back.positions, atoms.positions @ rotation.T, atol=1e-7)
    np.testing.assert_allclose(back.cell[:], atoms.cell[:] @ rotation.T, atol=1e-7)
    np.testing.assert_allclose(back.get_masses(), atoms.get_masses())
    assert total_charge(back) == 1.0
    assert fixed_atoms(back, where="x").nonzero()[0].tolist() == [4]
    assert back.get_chemical_symbols() == atoms.get_chemical_symbols()  # no label that ASE lacks
    rows = (tmp_path / "run" / "init-velocities.xyz").read_text().splitlines()[2:]
    velocities = np.array([[float(x) for x in row.split()[1:]] for row in rows])
    expected = atoms.get_velocities() * fs @ rotation.T * ATOMIC_TIME / BOHR
    np.testing.assert_allclose(velocities, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("fixed", "mark"), [([], ""), ([0], " fixed=0"), ([0, 1, 2, 5, 8, 9], " fixed=0-2,5,8-9")]
)
def test_fixed_atoms_in_a_structure_file_of_ipi(tmp_path, fixed, mark):
    atoms = waters()
    atoms.set_constraint(FixAtoms(fixed))
    write_ipi_xyz(tmp_path / "i.xyz", atoms)
    assert (tmp_path / "i.xyz").read_text().splitlines()[1].count("fixed") == bool(mark)
    assert mark in (tmp_path / "i.xyz").read_text()
    back = read_structure(tmp_path / "i.xyz")
    assert fixed_atoms(back, where="x").nonzero()[0].tolist() == fixed


def test_ipi_starts_from_it(tmp_path):
    """i-PI's own RESTART, before it has moved anything but by one tiny step."""
    atoms = dressed(waters())
    rotation = orient(atoms).rotation
    path = toy_input(tmp_path / "run", structure=atoms, steps=1, timestep=1e-6)
    assert run_ipi(path, timeout=60).finished
    text = (tmp_path / "run" / "RESTART").read_text()
    np.testing.assert_allclose(array_of(text, "m"), atoms.get_masses() * AMU, rtol=1e-6)
    momenta = atoms.get_masses()[:, None] * AMU * (atoms.get_velocities() * fs) * ATOMIC_TIME / BOHR
    np.testing.assert_allclose(
        array_of(text, "p").reshape(-1, 3), momenta @ rotation.T, atol=1e-5 * np.abs(momenta).max()
    )
    np.testing.assert_allclose(
        array_of(text, "q").reshape(-1, 3) * BOHR, atoms.positions @ rotation.T, atol=1e-6
    )
    assert array_of(text, "fixatoms_dof").tolist() == [12, 13, 14]


def test_fixed_atoms_stay_where_they_are(tmp_path):
    atoms = waters()
    atoms.set_constraint(FixAtoms(range(6)))
    path = toy_input(tmp_path, "nvt", structure=atoms, steps=20, timestep=1.0)
    assert run_ipi(path, timeout=60).finished
    moved = array_of((tmp_path / "RESTART").read_text(), "q").reshape(-1, 3) * BOHR
    moved = np.linalg.norm(moved - atoms.positions, axis=1)
    assert moved[:6].max() < 1e-6
    assert moved[6:].min() > 1e-3


def test_temperature_with_fixed_atoms_counts_those_that_move(tmp_path):
    """i-PI's temperature: the kinetic energy, ½kT for each fixed coordinate, over all 3N.

    So it is that of the thermostat on average, and velocities are drawn for free atoms alone.
    """
    atoms = waters(8)
    atoms.set_constraint(FixAtoms(range(12)))
    path = toy_input(tmp_path, "nvt", structure=atoms, steps=5)
    assert run_ipi(path, timeout=100).finished
    values = read_properties(tmp_path / "sim.out").values
    half_k = 0.5 * 8.617333e-5
    expected = (values["kinetic_md"] + 36 * half_k * 300) / (72 * half_k)
    np.testing.assert_allclose(values["temperature"], expected, rtol=1e-5)
    text = (tmp_path / "RESTART").read_text()
    momenta = array_of(text, "p").reshape(-1, 3)
    assert not momenta[:12].any()
    assert momenta[12:].all()
    # nothing holds the centre of mass where atoms are fixed
    assert np.linalg.norm(momenta.sum(0)) > 1e-3 * np.abs(momenta).max()


def test_isotopes_by_label(tmp_path):
    (tmp_path / "hod.xyz").write_text("3\n\nO 0 0 0\nD 0.96 0 0\nH -0.24 0.93 0\n")
    path = toy_input(tmp_path / "run", structure=tmp_path / "hod.xyz", steps=1)
    assert run_ipi(path, timeout=60).finished
    masses = array_of((tmp_path / "run" / "RESTART").read_text(), "m")
    np.testing.assert_allclose(masses, np.array([15.999, 2.01410178, 1.008]) * AMU, rtol=1e-6)


def test_a_template_with_labels_of_isotopes_and_a_charge(tmp_path):
    """The model knows H, and the charge of the template is the run's."""

    class Seen:
        def __call__(self, structures, properties):
            self.structures = structures
            zeros = [np.zeros((len(a), 3)) for a in structures]
            return [{"energy": 0.0, "forces": z, "stress": np.zeros((3, 3))} for z in zeros]

    (tmp_path / "i.xyz").write_text("2\n# CELL(H): 9 0 0 0 9 0 0 0 9 charge=-1\nO 0 0 0\nD 1 0 0\n")
    template = read_structure(tmp_path / "i.xyz", argument="template")
    seen = Seen()
    engine = Engine(DriverSettings(), template, seen)
    engine([np.eye(3) * 9], [template.positions / BOHR])
    assert seen.structures[0].get_chemical_symbols() == ["O", "H"]
    assert total_charge(seen.structures[0]) == -1.0


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("nvt", {"constraint": FixedPlane(2, (0, 0, 1))}, "FixedPlane, which i-PI cannot keep"),
        ("npt", {"constraint": FixAtoms([0])}, "1 fixed atoms, but at constant pressure"),
        ("nvt", {"constraint": FixAtoms(range(12))}, "no atom that is free"),
        ("nvt", {"velocities": "structure"}, "but it has none"),
        ("nvt", {"velocities": "file"}, "`velocities` is 'file'"),
        ("pimd", {"velocities": "structure", "momenta": 1}, "32 beads need velocities"),
        ("nvt", {"total": 2, "charge": 1}, "stated twice and differently"),
        ("nvt", {"charges": 0.5}, "add up to 6 e"),
    ],
)
def test_what_cannot_go_to_ipi_is_refused(tmp_path, kind, change, message):
    atoms = waters()
    atoms.set_constraint(change.get("constraint"))
    if "momenta" in change:
        atoms.set_momenta(np.ones((12, 3)))
    if "charges" in change:
        atoms.set_initial_charges([change["charges"]] * 12)
    atoms.info |= {"total_charge": change["total"]} if "total" in change else {}
    atoms.info |= {"charge": change["charge"]} if "charge" in change else {}
    with pytest.raises(ValueError, match=message):
        write_input(kind, atoms, tmp_path / "run", velocities=change.get("velocities"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ensemble", "beads", "velocities", "restarted", "moving", "fixcom", "said"),
    [
        ("nve", 1, None, False, True, False, "starts with the velocities"),
        ("nvt", 1, None, False, True, True, "takes the motion of the centre of mass out of them"),
        ("nvt", 1, "thermal", False, False, True, "thermal ones"),
        ("nvt", 8, None, False, False, True, "thermal ones for 8 beads"),
        ("nve", 1, None, True, False, True, "those of the other run"),
    ],
)
def test_which_velocities(ensemble, beads, velocities, restarted, moving, fixcom, said):
    atoms = ion()
    atoms.set_constraint()
    start = plan_start(
        atoms, ensemble=ensemble, beads=beads, velocities=velocities, restarted=restarted
    )
    assert (start.moving, start.fixcom) == (moving, fixcom)
    assert any(said in note for note in start.notes)
    assert sum("velocities of" in note for note in start.notes) == 1


def test_constant_field_and_pressure_offer_the_voltage(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waters().write("a.extxyz")
    command = ["ipi-input", "--kind", "efield", "--ensemble", "npt", "--structure", "a.extxyz"]
    assert main([*command, "--workdir", "E", "--electric-field", "0", "0", "0.1"]) == 0
    assert "depends on the branch" in capsys.readouterr().err
    assert main([*command, "--workdir", "v", "--voltage", "0", "0", "0.6"]) == 0
    assert "branch" not in capsys.readouterr().err
    assert "reduced_field: 0.0 0.0 0.6" in (tmp_path / "v" / "input.xml").read_text()
    both = ["--workdir", "w", "--voltage", "0", "0", "0.6", "--electric-field", "0", "0", "0.1"]
    assert main([*command, *both]) == 2
    assert "`--electric-field` and `--voltage` are both given" in capsys.readouterr().err
    open_box = waters()
    open_box.pbc = False
    open_box.write("open.extxyz")
    command[-1] = "open.extxyz"
    assert main([*command, "--ensemble", "nvt", "--workdir", "x", "--voltage", "0", "0", "1"]) == 2
    assert "three periodic directions" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_structure_file_is_not_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = saved(tmp_path / "init.xyz", ion()).read_text()
    command = ["ipi-input", "--kind", "nve", "--structure", "init.xyz"]
    assert main(command) == 2
    assert "`--structure` is init.xyz, which the run would replace" in capsys.readouterr().err
    assert (tmp_path / "init.xyz").read_text() == before
    assert not (tmp_path / "input.xml").exists()
    # what an earlier run has written may start the next
    assert main([*command, "--workdir", "run"]) == 0
    again = ["ipi-input", "--kind", "nve", "--structure", "run/init.xyz", "--workdir", "run"]
    first = (tmp_path / "run" / "init.xyz").read_text()
    assert main(again) == 0
    assert (tmp_path / "run" / "init.xyz").read_text() == first


def test_fixed_atoms_and_beads(tmp_path):
    atoms = waters()
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    path = toy_input(tmp_path, "pimd", structure=atoms, steps=10, beads=4)
    assert run_ipi(path, timeout=60).finished
    places = array_of((tmp_path / "RESTART").read_text(), "q").reshape(4, -1, 3) * BOHR
    moved = np.abs(places - atoms.positions).max(axis=(0, 2))
    assert moved[:3].max() < 1e-6
    assert moved[3:].min() > 1e-3


def test_commands_say_what_they_take(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a.xyz", ion())
    command = ["ipi-input", "--kind", "nve", "--structure", "a.xyz", "--workdir", "run"]
    assert main(command) == 0
    said = capsys.readouterr().err
    for part in (
        "structure: total charge +1 e",
        "3 H of 2.014 amu",
        "1 of 10 atoms are fixed",
        "velocities",
    ):
        assert said.count(part) == 1
    assert main([*command, "--temperature", "300"]) == 2
    assert "--velocities thermal" in capsys.readouterr().err
    assert main([*command, "--temperature", "300", "--velocities", "thermal"]) == 0
    assert "mode='thermal'" in (tmp_path / "run" / "input.xml").read_text()


@pytest.mark.parametrize("boundary", [(False, False, False), (True, True, False)])
def test_boundaries_travel(tmp_path, boundary):
    atoms = waters()
    atoms.pbc = boundary
    write_input("nve", saved(tmp_path / "a.xyz", atoms), tmp_path / "run")
    assert read_structure(tmp_path / "run" / "init.xyz").pbc.tolist() == list(boundary)


def test_masses_of_a_run_that_goes_on(tmp_path):
    heavy = waters()
    heavy.set_masses([18.0 if s == "O" else 2.014 for s in heavy.symbols])
    path = toy_input(tmp_path / "one", "nvt", structure=heavy, steps=2)
    assert run_ipi(path, timeout=60).finished
    restart = tmp_path / "one" / "RESTART"
    path = toy_input(tmp_path / "two", "nvt", structure=waters(), steps=2, restart=restart)
    assert run_ipi(path, timeout=60).finished
    masses = array_of((tmp_path / "two" / "RESTART").read_text(), "m")
    np.testing.assert_allclose(masses, heavy.get_masses() * AMU, rtol=1e-6)
    found = read_structure(tmp_path / "two" / "init.xyz").get_masses()
    np.testing.assert_allclose(found, heavy.get_masses(), rtol=1e-6)
    light = waters()
    light.set_masses([16.0 if s == "O" else 1.008 for s in light.symbols])
    with pytest.raises(ValueError, match="a mass of 18.0000 amu for atom 0, but"):
        toy_input(tmp_path / "three", "nvt", structure=light, steps=2, restart=restart)


def energy_with_charge(path, charge):
    """Energy by the calculator, of an ion that is said to be one, or a neutral molecule."""
    atoms = read_structure(path)
    atoms.info = {"charge": charge}
    atoms.calc = LRCalculator("water", dtype="float64")
    return atoms.get_potential_energy()


def test_the_energy_of_an_ion(tmp_path, shared):
    """cases/charge/h3o.xyz: that of an ion, and not as if it were neutral."""
    settings = DriverSettings(dtype="float64")
    structure = shared / "cases" / "charge" / "h3o.xyz"
    path = write_input("nve", structure, tmp_path, settings=settings, steps=1)
    template = read_structure(tmp_path / "init.xyz")
    engine = Engine(settings, template)
    message = engine([np.array(template.cell).T / BOHR], [template.positions / BOHR])[0]
    one, none = (energy_with_charge(structure, charge) for charge in (1, 0))
    assert abs(one - none) > 0.05
    assert message.potential * HARTREE == pytest.approx(one, abs=2e-5)
    assert "charge=1" in (tmp_path / "init.xyz").read_text()
    assert path.exists()


def test_a_client_takes_the_charge_of_its_template(shared, capsys):
    """`lrcalc ipi --template h3o.xyz`, where i-PI's input says nothing."""
    template = shared / "cases" / "charge" / "h3o.xyz"
    client = Client({"template": str(template), "dtype": "float64"})
    client.initialize("")
    atoms = read_structure(template)
    message = client.engine([np.array(atoms.cell).T / BOHR], [atoms.positions / BOHR])[0]
    assert message.potential * HARTREE == pytest.approx(energy_with_charge(template, 1), abs=2e-5)
    assert capsys.readouterr().err == "lrcalc ipi: template: total charge +1 e\n"


def test_a_pulse_on_an_ion_is_refused(tmp_path):
    with pytest.raises(ValueError, match="net charge of 1 e: a pulse accelerates it"):
        write_input("pulse", ion(), tmp_path / "run", pulse=Pulse((0.0, 0.0, 0.1)))


@pytest.mark.timeout(200)
def test_ipi_and_md_agree_on_a_charged_isotopic_fixed_triclinic_run(tmp_path, monkeypatch):
    """i-PI's own potential and conserved columns against `lrcalc md`: NVE, 30 steps."""
    monkeypatch.chdir(tmp_path)
    atoms = ion()
    saved(tmp_path / "a.xyz", atoms)
    steps = ["--steps", "30", "--timestep", "0.5", "--dtype", "float64"]
    assert main(["md", "water", "a.xyz", "--out", "md", "--every", "1", *steps]) == 0
    assert main(["ipi-run", "--kind", "nve", "--structure", "a.xyz", "--workdir", "run",
                 "--quiet", "--model", "water", *steps]) == 0  # fmt: skip
    ours = np.genfromtxt(tmp_path / "md.csv", delimiter=",", names=True)
    theirs = read_properties(tmp_path / "run" / "sim.out").values
    # i-PI's electronvolt is 1.1e-7 larger than CODATA's: compare changes, and the start apart
    potential, conserved = theirs["potential"], theirs["conserved"]
    assert len(potential) == len(ours) == 31
    assert np.ptp(potential) > 0.1
    np.testing.assert_allclose(
        potential - potential[0], ours["enthalpy_eV"] - ours["enthalpy_eV"][0], atol=5e-7
    )
    np.testing.assert_allclose(potential[0], ours["enthalpy_eV"][0], rtol=3e-7)
    np.testing.assert_allclose(
        conserved - potential, ours["conserved_eV"] - ours["enthalpy_eV"], atol=5e-7
    )
    calculator = LRCalculator("water", dtype="float64")
    start = read_structure("a.xyz")
    start.calc = calculator
    assert ours["enthalpy_eV"][0] == pytest.approx(start.get_potential_energy(), abs=1e-7)
    start.info["charge"] = 0.0
    calculator.reset()
    assert abs(start.get_potential_energy() - ours["enthalpy_eV"][0]) > 0.05
    assert fixed_atoms(read_structure("a.xyz"), where="x").sum() == 1
