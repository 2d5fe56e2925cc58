"""`lrcalc lammps`: inputs as they are, restarts, series, on two ranks."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read

import lrcalc
from lrcalc.analysis.lammps_series import read_head
from lrcalc.checkpoint import save
from lrcalc.lammps.style import swapped_elements
from tests.conftest import random_potential
from tests.lammps.running import needs_lammps, run_lammps
from tests.lammps.test_refusals import BOX
from tests.sample_structures import TRICLINIC, water_box

pytestmark = needs_lammps

DATA = """water

12 atoms
2 atom types
0.0 6.0 xlo xhi
0.0 5.6 ylo yhi
0.0 6.3 zlo zhi
1.4 -0.9 0.7 xy xz yz

Masses

1 1.008
2 15.999

Atoms # atomic

"""

START = """units metal
boundary p p p
atom_style atomic
read_data water.data
pair_style lrcalc model.pt dtype float64 field 0.01 0.02 -0.03
pair_coeff * * H O
neighbor 1.0 bin
timestep 0.0005
"""

GO_ON = """units metal
read_restart half.restart
pair_style lrcalc model.pt dtype float64 field 0.01 0.02 -0.03
pair_coeff * * H O
neighbor 1.0 bin
timestep 0.0005
"""

LOOK = """compute lr all pair lrcalc
thermo 2
thermo_style custom step temp pe etotal press vol c_lr[1] c_lr[2] c_lr[3] c_lr[7]
thermo_modify format float %.15g
dump all all custom 2 {name}.dump id type xu yu zu vx vy vz
dump_modify all sort id format float %.17g
fix series all lrcalc 2 {series}.txt current
"""

MOVE = "fix move all npt temp 300 300 0.1 tri 0 0 1.0\n"


def write_data(folder, atoms):
    """A data file; atoms wrapped, with images."""
    fractional = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    images = np.floor(fractional).astype(int)
    rows = []
    for k, (symbol, x, image) in enumerate(
        zip(atoms.symbols, atoms.positions - images @ atoms.cell.array, images, strict=True)
    ):
        words = [k + 1, 1 if symbol == "H" else 2, *(f"{c:.17g}" for c in x), *image]
        rows.append(" ".join(map(str, words)))
    (folder / "water.data").write_text(DATA + "\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a structure whose molecules lie in several boxes, and what two runs of it left."""
    folder = tmp_path_factory.mktemp("host")
    atoms = water_box(n=4)
    save(random_potential(atoms, level="uiu"), folder / "model.pt")
    atoms.positions[:6] += TRICLINIC[0] - 2 * TRICLINIC[2]
    write_data(folder, atoms)
    whole = START + "velocity all create 300 7\n" + LOOK.format(name="whole", series="whole")
    whole += MOVE + "run 6\nwrite_restart half.restart\nrun 6\n"
    checked(run_lammps(folder, whole, ranks=2, timeout=120))
    # the second half anew, on another number of ranks
    (folder / "first.txt").write_text((folder / "whole.txt").read_text())
    rest = GO_ON + LOOK.format(name="rest", series="whole") + MOVE + "run 6\n"
    checked(run_lammps(folder, rest, ranks=1, timeout=120))
    return folder


def checked(done):
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


def frames(path):
    return read(path, ":", format="lammps-dump-text")


def test_the_work_of_a_field_on_atomic_charges_is_in_the_energy(tmp_path):
    atoms = water_box(n=4)
    model = random_potential(atoms, level="u", charges="atomic")
    model.metadata["total_charges"] = [1.0]
    save(model, tmp_path / "model.pt")
    write_data(tmp_path, atoms)
    script = START.replace("field 0.01 0.02 -0.03", "field 0.5 0.2 -0.3")
    script = script.replace("0.0005", "0.0001") + "velocity all create 600 7\n"
    script += LOOK.format(name="run", series="run").replace(" 2 ", " 1 ").replace("current", "")
    script += "fix move all nve\nrun 4\nrun 4\n"
    checked(done := run_lammps(tmp_path, script, timeout=120, switches=()))
    warned = "WARNING: pair_style lrcalc: a "
    assert done.stdout.count(f"{warned}field is held on atomic charges in a periodic cell") == 1
    assert done.stdout.count(f"{warned}structure has the total charge 0 e") == 1
    rows = table(tmp_path / "run.txt")
    calc = lrcalc.LRCalculator(
        tmp_path / "model.pt", dtype="float64", electric_field=(0.5, 0.2, -0.3)
    )
    for row, frame in zip(rows, frames(tmp_path / "run.dump"), strict=True):
        frame.numbers = atoms.numbers
        frame.calc = calc  # which follows the work from frame to frame
        assert row[3] == pytest.approx(frame.get_potential_energy(), abs=1e-9)
    assert "nan" in (tmp_path / "log.lammps").read_text()  # these charges have no stress in a field
    without = lrcalc.LRCalculator(tmp_path / "model.pt", dtype="float64")
    last = frames(tmp_path / "run.dump")[-1]
    last.numbers = atoms.numbers
    assert abs(without.get_potential_energy(last) - rows[-1, 3]) > 1e-4  # it is not small


