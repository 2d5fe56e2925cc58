"""Mean-square displacements of processes whose diffusion is known in closed form."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from lrcalc.analysis import msd
from lrcalc.analysis.diffusion import TO_SI
from lrcalc.units import BOHR
from tests.analysis.signals import free_langevin
from tests.analysis.test_files import run

SIGMA = 0.01  # Å/fs
OPTIONS = {"timestep": 10.0, "drift": "keep"}
TRICLINIC = np.array([[6.0, 0, 0], [-2.0, 7.0, 0], [1.0, 0.5, 5.0]])


def diffuse(walk, **options):
    atoms = walk.shape[1] // 3
    return msd(walk, species=["O"] * atoms, masses=[16.0] * atoms, **(OPTIONS | options))


def walkers(seed, frames, atoms, tau=50.0):
    return free_langevin(np.random.default_rng(seed), frames, 10.0, tau, SIGMA, 3 * atoms)


def test_langevin_particles_follow_the_closed_formula():
    """MSD = 2d D (t − τ(1 − e^{−t/τ})), D = σ² τ: ballistic first, then diffusive."""
    tau = 200.0
    found = diffuse(walkers(0, 20_000, 20, tau), longest=3000.0, fit=(1500.0, 3000.0))
    exact = 6 * SIGMA**2 * tau * (found.time - tau * (1 - np.exp(-found.time / tau)))
    assert np.abs(found.msd[0] - exact)[1:].max() < 0.04 * exact[-1]
    assert np.abs(found.msd[0][1:4] / exact[1:4] - 1).max() < 0.02
    off = np.abs(found.msd[0] - exact)[1:] / found.error[0][1:]
    assert np.mean(off < 2) > 0.9
    assert abs(found.diffusion[0] - SIGMA**2 * tau) < 2 * found.diffusion_error[0]
    assert found.diffusion_error[0] < 0.05 * SIGMA**2 * tau


def test_a_random_walk_in_two_species():
    rng = np.random.default_rng(1)
    sizes = np.array([0.1, 0.1, 0.3])
    walk = np.cumsum(rng.normal(size=(30_000, 3, 3)) * sizes[:, None], axis=0).reshape(-1, 9)
    found = msd(walk, species=["Na", "Na", "Cl"], masses=[23, 23, 35], longest=500.0, **OPTIONS)
    assert found.species == ("Cl", "Na")
    exact = np.array([0.3, 0.1]) ** 2 / (2 * 10.0)
    assert (np.abs(found.diffusion - exact) < 2.5 * found.diffusion_error).all()
    assert (found.diffusion_error < 0.05 * exact).all()
    assert list(found.columns) == [
        "time_fs",
        "msd_Cl_A2",
        "error_Cl_A2",
        "msd_Na_A2",
        "error_Na_A2",
    ]
    assert found.summary["D_Cl"].value == pytest.approx(1e4 * found.diffusion[0])


def test_numpy_agrees():
    """The plain definition, over all windows and atoms; only the windows at the ends differ."""
    walk = walkers(2, 6000, 4)
    found = diffuse(walk, longest=300.0)
    each = walk.reshape(len(walk), -1, 3)
    plain = [((each[k:] - each[: len(each) - k]) ** 2).sum(2).mean() for k in range(1, 31)]
    assert np.abs(found.msd[0][1:] / plain - 1).max() < 5e-3
    inside = found.time >= 75.0
    slope = np.polyfit(found.time[inside], found.msd[0][inside], 1)[0]
    assert found.diffusion[0] == pytest.approx(slope / 6, rel=1e-9)


@pytest.mark.parametrize(("frames", "atoms", "tau"), [(2000, 8, 20.0), (2000, 3, 50.0)])
def test_errors_cover(frames, atoms, tau):
    one, two = [], []
    for seed in range(80):
        found = diffuse(walkers([seed, frames], frames, atoms, tau))
        exact, middle = SIGMA**2 * tau, len(found.time) // 2
        time = found.time[middle]
        shape = 6 * exact * (time - tau * (1 - np.exp(-time / tau)))
        off = np.array([
            (found.diffusion[0] - exact) / found.diffusion_error[0],
            (found.msd[0][middle] - shape) / found.error[0][middle],
        ])  # fmt: skip
        one.append(np.abs(off) < 1)
        two.append(np.abs(off) < 2)
    assert ((np.mean(one, 0) >= 0.55) & (np.mean(one, 0) <= 0.80)).all()
    assert (np.mean(two, 0) > 0.85).all()


def test_what_is_too_short_is_said():
    slow = diffuse(walkers(3, 4000, 8, tau=1000.0))
    assert any("no straight line" in note for note in slow.settings["notes"])
    still = diffuse(0.05 * np.random.default_rng(4).normal(size=(4000, 24)))
    assert any("rattle" in note for note in still.settings["notes"])
    few = diffuse(walkers(5, 200, 8), longest=500.0)
    assert any("blocks only" in note for note in few.settings["notes"])
    with pytest.raises(ValueError, match="too short for a diffusion"):
        diffuse(walkers(6, 100, 2))
    with pytest.raises(ValueError, match="`longest` is 1e"):
        diffuse(walkers(6, 400, 2), longest=1e6)
    with pytest.raises(ValueError, match="`fit` is 100 to 50"):
        diffuse(walkers(6, 400, 2), fit=(100.0, 50.0))
    with pytest.raises(ValueError, match="`drift`"):
        diffuse(walkers(6, 400, 2), drift="no")


def test_many_lags_are_thinned():
    """Every k-th frame is enough where the longest time has thousands."""
    walk = walkers(7, 12_000, 1)
    whole, thin = diffuse(walk, longest=9000.0), diffuse(walk, longest=25_000.0)
    assert (whole.settings["every"], thin.settings["every"]) == (1, 3)
    place = np.argmin(np.abs(whole.time - 6000.0))
    other = np.argmin(np.abs(thin.time - 6000.0))
    assert thin.time[other] == whole.time[place]
    assert thin.msd[0][other] == pytest.approx(whole.msd[0][place], rel=0.02)


def fold(walk, cell):
    parts = walk.reshape(len(walk), -1, 3) @ np.linalg.inv(cell)
    return ((parts % 1.0) @ cell).reshape(len(walk), -1)


def test_folded_positions_are_unwrapped_or_refused():
    walk = walkers(8, 3000, 3)
    assert np.ptp(walk) > 10.0
    plain, folded = diffuse(walk), diffuse(fold(walk, TRICLINIC), cell=TRICLINIC)
    assert np.allclose(folded.msd, plain.msd, rtol=1e-9)
    assert any("unwrapped" in note for note in folded.settings["notes"])
    assert np.allclose(diffuse(walk, cell=TRICLINIC).msd, plain.msd, rtol=1e-9)
    with pytest.raises(ValueError, match="folded back into the cell; give the cell"):
        diffuse(fold(walk, TRICLINIC))
    with pytest.raises(ValueError, match="nearly half of the cell"):
        diffuse(fold(10 * walk, TRICLINIC / 2), cell=TRICLINIC / 2)


def test_the_centre_of_mass_is_held():
    """Its drift does not count; in a small cell that takes (1 − m/M) of a free walk off."""
    walk = walkers(9, 20_000, 4)
    flow = walk + np.repeat([[0.02, -0.01, 0.0]], len(walk), 0).cumsum(0)[:, [0, 1, 2] * 4]
    held = diffuse(flow, drift="remove")
    assert np.allclose(held.msd, diffuse(walk, drift="remove").msd, atol=1e-9)
    assert held.diffusion[0] == pytest.approx(0.75 * diffuse(walk).diffusion[0], rel=0.1)
    assert any("centre of mass removed: 4" in note for note in held.settings["notes"])
    assert diffuse(flow).diffusion[0] > 2 * held.diffusion[0]


def test_finite_size_of_water():
    """300 K, 0.85 mPa s, 12.42 Å: 2.837297 k_BT/(6π η L) = 0.5906e-9 m²/s by hand in SI."""
    options = {"temperature": 300.0, "viscosity": 0.85}
    walk = walkers(10, 3000, 3)
    found = diffuse(walk, cell=12.42 * np.eye(3), **options)
    by_hand = 2.837297 * 1.380649e-23 * 300 / (6 * np.pi * 0.85e-3 * 12.42e-10)
    assert found.correction * TO_SI * 1e-9 == pytest.approx(by_hand, rel=1e-6)
    gap = found.summary["D_infinite_O"].value - found.summary["D_O"].value
    assert gap == pytest.approx(1e9 * by_hand, rel=1e-6)
    assert "D_infinite_O" not in diffuse(walk).summary
    with pytest.raises(ValueError, match="cubic"):
        diffuse(walk, cell=TRICLINIC, **options)
    with pytest.raises(ValueError, match="temperature"):
        diffuse(walk, cell=TRICLINIC, viscosity=0.85)
    with pytest.raises(ValueError, match="`viscosity` is -1"):
        diffuse(walk, cell=12.42 * np.eye(3), temperature=300.0, viscosity=-1)


def test_command_on_every_kind_of_file(tmp_path, capsys):
    """An ASE trajectory, i-PI's xyz in bohr, and a folded LAMMPS dump: one answer."""
    walk = walkers(11, 200, 2) + 5.0
    cell = 10.0 * np.eye(3)
    frames = [Atoms("OH", positions=w.reshape(2, 3), cell=cell, pbc=True) for w in walk]
    for index, atoms in enumerate(frames):
        atoms.info["time_fs"] = 10.0 * index
    write(tmp_path / "a.extxyz", frames)
    with (tmp_path / "sim.pos_0.xyz").open("w") as file:
        for index, row in enumerate(walk.reshape(-1, 2, 3) / BOHR):
            file.write(f"2\n# CELL(abcABC): {3 * f'{10 / BOHR} '}90 90 90 Step: {index} Bead: 0 "
                       "positions{atomic_unit} cell{atomic_unit}\n")  # fmt: skip
            for name, place in zip("OH", row, strict=True):
                file.write(f"{name} {place[0]:.9f} {place[1]:.9f} {place[2]:.9f}\n")
    with (tmp_path / "a.dump").open("w") as file:
        for index, row in enumerate(fold(walk, cell).reshape(-1, 2, 3)):
            file.write(f"ITEM: TIMESTEP\n{index}\nITEM: NUMBER OF ATOMS\n2\n"
                       "ITEM: BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10\n"
                       "ITEM: ATOMS id element x y z\n")  # fmt: skip
            for number, (name, place) in enumerate(zip("OH", row, strict=True), start=1):
                file.write(f"{number} {name} {place[0]:.9f} {place[1]:.9f} {place[2]:.9f}\n")
    options = ["--no-progress", "--viscosity", 0.85, "--temperature", 300]
    more = {
        "a.extxyz": [],
        "sim.pos_0.xyz": ["--timestep", 10],
        "a.dump": ["--timestep", 10, "--lammps-units", "real"],
    }
    tables = []
    for name, own in more.items():
        assert run("msd", tmp_path / name, *options, *own, "-o", tmp_path / "o") == 0
        tables.append(np.loadtxt(tmp_path / "o-msd.csv", delimiter=",", comments=["#", "t"]))
        out = capsys.readouterr().out
        assert "D(O) = " in out
        assert "D∞(H) = " in out
    assert np.allclose(tables[0], tables[1], rtol=1e-5, atol=1e-7)
    assert np.allclose(tables[0], tables[2], rtol=1e-5, atol=1e-7)
    assert "unwrapped" in out
    assert (tmp_path / "o-msd.png").stat().st_size > 10_000


