"""i-PI runs as they lie on the disk: every command on a folder, jumps of the dipole, lengths."""

import json

import numpy as np
import pytest

from lrcalc import units
from lrcalc.analysis import dielectric, infrared, read_series
from lrcalc.analysis.cells import read_cell, run_cell
from lrcalc.analysis.correlation import affordable_resolution, lags_for
from lrcalc.analysis.frames import read_ipi_velocities
from lrcalc.analysis.ipi_folder import mean_temperature, read_run
from lrcalc.analysis.jumps import notes, undo_jumps
from lrcalc.analysis.series import read_runs
from tests.analysis.signals import langevin
from tests.analysis.test_files import all_frames, extras, run

CELL = np.array([[9.0, 0, 0], [-2.0, 8.0, 0], [1.0, 0.5, 10.0]])
FRAMES = 6000
RNG = np.random.default_rng(5)
X, V = langevin(RNG, FRAMES, 1.0, 1600.0, 0.01, 300.0)
DIPOLE = 0.4 * X + np.array([8.0, -3.0, 1.0])
CURRENT = 0.4 * V

INPUT = """<simulation>
  <output prefix='sim'>
    <properties stride='2' filename='out'> [ step, temperature{{kelvin}} ] </properties>
    <trajectory filename='dipole' stride='2' extra_type='dipole'> extras </trajectory>
    <trajectory filename='polarizability' stride='2' extra_type='polarizability'>
      extras_component_raw(1) </trajectory>
    <trajectory filename='pos' stride='50' format='ase'> positions </trajectory>
    <trajectory filename='vel' stride='2' format='ase'> velocities </trajectory>
  </output>
  <ffdirect name='lrcalc'>
    <parameters> {{ model: water, template: init.xyz, extras: dipole }} </parameters>
  </ffdirect>
  <system>
    <initialize nbeads='{beads}'> <file mode='chk'> RESTART </file> </initialize>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='{mode}'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""


def lattice():
    return " ".join(str(x) for x in CELL.ravel())


def write_run(folder, *, mode="nve", beads=1, dipole=DIPOLE, full=True):
    """The files of ``lrcalc ipi-run``, in i-PI's formats, from a known signal."""
    folder.mkdir()
    (folder / "input.xml").write_text(INPUT.format(mode=mode, beads=beads))
    (folder / "#sim.dipole_0#0#").write_text("an older run\n")
    for bead in range(beads):
        extras(folder / f"sim.dipole_{bead}", dipole / units.BOHR)
    with (folder / "sim.out").open("w") as file:
        file.write("# column   1     --> step : x\n# column   2     --> temperature{kelvin} : y\n")
        file.writelines(f"  {i:16d}  {310 + 10 * (-1) ** i:16.4f}\n" for i in range(100))
        file.write("  101  3")  # killed while writing
    head = f'Lattice="{lattice()}" Properties=species:S:1:pos:R:3'
    with (folder / "sim.pos_0.extxyz").open("w") as file:
        for i in range(3):
            comment = f'ipi_comment="Step: {50 * i} Bead: 0 positions{{ase}}  cell{{ase}}"'
            file.write(f'2\n{head} {comment} pbc="T T T"\nO 0 0 0\nH 0 0 1\n')
    if not full:
        return folder
    pol = np.zeros((FRAMES, 9))
    pol[:, [0, 4, 8]] = X[:, :1] * [1.0, 0.5, 0.5]
    extras(folder / "sim.polarizability_0", pol, "polarizability")
    # velocities of one atom follow V, the other is heavy and at rest
    ase_time = 0.09822694788
    with (folder / "sim.vel_0.extxyz").open("w") as file:
        for i, v in enumerate(V / ase_time):
            comment = f'ipi_comment="Step: {2 * i} Bead: 0 velocities{{ase}}  cell{{ase}}"'
            file.write(f'2\n{head}:velocities:R:3 {comment} pbc="T T T"\nO 0 0 0 0 0 0\n')
            file.write("H 0 0 0 " + " ".join(f"{x:.8f}" for x in v) + "\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "2-nve")


def test_a_run_says_what_it_is(folder, tmp_path):
    found = read_run(folder)
    assert (found.timestep, found.temperature, found.mode, found.beads) == (0.5, 300.0, "nve", 1)
    assert found.outputs["dipole"] == [folder / "sim.dipole_0"]
    assert {"dipole", "polarizability", "positions", "velocities"} <= set(found.outputs)
    assert found.parameters["model"] == "water"
    assert mean_temperature(found)[0] == pytest.approx(310.0)
    assert np.allclose(run_cell(found).vectors, CELL)
    # a ring polymer's own temperature is not the one to use
    beads = read_run(write_run(tmp_path / "3-pimd", mode="nvt", beads=2, full=False))
    assert mean_temperature(beads)[0] == 300.0
    assert len(beads.outputs["dipole"]) == 2
    text = (tmp_path / "3-pimd" / "input.xml").read_text()
    driven = text.replace("dynamics mode='nvt'", "driven_dynamics mode='eda-nve'")
    driven = driven.replace("</dynamics>", "</driven_dynamics>").replace("femto", "pico")
    (tmp_path / "3-pimd" / "input.xml").write_text(driven)
    found = read_run(tmp_path / "3-pimd")
    assert (found.timestep, found.mode) == (500.0, "eda-nve")
    with pytest.raises(FileNotFoundError, match="give one of 3-pimd"):
        read_run(tmp_path)
    (tmp_path / "3-pimd" / "input.xml").write_text("<simulation>")
    with pytest.raises(ValueError, match="not XML"):
        read_run(tmp_path / "3-pimd")


def test_cell_in_ipi_columns(tmp_path):
    """CELL(H) holds lattice vectors as columns."""
    numbers = " ".join(str(x) for x in CELL.T.ravel())
    path = tmp_path / "init.xyz"
    path.write_text(f"1\n# CELL(H): {numbers} cell{{angstrom}} positions{{angstrom}}\nO 0 0 0\n")
    assert np.allclose(read_cell(path), CELL)


def test_velocities_stand_behind_empty_positions(folder):
    series, species = read_ipi_velocities(folder / "sim.vel_0.extxyz")
    assert (series.stride, species) == (2, ["O", "H"])
    assert np.allclose(all_frames(series)[:, 3:], V, atol=1e-8)
    lines = (folder / "sim.vel_0.extxyz").read_text().splitlines(keepends=True)
    gap = folder.parent / "gap.vel_0.extxyz"
    gap.write_text("".join(lines[:40] + lines[44:80]))
    with pytest.raises(ValueError, match="step 20 expected but 22 found"):
        all_frames(read_ipi_velocities(gap)[0])
    with pytest.raises(ValueError, match="positions, not velocities"):
        read_ipi_velocities(folder / "sim.pos_0.extxyz")


def test_every_command_on_a_folder(folder, tmp_path, capsys):
    """Nothing but the folder is given; the numbers are those of the known oscillator."""
    out = ["--no-progress", "-o", tmp_path / "o"]
    for name in ("ir", "dielectric", "conductivity", "raman", "vdos"):
        assert run(name, folder, *out) == 0, name
        for suffix in ("csv", "png", "json"):
            assert (tmp_path / f"o-{name}.{suffix}").stat().st_size > 50
    printed = capsys.readouterr().out
    for told in (
        "time step 0.5 fs from",
        "temperature 310.0 K: mean of",
        "cell from",
        "resolution",
        "ε_∞ 1.78 from model 'water'",
        "current from differences of the dipole",
    ):
        assert told in printed, told
    data = json.loads((tmp_path / "o-ir.json").read_text())
    assert data["settings"]["timestep_fs"] == 1.0
    assert data["settings"]["volume_A3"] == pytest.approx(abs(np.linalg.det(CELL)))
    assert abs(data["peaks"][0]["wavenumber"] - 1600) < 10
    assert (
        abs(json.loads((tmp_path / "o-raman.json").read_text())["peaks"][0]["wavenumber"] - 1600)
        < 10
    )
    assert json.loads((tmp_path / "o-vdos.json").read_text())["settings"]["timestep_fs"] == 1.0
    with pytest.raises(ValueError, match="whole cell.*--polarizability and --dipole"):
        run("sfg", folder, *out)
    # files named one by one are taken as those of one side; the run tells the rest
    sides = ["--polarizability", folder / "sim.polarizability_0", "--dipole"]
    assert run("sfg", *sides, folder / "sim.dipole_0", *out) == 0
    area = json.loads((tmp_path / "o-sfg.json").read_text())["settings"]["area_A2"]
    assert area == pytest.approx(72.0)
    light = header_and_table(tmp_path / "o-ir.csv")
    far = light["wavenumber_cm-1"] > 4000
    assert np.allclose(light["n"][far] ** 2, 1.78, atol=0.02)
    assert np.allclose(light["alpha_cm-1"] * light["n"], light["n_alpha_cm-1"], rtol=1e-4, atol=1)
    # one file of the folder knows its folder; what is given counts more
    assert run("ir", folder / "sim.dipole_0", "--temperature", 280, "--resolution", 30, *out) == 0
    settings = json.loads((tmp_path / "o-ir.json").read_text())["settings"]
    assert (settings["temperature_K"], settings["resolution_cm1"]) == (280.0, 30.0)


def test_conductivity_of_given_charges(folder, tmp_path):
    assert run("conductivity", folder, "--charges", "O=-1,H=1", "--no-progress", "-o",
               tmp_path / "o") == 0  # fmt: skip
    with pytest.raises(ValueError, match="none for O"):
        run("conductivity", folder, "--charges", "H=1", "--no-progress")
    with pytest.raises(ValueError, match="must to 0"):
        run("conductivity", folder, "--charges", "O=-2,H=1", "--no-progress")
    with pytest.raises(ValueError, match="look like"):
        run("conductivity", folder, "--charges", "O:1", "--no-progress")


def test_what_is_missing_is_named(tmp_path):
    lean = write_run(tmp_path / "lean", full=False)
    with pytest.raises(ValueError, match="no polarizability, only dipole, positions.*--extras"):
        run("raman", lean)
    with pytest.raises(ValueError, match="no velocities.*--velocities-stride"):
        run("vdos", lean)
    with pytest.raises(ValueError, match="holds i-PI's extra 'dipole', not 'polarizability'"):
        run("raman", lean / "sim.dipole_0")
    extras(lean / "sim.dipole_0", DIPOLE[:21])
    with pytest.raises(ValueError, match="21 frames every 1 fs are too short"):
        run("ir", lean, "--no-progress")
    alone = extras(tmp_path / "alone", DIPOLE / units.BOHR)
    with pytest.raises(ValueError, match="timestep"):
        run("ir", alone, "--volume", 100, "--temperature", 300)
    with pytest.raises(ValueError, match="--temperature"):
        run("ir", alone, "--volume", 100, "--md-timestep", 0.5)


def test_resolution_fits_the_length():
    assert affordable_resolution([100_000], 1.0, "hann") == 20.0
    for frames in ([2000], [3001, 4000], [700] * 5):
        found = affordable_resolution(frames, 1.0, "hann")
        assert found % 5 == 0
        assert 2 * lags_for(found, 1.0, "hann") < min(frames)
        assert 4 * lags_for(found, 1.0, "hann") < sum(frames)
        assert lags_for(found - 5, 1.0, "hann") > min(min(frames) / 2, sum(frames) / 4) - 1
    assert affordable_resolution([400], 1.0, "hann") == 200.0
    with pytest.raises(ValueError, match="too short"):
        affordable_resolution([300], 1.0, "hann")


def test_resumed_run_counts_later_steps(tmp_path):
    """i-PI repeats the steps since the last checkpoint; the later ones fit what follows."""
    path = tmp_path / "run.dip_0"
    extras(path, DIPOLE[:40] / units.BOHR)
    more = extras(tmp_path / "more", 2 * DIPOLE[30:60] / units.BOHR, start=60)
    path.write_text(path.read_text() + more.read_text())
    frames = all_frames(read_series(path))
    assert np.allclose(frames, np.concatenate([DIPOLE[:30], 2 * DIPOLE[30:60]]), atol=1e-7)


@pytest.mark.parametrize("cut", [1, 5, 12, 20, 40, 60, 75])
def test_frame_cut_in_a_run_that_was_resumed_is_left_out(tmp_path, cut):
    """The rest of a cut frame runs into the next header; its step was written again."""
    path = tmp_path / "run.dip_0"
    extras(path, DIPOLE[:40] / units.BOHR)
    more = extras(tmp_path / "more", 2 * DIPOLE[30:60] / units.BOHR, start=60)
    path.write_text(path.read_text()[:-cut] + more.read_text())
    frames = all_frames(read_series(path))
    assert np.allclose(frames, np.concatenate([DIPOLE[:30], 2 * DIPOLE[30:60]]), atol=1e-7)


QUANTA = {1500: (1, 0, 0), 1501: (0, -1, 0), 4000: (-2, 1, 1)}


def jumping():
    moved = DIPOLE.copy()
    for frame, n in QUANTA.items():
        moved[frame:] += np.array(n) @ CELL
    return moved


@pytest.mark.parametrize("size", [FRAMES, 1500, 7])
def test_jumps_by_a_lattice_vector_are_undone(size):
    moved, record = jumping(), {}
    pieces = [moved[i : i + size] for i in range(0, FRAMES, size)]
    # the whole lies on the branch of the first frame, in whatever pieces it comes
    assert np.allclose(np.concatenate(list(undo_jumps(pieces, CELL, record=record))), DIPOLE)
    assert record == {"dipole": list(QUANTA)}
    assert "3 jumps" in notes(record)[0]
    assert "before frame 1500, 1501, 4000" in notes(record)[0]


def test_spectra_do_not_see_the_jumps():
    settings = {"timestep": 1.0, "volume": 700.0, "temperature": 300.0, "resolution": 20.0}
    clean = infrared(DIPOLE, **settings)
    mended = infrared([jumping(), DIPOLE], cell=CELL, **settings)
    both = infrared([DIPOLE, DIPOLE], **settings)
    assert np.allclose(mended.n_alpha, both.n_alpha, rtol=1e-6, atol=1e-6 * clean.n_alpha.max())
    assert "jumps" in mended.settings["notes"][0]
    static = dielectric(DIPOLE, epsilon_infinity=1.5, **settings).static
    assert dielectric(
        jumping(), epsilon_infinity=1.5, cell=CELL, **settings
    ).static == pytest.approx(static, rel=1e-9)
    with pytest.raises(ValueError, match="frame 1500: the dipole jumps by 9 e Å.*--cell-from"):
        infrared(jumping(), **settings)
    with pytest.raises(ValueError, match="frame 1500"):
        dielectric(jumping(), epsilon_infinity=1.5, **settings)
    kept = infrared(jumping(), jumps="keep", **settings)
    assert kept.integrated()[0] > 2 * clean.integrated()[0]
    with pytest.raises(ValueError, match="`jumps`"):
        infrared(DIPOLE, jumps="no", **settings)


@pytest.mark.parametrize("charge", [0.8, 0.3])
def test_folded_partial_charges_cannot_be_undone(charge):
    moved = DIPOLE.copy()
    moved[2000:] += charge * CELL[0]
    with pytest.raises(ValueError, match="frame 2000.*no lattice vector times e"):
        list(undo_jumps([moved], CELL))


def test_large_steps_of_rare_frames_are_no_jumps():
    """Frames far apart: half a lattice vector is an ordinary step and must not be rounded away."""
    rare = np.random.default_rng(0).normal(size=(50_000, 3)) * 5.0
    assert np.array_equal(np.concatenate(list(undo_jumps([rare], CELL))), rare)
    assert np.array_equal(np.concatenate(list(undo_jumps([rare], None))), rare)
    still = np.zeros((100, 3))
    assert np.array_equal(np.concatenate(list(undo_jumps([still], None))), still)


def header_and_table(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return dict(zip(lines[0].split(","), np.loadtxt(lines[1:], delimiter=",").T, strict=True))


def table(path):
    return np.column_stack(list(header_and_table(path).values()))


def test_pictures_and_unknown_models(folder, tmp_path, capsys):
    copy = write_run(tmp_path / "moved", full=False)
    text = (copy / "input.xml").read_text().replace("model: water", "model: gone.pt")
    (copy / "input.xml").write_text(text)
    out = ["--no-progress", "-o", tmp_path / "o", "--picture", "pdf"]
    assert run("ir", copy, *out) == 0
    assert "model 'gone.pt' cannot be read" in capsys.readouterr().out
    assert "n" not in header_and_table(tmp_path / "o-ir.csv")
    assert (tmp_path / "o-ir.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match="--epsilon-infinity"):
        run("dielectric", copy, *out)
    text = text.replace("model: gone.pt", "model: gone.pt, epsilon_infinity: 2.5")
    (copy / "input.xml").write_text(text)
    assert run("dielectric", copy, *out) == 0
    data = json.loads((tmp_path / "o-dielectric.json").read_text())
    assert data["settings"]["epsilon_infinity"] == 2.5


def test_jumps_of_one_bead(tmp_path, capsys):
    """A bead's jump is a fraction of a quantum in the mean: it is undone before the mean."""
    folder = write_run(tmp_path / "beads", mode="nvt", beads=4, full=False)
    extras(folder / "sim.dipole_2", jumping() / units.BOHR)
    out = ["--no-progress", "-o", tmp_path / "o"]
    assert run("ir", folder, *out) == 0
    assert "sim.dipole_2: 3 jumps" in capsys.readouterr().out
    mended = table(tmp_path / "o-ir.csv")
    assert run("ir", folder, "--keep-jumps", *out) == 0
    kept = table(tmp_path / "o-ir.csv")
    clean = infrared(
        DIPOLE,
        timestep=1.0,
        volume=abs(np.linalg.det(CELL)),
        temperature=300.0,
        resolution=25.0,
    )
    assert np.allclose(mended[:, 1], clean.n_alpha, rtol=1e-5, atol=1e-5 * clean.n_alpha.max())
    assert kept[:, 1].sum() > 1.1 * mended[:, 1].sum()
    assert "independently" not in capsys.readouterr().out
    assert run("ir", folder, "--beads", "separate", *out) == 0
    assert "the 4 beads of a run are taken as separate runs" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--keep-jumps"):
        run("ir", folder / "sim.dipole_2", "--volume", 700, *out)
    assert len(read_runs(sorted(folder.glob("sim.dipole_*")))) == 1


@pytest.mark.parametrize("size", [FRAMES, 300, 7])
@pytest.mark.parametrize("quantum", [1, 2])
def test_a_branch_of_its_own_in_every_frame_is_undone(size, quantum):
    """Random multiples of every lattice vector of a triclinic cell; 2 e where spins are paired."""
    random = np.random.default_rng(7).integers(-3, 4, size=DIPOLE.shape)
    random[0] = 0
    moved = DIPOLE + quantum * random @ CELL
    pieces = [moved[i : i + size] for i in range(0, FRAMES, size)]
    assert np.allclose(np.concatenate(list(undo_jumps(pieces, CELL))), DIPOLE, atol=1e-9)


def test_a_spectrum_of_random_branches():
    settings = {"timestep": 1.0, "volume": 700.0, "temperature": 300.0, "resolution": 20.0}
    random = np.random.default_rng(8).integers(-2, 3, size=DIPOLE.shape)
    clean, mended = infrared(DIPOLE, **settings), infrared(DIPOLE + random @ CELL, cell=CELL,
                                                           **settings)  # fmt: skip
    assert np.allclose(mended.n_alpha, clean.n_alpha, atol=1e-6 * clean.n_alpha.max())
    # halves of the quantum cannot be told from motion; without a cell it is at least said
    with pytest.raises(ValueError, match="half a lattice vector.*--keep-jumps"):
        infrared(DIPOLE + 0.5 * random @ CELL, cell=CELL, **settings)
    lost = infrared(DIPOLE + random @ CELL, **settings)
    assert any("its branch is another one in every frame" in note for note in
               lost.settings["notes"])  # fmt: skip
    assert not any("branch" in note for note in clean.settings["notes"])
