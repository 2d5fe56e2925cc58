"""What the spectra refuse, and what they say about data that cannot give what is asked."""

import re

import numpy as np
import pytest

from lrcalc.analysis import conductivity, dielectric, infrared, raman, sum_frequency, vdos
from lrcalc.analysis.dielectric import check_electronic_part
from lrcalc.units import BOLTZMANN
from tests.analysis.signals import ornstein_uhlenbeck
from tests.analysis.test_files import run

NOISE = np.random.default_rng(0).normal(size=(4000, 9))
CONDITIONS = {"timestep": 1.0, "volume": 700.0, "temperature": 300.0}
LIGHT = {**CONDITIONS, "epsilon_infinity": 1.5}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("columns")
    noise = 0.01 * NOISE
    np.savetxt(folder / "m.txt", noise[:, :3])
    np.savetxt(folder / "time.txt", np.column_stack([np.arange(4000), noise[:, :3]]))
    np.savetxt(folder / "six.txt", noise[:, :6])
    np.savetxt(folder / "one.txt", noise[:, :1])
    np.savetxt(folder / "still.txt", np.full((4000, 3), 0.1))
    np.savetxt(folder / "still9.txt", np.full((4000, 9), 0.1))
    (folder / "words.txt").write_text("time x y z\n1 2 3 4\n")
    return folder


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("ir m", ["--maximum", "0"], "--maximum is 0"),
        ("ir m", ["--maximum", "-5"], "--maximum is -5"),
        ("ir m", ["--maximum", "nan"], "--maximum is nan"),
        ("ir m", ["--maximum", "15", "--resolution", "30"], "above the resolution"),
        ("ir m", ["--resolution", "1e6"], "--resolution is 1e\\+06 cm⁻¹ but frames every 1 fs"),
        ("ir m", ["--resolution", "nan"], "--resolution is nan"),
        ("ir m", ["--epsilon-infinity", "-3"], "--epsilon-infinity is -3"),
        ("ir m", ["--epsilon-infinity", "0.5"], "at least 1"),
        ("ir m", ["--epsilon-infinity", "nan"], "--epsilon-infinity is nan"),
        ("ir m", ["--columns=-3,-2,-7"], "--columns is"),
        ("ir m", ["--columns", "1:4"], "--columns is"),
        ("ir m", ["--columns", "1,2,3"], "has 3 columns but column 3"),
        ("ir time", [], "has 4 columns but `dipole` needs 3.*--columns 1,2,3"),
        ("ir one", [], "has 1 columns but `dipole` needs 3"),
        ("ir words", [], "'time'"),
        ("ir still", [], "never changes"),
        ("dielectric still", ["--epsilon-infinity", "1.5"], "never changes"),
        ("dielectric time", ["--epsilon-infinity", "1.5"], "--columns"),
        ("raman still9", [], "never changes"),
        ("raman six", [], "needs 9: xx xy xz.*symmetric.*--columns"),
        ("conductivity still", [], "constant|never changes"),
        ("conductivity m", ["--segment", "3"], "--segment is 3"),
    ],
)
def test_bad_options_and_files(files, tmp_path, command, options, message):
    name, stem = command.split()
    conditions = ["--timestep", 1, "--temperature", 300, "--no-progress", "-o", tmp_path / "o"]
    if name != "raman":
        conditions += ["--volume", 700]
    with pytest.raises(ValueError, match=message):
        run(name, files / f"{stem}.txt", *conditions, *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "data", "change", "message"),
    [
        (infrared, NOISE[:, :3], {"timestep": "1"}, "`timestep` is '1'"),
        (infrared, NOISE[:, :3], {"temperature": None}, "`temperature` is None"),
        (infrared, NOISE[:, :3] + 0j, {}, "complex"),
        (infrared, NOISE[:, :3], {"resolution": "20"}, "`resolution`"),
        (infrared, NOISE[:, :3], {"maximum": None}, None),
        (infrared, NOISE[:, :3], {"maximum": "4000"}, "`maximum`"),
    ],
)
def test_bad_arguments(function, data, change, message):
    if message is None:
        assert len(function(data, **(CONDITIONS | {"maximum": 16000.0})).wavenumber) > 100
        return
    with pytest.raises(ValueError, match=message):
        function(data, **(CONDITIONS | change))


@pytest.mark.parametrize("area", [0.0, -1.0, np.nan, "9"])
def test_area_of_a_surface(area):
    with pytest.raises(ValueError, match="`area` is"):
        sum_frequency(NOISE, NOISE[:, :3], timestep=1.0, temperature=300.0, area=area)


