"""The condition of a run travels into its analysis: used, said, or refused with the way out."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from lrcalc import analysis, ipi, units
from lrcalc.analysis import conditions as known
from lrcalc.analysis.correlator import Series
from lrcalc.cli import main
from lrcalc.ipi_files.folder import read_run
from lrcalc.run_conditions import RunConditions, to_info
from tests.analysis.signals import langevin
from tests.analysis.test_files import extras, run
from tests.ipi.helpers import toy_input, waters

VOLUME, TEMPERATURE, INFINITY = 700.0, 300.0, 2.38
TO, LO = 1200.0, 1500.0
"""cm⁻¹ of an oscillator; LO² − TO² = Z²/(m ε0 ε_∞ V) fixes its charge."""
OMEGA = units.WAVENUMBER_TO_ANGULAR
STRENGTH = INFINITY * ((LO / TO) ** 2 - 1)
"""ε(0) − ε_∞ = Z²/(m ε0 V ω_TO²)."""
HELD_D = RunConditions(ensemble="nvt", thermostat="bussi", held="electric_displacement",
                       value=(0.0, 0.0, 0.001))  # fmt: skip


def dipole(wavenumber, frames=60_000, seed=1):
    """All of the dipole (T, 3), e Å, of the oscillator at frequency TO (E = 0) or LO (D held).

    At constant D the electrons answer the field: what fluctuates is the ionic part over ε_∞.
    """
    # unit mass: ⟨x²⟩ = k_BT/(m ω²)
    x = langevin(np.random.default_rng(seed), frames, 1.0, wavenumber, 0.01, TEMPERATURE)[0]
    variance = units.BOLTZMANN * TEMPERATURE / (units.EV_PER_AMU_A2_FS2 * (wavenumber * OMEGA) ** 2)
    assert x.var() == pytest.approx(variance, rel=0.2)
    charge = np.sqrt(
        STRENGTH * units.EPSILON_0 * VOLUME * units.EV_PER_AMU_A2_FS2 * (TO * OMEGA) ** 2
    )
    return charge * x / (INFINITY if wavenumber == LO else 1.0)


def series(values, conditions=None, columns=3):
    return Series(lambda: iter([values]), columns, "data", 1.0, None, conditions)


OPTIONS = {"timestep": 1.0, "volume": VOLUME, "temperature": TEMPERATURE}


def test_dielectric_function_at_constant_displacement():
    """Closed form: both boundary conditions have the same ε(0) and the same ε(ω), with its TO."""
    exact = INFINITY + STRENGTH
    plain = analysis.dielectric(
        series(dipole(TO)), epsilon_infinity=INFINITY, resolution=40.0, **OPTIONS
    )
    held = analysis.dielectric(
        series(dipole(LO), HELD_D), epsilon_infinity=INFINITY, resolution=40.0, **OPTIONS
    )
    for found in (plain, held):
        assert found.static == pytest.approx(exact, abs=4 * found.static_error)
        assert found.static_error < 0.06 * exact
        peak = found.wavenumber[np.argmax(found.epsilon.imag)]
        assert peak == pytest.approx(TO, abs=15)
        loss = -(1 / found.epsilon).imag
        assert found.wavenumber[np.argmax(loss)] == pytest.approx(LO, abs=30)
        far = found.wavenumber > 4000
        np.testing.assert_allclose(found.epsilon[far].real, INFINITY, rtol=0.1)
    # as if tin-foil: today's wrong number, without a word
    wrong = analysis.dielectric(
        series(dipole(LO)), epsilon_infinity=INFINITY, resolution=40.0, **OPTIONS
    )
    assert wrong.static < INFINITY + 0.4 * STRENGTH
    assert any("1/ε = 1/ε_∞" in note for note in held.settings["notes"])


def test_spectra_at_constant_displacement_say_that_they_are_longitudinal():
    held = analysis.infrared(series(dipole(LO), HELD_D), **OPTIONS)
    assert held.settings["quantity"] == known.LOSS
    assert "LO and not TO" in held.settings["notes"][0]
    assert held.wavenumber[np.argmax(held.n_alpha)] == pytest.approx(LO, abs=10)
    plain = analysis.infrared(series(dipole(TO)), **OPTIONS)
    assert plain.settings["quantity"] != known.LOSS
    assert not any("LO" in note for note in plain.settings["notes"])
    # D = 0 is held as well; E = 0 is tin-foil
    for held_at_zero, says in (("electric_displacement", True), ("electric_field", False)):
        zero = HELD_D._replace(held=held_at_zero, value=(0.0, 0.0, 0.0))
        assert bool(known.check(zero, "infrared")) is says


def test_fluctuations_that_no_dielectric_has():
    with pytest.raises(ValueError, match=r"1/ε\(0\) would be -.*all of it"):
        analysis.dielectric(
            series(3 * dipole(LO), HELD_D), epsilon_infinity=INFINITY, resolution=40.0, **OPTIONS
        )


DRIVEN = RunConditions(ensemble="nve", held="electric_field", value=(0, 0, 0.1), varies=True)
ALL = sorted(known.FORMULAS)


@pytest.mark.parametrize("formula", ALL)
@pytest.mark.parametrize(
    ("found", "message"),
    [
        (DRIVEN, "driven by a varying field E of .*Run on without the field"),
        (DRIVEN._replace(held="electric_displacement"), "driven by a varying electric displ"),
        (DRIVEN._replace(held="reduced_field", value=None), "driven by a varying voltage"),
        (RunConditions(dynamics="pimd", beads=8, thermostat="pile_l"), "trpmd or pacmd"),
        (RunConditions(ensemble="nvt", thermostat="langevin"), "'langevin' acts on each atom"),
        (RunConditions(dynamics="exchange"), "exchanges replicas"),
        (RunConditions(ensemble="nvt", thermostat="svr + langevin"), "acts on each atom"),
        (RunConditions(dynamics="motion t_ramp"), "'motion t_ramp' is no dynamics in equilibrium"),
    ],
)
def test_refused(formula, found, message):
    with pytest.raises(ValueError, match=f"{message}.*`force_equilibrium`"):
        known.check(found, formula)
    allowed, told = known.forced(found, formula)
    assert known.check(allowed, formula) is not None
    assert told[0].startswith("WARNING, forced: ")


@pytest.mark.parametrize("formula", ALL)
@pytest.mark.parametrize(
    "found",
    [
        None,
        RunConditions(ensemble="nve", thermostat="none"),
        RunConditions(ensemble="nvt", thermostat="svr"),
        RunConditions(ensemble="nvt", thermostat="bussi"),
        RunConditions(dynamics="rpmd", beads=8),
        RunConditions(dynamics="trpmd", beads=8, thermostat="pile_g"),
        RunConditions(dynamics="pa-cmd", beads=8, thermostat="pile_g"),
        RunConditions(dynamics="te-pigs"),
        RunConditions(held="electric_field", value=(0.0, 0.0, 0.0)),
    ],
)
def test_taken_without_a_word(formula, found):
    assert known.check(found, formula) == []


def test_fields_and_pressure_are_said():
    field = RunConditions(held="electric_field", value=(0.0, 0.1, 0.0))
    assert "polarised state" in known.check(field, "infrared")[0]
    with pytest.raises(ValueError, match="carries a current"):
        known.check(field, "conductivity")
    with pytest.raises(ValueError, match="its direct current is zero"):
        known.check(HELD_D, "conductivity")
    assert "barostat" in known.check(RunConditions(ensemble="npt"), "dielectric")[0]


def test_runs_of_different_conditions_are_not_averaged():
    data = [series(dipole(TO)[:6000], RunConditions()), series(dipole(LO)[:6000], HELD_D)]
    with pytest.raises(ValueError, match=r"without a field and at constant electric displ.*one by"):
        analysis.infrared(data, **OPTIONS)
    cold = [RunConditions(ensemble="nvt", temperature=t) for t in (300.0, 350.0)]
    with pytest.raises(ValueError, match="300 K and 350 K"):
        known.common(cold)


KINDS = {
    "nve": {}, "nvt": {}, "npt": {}, "pimd": {"beads": 2}, "trpmd": {"beads": 2},
    "pacmd": {"beads": 2}, "te-pigs": {"beads": 2},
    "efield": {"settings": ipi.Settings(electric_field=(0, 0, 0.01))},
    "dfield": {"settings": ipi.Settings(electric_displacement=(0, 0, 0.001))},
    "pulse": {"pulse": ipi.Pulse((0, 0, 0.05), peak=3.0, width=1.0)},
}  # fmt: skip
EXPECTED = {
    "nve": ("nve", "none", "classical", "", False),
    "nvt": ("nvt", "svr", "classical", "", False),
    "npt": ("npt", "svr", "classical", "", False),
    "pimd": ("nvt", "pile_g", "pimd", "", False),
    "trpmd": ("nvt", "pile_g", "trpmd", "", False),
    "pacmd": ("nvt", "pile_g", "pa-cmd", "", False),
    "te-pigs": ("nvt", "pile_g", "pimd", "", False),
    "efield": ("nvt", "svr", "classical", "electric_field", False),
    "dfield": ("nvt", "svr", "classical", "electric_displacement", False),
    "pulse": ("nve", "none", "classical", "electric_field", True),
}


def conditions_in(folder):
    found = known.of_run(read_run(folder))
    return found, (found.ensemble, found.thermostat, found.dynamics, found.held, found.varies)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_input(tmp_path, kind):
    path = toy_input(tmp_path / "run", kind, structure=waters(1), temperature=310, **KINDS[kind])
    found, told = conditions_in(path.parent)
    assert told == EXPECTED[kind]
    assert found.temperature == pytest.approx(310.0)
    assert (found.beads, found.model) == (KINDS[kind].get("beads", 1), "water")
    if kind == "dfield":
        assert found.value == (0.0, 0.0, 0.001)
    if kind == "pulse":
        assert found.value == pytest.approx((0.0, 0.0, 0.05))


def test_what_ipi_itself_leaves_behind_says_the_same(tmp_path):
    """RESTART of a real run instead of its input; conditions and dipoles at constant D."""
    for kind in ("dfield", "nvt", "pulse"):
        path = toy_input(tmp_path / kind, kind, structure=waters(1), steps=3, **KINDS[kind])
        assert ipi.run_ipi(path, timeout=60).finished
        path.unlink()
        assert conditions_in(path.parent)[1] == EXPECTED[kind]
        found = analysis.read_series(path.parent / "sim.dipole_0")
        assert found.conditions.held == EXPECTED[kind][3]


def test_a_constant_field_of_driven_dynamics_does_not_drive(tmp_path):
    path = toy_input(tmp_path / "run", "pulse", pulse=ipi.Pulse((0, 0, 0.05)), structure=waters(1))
    found, told = conditions_in(path.parent)
    assert told[3:] == ("electric_field", False)
    assert found.value == pytest.approx((0, 0, 0.05))


ONE = "<thermostat mode='svr'> <tau units='femtosecond'> 100 </tau> </thermostat>"
TWO = """<thermostat mode='multi'> <thermostat mode='svr'/>
  <thermostat mode='langevin'> <tau units='femtosecond'> 50 </tau> </thermostat> </thermostat>"""


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        (
            {ONE: TWO},
            ("svr + langevin", "classical"),
        ),
        (
            {
                "<motion mode": "<motion mode='multi'> <motion mode='t_ramp'/> <motion mode",
                "</motion>": "</motion> </motion>",
            },
            ("svr", "motion t_ramp"),
        ),
    ],
)
def test_inputs_of_other_peoples_making(tmp_path, replaced, expected):
    path = toy_input(tmp_path / "run", "nvt", structure=waters(1))
    text = path.read_text()
    for old, new in replaced.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)
    found = known.of_run(read_run(path.parent))
    assert (found.thermostat, found.dynamics) == expected
    with pytest.raises(ValueError, match="force_equilibrium"):
        known.check(found, "infrared")


def test_commands_on_folders(tmp_path, capsys):
    """Every command refuses a driven run with status 2, and computes it when told to."""
    path = toy_input(tmp_path / "run", "pulse", structure=waters(1), **KINDS["pulse"])
    dipoles = dipole(TO)[:12_000] / units.BOHR
    extras(path.parent / "sim.dipole_0", dipoles)
    out = ["--volume", "700", "--temperature", "300", "--no-progress", "-o", str(tmp_path / "o")]
    for command in ("ir", "dielectric", "conductivity"):
        assert main([command, str(path.parent), *out]) == 2
        told = capsys.readouterr().err
        assert "driven by a varying field E of (0, 0, 0.05) V/Å" in told
        assert "--force-equilibrium" in told
        assert not list(tmp_path.glob("o-*"))
    assert main(["ir", str(path.parent), *out, "--force-equilibrium"]) == 0
    assert "WARNING, forced: the run was driven" in capsys.readouterr().out
    notes = json.loads((tmp_path / "o-ir.json").read_text())["settings"]["notes"]
    assert any("forced" in note for note in notes)


def test_commands_at_constant_displacement(tmp_path, capsys):
    path = toy_input(
        tmp_path / "run", "dfield", structure=waters(1),
        settings=ipi.Settings(electric_displacement=(0, 0, 0.001), epsilon_infinity=INFINITY),
    )  # fmt: skip
    extras(path.parent / "sim.dipole_0", dipole(LO) / units.BOHR, stride=2)
    out = ["--volume", 700, "--no-progress", "-o", tmp_path / "o", "--resolution", 40]
    assert run("ir", path.parent, *out) == 0
    told = capsys.readouterr().out
    assert "peak of ω/c·Im(−1/ε)" in told
    assert "LO and not TO" in told
    data = json.loads((tmp_path / "o-ir.json").read_text())
    assert data["quantity"] == known.LOSS
    assert data["peaks"][0]["wavenumber"] == pytest.approx(LO, abs=10)
    header = (tmp_path / "o-ir.csv").read_text()
    assert "loss_function" in header
    assert "epsilon_imaginary" not in header
    assert run("dielectric", path.parent, *out) == 0
    found = json.loads((tmp_path / "o-dielectric.json").read_text())
    assert found["static_dielectric"] == pytest.approx(
        INFINITY + STRENGTH, abs=4 * found["standard_error"]
    )
    with pytest.raises(ValueError, match="direct current is zero.*--force-equilibrium"):
        run("conductivity", path.parent, *out)


def frames(values, conditions, fields=None):
    for step, value in enumerate(values):
        atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]], cell=[7.0, 10.0, 10.0], pbc=True)
        atoms.info |= {"dipole": value, "time_fs": float(step)}
        atoms.info |= {} if conditions is None else to_info(conditions)
        if fields is not None:
            atoms.info["electric_field"] = fields[step]
        yield atoms


def test_frames_carry_their_conditions(tmp_path):
    """Temperature, ε_∞ and what was held: of the frames; the field tells the electrons' part."""
    told = HELD_D._replace(temperature=TEMPERATURE, epsilon_infinity=INFINITY)
    whole = dipole(LO, 6_000)
    field = -whole / (units.EPSILON_0 * VOLUME)
    path = tmp_path / "md.xyz"
    # a dipole without the electrons' part, as recorded by earlier versions
    write(path, list(frames(INFINITY * whole, told, field)), format="extxyz")
    assert run("dielectric", path, "--no-progress", "-o", tmp_path / "o", "--resolution", 60) == 0
    found = json.loads((tmp_path / "o-dielectric.json").read_text())
    assert found["settings"]["temperature_K"] == TEMPERATURE
    assert found["settings"]["epsilon_infinity"] == INFINITY
    assert found["static_dielectric"] == pytest.approx(
        INFINITY + STRENGTH, abs=4 * found["standard_error"]
    )


def test_frames_of_two_runs_in_one_file(tmp_path):
    path = tmp_path / "md.xyz"
    values = dipole(TO)[:50]
    write(path, [*frames(values, HELD_D), *frames(values, DRIVEN)], format="extxyz")
    with pytest.raises(ValueError, match="frame 50: made under other conditions"):
        list(analysis.read_series(path).chunks())
    atoms = next(frames(values, None))
    atoms.info["run_conditions"] = "nonsense"
    write(path, [atoms] * 3, format="extxyz")
    with pytest.raises(ValueError, match="not what lrcalc writes"):
        analysis.read_series(path)
