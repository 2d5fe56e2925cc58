"""The bundled water model: derivatives, dynamics, and the benchmark of its errors."""

import json

import numpy as np
import pytest
from ase import units
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from lrcalc import LRCalculator
from lrcalc.cli import main
from lrcalc.commands.demo import energy_drift
from lrcalc.structures import read_structure


def test_forces_and_born_charges_are_derivatives_on_a_sheared_box():
    atoms = read_structure("water64")
    shear = np.array([[1.0, 0, 0], [0.08, 1.02, 0], [-0.05, 0.04, 0.98]])
    atoms.set_cell(np.asarray(atoms.cell) @ shear, scale_atoms=True)
    calc = LRCalculator("water", dtype="float64")
    atoms.calc = calc
    forces, born = atoms.get_forces(), calc.get_property("born_effective_charges", atoms)
    h = 1e-4
    for i, axis in ((0, 0), (77, 1), (150, 2)):
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * h
            moved.calc = calc
            values.append((moved.get_potential_energy(), calc.get_property("dipole", moved)))
        energy = (values[0][0] - values[1][0]) / (2 * h)
        dipole = (values[0][1] - values[1][1]) / (2 * h)
        # central differences are good to h² times the third derivative, and |E| eps / h
        assert -energy == pytest.approx(forces[i, axis], rel=1e-5, abs=2e-7)
        np.testing.assert_allclose(dipole, born[i, :, axis], rtol=1e-5, atol=1e-7)


def nve(picoseconds):
    atoms = read_structure("water64")
    atoms.calc = LRCalculator("water")
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(2))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    rows = []
    dynamics.attach(
        lambda: rows.append((dynamics.get_time() / units.fs, atoms.get_total_energy())), interval=4
    )
    dynamics.run(round(2000 * picoseconds))
    return atoms, *np.array(rows).T


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_energy_drift_over_five_picoseconds():
    atoms, time, energy = nve(5.0)
    assert abs(energy_drift(time, energy, len(atoms))) < 0.2e-3
    assert 200 < atoms.get_temperature() < 400


def test_energy_is_conserved_over_a_short_run():
    atoms, _, energy = nve(0.1)
    assert np.ptp(energy) / len(atoms) < 0.5e-3
    hydrogens = atoms.get_all_distances(mic=True)[atoms.numbers == 8][:, atoms.numbers == 1]
    assert np.sort(hydrogens, axis=1)[:, :2].max() < 1.4  # molecules stay whole


@pytest.mark.shared
def test_errors_on_kept_out_frames(shared, tmp_path):
    data = shared / "data" / "water" / "rpbe_d3_born_70.xyz.gz"
    out = tmp_path / "errors.json"
    assert main(["evaluate", "water", str(data), "--frames", "3::14", "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert set(report) == {"model", "data", "kept_out"}
    assert report["kept_out"]["forces"]["rmse"] <= 0.040
    assert report["kept_out"]["energy"]["rmse"] <= 0.001
    assert report["kept_out"]["born"]["r2"] >= 0.96
