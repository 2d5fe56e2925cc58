"""``lrcalc modes`` and `from_calculator`: what a structure says travels whole; judged by ASE."""

import json
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength
from ase.io import read, write
from ase.optimize import BFGS
from ase.vibrations import Infrared, Vibrations

from lrcalc import LRCalculator
from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from lrcalc.cli import main
from lrcalc.structures import total_charge
from tests.analysis.test_phonons import Springs, crystal, modes_command

WATER = {"dtype": "float64"}


def summary_of(path, *options):
    assert modes_command(path, *options, "--json", "o.json") == 0
    with open("o.json") as file:
        return json.load(file)


def wavenumbers(summary):
    return np.array([mode["frequency_cm1"] for mode in summary["modes"]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ase_infrared(atoms, calculator):
    """Wavenumbers and intensities in (D/Å)²/amu of the six highest modes or fewer, by ASE."""
    atoms = atoms.copy()
    atoms.calc = calculator
    infrared = Infrared(atoms, name="ir", delta=0.01)
    infrared.run()
    infrared.read()
    keep = slice(6, None)
    return infrared.get_frequencies().real[keep], infrared.intensities[keep]


def water(charge=0):
    if not charge:
        return molecule("H2O")
    height, reach = 0.2296, 0.9476  # H3O+
    angle = 2 * np.pi / 3 * np.arange(3)
    around = np.stack([reach * np.cos(angle), reach * np.sin(angle), 0 * angle + height], 1)
    ion = Atoms("OH3", np.vstack([np.zeros(3), around]))
    ion.info["charge"] = 1
    return ion


def test_a_molecule_without_a_cell_is_relaxed(folder):
    """What its atoms moved by is said; it has no volume."""
    calculator = LRCalculator("water", **WATER)
    atoms = water()
    modes = ph.solve(ph.from_calculator(atoms, calculator))
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=0.002)
    moved = np.linalg.norm(atoms.positions - water().positions, axis=1).max()
    assert moved > 1e-3
    assert any(f"moved by up to {moved:.3f} Å, there is no cell" in note for note in modes.notes)
    assert np.allclose(modes.wavenumber[-3:], ase_infrared(atoms, calculator)[0], atol=0.5)


@pytest.mark.parametrize("charge", [0, 1])
def test_infrared_of_molecules_by_ase(folder, charge):
    """Wavenumbers and intensities of an open molecule without a cell, neutral and charged."""
    calculator = LRCalculator("water", **WATER)
    atoms = water(charge)
    nu, strength = ase_infrared(atoms, calculator)
    phonons = ph.from_calculator(atoms, calculator, relax=None)
    modes = ph.solve(phonons)
    count = len(nu)
    assert np.allclose(modes.wavenumber[-count:], nu, atol=0.5)
    lines = modes.intensity[-count:] * mm.DEBYE2_PER_A2_AMU
    # degenerate modes mix
    assert np.allclose(np.sort(lines), np.sort(strength), rtol=0.02, atol=0.02)
    assert lines.sum() == pytest.approx(strength.sum(), rel=2e-3)
    assert not modes.periodic
    assert modes.total_charge == charge
    assert any("no periods along a, b, c" in note for note in modes.notes)


def by_ase(atoms, folder, relaxed=False):
    """Real wavenumbers, ascending, by finite differences of ASE, of the bundled water model."""
    atoms.calc = LRCalculator("water", dtype="float64")
    if relaxed:
        BFGS(atoms, logfile=None).run(fmax=1e-4, steps=300)
    vibrations = Vibrations(atoms, name=str(folder / "vibrations"), delta=0.01)
    vibrations.run()
    return np.sort(vibrations.get_frequencies().real)


@pytest.mark.shared
def test_ion_in_a_box(folder, shared):
    """cases/charge: the charge reaches the forces; ASE's Vibrations has these wavenumbers."""
    data = summary_of(shared / "cases/charge/ion.xyz", "--model", "water", "--no-relax")
    right = by_ase(read(shared / "cases/charge/ion.xyz"), folder)
    assert np.allclose(wavenumbers(data)[-5:], right[-5:], atol=0.2)
    assert data["total_charge_e"] == 1.0


@pytest.mark.shared
def test_open_dimer(folder, shared, capsys):
    data = summary_of(shared / "cases/dimer_open/dimer_open.xyz", "--model", "water", "-o", "d")
    dimer = read(shared / "cases/dimer_open/dimer_open.xyz")
    right = by_ase(dimer, folder, relaxed=True)
    assert np.allclose(np.sort(wavenumbers(data))[-4:], right[-4:], atol=1.0)
    assert "static_dielectric" not in data
    assert "longitudinal" not in data
    printed = capsys.readouterr().out
    assert "not periodic, though it has a cell" in printed
    assert "ε_0 diagonal" not in printed
    header = [
        line for line in (folder / "d-spectrum.csv").read_text().splitlines() if "#" not in line
    ]
    nu, curve = np.loadtxt(header[1:], delimiter=",").T
    near = (nu > 3000) & (nu < 4000)
    strong = sum(m["intensity_km_per_mol"] for m in data["modes"] if m["frequency_cm1"] > 3000)
    assert np.trapezoid(curve[near], nu[near]) == pytest.approx(strong, rel=0.03)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["all_fixed", "half_fixed", "free"])
