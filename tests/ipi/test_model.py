"""The real evaluator behind the driver: derivatives in i-PI's units, and runs."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from ase.units import Bohr, Hartree

from lrcalc import load, save
from lrcalc.evaluator import Evaluator
from lrcalc.ipi import (
    DriverSettings,
    Outputs,
    Pulse,
    Transport,
    bead_files,
    read_bead_extras,
    read_properties,
    run_ipi,
    write_input,
)
from lrcalc.ipi.driver import Engine
from lrcalc.ipi.structures import read_structure
from lrcalc.units import EPSILON_0
from tests.conftest import random_potential
from tests.ipi.helpers import address, assert_same_run, waters

FIELD = (0.03, -0.05, 0.1)
FIELDS = {
    "none": DriverSettings(),
    "E": DriverSettings(electric_field=FIELD),
    "D": DriverSettings(electric_displacement=(0.0, 0.0, 0.003)),
    "voltage": DriverSettings(reduced_field=(0.2, -0.3, 0.6)),
}


@pytest.mark.parametrize("field", FIELDS)
def test_virial_and_force_of_the_model(field):
    """All nine strains and a force against central differences, in atomic units.

    In a field the virial is not symmetric: the nine differ. At constant voltage it is: the field
    turns with the cell.
    """
    atoms = waters(8)
    settings = FIELDS[field]._replace(max_force=0.0)
    evaluator = Evaluator(
        random_potential(atoms),
        dtype="float64",
        electric_field=settings.electric_field,
        electric_displacement=settings.electric_displacement,
        reduced_field=settings.reduced_field,
    )
    run = Engine(settings, atoms, evaluator)
    cell, positions = np.array(atoms.cell).T / Bohr, atoms.positions / Bohr
    message = run([cell], [positions])[0]

    def derivative(potential, h):
        return (potential(h) - potential(-h)) / (2 * h)

    numeric = np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            unit = np.zeros((3, 3))
            unit[a, b] = 1.0

            def strained(h, unit=unit):
                deform = np.eye(3) + h * unit
                return run([deform @ cell], [positions @ deform.T])[0].potential

            numeric[a, b] = -derivative(strained, 1e-5)
    np.testing.assert_allclose(message.virial, numeric, rtol=1e-6, atol=3e-7)

    def moved(h):
        shifted = positions.copy()
        shifted[3, 1] += h
        return run([cell], [shifted])[0].potential

    np.testing.assert_allclose(message.force[3, 1], -derivative(moved, 1e-4), rtol=1e-6)
    skewed = np.max(np.abs(message.virial - message.virial.T))
    assert skewed > 1e-4 if field in "ED" else skewed < 1e-12


def test_pressure_at_constant_voltage_knows_no_branch():
    """All O moved by a lattice vector: forces are the same, and the pressure at constant voltage.

    At constant E the pressure is of another branch: by ``-E q a_z/V`` along z, q the whole charge
    that was moved.
    """
    atoms = waters(8)
    potential = random_potential(atoms)
    moved = atoms.copy()
    moved.positions[atoms.numbers == 8] += atoms.cell[2]
    charge = Evaluator(potential, dtype="float64").constant_charges(atoms)["O"] * 8
    field = np.array([0.0, 0.0, 0.1])
    changes = {}
    for settings in (
        DriverSettings(electric_field=tuple(field), max_force=0.0),
        DriverSettings(reduced_field=tuple(atoms.cell[:] @ field), max_force=0.0),
    ):
        evaluator = Evaluator(
            potential,
            dtype="float64",
            electric_field=settings.electric_field,
            reduced_field=settings.reduced_field,
        )
        run = Engine(settings, atoms, evaluator)
        run._first = False  # the driver refuses a start that is not the template
        cell = np.array(atoms.cell).T / Bohr
        one, other = (run([cell], [a.positions / Bohr])[0] for a in (atoms, moved))
        np.testing.assert_allclose(one.force, other.force, atol=1e-10)
        name = "E" if settings.electric_field else "voltage"
        changes[name] = (other.virial - one.virial) * Hartree
    assert np.abs(changes["voltage"]).max() < 1e-9
    expected = charge * np.outer(field, atoms.cell[2])
    np.testing.assert_allclose(changes["E"], expected, atol=1e-8)
    assert np.abs(expected).max() > 1e-3


@pytest.mark.timeout(120)
def test_model_in_process_and_by_socket(tmp_path):
    """A model file, two beads: the same trajectory both ways."""
    atoms = waters(8)
    save(random_potential(atoms), tmp_path / "model.pt")
    settings = DriverSettings(model=str(tmp_path / "model.pt"), dtype="float64", max_force=0.0)
    name = address()
    for mode in ("ffdirect", "unix"):
        path = write_input(
            "pimd",
            atoms,
            tmp_path / mode,
            steps=5,
            beads=2,
            timestep=0.05,
            settings=settings,
            transport=Transport(mode, name),
            outputs=Outputs(positions=0),
        )
        command = [sys.executable, "-m", "lrcalc.cli", "ipi", "--unix", "--address", name]
        assert run_ipi(path, clients=[command] if mode == "unix" else [], timeout=50).finished
    assert_same_run(tmp_path / "ffdirect", tmp_path / "unix")
    values = read_properties(tmp_path / "unix" / "sim.out").values
    assert np.ptp(values["potential"]) > 0


@pytest.mark.timeout(120)
def test_constant_field_on_water_is_driven_dynamics(tmp_path):
    """Eight waters: forces of the enthalpy, under plain NVE, against Born charges in i-PI's hands.

    i-PI's field acts to first order, so the bundled model goes without its polarizability surface,
    whose ``-½ E·A·E`` is of the second. Charges that move with the atoms are left, and Born charges
    that are a derivative of the dipole.
    """
    potential = load("water", dtype=torch.float64)
    potential.surface, potential.config["surface"] = None, 0
    save(potential, tmp_path / "model.pt")
    settings = DriverSettings(model=str(tmp_path / "model.pt"), dtype="float64")
    runs = {
        "efield": {"settings": settings._replace(electric_field=FIELD), "ensemble": "nve"},
        "pulse": {"settings": settings, "pulse": Pulse(FIELD)},
    }
    dipoles, values = {}, {}
    for kind, options in runs.items():
        path = write_input(
            kind, waters(8), tmp_path / kind, steps=20, timestep=0.25,
            outputs=Outputs(positions=0), **options,
        )  # fmt: skip
        assert run_ipi(path, timeout=100).finished
        folder = tmp_path / kind
        dipoles[kind] = read_bead_extras(bead_files(folder / "sim", "dipole")).values[0]
        values[kind] = read_properties(folder / "sim.out").values
    # Born charges travel with eight decimals: 5e-10 eV/Å in a force, 1e-10 Å after 5 fs
    np.testing.assert_allclose(dipoles["efield"], dipoles["pulse"], rtol=0, atol=1e-9)
    work = dipoles["pulse"] @ FIELD
    np.testing.assert_allclose(
        values["efield"]["potential"], values["pulse"]["potential"] - work, rtol=0, atol=1e-8
    )
    assert np.ptp(work) > 1e-3


def test_bundled_model_in_a_field_is_born_charges_and_a_second_order():
    """What the driver adds at constant E: ``E·Z``, odd in E, and the force of ``-½ E·α·E``."""
    atoms = waters(8)
    cell, positions = np.array(atoms.cell).T / Bohr, atoms.positions / Bohr
    settings = DriverSettings(dtype="float64", max_force=0.0, virial=False)

    def answer(vector, **more):
        changed = settings._replace(electric_field=vector, **more)
        return Engine(changed, atoms)([cell], [positions])[0]

    free = answer(None, extras=("BEC", "polarizability"))
    extras = json.loads(free.extras)
    up, down = answer(FIELD), answer(tuple(-x for x in FIELD))
    field = np.array(FIELD) * Bohr / Hartree  # hartree/(e bohr)
    odd = 0.5 * (up.force - down.force).reshape(-1)
    np.testing.assert_allclose(odd, np.array(extras["BEC"]) @ field, rtol=0, atol=1e-9)
    even = 0.5 * (up.potential + down.potential) - free.potential
    alpha = np.array(extras["polarizability"]).reshape(3, 3)
    np.testing.assert_allclose(even, -0.5 * field @ alpha @ field, rtol=1e-6)
    assert np.max(np.abs(0.5 * (up.force + down.force) - free.force)) > 1e-6


def water_run(folder, kind, steps, settings, **options):
    """The bundled model on 64 waters; properties of the run, and the state at its end."""
    options.setdefault("outputs", Outputs(properties=5, dipole=0, positions=0, checkpoint=1000))
    path = write_input(kind, "water64", folder, steps=steps, settings=settings, **options)
    assert run_ipi(path, timeout=2400).finished
    return read_properties(folder / "sim.out").values, folder / "RESTART"


def slope(time, values, blocks=10):
    """Slope of a line through block means, and its standard error from their scatter about it.

    Means over 100 fs are independent, where single steps are not.
    """
    size = len(time) // blocks
    x, y = (
        np.array(a[-blocks * size :]).reshape(blocks, size).mean(axis=1) for a in (time, values)
    )
    x = x - x.mean()
    gradient = (x @ y) / (x @ x)
    scatter = y - y.mean() - gradient * x
    return gradient, np.sqrt((scatter @ scatter) / (blocks - 2) / (x @ x))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fields_on_64_waters_conserve(tmp_path):
    """Drift of `conserved` over 2000 steps at constant E and constant D, against no field.

    Each from an equilibrium of its own: the time step's own error of the energy, which is bounded,
    follows the temperature, and a field switched on heats the water by 40 K in the first ps.
    """
    steps = int(os.environ.get("LRCALC_TEST_STEPS", "2000"))
    atoms = read_structure("water64")
    dipole = Evaluator("water")([atoms], ["dipole"])[0]["dipole"]
    displacement = dipole / atoms.get_volume() + EPSILON_0 * 1.78 * np.array([0.0, 0.0, 0.1])
    x, y, z = displacement
    cases = {
        "nve": DriverSettings(),
        "efield": DriverSettings(electric_field=(0.0, 0.0, 0.1)),
        "dfield": DriverSettings(electric_displacement=(x, y, z)),
    }
    drift, error, spread = {}, {}, {}
    for kind, settings in cases.items():
        _, state = water_run(
            tmp_path / f"{kind}-warm", kind, max(1, steps // 2), settings, ensemble="nvt"
        )
        values, _ = water_run(tmp_path / kind, kind, steps, settings, ensemble="nve", restart=state)
        conserved = 1e3 * values["conserved"] / len(atoms)  # meV
        drift[kind], error[kind] = slope(1e-3 * values["time"], conserved)
        spread[kind] = np.std(conserved)
        print(
            f"{kind}: drift {drift[kind]:+.4f} ± {error[kind]:.4f} meV/atom/ps,"
            f" spread {spread[kind]:.4f} meV/atom, {np.mean(values['temperature']):.0f} K"
        )
    for kind in ("efield", "dfield"):
        assert spread[kind] < 1.5 * spread["nve"]
        # the drift without a field may be zero within its error, and so is 1.5 times it
        noise = 2.0 * np.hypot(error[kind], 1.5 * error["nve"])
        assert abs(drift[kind]) <= 1.5 * abs(drift["nve"]) + noise
        assert abs(drift[kind]) <= 0.02 + 2.0 * error[kind]


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_npt_of_64_waters_with_four_beads_in_a_field(tmp_path):
    """It runs, moves the volume, and conserves."""
    steps = int(os.environ.get("LRCALC_TEST_STEPS", "400"))
    values, _ = water_run(
        tmp_path, "efield", steps, DriverSettings(electric_field=(0.0, 0.0, 0.05)),
        ensemble="npt", beads=4, timestep=0.25,
        outputs=Outputs(properties=1, dipole=0, positions=0, checkpoint=1000),
    )  # fmt: skip
    moved, conserved = np.ptp(values["potential"]), values["conserved"]
    half = len(conserved) // 2
    drift = conserved[half:].mean() - conserved[:half].mean()
    print(
        f"npt: volume moved by {np.ptp(values['volume']):.1f} Å³, potential by {moved:.2f} eV,"
        f" conserved by {drift:+.4f} eV between halves, spread {np.std(conserved):.4f} eV"
    )
    assert np.ptp(values["volume"]) > 0.1
    assert abs(drift) < 0.01 * moved
