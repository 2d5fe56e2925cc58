"""One reader of i-PI's inputs, states, properties, extras and beads; real runs where it can be."""

import gzip

import numpy as np
import pytest

from lrcalc import ipi, units
from lrcalc.analysis.frames import read_ipi_velocities
from lrcalc.analysis.readers import read_ipi_extras
from lrcalc.ipi.run import set_total_steps
from lrcalc.ipi_files import beads, extras, folder, properties, simulation
from tests.analysis.signals import langevin
from tests.ipi.helpers import toy_input, waters

DIPOLE = np.round(langevin(np.random.default_rng(0), 40, 1.0, 1600.0, 0.01, 300.0)[0], 6)


def frame(step, values, name="dipole"):
    rows = "\n".join(" ".join(f"{x:20.12e}" for x in row) for row in np.atleast_2d(values))
    return f" #EXTRAS({name})# Step:  {step:10d} \n{rows}\n"


def both(path):
    """The steps and values of both readers, in e Å; the analysis has no steps."""
    found = ipi.read_extras(path)
    series = read_ipi_extras(path, factor=units.BOHR, columns=3)
    streamed = np.concatenate(list(series.chunks()))
    np.testing.assert_allclose(streamed, found.values, rtol=1e-12)
    return found.steps, found.values / units.BOHR, series.stride


