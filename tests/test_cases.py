"""Rows of ../shared/cases/README.md through the command that each names, with its number.

Rows that are tested where they belong: folders of phonopy (analysis/test_phonopy_folders.py),
selective dynamics, the ion and the open dimer (analysis/test_modes_intake.py), label D
(analysis/test_run_velocities.py), h3o in i-PI (ipi/test_intake.py) and in md
(commands/test_md_intake.py), resumed runs (ipi_files/test_files.py), branches
(analysis/test_runs.py), conditions of runs (analysis/test_conditions.py), stale results
(test_calculator_sequences.py), one permittivity (models/test_one_permittivity.py), error bars
(analysis/test_coverage.py), labels and levels in training (training/).
"""

import numpy as np
import pytest
from ase.io import read

from lrcalc import LRCalculator
from lrcalc.cli import main
from lrcalc.structures import read_structure

EV_A3_TO_GPA = 160.21766208


@pytest.mark.shared
@pytest.mark.parametrize("name", ["d2o.xyz", "mass.xyz", "D.xyz"])
def test_masses_reach_ipi(tmp_path, shared, name):
    """RESTART held 1837.36 for D; 2.01410177812 amu are 3671.48 electron masses."""
    structure = shared / "cases" / "masses" / name
    command = ["ipi-run", "--kind", "nve", "--structure", str(structure), "--model", "water"]
    assert main([*command, "--workdir", str(tmp_path / "run"), "--steps", "1", "--quiet"]) == 0
    text = (tmp_path / "run" / "RESTART").read_text()
    masses = text.split("<m ")[1].split(">", 1)[1].split("</m>")[0].strip(" []\n")
    heavy = min(float(word) for word in masses.split(","))
    assert heavy == pytest.approx(3671.3, rel=1e-4)


@pytest.mark.shared
def test_fixed_atoms_stay_in_ipi(tmp_path, shared):
    """They moved by 0.39 Å in 20 steps."""
    structure = shared / "cases" / "constraints" / "fix.vasp"
    command = ["ipi-run", "--kind", "nvt", "--structure", str(structure), "--model", "water"]
    run = ["--workdir", str(tmp_path / "run"), "--steps", "20", "--quiet"]
    assert main([*command, *run, "--positions-stride", "20"]) == 0
    atoms = read_structure(structure)
    held = atoms.constraints[0].index
    frames = read(tmp_path / "run" / "sim.pos_0.extxyz", ":")
    moved = np.abs(frames[-1].positions - frames[0].positions).max(1)
    assert moved[held].max() < 1e-6
    assert np.delete(moved, held).max() > 0.05


@pytest.mark.shared
def test_a_run_and_its_density_of_states_have_one_temperature(tmp_path, shared, capsys):
    """`md` of d2o.xyz, then `vdos`: "mean temperature 190.1 K" of a run at 287.4 K."""
    structure = shared / "cases" / "masses" / "d2o.xyz"
    command = ["md", "water", str(structure), "--ensemble", "nve", "--temperature", "300"]
    out = str(tmp_path / "run")
    assert main([*command, "--steps", "60", "--every", "1", "--out", out]) == 0
    table = np.genfromtxt(out + ".csv", delimiter=",", names=True)
    capsys.readouterr()
    assert main(["vdos", out + ".xyz", "--resolution", "2500", "-o", str(tmp_path / "v")]) == 0
    told = capsys.readouterr().out
    found = float(told.split("temperature of the velocities ")[1].split(" K")[0])
    assert found == pytest.approx(table["temperature_K"].mean(), rel=2e-3)


@pytest.mark.shared
@pytest.mark.parametrize("held", ["electric_field", "reduced_field"])
def test_pressure_and_the_branch(shared, held):
    """All O on another lattice vector: another pressure at constant E, none at constant voltage.

    With the charge q⁰ of an ion the enthalpy changes by ``-Σ q⁰ E·a``, its part of the pressure
    by ``Σ q⁰ E·a/(3V)``. The 0.67 GPa of the table are of a structure that it does not name; the
    first frame of BaTiO3 has -0.340 (one lattice vector of 12.1 Å), the quartz -0.058.
    """
    atoms = read(shared / "data" / "crystals" / "BaTiO3_55.xyz.gz", index=0)
    field = np.array([0.0, 0.0, 0.1])
    value = field if held == "electric_field" else np.asarray(atoms.cell) @ field
    calc = LRCalculator("BaTiO3", dtype="float64", follow_branch=False, **{held: value})
    moved = atoms.copy()
    oxygen = moved.numbers == 8
    moved.positions[oxygen] += moved.cell[2]
    pressure, forces = [], []
    for structure in (atoms, moved):
        pressure.append(-calc.get_property("stress", structure)[:3].mean() * EV_A3_TO_GPA)
        forces.append(calc.get_property("forces", structure))
    np.testing.assert_allclose(forces[0], forces[1], atol=1e-10)
    jump = oxygen.sum() * calc.dipole_quantum(atoms)["O"][2] @ field
    expected = jump * EV_A3_TO_GPA / (3 * atoms.get_volume()) if held == "electric_field" else 0.0
    assert pressure[1] - pressure[0] == pytest.approx(expected, abs=1e-9)
    if held == "electric_field":
        assert expected == pytest.approx(-0.3405, abs=2e-4)
