import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

from lrcalc import units
from lrcalc.analysis import infrared
from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from lrcalc.analysis import raman_modes as rm
from lrcalc.analysis.index_order import rotation_residual
from lrcalc.analysis.mode_report import ModeReport
from lrcalc.analysis.mode_tables import table
from lrcalc.commands import modes as command

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "phonon_ir_reference.json").read_text()
)
SPRING, CHARGE, ALPHA, LATTICE = 3.0, 1.2, 2.0, 4.0


class Springs(Calculator):
    """CsCl crystal of springs between nearest neighbours, rigid ions, one polarizability."""

    implemented_properties = ("energy", "forces", "born_effective_charges", "polarizability")

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        rest = LATTICE * np.sqrt(3) / 2
        i, d, vector = neighbor_list("idD", atoms, rest * 1.07)
        energy = 0.25 * SPRING * ((d - rest) ** 2).sum()
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, i, (SPRING * (d - rest) / d)[:, None] * vector)
        sign = np.where(atoms.symbols == "Cs", 1.0, -1.0)
        self.results = {
            "energy": energy,
            "forces": forces,
            "born_effective_charges": CHARGE * sign[:, None, None] * np.eye(3),
            "polarizability": ALPHA * len(atoms) / 2 * np.eye(3),
        }


def crystal():
    return Atoms(
        "CsCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[LATTICE] * 3, pbc=True
    )


@pytest.fixture(scope="module")
def springs():
    phonons = ph.from_calculator(crystal(), Springs(), supercell=(2, 2, 2), relax=None)
    return phonons, ph.solve(phonons)


def modes_command(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(a) for a in arguments]))


def reduced_mass():
    m = crystal().get_masses()
    return m[0] * m[1] / m.sum()


def test_spring_crystal_is_analytic(springs):
    """Γ: K = 8k/3 on the reduced mass; I = 3 q²/μ; ε_0, LO from q alone."""
    _, modes = springs
    square = 8 * SPRING / 3 / reduced_mass() / units.EV_PER_AMU_A2_FS2
    nu = np.sqrt(square) / units.WAVENUMBER_TO_ANGULAR
    assert np.allclose(
        modes.wavenumber, nu, rtol=1e-4
    )  # 0.01 Å displacements are not quite harmonic
    assert modes.intensity.sum() == pytest.approx(3 * CHARGE**2 / reduced_mass(), rel=1e-9)
    infinity = 1 + ALPHA / (units.EPSILON_0 * LATTICE**3)
    static = infinity + CHARGE**2 / (units.EPSILON_0 * LATTICE**3 * 8 * SPRING / 3)
    assert np.allclose(mm.static_dielectric(modes), static * np.eye(3), rtol=2e-4)
    # Lyddane-Sachs-Teller, any direction
    for direction in ([1, 0, 0], [1, 2, -3]):
        longitudinal = mm.longitudinal(modes, direction)
        assert longitudinal[-1] == pytest.approx(nu * np.sqrt(static / infinity), rel=2e-4)
        assert np.allclose(longitudinal[:2], nu, rtol=1e-4)
    line = mm.lines(modes)
    assert len(line) == 1
    assert line[0].degeneracy == 3
    assert line[0].irrep == "T1u"


def test_damped_permittivity(springs):
    _, modes = springs
    grid = np.array([0.0, 50.0, 5000.0])
    epsilon = mm.permittivity(modes, grid, 5.0)
    assert np.allclose(epsilon[0], mm.static_dielectric(modes))
    assert np.allclose(epsilon[2].real, modes.epsilon_infinity, rtol=1e-2)
    assert (np.diagonal(epsilon.imag, axis1=1, axis2=2) >= 0).all()
    fine = np.linspace(0, 20000, 400001)
    area = np.trapezoid(mm.infrared_lines(modes, fine, 5.0), fine)
    exact = modes.intensity.sum() / (12 * units.EPSILON_0 * modes.volume)
    exact *= 1e16 / units.SPEED_OF_LIGHT**2 / units.EV_PER_AMU_A2_FS2
    assert area == pytest.approx(exact, rel=1e-3)
    assert mm.reflectivity(np.array([4.0]))[0] == pytest.approx(1 / 9)
    between = modes.wavenumber[0] * 1.02  # below the LO mode, 1.037
    shiny = mm.reflectivity(mm.permittivity(modes, np.array([between]), 0.01)[0, 0, 0])
    assert shiny > 0.99
    with pytest.raises(ValueError, match="damping"):
        mm.permittivity(modes, grid, 0.0)


