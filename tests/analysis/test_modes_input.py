"""``lrcalc modes``: what it refuses before any force, and wavenumbers without Born charges."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from lrcalc import Potential
from lrcalc import save as write_model
from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from tests.analysis.test_modes import ForcesOnly
from tests.analysis.test_phonons import LATTICE, Springs, crystal, folder_of, modes_command

EXPENSIVE = []


class Expensive(ForcesOnly):
    """Forces are counted: what is wrong must be said before them."""

    def calculate(self, *args, **kwargs):
        EXPENSIVE.append(1)
        super().calculate(*args, **kwargs)


class Broken(Springs):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = np.full_like(self.results["forces"], np.nan)


def failing():
    raise RuntimeError("no such device")


HERE = "tests.analysis.test_modes_input"


@pytest.fixture
def structure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystal().write("c.extxyz")
    (tmp_path / "not.cif").write_text("nothing")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--damping", "nan"], "--damping is nan"),
        (["--damping", "-5"], "--damping is -5"),
        (["--damping", "0"], "--damping is 0"),
        (["--supercell", "2,2"], "--supercell is '2,2'"),
        (["--supercell", "0,1,1"], "--supercell is '0,1,1'"),
        (["--supercell", "a"], "--supercell is 'a'"),
        (["--directions", "x"], "--directions is 'x'"),
        (["--directions", "1,0,0;0,0"], "--directions is '1,0,0;0,0'"),
        (["--directions", "0,0,0"], "none of them zero"),
        (["--animate", "x"], "--animate is 'x'"),
        (["--epsilon-infinity", "-2"], "--epsilon-infinity is -2"),
        (["--epsilon-infinity", "nan"], "--epsilon-infinity is nan"),
        (["--born", "nofile"], "no BORN file nofile"),
        ([], "no born_effective_charges.*--born.*--no-intensities"),
        (["--bands", "-o", "o"], "good at Γ only.*--supercell 3,3,3"),
        (["--no-intensities", "--born", "BORN"], "excludes"),
        (["--no-relax", "--relax-cell"], "excludes"),
        (["--bands", "--supercell", "3,3,3"], "needs -o"),
    ],
)
def test_refused_before_any_force(structure, options, message):
    EXPENSIVE.clear()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        modes_command("c.extxyz", "--calculator", f"{HERE}:Expensive", *options)
    assert not EXPENSIVE


def test_a_model_without_charges_is_told_what_to_give(structure):
    write_model(Potential((11, 17), level="sr", channels=4, hidden=8, cutoff=3.0), "short.pt")
    with pytest.raises(ValueError, match=r"no charges.*--born FILE.*--no-intensities"):
        modes_command("c.extxyz", "--model", "short.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calculator", f"{HERE}:Broken"], "Broken gives forces that are NaN"),
        (["--calculator", f"{HERE}:failing"], "RuntimeError: no such device"),
        (["--calculator", "broken_module:make"], "cannot be imported: RuntimeError: on import"),
        (["--model", "water", "--calculator", f"{HERE}:Broken"], "one of"),
    ],
)
def test_errors_of_calculators_are_named(structure, options, message):
    (structure / "broken_module.py").write_text("raise RuntimeError('on import')")
    with pytest.raises(ValueError, match=message):
        modes_command("c.extxyz", *options)
    with pytest.raises(ValueError, match="could not be read as a structure"):
        modes_command("not.cif", *options[-2:])


@pytest.mark.parametrize(
    "option",
    ["--model=x", "--calculator=a:b", "--calculator-options={}", "--born=B",
     "--no-relax", "--relax-cell", "--epsilon-infinity=0", "--raman"],
)  # fmt: skip
def test_a_folder_takes_no_options_of_a_calculator(tmp_path, option):
    name = option.partition("=")[0]
    with pytest.raises(ValueError, match=f"{name}: needs a calculator; with --from"):
        modes_command("--from", tmp_path, option)


@pytest.fixture(scope="module")
def springs():
    return ph.from_calculator(crystal(), Springs(), supercell=(2, 2, 2), relax=None)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_files_are_named(tmp_path, springs, share):
    folder = folder_of(springs, tmp_path)
    path = folder / "FORCE_SETS"
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(ValueError, match="FORCE_SETS"):
        ph.from_folder(folder)


def test_wavenumbers_without_born_charges(structure, capsys):
    """The same wavenumbers, no word of intensities; states add up to 3N."""
    charged = ph.solve(ph.from_calculator(crystal(), Springs(), supercell=(3, 3, 3), relax=None))
    options = ["--calculator", "tests.analysis.test_modes:ForcesOnly", "--no-intensities"]
    options += ["--supercell", "3,3,3", "--bands", "--json", "o.json", "-o", "o", "--animate", "1"]
    assert modes_command("c.extxyz", *options) == 0
    printed = capsys.readouterr().out
    assert "e²/amu" not in printed
    assert "no Born charges" in printed
    data = json.loads((structure / "o.json").read_text())
    found = [mode["frequency_cm1"] for mode in data["modes"]]
    assert np.allclose(found, charged.wavenumber, rtol=1e-6)
    assert "static_dielectric" not in data
    assert (structure / "o-bands.png").stat().st_size > 5000
    assert (structure / "o-mode-001.extxyz").is_file()
    assert not (structure / "o-BORN").exists()
    lines = [line for line in (structure / "o-dos.csv").read_text().splitlines() if "#" not in line]
    nu, states = np.loadtxt(lines[1:], delimiter=",").T
    assert np.trapezoid(states, nu) == pytest.approx(6.0, rel=0.02)  # of tetrahedra
    folder = folder_of(springs_of(), structure)
    (folder / "BORN").unlink()
    with pytest.raises(FileNotFoundError, match="--no-intensities"):
        modes_command("--from", folder)
    assert modes_command("--from", folder, "--no-intensities") == 0


def springs_of():
    return ph.from_calculator(crystal(), Springs(), supercell=(2, 2, 2), relax=None)


def test_one_atom(structure, capsys):
    copper = bulk("Cu")
    copper.write("Cu.vasp")
    bare = ["Cu.vasp", "--calculator", "ase.calculators.emt:EMT", "--no-intensities"]
    with pytest.raises(ValueError, match="--supercell holds one atom"):
        modes_command(*bare)
    assert modes_command(*bare, "--supercell", "4,4,4", "--bands", "-o", "o") == 0
    assert "one atom in the cell: no modes" in capsys.readouterr().out
    with pytest.raises(ValueError, match="EMT gives no born_effective_charges"):
        ph.from_calculator(copper, EMT(), supercell=(4, 4, 4))


def test_supercells_too_narrow_for_bands(springs):
    """2×2×2 of 4 Å repeats every direction, and says that it is narrow; 1×1×2 will not do."""
    (note,) = ph.band_structure(springs, points=5, nac=False)["notes"]
    assert "supercell 2×2×2, 8.0 Å wide" in note
    for repeats in ((1, 1, 1), (2, 2, 1)):
        found = ph.from_calculator(crystal(), Springs(), supercell=repeats, relax=None)
        assert found.only_gamma
        with pytest.raises(ValueError, match="good at Γ only.*10 Å"):
            ph.band_structure(found)
    wide = ph.from_calculator(crystal(), Springs(), supercell=(3, 3, 3), relax=None)
    assert ph.band_structure(wide, points=5, nac=False)["notes"] == []
    wide.phonopy.force_constants = -wide.phonopy.force_constants
    (note,) = ph.band_structure(wide, points=5, nac=False)["notes"]
    assert "imaginary down to" in note


@pytest.mark.parametrize("cell", [False, True])
def test_relaxation_is_told(cell):
    moved = crystal()
    moved.positions[1] += [0.05, -0.03, 0.02]
    if cell:
        moved.set_cell([1.01 * LATTICE] * 3, scale_atoms=True)
        kind = SpringsWithStress()
    else:
        kind = Springs()
    notes = ph.solve(ph.from_calculator(moved, kind, relax_cell=cell)).notes
    told = notes[0]
    assert told.startswith("relaxed to forces below 0.002 eV/Å in ")
    assert "atoms moved by up to 0.0" in told
    assert ("volume 65.94 → 64" if cell else "the cell was held") in told
    still = ph.from_calculator(crystal(), Springs(), relax=None)
    assert "not relaxed" in still.notes[0]


class SpringsWithStress(Springs):
    """Stress by central differences of the energy."""

    implemented_properties = (*Springs.implemented_properties, "stress")

    def calculate(self, atoms=None, properties=None, system_changes=()):
        stress = np.zeros(6)
        for index, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += 0.5e-4 * sign
                strain[b, a] += 0.5e-4 * sign
                strained = atoms.copy()
                strained.set_cell(atoms.cell @ strain, scale_atoms=True)
                super().calculate(strained, ["energy"], ["positions"])
                change = 2e-4 if a == b else 4e-4
                stress[index] += sign * self.results["energy"] / change / atoms.get_volume()
        super().calculate(atoms, properties, ["positions"])
        self.results["stress"] = stress * np.where(np.arange(6) < 3, 1.0, 2.0)


def test_every_imaginary_mode_is_noted():
    born = np.array([np.eye(3), -np.eye(3)])
    relative = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([1.0, 2.0, -1e-5]))
    modes = mm.solve(relative, np.ones(2), born, 2 * np.eye(3), 40.0)
    assert -20 < modes.wavenumber[0] < 0
    assert f"1 imaginary mode ({-modes.wavenumber[0]:.1f}i cm⁻¹" in modes.notes[0]
    assert "left out of ε_0" in modes.notes[0]
