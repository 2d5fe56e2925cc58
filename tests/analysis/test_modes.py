"""Raman activities, any calculator from the command line, the index order of Born charges."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import all_changes

from lrcalc import units
from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from lrcalc.analysis import raman_modes as rm
from tests.analysis.test_phonons import ALPHA, Springs, crystal, folder_of, modes_command


@pytest.fixture(scope="module")
def springs():
    phonons = ph.from_calculator(crystal(), Springs(), supercell=(2, 2, 2), relax=None)
    return phonons, ph.solve(phonons)


SLOPE = np.random.default_rng(3).normal(size=(2, 3, 3, 3))
"""∂α_ab/∂r_kc as [atom, displacement, a, b], not symmetric in a, b on purpose."""


class Scatterers(Springs):
    """Springs whose polarizability is linear in the positions, so that differences are exact."""

    def __init__(self, slope=None, **options):
        super().__init__(**options)
        self.slope = SLOPE if slope is None else np.asarray(slope)

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) == 2:
            rest = atoms.copy()
            rest.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.5]])
            moved = atoms.positions - rest.positions
            moved -= np.round(moved @ np.linalg.inv(atoms.cell)) @ atoms.cell
            self.results["polarizability"] = ALPHA * np.eye(3) + np.einsum(
                "kcab,kc->ab", self.slope, moved
            )


class Dark(Springs):
    """Springs without a polarizability."""

    implemented_properties = ("energy", "forces", "born_effective_charges")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        del self.results["polarizability"]


class ForcesOnly(Dark):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        del self.results["born_effective_charges"]


def exact_invariants(slope):
    """Σ a², Σ γ² of the three optical modes: u = e/√m with e = (√m₂, −√m₁)/√(m₁+m₂)."""
    first, second = crystal().get_masses()
    u = np.array([np.sqrt(second / first), -np.sqrt(first / second)]) / np.sqrt(first + second)
    tensors = np.einsum("k,kcab->cab", u, slope) * units.COULOMB
    a2 = (np.trace(tensors, axis1=1, axis2=2) / 3) ** 2
    s = 0.5 * (tensors + tensors.transpose(0, 2, 1))
    xx, yy, zz = s[:, 0, 0], s[:, 1, 1], s[:, 2, 2]
    off = s[:, 0, 1] ** 2 + s[:, 1, 2] ** 2 + s[:, 0, 2] ** 2
    # the textbook form, not the trace of the square
    g2 = 0.5 * ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) + 3 * off
    return a2.sum(), g2.sum()


def test_raman_activities_are_exact_where_the_polarizability_is_linear(springs):
    phonons, modes = springs
    lit = ph.with_raman(phonons, modes, Scatterers())
    (line,) = rm.raman_lines(lit)
    a2, g2 = exact_invariants(SLOPE)
    assert line.activity == pytest.approx(45 * a2 + 7 * g2, rel=1e-8)
    assert line.depolarisation == pytest.approx(3 * g2 / (45 * a2 + 4 * g2), rel=1e-8)
    for step in (0.001, 0.1):  # no error of the differences
        again = ph.with_raman(phonons, modes, Scatterers(), step=step)
        assert np.allclose(again.raman, lit.raman, rtol=1e-7, atol=1e-9)
    # one mode: R = Σ_kc u_kc ∂α/∂r_kc, in Å² amu^-½
    expected = np.einsum("kcab,kc->ab", SLOPE, modes.displacement(1)) * units.COULOMB
    assert np.allclose(lit.raman[1], expected, rtol=1e-8)
    grid = np.linspace(0, 2000, 200_001)
    area = np.trapezoid(rm.raman_curve(lit, grid, 3.0), grid)
    assert area == pytest.approx(line.activity, rel=0.02)  # tails beyond the grid
    with pytest.raises(ValueError, match="`step`"):
        ph.with_raman(phonons, modes, Scatterers(), step=0.0)
    with pytest.raises(ValueError, match="no Raman tensors"):
        rm.raman_lines(modes)


def test_raman_invariants_do_not_turn():
    rng = np.random.default_rng(7)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    tensors = rng.normal(size=(4, 3, 3))
    turned = np.einsum("ac,mcd,bd->mab", turn, tensors, turn)
    assert np.allclose(rm.raman_activity(turned), rm.raman_activity(tensors), rtol=1e-12)
    assert np.allclose(rm.invariants(turned), rm.invariants(tensors), rtol=1e-12)
    # a breathing sphere is polarised, a shear is not: limits 0 and 3/4
    assert rm.raman_activity(0.5 * np.eye(3)) == pytest.approx(45 * 0.25)
    assert rm.depolarisation_ratio(*rm.invariants(np.eye(3))) == 0.0
    shear = np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = 1.0
    assert rm.raman_activity(shear) == pytest.approx(7 * 3)
    assert rm.depolarisation_ratio(*rm.invariants(shear)) == pytest.approx(0.75)
    assert np.isnan(rm.depolarisation_ratio(np.array(0.0), np.array(0.0)))


def test_command_with_any_calculator(tmp_path, capsys, monkeypatch):
    crystal().write(tmp_path / "c.extxyz")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from tests.analysis.test_modes import Scatterers\n"
        "def make(scale=1.0):\n"
        "    from tests.analysis.test_modes import SLOPE\n"
        "    return Scatterers(slope=scale * SLOPE)\n"
    )
    common = ["c.extxyz", "--supercell", "2,2,2", "--no-relax", "--json", "out.json", "-o", "out"]
    twice = ["--calculator", "mine:make", "--calculator-options", '{"scale": 2.0}', "--raman"]
    assert modes_command(*common, *twice) == 0
    printed = capsys.readouterr().out
    assert "Raman" in printed
    assert "WARNING" not in printed  # a calculator's index order is known
    data = json.loads((tmp_path / "out.json").read_text())
    a2, g2 = exact_invariants(2 * SLOPE)
    assert data["raman_lines"][0]["activity"] == pytest.approx(45 * a2 + 7 * g2, rel=1e-6)
    parts = [mode["raman_activity_A4_per_amu"] for mode in data["modes"]]
    assert sum(parts) == pytest.approx(45 * a2 + 7 * g2, rel=1e-6)
    header = (tmp_path / "out-modes.csv").read_text()
    assert "raman_activity_A4/amu,depolarisation" in header
    assert "raman_A4/amu_per_cm-1" in (tmp_path / "out-epsilon.csv").read_text()
    assert (tmp_path / "out-modes.png").stat().st_size > 20_000
    here = sys.path[0]
    for spec, message in (
        ("mine", "module:factory"),
        ("model.pt", "module:factory"),
        ("../model.py:make", "module:factory"),
        ("mine:absent", "cannot be imported"),
        ("absent_module:make", "cannot be imported"),
        ("json:loads", "argument"),
        ("collections:OrderedDict", "no calculator"),
    ):
        with pytest.raises(ValueError, match=message):
            modes_command("c.extxyz", "--calculator", spec)
    assert sys.path[0] == here
    with pytest.raises(ValueError, match="not JSON"):
        modes_command("c.extxyz", "--calculator", "mine:make", "--calculator-options", "{scale}")
    with pytest.raises(ValueError, match="one of --calculator and --model"):
        modes_command("c.extxyz")


def test_what_a_calculator_lacks_is_named(tmp_path, springs, monkeypatch, capsys):
    phonons, modes = springs
    crystal().write(tmp_path / "c.extxyz")
    monkeypatch.chdir(tmp_path)
    dark = ["c.extxyz", "--calculator", "tests.analysis.test_modes:Dark", "--no-relax"]
    with pytest.raises(ValueError, match="Dark gives no polarizability: --raman"):
        modes_command(*dark, "--raman")
    with pytest.raises(ValueError, match="Raman activities need it"):
        ph.with_raman(phonons, modes, Dark())
    with pytest.raises(ValueError, match="gives no polarizability.*--epsilon-infinity"):
        modes_command(*dark)
    assert modes_command(*dark, "--epsilon-infinity", 2.0) == 0
    with pytest.raises(ValueError, match="needs a calculator"):
        modes_command("--from", tmp_path, "--raman")
    # Born charges of another program's file
    folder_of(phonons, tmp_path)
    bare = [
        "c.extxyz",
        "--calculator",
        "tests.analysis.test_modes:ForcesOnly",
        "--supercell",
        "2,2,2",
    ]
    with pytest.raises(ValueError, match="no born_effective_charges.*--born"):
        modes_command(*bare)
    assert modes_command(*bare, "--no-relax", "--born", "BORN", "--json", "out.json") == 0
    found = [m["intensity_e2_per_amu"] for m in json.loads(Path("out.json").read_text())["modes"]]
    assert np.allclose(found, modes.intensity, rtol=1e-6)


@pytest.mark.shared
def test_the_flag_for_the_index_order(shared, tmp_path, capsys):
    """Both orders are shown on the screen and in the JSON, unless something tells the order."""
    folder = shared / "data" / "phonons" / "quartz"
    for path in folder.iterdir():
        if path.name != "IR-PeakTable.dat":
            (tmp_path / path.name).symlink_to(path)
    summary = tmp_path / "out.json"
    right, wrong = 0.362194, 0.257783
    for order, here, there in (
        ("field-displacement", right, wrong),
        ("displacement-field", wrong, right),
    ):
        assert modes_command("--from", tmp_path, "--born-order", order, "--json", summary) == 0
        out = capsys.readouterr().out
        assert "WARNING: the Born tensors are not symmetric" in out
        row = next(
            line.split() for line in out.split("WARNING")[1].splitlines() if "482.034" in line
        )
        assert np.allclose([float(x) for x in row[2:]], [here, there], atol=1e-6)
        told = json.loads(summary.read_text())["born_order"]
        assert told["read_as"] == order
        assert told["largest_relative_change"] > 0.5
        assert min(abs(np.array(told["other_order_intensity_e2_per_amu"]) - there)) < 1e-6
    assert modes_command("--from", folder) == 0
    assert "IR-PeakTable.dat agrees with the index order as read" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--born-order"):
        modes_command("--from", folder, "--born-order", "displacement-field")
    assert modes_command("--from", shared / "data" / "phonons" / "toluene") == 0
    out = capsys.readouterr().out
    assert "rotational sum rule tells" in out
    assert "WARNING" not in out


@pytest.mark.shared
def test_symmetry_cannot_tell_the_order_in_a_crystal(shared):
    """The mean over the space group commutes with the transpose: no threshold can be found."""
    phonons = ph.from_folder(shared / "data" / "phonons" / "quartz")
    born = np.random.default_rng(0).normal(size=phonons.born.shape)
    one = ph.symmetrise_born(phonons.phonopy, born)
    other = ph.symmetrise_born(phonons.phonopy, born.transpose(0, 2, 1))
    assert np.allclose(other, one.transpose(0, 2, 1), atol=1e-12)
    assert np.abs(one - one.transpose(0, 2, 1)).max() > 0.1


def test_phonopy_contracts_the_first_index_with_the_field(springs, tmp_path):
    """Its non-analytical term and its BORN file agree with our order, not with the transpose."""
    from phonopy import Phonopy
    from phonopy.file_IO import parse_BORN

    base = springs[0].phonopy
    tensor = np.array([[1.2, 0.5, -0.3], [-0.4, 1.0, 0.2], [0.6, 0.1, 0.9]])
    born = np.array([tensor, -tensor])
    phonon = Phonopy(base.unitcell, base.supercell_matrix, "P", log_level=0, is_symmetry=False)
    phonon.force_constants = base.force_constants
    epsilon = 2.0 * np.eye(3)
    phonon.nac_params = {"born": born, "dielectric": epsilon, "factor": units.COULOMB}
    base.dynamical_matrix.run([0.0, 0.0, 0.0])
    matrix, cell = base.dynamical_matrix.dynamical_matrix, base.primitive
    for direction in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]):
        phonon.run_qpoints([[0, 0, 0]], nac_q_direction=direction)
        theirs = phonon.qpoints.frequencies[0][3:] * 33.35641
        ours, transposed = (
            mm.longitudinal(mm.solve(matrix, cell.masses, z, epsilon, cell.volume), direction)
            for z in (born, born.transpose(0, 2, 1))
        )
        assert np.allclose(theirs, ours, rtol=1e-6)
        assert np.abs(theirs - transposed).max() > 0.5
    rows = ["# none", " ".join(map(str, epsilon.ravel()))]
    rows += [" ".join(map(str, z.ravel())) for z in born]
    (tmp_path / "BORN").write_text("\n".join(rows) + "\n")
    read = parse_BORN(phonon.primitive, filename=str(tmp_path / "BORN"), is_symmetry=False)
    assert np.allclose(read["born"], born)
