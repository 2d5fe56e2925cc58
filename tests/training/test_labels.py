"""What training data say besides what is used, and labels that do not fit one another."""

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress

from lrcalc import load
from lrcalc.cli import main
from lrcalc.models.card import pressure_warning
from lrcalc.models.sign import describe_sign
from lrcalc.training.data import make_frames, read_structures
from lrcalc.training.labels import LabelKeys
from lrcalc.training.remarks import describe_labels
from lrcalc.training.scales import describe_scales
from tests.training.labelled_metal import REFERENCE, SMALL, copper, rename, written
from tests.training.sets import frames_of


@pytest.mark.parametrize(
    "name", ["REF_stress", "dft_stress", "stress_vasp", "virial", "virials", "REF_virial"]
)
def test_names_of_a_stress_that_is_not_used(name):
    structures = rename(frames_of("water", 3), stress=name)
    option = "--virial-key" if "virial" in name else "--stress-key"
    (line,) = describe_labels(structures, LabelKeys("REF_energy", "REF_forces"))
    assert line.startswith(f"{name} (all 3 frames) is not used")
    assert f"{option} {name}" in line


@pytest.mark.parametrize("name", ["REF_stress", "virials"])
def test_a_stress_that_is_not_used_gets_a_line(name, tmp_path, capsys):
    path = written(tmp_path / "w.xyz", rename(frames_of("water", 6), stress=name))
    out = tmp_path / "m.pt"
    assert main(["train", "--train", path, *SMALL, *REFERENCE, "--out", str(out)]) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if name in x]
    option = "virial" if "virial" in name else "stress"
    assert len(lines) == 1
    assert f"{name} (all 6 frames) is not used" in lines[0]
    assert f"--{option}-key {name}" in lines[0]
    assert load(out).metadata["labels"] == ["energy", "forces"]
    assert "trained without stresses" in pressure_warning("m", load(out).metadata)
    assert main(["info", str(out)]) == 0
    assert "not for constant pressure  it was trained without stresses" in capsys.readouterr().out
    assert main(["evaluate", str(out), path, *REFERENCE]) == 0
    assert f"note: {name} (all 6 frames) is not used" in capsys.readouterr().out


def test_a_virial_is_minus_the_volume_times_the_stress(tmp_path, capsys):
    structures = frames_of("water", 6)
    labels = [a.get_stress() for a in structures]
    rename(structures, stress="virial", kind=lambda tensor, volume: -volume * tensor)
    path = written(tmp_path / "v.xyz", structures)
    keys = LabelKeys("REF_energy", "REF_forces", virial="virial")
    read = read_structures(path, keys)
    for atoms, stress in zip(read, labels, strict=True):
        np.testing.assert_allclose(atoms.get_stress(), stress, atol=1e-7)
    assert describe_labels(read, keys) == []
    command = ["train", "--train", path, *SMALL, *REFERENCE, "--out", str(tmp_path / "m.pt")]
    assert main([*command, "--virial-key", "virial"]) == 0
    assert "is not used" not in capsys.readouterr().out
    assert load(tmp_path / "m.pt").metadata["labels"] == ["energy", "forces", "stress"]
    assert main([*command, "--virial-key", "virial", "--stress-key", "REF_stress"]) == 2
    assert "are both given" in capsys.readouterr().err
    assert main([*command, "--stress-key", "virial"]) == 2
    assert "give them as --virial-key virial" in capsys.readouterr().err


def test_a_virial_without_three_periodic_directions_is_refused(tmp_path):
    structures = frames_of("molecules", 2)
    for atoms in structures:
        atoms.info["virial"] = np.eye(3).ravel()
    path = written(tmp_path / "m.xyz", structures)
    with pytest.raises(ValueError, match=r"frame 0: virial: .*three periodic directions"):
        read_structures(path, LabelKeys(virial="virial"))


def test_a_virial_beside_a_stress_must_fit_it():
    structures = frames_of("water", 3)
    for atoms in structures:
        full = voigt_6_to_full_3x3_stress(atoms.get_stress())
        atoms.info["virial"] = -atoms.get_volume() * full
    assert describe_labels(structures, LabelKeys()) == []
    for atoms in structures:
        atoms.info["virial"] = atoms.info["virial"] * -1
    (line,) = describe_labels(structures, LabelKeys())
    assert "virial is not used (stress is) and is not -V times the stress but -1 times that" in line