def table(path):
    return np.array([row.split() for row in path.read_text().splitlines() if row[0] != "#"], float)


def test_a_restart_on_another_number_of_ranks_goes_on_as_the_run_did(folder):
    whole, rest = (frames(folder / f"{name}.dump") for name in ("whole", "rest"))
    assert len(whole) == 7
    np.testing.assert_allclose(rest[-1].positions, whole[-1].positions, atol=1e-9)
    np.testing.assert_allclose(rest[-1].cell.array, whole[-1].cell.array, atol=1e-9)


def test_the_series_of_a_restart_continues_the_file(folder):
    first, whole = table(folder / "first.txt"), table(folder / "whole.txt")
    assert whole[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]
    np.testing.assert_allclose(whole, first, rtol=1e-7, atol=1e-8)


def test_what_a_series_says_of_its_run_is_true_after_the_input_has_changed_it(folder, tmp_path):
    """Equilibrated without a field, then from step 0 in one: the file is that of the second run."""
    start = START.replace("model.pt", f"{folder}/model.pt").replace(
        "water.data", f"{folder}/water.data"
    )
    start = start.replace("0.0005", "0.0000001")  # the wrong elements would fly apart
    script = start.replace(" field 0.01 0.02 -0.03", "").replace("H O", "O H")
    script += "fix series all lrcalc 1 run.txt\nfix move all nvt temp 300 300 0.1\nrun 2\n"
    script += "reset_timestep 0\nunfix move\nfix move all nve\n"
    script += "".join(line + "\n" for line in start.splitlines() if line.startswith("pair"))
    done = run_lammps(tmp_path, script + "run 1\nrun 2\n", ranks=1)
    checked(done)
    head = read_head(tmp_path / "run.txt").conditions
    assert (head.ensemble, head.value) == ("nve", (0.01, 0.02, -0.03))
    rows = table(tmp_path / "run.txt")
    assert rows[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(rows[:, 8:11], [(0.01, 0.02, -0.03)] * 4, atol=1e-12)
    # the elements of the first run were in the wrong order, which masses tell
    assert "names O for atom type 1, whose mass 1.008 is that of H" in done.stdout
    assert swapped_elements([1, 8], [2.014, 15.999]) == swapped_elements([8, 1], [17.999, 3]) == []


@pytest.mark.filterwarnings("ignore:.*outside of what the model")
def test_a_box_smaller_than_the_cutoff(tmp_path):
    """Several images of an atom are within the cutoff of it, on ranks thinner still."""
    script = BOX.replace("0 9 0 9 0 9", "0 2.9 0 3.1 0 40")
    script += "pair_style lrcalc water dtype float64\npair_coeff * * O H\n"
    script += "thermo_style custom pe\nthermo_modify format float %.15g\nrun 0\n"
    done = run_lammps(tmp_path, script)
    checked(done)
    atoms = Atoms("OHH", [(1, 1, 1), (1.9, 1, 1), (0.8, 1.9, 1)], cell=(2.9, 3.1, 40), pbc=True)
    atoms.calc = lrcalc.LRCalculator("water", dtype="float64")
    said = done.stdout.split("PotEng")[1].split()[0]
    assert float(said) == pytest.approx(atoms.get_potential_energy(), rel=1e-9)


def test_dipole_and_current_are_those_of_ase(folder):
    rows = table(folder / "first.txt")
    for row, frame in zip(rows, frames(folder / "whole.dump"), strict=True):
        velocities = frame.get_velocities() * units.fs  # of the masses it was read with
        frame.numbers = water_box(n=4).numbers
        frame.calc = lrcalc.LRCalculator(
            folder / "model.pt", dtype="float64", electric_field=(0.01, 0.02, -0.03)
        )
        assert row[3] == pytest.approx(frame.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(row[5:8], frame.get_dipole_moment(), atol=1e-6)
        np.testing.assert_allclose(row[8:11], (0.01, 0.02, -0.03), atol=1e-12)
        born = frame.calc.get_property("born_effective_charges", frame)
        current = np.einsum("nab,nb->a", born, velocities)
        np.testing.assert_allclose(row[11:14], current, atol=1e-6)