def test_constraints_are_lifted_and_named(folder, shared, name, capsys):
    shutil.copy(shared / "cases/selective/toy.py", folder)
    path = shared / f"cases/selective/{name}.vasp"
    data = summary_of(path, "--calculator", "toy:make")
    assert np.allclose(np.diag(data["static_dielectric"]), 13.96, atol=0.01)
    count = {"all_fixed": 8, "half_fixed": 4, "free": 0}[name]
    said = f"lifted (FixAtoms on {count} of 8 atoms)" in capsys.readouterr().out
    assert said == (count > 0)
    if name == "free":
        return
    data = summary_of(path, "--calculator", "toy:make", "--no-relax")
    assert data["notes"][0].startswith("the structure was not relaxed: largest force 0.4")


def test_other_constraints_are_named():
    atoms = crystal()
    atoms.set_constraint([FixAtoms([0]), FixBondLength(0, 1)])
    notes = ph.from_calculator(atoms, Springs(), relax=None).notes
    assert any("FixAtoms on 1 of 2 atoms, FixBondLength" in note for note in notes)
    assert len(atoms.constraints) == 2  # the user's own


class Seen(Springs):
    """Notes what reaches a calculator."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        self.seen.append(atoms.copy())
        super().calculate(atoms, properties, system_changes)
        if "charge" in atoms.info:
            born = self.results["born_effective_charges"]
            born += total_charge(atoms) / len(atoms) * np.eye(3)


@pytest.mark.parametrize("key", ["charge", "total_charge"])
def test_charge_of_supercells(key):
    """The charge of n cells is n charges; masses and moments of the atoms are copied."""
    atoms = crystal()
    atoms.info[key] = 1.0
    atoms.set_masses([133.0, 37.0])
    atoms.set_initial_magnetic_moments([0.5, -0.5])
    calculator = Seen()
    phonons = ph.from_calculator(atoms, calculator, supercell=(2, 1, 1), relax=None)
    for seen in calculator.seen:
        assert total_charge(seen) == len(seen) / 2
        at = np.where(seen.symbols == "Cs", 0, 1)
        assert np.allclose(seen.get_masses(), np.array([133.0, 37.0])[at])
        assert np.allclose(seen.get_initial_magnetic_moments(), np.array([0.5, -0.5])[at])
    assert {len(seen) for seen in calculator.seen} == {2, 4}
    assert phonons.total_charge == 1.0
    modes = ph.solve(phonons)
    assert np.allclose(modes.masses, [133.0, 37.0])
    square = modes.intensity.sum()
    relative = (1.2 + 0.5) / 133 + (1.2 - 0.5) / 37  # Z̃ of an optical mode: no share of the total
    assert square == pytest.approx(3 * relative**2 / (1 / 133 + 1 / 37), rel=1e-6)
    bands = ph.band_structure(phonons._replace(only_gamma=False), points=3)
    assert all(np.isfinite(b).all() for b in bands["wavenumbers"])


def test_primitive_cell_of_a_charged_cell():
    atoms = crystal().repeat((2, 1, 1))
    atoms.info["charge"] = 2.0
    calculator = Seen()
    phonons = ph.from_calculator(atoms, calculator, relax=None, primitive="auto")
    assert len(phonons.structure) == 2
    assert phonons.total_charge == 1.0
    assert phonons.structure.get_volume() == pytest.approx(64.0)


def test_isotopes_of_the_file(folder):
    """D of i-PI or a column of masses: ASE Vibrations with these masses."""
    calculator = LRCalculator("water", **WATER)
    atoms = molecule("H2O")
    atoms.set_masses([17.999, 2.014, 1.008])
    judge = atoms.copy()
    judge.calc = calculator
    vibrations = Vibrations(judge, delta=0.01, name="vib")
    vibrations.run()
    write("hdo.xyz", atoms, columns=["symbols", "positions", "masses"])
    data = summary_of("hdo.xyz", "--model", "water", "--no-relax")
    assert np.allclose(wavenumbers(data)[-3:], vibrations.get_frequencies().real[-3:], atol=0.3)
    assert {mode["irrep"] for mode in data["modes"]} == {""}  # H and D are not equivalent


def test_molecule_over_the_edge_of_an_open_box(folder):
    """Where the box is has no part in it, and it is not folded back."""
    atoms = water()
    calculator = LRCalculator("water", **WATER)
    here = ph.solve(ph.from_calculator(atoms, calculator, relax=None))
    for cell, shift in (([8, 8, 8], -0.3), ([2, 2, 2], 1.9), ([9, 8, 0], 0.1)):
        moved = atoms.copy()
        moved.set_cell(cell)
        moved.positions += shift
        there = ph.solve(ph.from_calculator(moved, calculator, relax=None))
        assert np.allclose(there.wavenumber[-3:], here.wavenumber[-3:], atol=0.5)
        frames = ph.animation(ph.from_calculator(moved, calculator, relax=None), there, 5)
        assert not frames[0].pbc.any()
        assert frames[5].get_distance(0, 1) == pytest.approx(0.97, abs=0.5)


@pytest.mark.parametrize("vector", [0.0, 9.0, 30.0])
def test_partly_periodic(vector):
    """A layer: the calculator sees the periods of the structure; repeats along them only."""

    class Layer(Springs):
        def calculate(self, atoms=None, properties=None, system_changes=all_changes):
            assert atoms.pbc.tolist() == [True, True, False]
            assert np.allclose(atoms.cell[2], [0, 0, vector])
            super().calculate(atoms, properties, system_changes)

    atoms = crystal()
    atoms.pbc = [True, True, False]
    atoms.cell[2] = [0, 0, vector]
    phonons = ph.from_calculator(atoms, Layer(), supercell=(2, 2, 1), relax=None)
    modes = ph.solve(phonons)
    # half of the bonds: along the layer all of them pull, k = 4/3 instead of 8/3 of a spring
    full = ph.solve(ph.from_calculator(crystal(), Springs(), relax=None))
    assert np.allclose(modes.wavenumber, full.wavenumber / np.sqrt(2), rtol=2e-3)
    assert any("no periods along c" in note for note in modes.notes)
    with pytest.raises(ValueError, match="`supercell` is .* periodic along"):
        ph.from_calculator(atoms, Layer(), supercell=(2, 2, 2), relax=None)
    with pytest.raises(ValueError, match="`epsilon_infinity` means nothing"):
        ph.from_calculator(atoms, Layer(), epsilon_infinity=2.0)
    with pytest.raises(ValueError, match="`primitive` needs"):
        ph.from_calculator(atoms, Layer(), primitive="auto")
    with pytest.raises(ValueError, match="periods in three directions"):
        ph.band_structure(phonons)


def test_external_calculator_in_an_open_box(folder):
    """EMT knows pbc; wavenumbers as ASE Vibrations."""
    atoms = molecule("CO")
    atoms.calc = EMT()
    vibrations = Vibrations(atoms, delta=0.01, name="vib")
    vibrations.run()
    write("co.xyz", atoms)
    data = summary_of(
        "co.xyz", "--calculator", "ase.calculators.emt:EMT", "--no-intensities", "--no-relax",
        "-o", "co",
    )  # fmt: skip
    assert np.allclose(wavenumbers(data)[-1], vibrations.get_frequencies().real[-1], atol=0.5)


def test_several_frames(folder, capsys):
    frames = [water(), water()]
    frames[0].positions[1] += 0.02
    write("two.xyz", frames)
    last = summary_of("two.xyz", "--model", "water", "--no-relax")
    assert "two.xyz holds several frames: the last is taken" in capsys.readouterr().out
    first = summary_of("two.xyz", "--model", "water", "--no-relax", "--frame", "0")
    assert "several" not in capsys.readouterr().out
    assert wavenumbers(first)[-1] != pytest.approx(wavenumbers(last)[-1], abs=1.0)
    assert read("two.xyz", 0).positions[1, 0] == frames[0].positions[1, 0]
    with pytest.raises(ValueError, match="frame"):
        modes_command("two.xyz", "--model", "water", "--frame", "7")
    with pytest.raises(ValueError, match="--frame: needs a calculator"):
        modes_command("--from", ".", "--frame", "0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "none/x"], "-o: no folder none"),
        (["--bands", "-o", "b"], "--bands needs a structure with periods"),
        (["-o", "there"], "-o: there is a folder"),
        (["-o", "there/"], "-o: there/ is a folder"),
        (["-o", "x"], "-o: x-modes.csv is a folder"),
        (["--json", "none/x.json"], "--json: no folder none"),
        (["--json", "there"], "--json: there is a folder"),
        (["--json", "/proc/x.json"], "--json: the folder /proc cannot"),
        (["--animate", "0"], "--animate: modes-mode-000.extxyz is a folder"),
        (["--animate", "0", "-o", "none/x"], "-o: no folder none"),
    ],
)
def test_targets_are_checked_before_the_calculation(folder, options, message, capsys):
    for name in ("there", "x-modes.csv", "modes-mode-000.extxyz"):
        (folder / name).mkdir()
    write("w.xyz", water())
    assert main(["modes", "w.xyz", "--calculator", "no_such_module:make", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list((folder / "there").iterdir())


def test_python_refuses_what_is_no_charge_before_any_force():
    calculator = Seen()
    atoms = crystal()
    atoms.info.update(charge=1.0, total_charge=2.0)
    with pytest.raises(ValueError, match="stated twice"):
        ph.from_calculator(atoms, calculator)
    with pytest.raises(ValueError, match="`relax_cell` needs"):
        ph.from_calculator(water(), calculator, relax_cell=True)
    flat = crystal()
    flat.cell[2] = 0
    with pytest.raises(ValueError, match="spans no volume"):
        ph.from_calculator(flat, calculator)
    assert not calculator.seen


@pytest.mark.parametrize(("periodic", "told"), [(True, True), (False, False)])
def test_rotations_of_a_molecule_in_a_periodic_box_are_told(folder, periodic, told):
    """They are counted in ε_0, which is none of a molecule."""
    atoms = molecule("H2O", vacuum=6.0)
    atoms.pbc = periodic
    found = ph.solve(ph.from_calculator(atoms, LRCalculator("water", **WATER)))
    assert any("periodic box" in note for note in found.notes) is told