WRONG = {
    "opposite sign": lambda s, v: -s,
    "in GPa": lambda s, v: 160.21766 * s,
    "--units stress=-kbar": lambda s, v: -1602.1766 * s,
    "a virial (V times stress)": lambda s, v: -v * s,
    "Ha/bohr3": lambda s, v: s / 183.6315,
}


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize(("strain", "displacement"), [(0.02, 0.1), (0.0, 0.1), (0.02, 0.0)])
def test_sign_and_unit_of_stresses(words, strain, displacement):
    """Of a many-body metal: displaced atoms by force matching, strained cells by their energies."""
    structures = copper(strain=strain, displacement=displacement)
    assert describe_scales(structures) == []
    for atoms in structures:
        results = atoms.calc.results
        results["stress"] = WRONG[words](results["stress"], atoms.get_volume())
    (line,) = describe_scales(structures)
    assert "the stress does not fit" in line
    assert words in line


@pytest.mark.parametrize("matter", ["water", "crystal"])
def test_charged_matter_is_judged_alike(matter):
    """Their bonds are a random potential's, of which chemistry knows nothing."""
    structures = frames_of(matter, 8)
    assert not any("stress" in line for line in describe_scales(structures))
    for atoms in structures:
        atoms.calc.results["stress"] *= -1
    assert "opposite sign" in describe_scales(structures)[-1]


@pytest.mark.parametrize(
    ("order", "name"), [([0, 1, 2, 5, 3, 4], "VASP"), ([0, 1, 2, 5, 4, 3], "LAMMPS"),
                        ([0, 5, 4, 1, 3, 2], "xx xy xz yy yz zz")],
)  # fmt: skip
def test_order_of_six_numbers(order, name):
    structures = copper(strain=0.01)
    for atoms in structures:
        atoms.calc.results["stress"] = atoms.calc.results["stress"][order]
    lines = describe_scales(structures)
    assert len(lines) == 1
    assert name in lines[0]


@pytest.mark.parametrize(
    ("energy", "forces", "words"),
    [
        (1 / 27.211386, 0.529177 / 27.211386, "--units energy=Ha forces=Ha/bohr"),
        (1.0, 0.529177 / 27.211386, "--units energy=eV forces=Ha/bohr"),
        (23.0605, 1.0, "--units energy=kcal/mol forces=eV/A"),
        (1.0, -1.0, "opposite signs"),
    ],
)
def test_energies_and_forces_of_different_units(energy, forces, words):
    structures = copper(strain=0.0)
    for atoms in structures:
        results = atoms.calc.results
        results.update(energy=energy * results["energy"], forces=forces * results["forces"])
        del results["stress"]
    (line,) = describe_scales(structures)
    assert words in line


