"""The folder of a run: what an earlier one left there, and what the logs say of a failure."""

import pytest

from lrcalc.cli import main
from lrcalc.ipi import Outputs, Transport, bead_files, run_ipi
from lrcalc.ipi.diagnosis import diagnosis, last_words
from lrcalc.ipi.folder import set_aside
from lrcalc.ipi.run import IPIError, clear_endpoint
from lrcalc.ipi_files.folder import read_run, run_of
from lrcalc.ipi_files.simulation import Socket
from tests.ipi.helpers import toy_input

pytestmark = pytest.mark.timeout(60)


def test_a_second_run_with_fewer_beads_leaves_no_bead_of_the_first(tmp_path):
    """Readers average all the files of beads that they find."""
    first = run_ipi(toy_input(tmp_path, "pimd", steps=3, beads=2), timeout=40)
    assert first.finished
    assert first.set_aside == ()
    assert len(bead_files(tmp_path / "sim", "dipole")) == 2
    old = (tmp_path / "sim.dipole_1").read_text()
    second = run_ipi(toy_input(tmp_path, "nve", steps=3), timeout=40)
    assert second.finished
    assert [path.name for path in bead_files(tmp_path / "sim", "dipole")] == ["sim.dipole_0"]
    assert (tmp_path / "#sim.dipole_1#0#").read_text() == old
    names = {path.name for path in second.set_aside}
    assert {"#sim.out#0#", "#sim.dipole_0#0#", "#RESTART#0#", "#sim.checkpoint#0#"} <= names
    assert not any(path.name.startswith("#") for path in second.files)
    third = run_ipi(toy_input(tmp_path, "nve", steps=3), timeout=40)
    assert (tmp_path / "#sim.out#1#") in third.set_aside


def test_the_start_of_a_run_stays_where_it_is(tmp_path):
    """Begun from the last checkpoint of a run in the same folder."""
    path = toy_input(tmp_path, "nve", steps=10)
    assert run_ipi(path, timeout=40).finished
    state = tmp_path / "sim.checkpoint"
    path = toy_input(tmp_path, "nvt", steps=3, restart=state, outputs=Outputs(checkpoint=100))
    summary = run_ipi(path, timeout=40)
    assert summary.finished
    assert (tmp_path / "#RESTART#0#") in summary.set_aside
    assert (tmp_path / "#sim.checkpoint#0#") not in summary.set_aside


def test_only_files_of_this_name_are_moved(tmp_path):
    for name in ("sim.out", "sim2.out", "simple.txt", "sim.xyz", "init.xyz", "#sim.out#0#"):
        (tmp_path / name).write_text(name)
    (tmp_path / "sim.folder").mkdir()
    path = tmp_path / "sim.xml"
    path.write_text(
        "<simulation><ffdirect><parameters> {model: m, template: sim.xyz} </parameters></ffdirect>"
        "</simulation>"
    )
    assert set_aside(path, tmp_path, "sim") == [tmp_path / "#sim.out#1#"]
    assert (tmp_path / "#sim.out#1#").read_text() == "sim.out"


LOG = """\
 @ForceField: starting
Traceback (most recent call last):
  File "/somewhere/site-packages/ipi/engine.py", line 12, in <module>
    raise KeyError("x")
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/somewhere/lrcalc/evaluator.py", line 114, in __init__
    raise ValueError(f"`dtype` is {dtype!r} but must be one of {sorted(DTYPES)}")
           ^^^^^^^^^^^^
ValueError: `dtype` is 'float16' but must be one of ['float32', 'float64']
 @softexit: the end
"""


def test_reasons_are_messages_and_not_code():
    expected = "`dtype` is 'float16' but must be one of ['float32', 'float64']"
    assert last_words(LOG) == expected
    assert last_words(LOG[: LOG.index("\n\nDuring")]) == "KeyError: 'x'"
    assert last_words("one\n\ntwo \n three\nfour\n") == "two | three | four"
    assert last_words("") == ""
    assert diagnosis(["lrcalc ipi: i-PI has finished\n"], LOG) == expected
    assert diagnosis(["lrcalc ipi: no model\n"], LOG) == "no model"


def test_an_earlier_failure_is_not_blamed(tmp_path, monkeypatch):
    """The log goes on where it was in a run that is continued; its old errors are over."""
    path = toy_input(tmp_path, "nve", steps=10)
    monkeypatch.setenv("TOY_NAN_AFTER", "7")
    with pytest.raises(IPIError, match="not finite"):
        run_ipi(path, timeout=40)
    state = tmp_path / "RESTART"
    broken = tmp_path / "resume.xml"
    broken.write_text(state.read_text().replace("template: init.xyz", "template: gone.xyz"))
    with pytest.raises(IPIError, match=r"`template` 'gone\.xyz' does not exist"):
        run_ipi(broken, timeout=40)