def test_molecular_dynamics_agrees_with_modes(springs):
    """Langevin dynamics (BAOAB) in the force constants: position and integrated intensity."""
    phonons = ph.from_calculator(crystal(), Springs(), supercell=(1, 1, 1), relax=None)
    modes = ph.solve(phonons)
    masses = crystal().get_masses()[:, None]
    constants = phonons.phonopy.force_constants.transpose(0, 2, 1, 3).reshape(6, 6)
    # Two time steps a frame, 60 000 frames; 40 independent copies side by side make it quick.
    copies, steps, dt, temperature, friction = 40, 6000, 4.0, 300.0, 0.004
    rng = np.random.default_rng(0)
    thermal = units.BOLTZMANN * temperature / units.EV_PER_AMU_A2_FS2
    inverse = np.tile(1.0 / masses, (1, 3)).reshape(6)
    x = np.zeros((copies, 6))
    v = rng.normal(size=(copies, 6)) * np.sqrt(thermal * inverse)
    decay = np.exp(-friction * dt)
    dipoles = []
    push = -constants / units.EV_PER_AMU_A2_FS2 * inverse[None]
    charges = phonons.born.transpose(1, 0, 2).reshape(3, 6)
    for step in range(steps + 1000):
        v = v + 0.5 * dt * x @ push
        x = x + 0.5 * dt * v
        v = decay * v + np.sqrt((1 - decay**2) * thermal * inverse) * rng.normal(size=v.shape)
        x = x + 0.5 * dt * v
        v = v + 0.5 * dt * x @ push
        if step >= 1000:
            dipoles.append(x @ charges.T)
    runs = list(np.array(dipoles).transpose(1, 0, 2))
    found = infrared(
        runs,
        timestep=dt,
        volume=modes.volume,
        temperature=temperature,
        resolution=10.0,
        maximum=4000.0,
    )
    width = friction / units.WAVENUMBER_TO_ANGULAR
    lines = mm.infrared_lines(modes, found.wavenumber, width)
    top = found.wavenumber[np.argmax(found.n_alpha)]
    assert abs(top - modes.wavenumber[0]) < 5.0
    value, error = found.integrated()
    assert value == pytest.approx(np.trapezoid(lines, found.wavenumber), abs=3 * error)
    assert error < 0.03 * value


def test_relaxation_and_strain_are_found():
    moved = crystal()
    moved.positions[1] += [0.05, -0.03, 0.02]
    phonons = ph.from_calculator(moved, Springs(), epsilon_infinity=2.0)
    assert np.allclose(phonons.epsilon_infinity, 2 * np.eye(3))
    assert (ph.solve(phonons).wavenumber > 50).all()


def test_bands_and_animation(springs):
    phonons, modes = springs
    bands = ph.band_structure(phonons, points=11)
    top = max(band.max() for band in bands["wavenumbers"])
    # the zone centre is reached with the field of the long wave: the LO mode shows
    assert top == pytest.approx(mm.longitudinal(modes, [1, 0, 0])[-1], rel=0.02)
    assert bands["labels"][0][0] == "G"
    frames = ph.animation(phonons, modes, 0)
    largest = max(np.linalg.norm(f.positions - frames[0].positions, axis=1).max() for f in frames)
    assert largest == pytest.approx(0.3, rel=1e-6)
    with pytest.raises(ValueError, match="`mode`"):
        ph.animation(phonons, modes, 7)


def test_imaginary_modes_are_shown():
    born = np.array([np.eye(3), -np.eye(3)])
    relative = np.kron(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([1.0, 2.0, -0.5]))
    modes = mm.solve(relative, np.ones(2), born, 2 * np.eye(3), 40.0)
    assert modes.wavenumber[0] < 0
    assert "imaginary" in modes.notes[0]
    assert "i" in table(modes).splitlines()[1].split()[0]
    assert np.isfinite(mm.static_dielectric(modes)).all()


