"""Every kind of input runs, conserves what it must, and writes what its readers read."""

import numpy as np
import pytest
from ase.units import GPa

from lrcalc.ipi import (
    DriverSettings,
    Outputs,
    Pulse,
    bead_files,
    read_bead_extras,
    read_extras,
    read_positions,
    read_properties,
    run_ipi,
)
from lrcalc.units import EV_PER_A3_IN_GPA
from tests.ipi.helpers import toy_input, waters
from tests.ipi.toy_pes import ToyEvaluator

FIELD = (0.02, -0.03, 0.1)
KIND_OPTIONS = {
    "nve": {},
    "nvt": {},
    "npt": {},
    "pimd": {"beads": 4},
    "trpmd": {"beads": 4},
    "pacmd": {"beads": 4},
    "te-pigs": {"beads": 4, "temperature": 500.0},
    "efield": {"settings": DriverSettings(electric_field=FIELD)},
    "dfield": {"settings": DriverSettings(electric_displacement=(0.0, 0.0, 0.002))},
    "pulse": {"pulse": Pulse(FIELD, 3400.0, 5.0, 2.0)},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KIND_OPTIONS)
def test_kind_runs(tmp_path, kind):
    options = KIND_OPTIONS[kind]
    path = toy_input(tmp_path, kind, steps=10, **options)
    seen = []
    summary = run_ipi(path, timeout=40, progress=lambda step, row: seen.append((step, row)))
    assert summary.finished
    assert seen[-1][0] == 10
    values = read_properties(tmp_path / "sim.out").values
    assert len(values["step"]) == 11
    assert np.all(np.isfinite(values["conserved"]))
    beads = options.get("beads", 1)
    dipoles = read_bead_extras(bead_files(tmp_path / "sim", "dipole"))
    assert dipoles.values.shape == (beads, 11, 3)
    trajectory = read_positions(bead_files(tmp_path / "sim", "pos"))
    assert trajectory.positions.shape == (beads, 3, 12, 3)
    assert trajectory.steps.tolist() == [0, 5, 10]
    np.testing.assert_array_equal(trajectory.numbers, waters().numbers)
    np.testing.assert_allclose(
        trajectory.cells[0], waters().cell, atol=1e-7 if kind != "npt" else 1
    )
    assert trajectory.centroid().shape == (3, 12, 3)
    # the dipole written is that of the positions written (at fewer digits)
    atoms = waters()
    atoms.set_positions(trajectory.positions[-1, -1])
    expected = ToyEvaluator()([atoms], ["dipole"])[0]["dipole"]
    np.testing.assert_allclose(dipoles.values[-1, 10], expected, atol=1e-4)
    if kind == "te-pigs":
        assert (tmp_path / "sim.force-classical.extxyz").exists()


@pytest.mark.timeout(60)
def test_end_between_two_rows_of_properties(tmp_path):
    """A run whose last step is not printed has finished all the same."""
    path = toy_input(tmp_path, "nve", steps=7, outputs=Outputs(properties=5, positions=0))
    summary = run_ipi(path, timeout=40)
    assert summary.finished
    assert summary.step == 7


@pytest.mark.timeout(60)
def test_lazy_dielectric_component(tmp_path):
    """Expensive extras only on output steps, of the centroid; forces as without them."""
    wanted = DriverSettings(extras=("dipole", "polarizability", "BEC"))
    path = toy_input(
        tmp_path, "pimd", steps=10, beads=4, settings=wanted,
        outputs=Outputs(dielectric=5, positions=0),
    )  # fmt: skip
    assert run_ipi(path, timeout=40).finished
    toy = ToyEvaluator()([waters()], ["polarizability", "born_effective_charges"])[0]
    for name in ("dipole", "polarizability", "BEC"):
        extras = read_extras(tmp_path / f"sim.{name}")
        np.testing.assert_array_equal(extras.steps, [0, 5, 10])
    polarizability = read_extras(tmp_path / "sim.polarizability").values
    np.testing.assert_allclose(polarizability, [toy["polarizability"]] * 3, atol=1e-9)
    born = read_extras(tmp_path / "sim.BEC").values
    np.testing.assert_allclose(born, [toy["born_effective_charges"]] * 3, atol=1e-7)
    plain = tmp_path / "plain"
    assert run_ipi(toy_input(plain, "pimd", steps=10, beads=4), timeout=40).finished
    np.testing.assert_allclose(
        read_properties(plain / "sim.out").values["potential"],
        read_properties(tmp_path / "sim.out").values["potential"],
        rtol=1e-10,
    )