@pytest.mark.parametrize("packed", [False, True])
def test_the_later_branch_counts(tmp_path, packed):
    """Stopped at 100, resumed from 50, ended at 70: eight frames for every reader."""
    text = "".join(frame(s, DIPOLE[s // 10]) for s in range(0, 101, 10))
    text += "".join(frame(s, -DIPOLE[s // 10]) for s in (60, 70))
    path = tmp_path / ("sim.dipole_0" + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    steps, values, stride = both(path)
    assert steps.tolist() == list(range(0, 71, 10))
    assert stride == 10
    np.testing.assert_allclose(values, np.concatenate([DIPOLE[:6], -DIPOLE[6:8]]), atol=1e-10)
    rows = [f"{s:.1f} {s / 1e3} {t}\n" for t, part in ((1, range(0, 101, 10)), (2, (60, 70)))
            for s in part]  # fmt: skip
    head = "# column 1 --> step : a\n# column 2 --> time{picosecond} : b\n"
    for columns in (head, head.replace("step", "other")):  # by the time where there is no step
        (tmp_path / "sim.out").write_text(columns + "# column 3 --> x : c\n" + "".join(rows))
        table = ipi.read_properties(tmp_path / "sim.out").values
        np.testing.assert_allclose(table["time"], range(0, 71, 10))
        np.testing.assert_array_equal(table["x"], [1] * 6 + [2] * 2)


def test_resumed_more_than_once_and_before_the_second_frame(tmp_path):
    parts = [(0, 10, 20, 30), (20, 30, 40), (10, 20), (20, 30, 40, 50)]
    path = tmp_path / "sim.dipole_0"
    path.write_text("".join(frame(s, [k, s, 0]) for k, part in enumerate(parts) for s in part))
    steps, values, stride = both(path)
    assert steps.tolist() == [0, 10, 20, 30, 40, 50]
    assert stride == 10
    assert values[:, 0].round().astype(int).tolist() == [0, 2, 3, 3, 3, 3]
    path.write_text(frame(0, [1, 0, 0]) + "".join(frame(s, [2, 0, 0]) for s in (0, 10, 20)))
    assert both(path)[0].tolist() == [0, 10, 20]


@pytest.mark.parametrize("rows", [1, 3])
def test_cut_at_every_byte_and_resumed(tmp_path, rows):
    """Also where a frame has several lines, as Born charges have."""
    name = "dipole" if rows == 1 else "BEC"
    values = np.random.default_rng(2).normal(size=(6, 3 * rows))
    shaped = values.reshape(6, rows, 3)
    path = tmp_path / "sim.x_0"
    whole = "".join(frame(5 * i, shaped[i], name) for i in range(4))
    last = len(whole) - len(frame(15, shaped[3], name))
    for cut in range(last, len(whole) + 1):
        path.write_text(whole[:cut])
        count = 4 if cut == len(whole) else 3
        assert extras.read_extras(path).steps.tolist() == [0, 5, 10, 15][:count]
        again = "".join(frame(5 * i, -shaped[i], name) for i in (2, 3, 4))
        path.write_text(whole[:cut] + again)
        steps, found = (np.concatenate(part) for part in zip(*extras.stream(path), strict=True))
        assert steps.tolist() == [0, 5, 10, 15, 20]
        np.testing.assert_allclose(found, np.concatenate([values[:2], -values[2:5]]), rtol=1e-9)
    path.write_text(whole[: len(whole) - 8] + frame(20, shaped[4], name))
    with pytest.raises(ValueError, match=r"step 15 in .* is cut"):
        list(extras.stream(path))


def test_large_files_come_in_pieces(tmp_path, monkeypatch):
    path = tmp_path / "sim.dipole_0"
    text = [frame(2 * i, DIPOLE[i]) for i in range(40)]
    path.write_text("".join(text) + "".join(frame(2 * i, -DIPOLE[i]) for i in range(30, 40)))
    expected = np.concatenate([DIPOLE[:30], -DIPOLE[30:]])
    for size in (64, 100, 313, 1000):
        monkeypatch.setattr(extras, "_PIECE", size)
        np.testing.assert_allclose(both(path)[1], expected, atol=1e-10)


def test_files_that_are_no_extras(tmp_path):
    path = tmp_path / "x"
    for text, message in [
        ("1 2 3\n", "no frames of extras"),
        ("", "no frames of extras"),
        (" #EXTRAS(dipole)# Step:  0 \n 1. 2.", "no whole frame"),
        (frame(0, [1, 2, 3], "raw"), "raw extras.*extra_type='dipole'"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            ipi.read_extras(path)


HEADER = """\
# column   1     --> step : The current simulation time step.
# column   2     --> time : The elapsed simulation time.
# column   3     --> potential{kelvin} : energy.
# column   4     --> pressure_md{gigapascal} : p.
# cols.    5-10  --> stress_md{bar} : xx, yy, zz, xy, xz, yz.
# cols.    11-13 --> atom_v{m/s}(2) : v.
# column   14    --> temperature : T.
# cols.    15-17 --> dipole{debye} : mu.
# column   18    --> isotope_zetatd(1;D) : z.
"""


def test_properties_of_several_columns_and_every_unit(tmp_path):
    row = np.arange(1.0, 19.0)
    (tmp_path / "sim.out").write_text(HEADER + " ".join(map(str, row)) + "\n")
    values, names = properties.read_properties(tmp_path / "sim.out")
    assert values["time"][0] == pytest.approx(2 * 2.4188843265857e-2)
    assert values["potential"][0] == pytest.approx(3 * units.BOLTZMANN, rel=1e-6)
    assert values["pressure_md"][0] == pytest.approx(4 / units.EV_PER_A3_IN_GPA, rel=1e-4)
    np.testing.assert_allclose(
        values["stress_md"][0], row[4:10] * 1e-4 / units.EV_PER_A3_IN_GPA, rtol=1e-4
    )
    np.testing.assert_allclose(values["atom_v(2)"][0], row[10:13] * 1e-5)
    assert values["temperature"][0] == pytest.approx(14 * 315775.02480407)
    np.testing.assert_allclose(values["dipole"][0], row[14:17] * units.DEBYE)
    assert values["isotope_zetatd(1;D)"][0] == 18.0
    assert names["stress_md"] == "eV/Å³"
    assert names["temperature"] == "K"
    assert names["isotope_zetatd(1;D)"] == "atomic_unit"


def test_bead_names(tmp_path):
    assert beads.bead_name("sim.dipole_0") == ("sim.dipole", 0, 1)
    assert beads.bead_name("sim.dipole_07.gz") == ("sim.dipole", 7, 2)
    assert beads.bead_name("sim.vel_12.extxyz") == ("sim.vel", 12, 2)
    assert beads.bead_name("water_300.extxyz") is None
    assert [beads.digits_of(n) for n in (1, 9, 10, 32)] == [1, 1, 2, 2]
    for i in range(12):
        (tmp_path / f"sim.dipole_{i:02d}").write_text(frame(0, [i, 0, 0]))
    found = beads.bead_files(tmp_path / "sim", "dipole")
    assert [path.name for path in found] == [f"sim.dipole_{i:02d}" for i in range(12)]
    assert beads.bead_average(found).values[0, 0] / units.BOHR == pytest.approx(5.5)
    (tmp_path / "sim.dipole_3").write_text(frame(0, [100, 0, 0]))  # of a run of fewer beads
    with pytest.raises(ValueError, match="both of bead 3, of two runs"):
        beads.bead_files(tmp_path / "sim", "dipole")


INPUT = """<simulation>
  <output prefix=' "run" '>
    <properties stride='5' filename='props'> [ step ] </properties>
    <trajectory filename='xc' stride='4' format='ase'> x_centroid{ase} </trajectory>
    <trajectory filename='mu' stride='2' extra_type='dipole'> extras_component_raw(1) </trajectory>
    <checkpoint filename='chk' stride='10' overwrite='false'/>
  </output>
  <step> 7 </step> <total_steps> 30 </total_steps>
  <ffsocket name='a' mode='unix'> <address> here </address>
    <parameters> { model: water, electric_field: 0 0 0.1 } </parameters> </ffsocket>
  <ffsocket name='b'> <port> 31400 </port> </ffsocket>
  <system>
    <initialize nbeads=' 4 '>
      <file mode='xyz' units='angstrom' cell_units='angstrom'> start.xyz </file>
      <masses mode='manual' index='1' units='dalton'> 2.014 </masses>
    </initialize>
    <normal_modes> <frequencies style='pa-cmd' units='inversecm'> [ 5000 ] </frequencies>
    </normal_modes>
    <ensemble> <temperature units='kelvin'> 290 </temperature>
      <pressure units='megapascal'> 10 </pressure> </ensemble>
    <motion mode='multi'>
      <motion mode='dynamics'>
        <fixatoms> [ 0, 2 ] </fixatoms>
        <dynamics mode='npt'>
          <timestep units='picosecond'> 5e-4 </timestep>
          <barostat mode='isotropic'> <thermostat mode='langevin'/> </barostat>
          <thermostat mode='pile_l'> <tau units='femtosecond'> 25 </tau>
            <pile_lambda> 0.2 </pile_lambda> </thermostat>
        </dynamics>
      </motion>
    </motion>
  </system>
</simulation>
"""


def test_all_that_an_input_says(tmp_path):
    (tmp_path / "md.xml").write_text(INPUT)
    (tmp_path / "start.xyz").write_text(
        "3\n# CELL(GENH): 0 9 0 0 0 10 8 0 0\nO 0 0 0\nH 0 0 1\nT 0 1 0\n"
    )
    for name in ("run.mu", "run.xc.extxyz", "run.mu_0"):
        (tmp_path / name).write_text("")
    run = folder.read_run(tmp_path)  # the only input in the folder
    told = run.simulation
    assert run.input == tmp_path / "md.xml"
    assert (told.prefix, told.step, told.total_steps) == ("run", 7, 30)
    assert told.sockets == (("unix", "here", 65535), ("inet", "localhost", 31400))
    assert told.parameters[0] == {"model": "water", "electric_field": "0 0 0.1"}
    assert (told.motion, told.mode, told.fixed) == ("dynamics", "npt", (0, 2))
    assert told.timestep == pytest.approx(0.5)
    assert told.temperature == pytest.approx(290.0)
    assert told.pressure == pytest.approx(1e-2 / units.EV_PER_A3_IN_GPA, rel=1e-4)
    assert told.thermostat[:3] == ("pile_l", pytest.approx(25.0), 0.2)
    assert (told.beads, told.frequencies) == (4, "pa-cmd")
    assert run.outputs["dipole"] == [tmp_path / "run.mu", tmp_path / "run.mu_0"]
    assert run.outputs["x_centroid"] == [tmp_path / "run.xc.extxyz"]
    masses = folder.run_masses(run)
    assert masses.names == ["O", "H", "T"]
    np.testing.assert_allclose(masses.masses, [15.999, 2.014, 3.016049])
    # turned as i-PI turns it, in the units of the input
    ((_, state),) = folder.start_states(run)
    np.testing.assert_allclose(state.cell, np.diag([9.0, 10.0, 8.0]), atol=1e-12)
    np.testing.assert_allclose(state.positions[0, 1], [0, 0, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<simulation>", "is not XML"),
        ("<html></html>", "starts with <html>"),
        ("\x00\x01", "is not XML"),
        ("", "is not XML"),
    ],
)
def test_inputs_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "input.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        folder.read_run(tmp_path)
    with pytest.raises(ValueError, match=message):
        simulation.read_state(tmp_path / "input.xml")


STATE = (
    "<simulation><system><beads natoms='1' nbeads='1'><names shape='(1)'> [ H ] </names>"
    "<m shape='(1)' units='dalton'> [ 2.5 ] </m><q shape='(1, 3)'> [ 0, 0, 0 ] </q></beads>"
    "<cell units='angstrom'> [ 5, 0, 0, 0, 5, 0, 0, 0, 5 ] </cell></system></simulation>"
)


@pytest.mark.parametrize("damage", ["cut", "of other atoms"])
def test_a_state_that_cannot_be_read_is_told_and_another_one_used(tmp_path, damage):
    """As a run leaves it that was killed while it wrote its state."""
    plain = INPUT.split("<initialize")[0] + INPUT.split("</initialize>")[1]
    (tmp_path / "input.xml").write_text(plain)
    broken = STATE[:150] if damage == "cut" else STATE.replace("[ 2.5 ]", "[ 2.5, 1 ]")
    (tmp_path / "RESTART").write_text(broken)
    (tmp_path / "run.chk").write_text(STATE)
    run = folder.read_run(tmp_path)
    with pytest.warns(UserWarning, match="RESTART is not (used|XML)") as said:
        masses = folder.run_masses(run)
    assert len(said) == 1
    assert (masses.source, masses.masses.tolist()) == (
        tmp_path / "run.chk", [pytest.approx(2.5)]
    )  # fmt: skip
    (tmp_path / "run.chk").unlink()
    (tmp_path / "RESTART").unlink()
    (tmp_path / "init.xyz").write_text("2\n# CELL(H): 5 0 0 0 5 0 0 0 5\nH 0 0 0\n")
    with pytest.warns(UserWarning, match="init.xyz is not used: .*init.xyz"):
        assert folder.run_masses(run) is None
    (tmp_path / "run.props").write_text("no header\n")
    with pytest.warns(UserWarning, match="run.props is not used: .*no column headers"):
        assert folder.run_properties(run) is None


def test_several_inputs_in_a_folder(tmp_path):
    for name in ("a.xml", "b.xml"):
        (tmp_path / name).write_text(INPUT)
    with pytest.raises(FileNotFoundError, match=r"several others \(a.xml, b.xml\)"):
        folder.read_run(tmp_path)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("<cell mode='abc' units='angstrom'> [ 7, 8, 9 ] </cell>", np.diag([7.0, 8, 9])),
        ("<cell mode='manual' units='angstrom'> [ 7, -1, 0, 0, 8, 0, 0, 0, 9 ] </cell>",
         [[7, 0, 0], [-1, 8, 0], [0, 0, 9]]),
        ("<cell mode='abcABC' units='angstrom'> [ 7, 8, 9, 90, 90, 60 ] </cell>",
         [[7, 0, 0], [4, 8 * np.sin(np.pi / 3), 0], [0, 0, 9]]),
    ],
)  # fmt: skip
def test_cell_that_the_input_gives(tmp_path, cell, expected):
    path = tmp_path / "input.xml"
    path.write_text(INPUT.replace("<masses", cell + "<masses", 1))
    np.testing.assert_allclose(simulation.read_simulation(path).cell, expected, atol=1e-12)
    path.write_text("<simulation><system><cell units='angstrom'> [ 7, -1, 0, 0, 8, 0, 0, 0, 9 ]"
                    "</cell></system></simulation>")  # fmt: skip
    np.testing.assert_allclose(simulation.read_state(path).cell, [[7, 0, 0], [-1, 8, 0], [0, 0, 9]])


def test_velocities_in_every_unit(tmp_path):
    """One atomic unit of velocity is 2187691 m/s; i-PI's ase unit is Å √(eV/amu)."""
    for unit, factor in (("atomic_unit", 21.8769126), ("m/s", 1e-5), ("ase", 0.0982269479)):
        path = tmp_path / "sim.vel_0.xyz"
        path.write_text(
            "".join(
                f"1\n# CELL(abcABC): 9 9 9 90 90 90 Step: {s} Bead: 0 velocities{{{unit}}} "
                f"cell{{angstrom}}\nO 1.0 2.0 {s}\n"
                for s in (0, 4, 8)
            )
        )
        series, names = read_ipi_velocities(path)
        assert (series.stride, names) == (4, ["O"])
        np.testing.assert_allclose(
            np.concatenate(list(series.chunks()))[1], factor * np.array([1, 2, 4]), rtol=1e-7
        )
    path.write_text(path.read_text().replace("{ase}", "{knots}"))
    with pytest.raises(ValueError, match="velocities in 'knots'"):
        read_ipi_velocities(path)


def test_a_real_run_resumed_from_before_its_end(tmp_path):
    """i-PI itself: to step 100, again from 50, to 70; another seed is another branch."""
    outputs = ipi.Outputs(properties=10, dipole=10, positions=10, velocities=10, checkpoint=50)
    path = toy_input(
        tmp_path / "run", "nvt", steps=50, outputs=outputs, structure=waters(1), temperature=300
    )
    assert ipi.run_ipi(path, timeout=60).finished
    state = tmp_path / "run" / "RESTART"
    (tmp_path / "run" / "at-50").write_text(state.read_text())
    set_total_steps(state, 100)
    assert ipi.run_ipi(state, timeout=60).finished
    again = tmp_path / "run" / "again.xml"
    again.write_text((tmp_path / "run" / "at-50").read_text())
    set_total_steps(again, 70)
    # another temperature makes it another branch
    text = again.read_text()
    kelvin = text.split("<temperature>")[1].split("<")[0]
    again.write_text(text.replace(kelvin, f" {2 * float(kelvin):.9e} "))
    whole = ipi.read_extras(tmp_path / "run" / "sim.dipole_0")
    assert whole.steps.tolist() == list(range(0, 101, 10))
    assert ipi.run_ipi(again, timeout=60).finished
    expected = list(range(0, 71, 10))
    steps, values, _ = both(tmp_path / "run" / "sim.dipole_0")
    assert steps.tolist() == expected
    np.testing.assert_allclose(values[:6] * units.BOHR, whole.values[:6], rtol=1e-12)
    assert np.abs(values[6:] * units.BOHR - whole.values[6:8]).max() > 1e-4
    assert ipi.read_properties(tmp_path / "run" / "sim.out").values["step"].tolist() == expected
    positions = ipi.read_positions([tmp_path / "run" / "sim.pos_0.extxyz"])
    assert positions.steps.tolist() == expected
    series, names = read_ipi_velocities(tmp_path / "run" / "sim.vel_0.extxyz")
    velocities = np.concatenate(list(series.chunks()))
    assert (len(velocities), series.stride, names) == (8, 10, ["O", "H", "H"])
    # the last frame of velocities is the state that i-PI itself left behind
    (_, last), *_ = folder.states(folder.read_run(tmp_path / "run"))
    np.testing.assert_allclose(velocities[-1], last.velocities.ravel(), atol=1e-8)
    np.testing.assert_allclose(positions.positions[0, -1], last.positions[0], atol=1e-7)
    np.testing.assert_allclose(last.masses, [15.9994, 1.00794, 1.00794], rtol=1e-4)
    # the dipole of the toy's fixed charges at these positions
    np.testing.assert_allclose(
        values[-1] * units.BOHR, np.array([-0.8, 0.4, 0.4]) @ positions.positions[0, -1], atol=1e-6
    )