def test_sum_rule():
    born = np.array([np.eye(3), -0.97 * np.eye(3)])
    masses = np.array([20.0, 30.0])
    neutral = mm.neutral_born(born, masses)
    assert np.allclose(neutral.sum(0), 0)
    # optical charges do not change: e/√m of an optical mode carries no centre of mass
    e = np.array([[[30**0.5, 0, 0], [-(20**0.5), 0, 0]]]) / 50**0.5
    assert np.allclose(mm.mode_charges(e, masses, born), mm.mode_charges(e, masses, neutral))
    with pytest.raises(ValueError, match="sum rule"):
        mm.neutral_born(np.array([np.eye(3), -0.5 * np.eye(3)]), masses)
    with pytest.raises(ValueError, match="must be"):
        mm.mode_charges(e, masses, born[:1])


def test_rotation_tells_a_molecules_index_order():
    """Charges that follow the bond of a bent molecule: dM = ω × M on a rotation."""
    rng = np.random.default_rng(1)
    positions = rng.normal(size=(5, 3)) * 1.5

    def dipole(x):
        total = np.zeros(3)
        for i in range(5):
            for j in range(i):
                d = x[i] - x[j]
                total += (i + 1) * np.exp(-np.linalg.norm(x[i] - x[(j + 2) % 5])) * d
        return total

    born = np.zeros((5, 3, 3))
    for k in range(5):
        for b in range(3):
            step = np.zeros((5, 3))
            step[k, b] = 1e-5
            born[k, :, b] = (dipole(positions + step) - dipole(positions - step)) / 2e-5
    assert rotation_residual(positions, born) < 1e-7
    assert rotation_residual(positions, born.transpose(0, 2, 1)) > 0.1


@pytest.mark.shared
@pytest.mark.parametrize("name", ["benzene", "toluene", "quartz", "NaCl", "MgO"])
def test_reference_tables(name, shared, tmp_path):
    folder = shared / "data" / "phonons" / name
    modes = ph.solve(ph.from_folder(folder))
    expected = REFERENCE[name]
    for nu, intensity in expected["modes"]:
        line = min(mm.lines(modes), key=lambda one: abs(one.wavenumber - nu))
        assert line.wavenumber == pytest.approx(nu, abs=0.01)
        assert line.intensity == pytest.approx(intensity, abs=1e-5)
    static = np.diag(mm.static_dielectric(modes))
    if "eps0" in expected:
        assert np.allclose(static, expected["eps0"], atol=1e-3)
        for value in expected["LO"]:
            assert mm.longitudinal(modes, [1, 0, 0])[-1] == pytest.approx(value, abs=0.05)
    if "eps0_xx_zz" in expected:
        assert np.allclose(static[[0, 2]], expected["eps0_xx_zz"], atol=1e-3)
        assert modes.volume == pytest.approx(expected["volume"], abs=1e-3)
    summary = tmp_path / "out.json"
    assert modes_command("--from", folder, "--json", summary) == 0
    data = json.loads(summary.read_text())
    assert len(data["modes"]) == len(modes.wavenumber)
    assert {"frequency_cm1", "intensity_e2_per_amu", "intensity_km_per_mol", "mode_charge"} < set(
        data["modes"][0]
    )
    assert np.allclose(data["static_dielectric"], mm.static_dielectric(modes))


@pytest.mark.shared
def test_quartz_tells_the_index_order(shared, tmp_path, capsys):
    """Symmetry allows both orders; the intensities differ, and it is said aloud."""
    folder = shared / "data" / "phonons" / "quartz"
    wrong = ph.solve(ph.from_folder(folder, transposed=True, check_table=False))
    for nu, intensity in REFERENCE["quartz"]["wrong_if_transposed"]:
        line = min(mm.lines(wrong), key=lambda one: abs(one.wavenumber - nu))
        assert line.intensity == pytest.approx(intensity, abs=1e-4)
    assert any("index order" in note for note in wrong.notes)
    right = ph.solve(ph.from_folder(folder))
    assert any("index order" in note for note in right.notes)
    assert {"A1", "A2", "E"} == set(right.irreps)
    with pytest.raises(ValueError, match="transposed"):
        ph.from_folder(folder, transposed=True)


@pytest.mark.shared
def test_molecule_in_the_wrong_order_is_refused(shared):
    with pytest.raises(ValueError, match="rotational sum rule"):
        ph.from_folder(shared / "data" / "phonons" / "toluene", transposed=True)


