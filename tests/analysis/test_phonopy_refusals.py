"""Phonopy's files that are cut, contradict one another or are not of one run are named."""

import contextlib

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import (
    write_BORN,
    write_FORCE_CONSTANTS,
    write_FORCE_SETS,
)
from phonopy.interface.calculator import write_crystal_structure

from tests.analysis.phonopy_made import check, in_units, own, pairs, save
from tests.analysis.test_phonons import modes_command


def test_a_file_that_is_not_phonopys(tmp_path, right):
    save(in_units("vasp"), tmp_path)
    (tmp_path / "phonopy.yaml").write_text("cut: [1, 2")
    with pytest.raises(ValueError, match=r"phonopy.yaml cannot be read.*--from .*phonopy_disp"):
        own(tmp_path)
    check(own(tmp_path / "phonopy_disp.yaml"), right)
    born = (tmp_path / "BORN").read_text().splitlines()
    (tmp_path / "BORN").write_text("\n".join([*born[:2], "nan " * 9, *born[3:]]))
    with pytest.raises(ValueError, match="NaN"):
        own(tmp_path / "phonopy_disp.yaml")


def test_contradictions_are_named(right, tmp_path):
    save(in_units("qe"), tmp_path)
    with pytest.raises(ValueError, match="`supercell` is .* but .*phonopy_disp.yaml says"):
        own(tmp_path, supercell=(3, 3, 3))
    with pytest.raises(ValueError, match="from 'qe'"):
        own(tmp_path, interface="vasp")
    with pytest.raises(ValueError, match="must be one of phonopy's: .*qe"):
        own(tmp_path, interface="quantum espresso")
    for options, message in (
        (["--from", tmp_path, "--supercell", "2,2"], "--supercell is '2,2'"),
        (["--from", tmp_path, "--primitive", "X"], "--primitive is 'X'"),
        (["--from", tmp_path, "--primitive", "1,0,0,1,0,0,1,0,0"], "--primitive is '1"),
        (["x.vasp", "--model", "water", "--interface", "qe"], "--interface: only for a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            modes_command(*options)
    # units without the program they are of: phonopy refuses, and the program can be named
    path = tmp_path / "phonopy_disp.yaml"
    path.write_text(path.read_text().replace("  calculator: qe\n", ""))
    with pytest.raises(ValueError, match=r"phonopy_disp.yaml cannot be read.*au"):
        own(tmp_path)
    check(own(tmp_path, interface="qe"), right)
    # compact force constants of another primitive cell
    write_FORCE_CONSTANTS(np.zeros((4, 16, 3, 3)), tmp_path / "FORCE_CONSTANTS")
    with pytest.raises(ValueError, match=r"primitive cell of 4 atoms.*--primitive"):
        own(tmp_path, interface="qe")


@pytest.mark.parametrize("name", ["phonopy_disp.yaml", "BORN", "FORCE_SETS", "FORCE_CONSTANTS"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_cut_files_are_named(tmp_path, name, share):
    made = in_units("vasp")
    save(made, tmp_path)
    if name == "FORCE_CONSTANTS":
        made.produce_force_constants()
        write_FORCE_CONSTANTS(made.force_constants, tmp_path / name)
    path = tmp_path / name
    text = path.read_text()
    cut = text.index("\nunit_cell") if "yaml" in name and share else int(share * len(text))
    path.write_text(text[:cut])
    with pytest.raises(ValueError, match=name):
        own(tmp_path)


def test_files_that_do_not_belong_together_are_told(tmp_path):
    """Force constants of another supercell, displacements of another run, ε_∞ of rotated axes."""
    from ase.build import bulk, sort
    from phonopy.structure.atoms import PhonopyAtoms

    zinc_oxide = sort(bulk("ZnO", "wurtzite", a=3.25, c=5.2))
    cell = PhonopyAtoms(
        zinc_oxide.get_chemical_symbols(), cell=zinc_oxide.cell[:],
        scaled_positions=zinc_oxide.get_scaled_positions(),
    )  # fmt: skip
    made = phonopy.Phonopy(cell, [2, 2, 2], "P", log_level=0)
    made.generate_displacements(distance=0.01)
    made.forces = [pairs(one, made.supercell) for one in made.supercells_with_displacements]
    save(made, tmp_path, born=False)
    write_FORCE_SETS(made.dataset, filename=tmp_path / "FORCE_SETS")
    modes = own(tmp_path, intensities=False)
    assert not any("displacements" in note for note in modes.notes)
    other = phonopy.Phonopy(cell, [2, 2, 2], "P", log_level=0)
    other.generate_displacements(distance=0.02)
    save(other, tmp_path, born=False)
    again = own(tmp_path, intensities=False)
    assert np.allclose(again.wavenumber, modes.wavenumber, atol=1e-3)
    assert any("displacements are taken, which are not those of" in note for note in again.notes)

    (tmp_path / "phonopy_disp.yaml").unlink()
    write_crystal_structure(str(tmp_path / "POSCAR"), cell)
    made.produce_force_constants()
    write_FORCE_CONSTANTS(made.force_constants, tmp_path / "FORCE_CONSTANTS")
    for repeats, odd in (((2, 2, 2), False), ((4, 2, 1), True)):
        found = own(tmp_path, intensities=False, supercell=repeats, primitive="P")
        assert odd == any("are they of this structure" in note for note in found.notes)

    born = np.array([np.eye(3) * (2 if s == "Zn" else -2) for s in cell.symbols])
    write_BORN(made.primitive, born, np.diag([4.0, 4.0, 5.0]), filename=tmp_path / "BORN")
    head, _, *charges = (tmp_path / "BORN").read_text().splitlines()
    for epsilon, fits in (("4 0 0 0 4 0 0 0 5", True), ("5 0 0 0 4 0 0 0 4", False)):
        (tmp_path / "BORN").write_text("\n".join([head, epsilon, *charges]))
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="rotated axes"):
            own(tmp_path, supercell=(2, 2, 2), primitive="P")