@pytest.mark.shared
@pytest.mark.parametrize(
    "file", ["crystals/SiO2_150", "crystals/BaTiO3_55", "crystals/NaCl_displaced_100",
             "water/rpbe_d3_born_70", "molecules/dipeptides_train",
             "molecules/charged_dimers_130"],
)  # fmt: skip
def test_published_labels_fit_and_others_do_not(file, shared):
    structures = read_structures(shared / "data" / f"{file}.xyz.gz")
    structures = structures[:: max(1, len(structures) // 7)]
    assert describe_scales(structures) == []
    if "stress" in structures[0].calc.results:
        for atoms in structures:
            atoms.calc.results["stress"] = atoms.calc.results["stress"] * 160.2
        assert "in GPa" in describe_scales(structures)[0]


def test_the_command_says_that_a_stress_does_not_fit(tmp_path, capsys):
    structures = frames_of("water", 6)
    for atoms in structures:
        atoms.calc.results["stress"] *= -1
    path = written(tmp_path / "w.xyz", structures)
    out = str(tmp_path / "m.pt")
    assert main(["train", "--train", path, *SMALL, "--out", out]) == 0
    text = capsys.readouterr().out
    assert text.count("the stress does not fit the forces: it has the opposite sign") == 1
    # a model that knows better says so too
    assert main(["train", "--train", path, *SMALL, "--out", out, "--restart", "--epochs", "12",
                 "--stress-weight", "0", "--learning-rate", "0.01"]) == 0  # fmt: skip
    assert "the stress does not fit the trained model's own" in capsys.readouterr().out
    assert main(["evaluate", out, path]) == 0
    assert "the stress does not fit the model's" in capsys.readouterr().out


def test_labels_in_a_field_and_spins_get_a_line_and_velocities_none():
    structures = frames_of("water", 3)
    structures[1].info["electric_field"] = [0.0, 0.0, 0.1]
    structures[2].info["electric_field"] = [0.0, 0.0, 0.0]
    for atoms in structures:
        atoms.info["spin"] = 1
        atoms.arrays["velocities"] = np.ones((len(atoms), 3))
    lines = describe_labels(structures, LabelKeys())
    assert len(lines) == 2
    assert "electric_field is not zero in 1 of 3 frames" in lines[0]
    assert "spin=1" in lines[1]


def test_placeholders_get_a_line():
    structures = frames_of("water", 3)
    structures[1].calc.results["stress"] = np.zeros(6)
    (line,) = describe_labels(structures, LabelKeys())
    assert "stress is exactly zero in 1 of 3 frames: a placeholder?" in line
    for atoms in structures:
        atoms.calc.results.update(forces=np.zeros((len(atoms), 3)))
    assert "forces is exactly zero in all 3 frames" in describe_labels(structures, LabelKeys())[0]


def test_names_of_other_programs_are_pointed_out(tmp_path, capsys):
    """A file of GPUMD's: force and virial."""
    structures = frames_of("water", 3)
    for atoms in structures:
        labels = atoms.calc.results
        atoms.arrays["force"] = labels["forces"]
        full = voigt_6_to_full_3x3_stress(labels["stress"])
        atoms.info |= {"Energy": labels["energy"], "virial": -atoms.get_volume() * full}
        atoms.calc = None
    path = written(tmp_path / "train.xyz", structures)
    command = ["train", "--train", path, *SMALL, "--out", str(tmp_path / "m.pt")]
    assert main(command) == 2
    options = "--energy-key Energy --forces-key force --virial-key virial"
    assert f"try {options}" in capsys.readouterr().err
    assert main([*command, *options.split()]) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    # of three frames one chooses the epoch, and a random potential has no real bonds
    assert all("chooses the epoch" in line or "stiff" in line for line in warned)


def test_labels_under_two_names_that_differ_get_a_line(tmp_path):
    structures = frames_of("water", 3)
    for atoms in structures:
        atoms.info["REF_energy"] = atoms.get_potential_energy() + 0.9
        atoms.arrays["dft_forces"] = atoms.get_forces()
        atoms.info["kinetic_energy"] = 7.0
    lines = describe_labels(structures, LabelKeys())
    assert len(lines) == 1
    assert "REF_energy is not used (energy is) and differs from it by up to 0.1 eV/atom" in lines[0]
    assert "--energy-key REF_energy" in lines[0]


def test_a_label_that_is_there_twice_is_refused(tmp_path):
    (atoms,) = frames_of("water", 1)
    atoms.info["energy"] = 1.0
    path = tmp_path / "twice.traj"
    write(path, atoms)
    with pytest.raises(ValueError, match=r"frame 0: energy: it is there twice.*1 in info"):
        read_structures(path)
    path = tmp_path / "twice.xyz"
    write(path, frames_of("water", 2), format="extxyz")
    path.write_text(path.read_text().replace("energy=", 'note="energy=3" energy=1.0 energy='))
    with pytest.raises(ValueError, match="frame 0 .*energy= stands twice"):
        read_structures(path)


def test_other_formats_are_read(tmp_path):
    structures = frames_of("water", 3)
    write(tmp_path / "w.traj", structures)
    write(tmp_path / "w.xyz", structures, format="extxyz")
    for a, b in zip(*(read_structures(tmp_path / f"w.{x}") for x in ("traj", "xyz")), strict=True):
        np.testing.assert_allclose(a.get_forces(), b.get_forces(), atol=1e-7)
        np.testing.assert_allclose(a.get_stress(), b.get_stress(), atol=1e-7)


def test_forces_of_fixed_atoms_are_the_labels(tmp_path):
    structures = frames_of("water", 2)
    wanted = [a.get_forces() for a in structures]
    for atoms in structures:
        atoms.set_constraint(FixAtoms([0, 4]))
    assert not structures[0].get_forces()[0].any()  # what ASE makes of them
    write(tmp_path / "fixed.traj", structures)
    read = read_structures(tmp_path / "fixed.traj")
    for frame, forces in zip(make_frames(read, "fixed.traj", 3.0), wanted, strict=True):
        np.testing.assert_allclose(frame.forces, forces)
    assert describe_labels(read, LabelKeys()) == []
    for atoms in read:
        atoms.calc.results["forces"][[0, 4]] = 0.0
    (line,) = describe_labels(read, LabelKeys())
    assert "4 fixed atoms have a force of exactly zero (all 2 frames, first: frame 0)" in line


def test_stress_of_open_frames_is_left_out_with_a_line():
    structures = frames_of("water", 2) + frames_of("molecules", 1)
    structures[2].calc.results["stress"] = np.zeros(6)
    frames = make_frames(structures, "mixed.xyz", 3.0)
    assert [f.stress is None for f in frames] == [False, False, True]
    (line,) = describe_labels(structures, LabelKeys())
    assert "the stress of 1 of 3 frames is not used" in line


def test_an_asymmetric_stress_is_refused(tmp_path):
    structures = frames_of("water", 1)
    structures[0].info["REF_stress"] = np.arange(9.0)
    path = written(tmp_path / "a.xyz", structures)
    with pytest.raises(ValueError, match="REF_stress: it is not symmetric"):
        read_structures(path, LabelKeys(stress="REF_stress"))


def test_the_sign_is_claimed_only_beyond_its_spread():
    assert describe_sign("O", -0.9, 0.2).startswith("O has negative mean Born charges (-0.900 ± ")
    for mean, spread in ((-0.06, 0.08), (-0.015, 0.001), (0.015, 0.05)):
        assert describe_sign("Cl", mean, spread).startswith("not determined")


def test_elements_that_only_kept_out_frames_have(tmp_path, capsys):
    structures = frames_of("water", 6)
    structures[2].numbers[0] = 16
    structures[2].calc.atoms = structures[2].copy()
    path = written(tmp_path / "s.xyz", structures)
    command = ["train", "--train", path, *SMALL, "--test-every", "5", "--out"]
    assert main([*command, str(tmp_path / "m.pt")]) == 2
    assert "the test frames have S, which no training frame has" in capsys.readouterr().err
    assert not (tmp_path / "m.pt").exists()


def test_one_periodic_direction_is_refused_by_frame(tmp_path, capsys):
    structures = frames_of("water", 6)
    for atoms in structures:
        del atoms.calc.results["stress"]
    structures[4].pbc = [True, False, False]
    structures[4].calc.atoms = structures[4].copy()
    path = written(tmp_path / "wire.xyz", structures)
    command = ["train", "--train", path, *SMALL, "--out", str(tmp_path / "m.pt")]
    assert main(command) == 2
    assert "frame 4 has pbc [True, False, False]" in capsys.readouterr().err
    assert main([*command, "--level", "sr"]) == 0


def test_single_atoms_and_one_frame(tmp_path, capsys):
    """Isolated atoms, which fix the energies of elements, train with the rest and alone."""
    from ase import Atoms

    atoms = [Atoms(s, [[0, 0, 0]], cell=[9, 9, 9], pbc=pbc) for s in "HO" for pbc in (True, False)]
    for a in atoms:
        a.calc = SinglePointCalculator(a, energy=-13.6, forces=np.zeros((1, 3)))
    waters = frames_of("water", 4)
    for a in waters:
        del a.calc.results["stress"]
    for name, structures in (("both", atoms + waters), ("alone", atoms)):
        path = written(tmp_path / f"{name}.xyz", structures)
        out = tmp_path / f"{name}.pt"
        command = ["train", "--train", path, *SMALL, "--level", "uQiqiu", "--valid-every", "2"]
        assert main([*command, "--out", str(out)]) == 0
        assert np.isfinite(load(out).metadata["errors"]["valid_energy"])
    path = written(tmp_path / "one.xyz", waters[:1])
    assert main(["train", "--train", path, *SMALL, "--out", str(tmp_path / "one.pt")]) == 2
    assert "no validation frames" in capsys.readouterr().err
    assert main(["train", "--train", path, "--valid", path, *SMALL,
                 "--out", str(tmp_path / "one.pt")]) == 0  # fmt: skip


def test_charged_periodic_frames_train_and_evaluate(tmp_path, capsys):
    structures = frames_of("water", 6)
    for atoms in structures[:4]:
        atoms.info["charge"] = 1.0
    path = written(tmp_path / "charged.xyz", structures)
    out = tmp_path / "m.pt"
    assert main(["train", "--train", path, *SMALL, "--out", str(out)]) == 0
    assert "fixed by the total charges of the data" in load(out).metadata["sign"]
    for dtype in ("float32", "float64"):
        assert main(["evaluate", str(out), path, "--dtype", dtype]) == 0