def test_a_cell_that_changes_its_shape_cannot_unfold(tmp_path):
    """At constant volume too; a packed trajectory says the same as a plain one."""
    walk = walkers(12, 200, 2).reshape(-1, 2, 3)
    bend = 0.02 * np.sin(np.arange(200) / 9)
    frames = [
        Atoms("OH", positions=where, cell=np.diag([6 * np.exp(b), 6 * np.exp(-b), 6]), pbc=True)
        for where, b in zip(walk, bend, strict=True)
    ]
    options = ["--no-progress", "--timestep", 10, "-o", tmp_path / "o"]
    answers = []
    for name in ("a.xyz", "a.xyz.gz"):
        write(tmp_path / name, frames, format="extxyz")
        assert run("msd", tmp_path / name, *options) == 0
        lines = (tmp_path / "o-msd.csv").read_text().splitlines()
        answers.append([line for line in lines if not line.startswith("#")])
    assert answers[0] == answers[1]
    for atoms in frames:
        atoms.wrap()
    write(tmp_path / "b.xyz", frames)
    with pytest.raises(ValueError, match="if it does not change"):
        run("msd", tmp_path / "b.xyz", *options)
    with pytest.raises(ValueError, match="changes along the run"):
        run("msd", tmp_path / "b.xyz", *options, "--cell-from", tmp_path / "b.xyz")


def test_one_atom_and_held_atoms():
    walk = walkers(13, 400, 3)
    walk[:, :3] = 1.0
    found = diffuse(walk, drift="remove")
    assert any("1 atoms never move (atom 0" in note for note in found.settings["notes"])
    with pytest.raises(ValueError, match="`drift` is 'remove', but the motion of one atom"):
        diffuse(walk[:, 3:6], drift="remove")