@pytest.mark.shared
def test_quartz_raman_reference(shared):
    import yaml

    folder = shared / "data" / "phonons" / "quartz"
    entries = yaml.safe_load((folder / "Raman-Tensors.yaml").read_text())["raman_activities"]
    for nu, activity in REFERENCE["quartz"]["raman_A1_45a2_7g2"]:
        entry = min(entries, key=lambda e: abs(e["frequency"] * 33.35641 - nu))
        assert rm.raman_activity(np.array(entry["raman_tensor"])) == pytest.approx(
            activity, rel=1e-5
        )


def test_command_writes_everything(tmp_path, springs, capsys):
    phonons, modes = springs
    report = ModeReport(phonons, modes, 5.0, bands=ph.band_structure(phonons))
    files = report.save(tmp_path / "s")
    assert sorted(f.name for f in files) == sorted(
        ["s-modes.csv", "s-epsilon.csv", "s-BORN", "s-modes.png", "s-bands.png"]
    )
    assert all(f.stat().st_size > 100 for f in files)
    from phonopy.file_IO import parse_BORN

    again = parse_BORN(phonons.phonopy.primitive, filename=str(files[2]))
    assert np.allclose(again["born"], phonons.born, atol=1e-7)


def folder_of(phonons, path):
    """Write what a DFT user has: POSCAR, phonopy.yaml, FORCE_SETS, BORN."""
    from phonopy.file_IO import write_BORN, write_FORCE_SETS

    phonons.phonopy.save(str(path / "phonopy_disp.yaml"), settings={"force_sets": False})
    write_FORCE_SETS(phonons.phonopy.dataset, filename=str(path / "FORCE_SETS"))
    cell = phonons.phonopy.primitive
    write_BORN(cell, phonons.born, phonons.epsilon_infinity, filename=str(path / "BORN"))
    return path


def test_from_folder_equals_from_calculator(tmp_path, springs):
    phonons, modes = springs
    folder = folder_of(phonons, tmp_path)
    again = ph.solve(ph.from_folder(folder))
    assert np.allclose(again.wavenumber, modes.wavenumber, rtol=1e-5)
    assert np.allclose(again.intensity.sum(), modes.intensity.sum(), rtol=1e-6)


def test_bad_folders(tmp_path, springs):
    with pytest.raises(FileNotFoundError, match="no folder"):
        ph.from_folder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="BORN"):
        ph.from_folder(tmp_path)
    folder = folder_of(springs[0], tmp_path)
    (folder / "phonopy_disp.yaml").rename(folder / "kept")
    with pytest.raises(FileNotFoundError, match="POSCAR"):
        ph.from_folder(folder)
    crystal().write(folder / "POSCAR", format="vasp")
    with pytest.raises(ValueError, match="supercell"):
        ph.from_folder(folder)
    (folder / "kept").rename(folder / "phonopy_disp.yaml")
    (folder / "FORCE_SETS").unlink()
    with pytest.raises(FileNotFoundError, match="FORCE_SETS"):
        ph.from_folder(folder)


def test_born_that_break_the_symmetry_are_refused(springs):
    phonons, _ = springs
    born = phonons.born.copy()
    born[0, 0, 1] += 0.5
    with pytest.raises(ValueError, match="symmetry"):
        ph.assemble(phonons.phonopy, born, np.eye(3), only_gamma=False)
    with pytest.raises(ValueError, match="shape"):
        ph.assemble(phonons.phonopy, born[:1], np.eye(3), only_gamma=False)
    with pytest.raises(ValueError, match="Γ only"):
        ph.band_structure(phonons._replace(only_gamma=True))


def test_labels_that_are_missing_are_told(springs, monkeypatch):
    """The table once lost its labels without a word, whatever phonopy stumbled over."""
    phonons, labelled = springs
    assert any(labelled.irreps)
    assert "symmetry labels" not in "".join(labelled.notes)

    def stumbles(*args, **kwargs):
        raise RuntimeError("Character table not found.")

    monkeypatch.setattr(type(phonons.phonopy), "run_irreps", stumbles)
    modes = ph.solve(phonons)
    assert not any(modes.irreps)
    (note,) = [note for note in modes.notes if "no symmetry labels" in note]
    assert "Character table not found" in note
    assert note in ModeReport(phonons, modes, 5.0).table()