@pytest.mark.timeout(60)
def test_pressure_is_that_of_ase(tmp_path):
    """With cold atoms i-PI's pressure is minus a third of the trace of ASE's stress."""
    path = toy_input(
        tmp_path, "efield", steps=1, temperature=1e-9, settings=DriverSettings(electric_field=FIELD)
    )
    path.write_text(path.read_text().replace("[ step,", "[ step, pressure_md,"))
    assert run_ipi(path, timeout=40).finished
    pressure = read_properties(tmp_path / "sim.out").values["pressure_md"][0]
    stress = ToyEvaluator(FIELD)([waters()], ["stress"])[0]["stress"]
    np.testing.assert_allclose(pressure, -np.trace(stress) / 3.0, rtol=1e-6)
    np.testing.assert_allclose(1.0 / GPa, EV_PER_A3_IN_GPA, rtol=1e-7)


@pytest.mark.timeout(90)
def test_constant_field_in_the_driver_is_driven_dynamics(tmp_path):
    """The enthalpy's forces under plain NVE against i-PI's Born charges times field."""
    inside = tmp_path / "inside"
    path = toy_input(
        inside, "efield", steps=100, ensemble="nve", timestep=0.25,
        settings=DriverSettings(electric_field=FIELD),
    )  # fmt: skip
    assert run_ipi(path, timeout=40).finished
    driven = tmp_path / "driven"
    assert run_ipi(toy_input(driven, "pulse", steps=100, pulse=Pulse(FIELD)), timeout=40).finished
    one = read_bead_extras(bead_files(inside / "sim", "dipole")).values[0]
    two = read_bead_extras(bead_files(driven / "sim", "dipole")).values[0]
    # BEC travels as text with eight decimals; charges of the toy are exact in it
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-9)
    a, b = (read_properties(folder / "sim.out").values for folder in (inside, driven))
    # the driver's potential is the enthalpy; i-PI leaves the energy of the field out
    np.testing.assert_allclose(a["potential"], b["potential"] - two @ FIELD, rtol=0, atol=1e-8)
    work = np.ptp(b["conserved"])
    assert np.ptp(a["conserved"]) < 0.05 * work


@pytest.mark.timeout(60)
def test_a_pulse_ends(tmp_path):
    """Work is done while it is on; after five widths `conserved` is constant again."""
    pulse = Pulse((0.0, 0.0, 0.5), peak=6.0, width=2.0)
    outputs = Outputs(positions=0, dipole=0)
    path = toy_input(tmp_path, "pulse", steps=120, pulse=pulse, timestep=0.25, outputs=outputs)
    assert run_ipi(path, timeout=40).finished
    values = read_properties(tmp_path / "sim.out").values
    after = values["time"] > pulse.peak + 5.0 * pulse.width
    assert np.count_nonzero(after) > 40
    work = abs(values["conserved"][after].mean() - values["conserved"][0])
    assert np.ptp(values["conserved"][after]) < 0.02 * work


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "field",
    [{"electric_field": FIELD}, {"electric_displacement": (0.0, 0.0, 0.002)}],
    ids=["E", "D"],
)
def test_fields_conserve_as_well_as_no_field(tmp_path, field):
    """Spread of `conserved` over 600 steps, constant E or D, within 1.5 of the free run."""
    outputs = Outputs(properties=4, dipole=0, positions=0, checkpoint=1000)
    spread = {}
    for name, settings in (("free", DriverSettings()), ("field", DriverSettings(**field))):
        kind = "nve" if name == "free" else ("efield" if "electric_field" in field else "dfield")
        path = toy_input(
            tmp_path / name, kind, steps=600, ensemble="nve", settings=settings, outputs=outputs
        )
        assert run_ipi(path, timeout=60).finished
        conserved = read_properties(tmp_path / name / "sim.out").values["conserved"]
        spread[name] = np.std(conserved)
    assert spread["field"] < 1.5 * spread["free"]


@pytest.mark.timeout(90)
def test_npt_with_beads_in_a_field_conserves(tmp_path):
    """Four beads at constant pressure and field: the drift is small against the energy moved."""
    path = toy_input(
        tmp_path, "efield", steps=400, beads=4, ensemble="npt", timestep=0.25,
        settings=DriverSettings(electric_field=FIELD),
        outputs=Outputs(dipole=0, positions=0),
    )  # fmt: skip
    assert run_ipi(path, timeout=60).finished
    values = read_properties(tmp_path / "sim.out").values
    assert np.ptp(values["volume"]) > 0.1
    drift = abs(np.mean(values["conserved"][-100:]) - np.mean(values["conserved"][:100]))
    assert drift < 0.02 * np.ptp(values["potential"])