@pytest.mark.parametrize("value", [-3.0, 0.5, np.nan, np.inf, "x", np.diag([2, 2, 0.5]), [1.5]])
def test_electronic_part(value):
    with pytest.raises(ValueError, match="epsilon_infinity"):
        check_electronic_part(value)
    check_electronic_part(1.0)
    check_electronic_part(np.diag([2.0, 2.0, 1.0]))


@pytest.mark.parametrize("frame", [0, 1, 2500, 3999])
def test_the_frame_that_holds_nan_is_named(frame):
    """Also where differences are taken, in which frame k first shows at k - 1."""
    data = 0.01 * NOISE
    data[frame, 1] = np.nan
    told = re.compile(rf"frame {frame} holds NaN")
    time = {key: CONDITIONS[key] for key in ("timestep", "temperature")}
    with pytest.raises(ValueError, match=told):
        infrared(data[:, :3], **CONDITIONS)
    with pytest.raises(ValueError, match=told):
        dielectric(data[:, :3], **LIGHT)
    with pytest.raises(ValueError, match=told):
        conductivity(data[:, :3], **CONDITIONS)
    with pytest.raises(ValueError, match=told):
        raman(data, **time)
    with pytest.raises(ValueError, match=told):
        vdos(data[:, :3], masses=[1.0], species=["H"], timestep=1.0)
    with pytest.raises(ValueError, match=told):
        sum_frequency(NOISE, data[:, :3], area=50.0, component="xxy", **time)


def test_a_cut_time_integral_says_so_and_its_error_covers_it():
    """Relaxation of 500 fs; a window of 1.67 ps takes a quarter of the integral off."""
    exact = 1.602176634e6 / (700.0 * BOLTZMANN * 300.0) * 500.0
    off = []
    for seed in range(5):
        signal = ornstein_uhlenbeck(np.random.default_rng(seed), 100_000, np.exp(-2 / 500))
        found = conductivity(signal, **(CONDITIONS | {"timestep": 2.0}), resolution=20.0)
        off.append((found.green_kubo - exact) / found.green_kubo_error)
        assert found.green_kubo < 0.9 * exact
        assert any("time integral is cut after 1668 fs" in note for note in found.settings["notes"])
    assert np.abs(off).max() < 3
    # long lags: nothing to say, and the error is small
    fine = conductivity(signal, **(CONDITIONS | {"timestep": 2.0, "resolution": 3.0}))
    assert not any("is cut" in note for note in fine.settings["notes"])


def test_short_runs_have_no_conductivity():
    signal = ornstein_uhlenbeck(np.random.default_rng(0), 12_000, 0.9)
    with pytest.raises(ValueError, match="800 fs, too short for a conductivity: at least 1 ps"):
        conductivity(signal[:800], **CONDITIONS, resolution=100.0)
    notes = conductivity(signal[:3000], **CONDITIONS, resolution=100.0).settings["notes"]
    assert any("WARNING: 3 ps are short" in note for note in notes)
    long = conductivity(signal, **CONDITIONS).settings["notes"]
    assert not any("short" in note for note in long)
    # a molecule's vibration: as many coefficients as the line needs, hardly more frequencies
    time = np.arange(3000.0)
    line = np.cos(0.3 * time[:, None] + np.arange(3)) + 1e-3 * signal[:3000]
    notes = conductivity(line, **CONDITIONS, resolution=100.0).settings["notes"]
    assert any("frequencies for each of" in note for note in notes)


def test_a_run_of_md_may_be_meant_by_its_name(tmp_path):
    (tmp_path / "md.xyz").touch()
    with pytest.raises(FileNotFoundError, match=r"did you mean .*md\.xyz\?"):
        run("ir", tmp_path / "md", "--timestep", "1")
    with pytest.raises(FileNotFoundError, match=r"other$"):
        run("ir", tmp_path / "other", "--timestep", "1")


def test_notes_name_options_and_numbers_are_short(tmp_path, capsys):
    np.savez(tmp_path / "walk.npz", positions=np.cumsum(NOISE[:, :6], axis=0))
    (tmp_path / "two.xyz").write_text("2\n\nH 0 0 0\nO 1 0 0\n")
    words = ["--structure", tmp_path / "two.xyz", "-o", tmp_path / "m", "--timestep", "0.1"]
    assert run("msd", tmp_path / "walk.npz", *words, "--viscosity", "0.9", "--temperature", "300",
               "--cell-from", "water64") == 0  # fmt: skip
    assert run("msd", tmp_path / "walk.npz", *words) == 0
    said = capsys.readouterr().out
    assert "give --viscosity in mPa s" in said
    assert "`viscosity`" not in said
    assert not re.search(r"\d\.\d{8}", said)