def test_a_failure_before_the_first_line_is_told(tmp_path):
    """`sim.out` is there and empty then, which is not what was wrong."""
    path = toy_input(tmp_path, "nve", steps=10)
    path.write_text(path.read_text().replace("template: init.xyz", "template: init.xyz, dtype: f"))
    with pytest.raises(IPIError, match="step 0 of 10: `dtype` is 'f', but the choice is"):
        run_ipi(path, timeout=40)
    (tmp_path / "RESTART").write_text(path.read_text().replace("<total", "<step>2</step><total"))
    (tmp_path / "sim.out").touch()
    with pytest.raises(IPIError, match="step 2 of 10: `dtype` is 'f', but the choice is"):
        run_ipi(tmp_path / "RESTART", timeout=40)


def test_ports_of_foreign_inputs(tmp_path):
    with pytest.raises(IPIError, match="<port> of the input is 99999"):
        clear_endpoint(Socket("inet", "localhost", 99999))
    transport = Transport("inet", "localhost", 31415)
    path = toy_input(tmp_path, "nve", transport)
    path.write_text(path.read_text().replace("31415 </port>", "99999 </port>"))
    with pytest.raises(IPIError, match="99999"):
        run_ipi(path)


OWN = """<simulation>
  <output prefix='{prefix}'> <trajectory filename='mu' extra_type='dipole'> extras </trajectory>
    <trajectory> velocities </trajectory> </output>
  {systems}
</simulation>
"""
SYSTEM = """<system{prefix}> <initialize nbeads='1'/>
  <ensemble> <temperature units='kelvin'> {kelvin} </temperature> </ensemble>
  <motion mode='dynamics'> <dynamics mode='nve'>
    <timestep units='femtosecond'> 0.25 </timestep> </dynamics> </motion> </system>"""
NAMED = SYSTEM.format(prefix=" prefix='WHO'", kelvin="KELVIN")
TEMPLATE = f"""<system_template> <labels> [ WHO, KELVIN ] </labels>
  <instance> [ a, 290 ] </instance> <template> {NAMED} </template> </system_template>"""


@pytest.mark.parametrize(
    ("prefix", "systems", "found"),
    [
        ("out/sim", SYSTEM.format(prefix="", kelvin=290), ["out/sim.{}_0"]),
        ("", SYSTEM.format(prefix="", kelvin=290), ["{}_0"]),
        ("sim", SYSTEM.format(prefix=" prefix='a'", kelvin=290), ["a_sim.{}_0"]),
        ("sim", TEMPLATE, ["a_sim.{}_0"]),
        (
            "sim",
            "".join(SYSTEM.format(prefix=f" prefix='{s}'", kelvin=290) for s in "ab"),
            ["a_sim.{}_0", "b_sim.{}_0"],
        ),
    ],
)
def test_files_are_found_under_the_names_that_ipi_gives_them(
    tmp_path, monkeypatch, prefix, systems, found
):
    """A prefix with a folder, prefixes of systems, and ``traj`` where no name is given."""
    (tmp_path / "input.xml").write_text(OWN.format(prefix=prefix, systems=systems))
    (tmp_path / "out").mkdir()
    for name in ("mu", "traj"):
        for stem in found:
            (tmp_path / stem.format(name)).write_text("")
    run = read_run(tmp_path)
    assert run.outputs["dipole"] == [tmp_path / stem.format("mu") for stem in found]
    assert run.outputs["velocities"] == [tmp_path / stem.format("traj") for stem in found]
    assert (run.temperature, run.timestep) == (pytest.approx(290.0), pytest.approx(0.25))
    one = run.outputs["dipole"][-1]
    assert run_of(one).folder == tmp_path
    monkeypatch.chdir(one.parent)
    assert run_of(one.name).timestep == pytest.approx(0.25)


def test_systems_at_different_temperatures_are_not_averaged(tmp_path, capsys):
    systems = [
        SYSTEM.format(prefix=f" prefix='{s}'", kelvin=k) for s, k in (("a", 290), ("b", 300))
    ]
    (tmp_path / "input.xml").write_text(OWN.format(prefix="sim", systems="".join(systems)))
    assert main(["ir", str(tmp_path), "--volume", "700", "-o", str(tmp_path / "o")]) == 2
    assert "2 systems at different temperatures" in capsys.readouterr().err
