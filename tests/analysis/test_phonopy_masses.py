"""Masses, isotopes and the unit of frequencies beside phonopy's files."""

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import (
    write_FORCE_SETS,
)
from phonopy.interface.calculator import write_crystal_structure

from tests.analysis.phonopy_made import THZ, check, in_units, own, pairs, save
from tests.analysis.test_phonons import LATTICE


def test_isotopes_and_units_beside_mesh_yaml(tmp_path, right):
    """Masses and the unit of frequencies of the run, a POSCAR in Å beside lengths in bohr."""
    made = in_units("qe", masses=[130.0, 37.0])
    born = tmp_path / "BORN"
    save(made, tmp_path)
    (tmp_path / "FORCE_SETS").unlink()
    (tmp_path / "phonopy_disp.yaml").unlink()
    made.nac_params = None
    made.produce_force_constants()
    light = in_units("vasp").unitcell.masses
    nu = right[0] * np.sqrt((1 / 130.0 + 1 / 37.0) / (1 / light).sum())
    for scale in (THZ, 1.0):  # FREQUENCY_CONVERSION_FACTOR of the run: cm⁻¹, THz
        made.unit_conversion_factor = 108.970772 * scale
        made.run_mesh([1, 1, 1], with_eigenvectors=True)
        made.mesh.write_yaml(tmp_path / "mesh.yaml")
        made.save(tmp_path / "phonopy.yaml", settings={"force_sets": False})
        modes = own(tmp_path)
        assert np.allclose(modes.wavenumber, nu, atol=2e-3)
        assert np.allclose(modes.masses, [130.0, 37.0])
        assert modes.volume == pytest.approx(LATTICE**3, abs=1e-4)
    (tmp_path / "phonopy.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="unit of its lengths"):
        own(tmp_path)
    for interface, poscar in (("qe", None), (None, 1.0)):
        if poscar:
            write_crystal_structure(str(tmp_path / "POSCAR"), in_units("vasp").unitcell)
        again = own(tmp_path, interface=interface)
        assert np.allclose(again.wavenumber, nu, atol=2e-3)
        assert again.volume == pytest.approx(LATTICE**3, abs=1e-3)
    other = in_units("vasp").unitcell
    other.cell = other.cell * 1.3
    write_crystal_structure(str(tmp_path / "POSCAR"), other)
    with pytest.raises(ValueError, match="neither in Å nor in bohr"):
        own(tmp_path)
    assert born.is_file()


def test_the_run_of_mesh_yaml_tells_its_unit(tmp_path, right):
    """phonopy_disp.yaml, of an earlier run, has another factor than phonopy.yaml of this one."""
    made = in_units("vasp")
    save(made, tmp_path)
    (tmp_path / "FORCE_SETS").unlink()
    made.nac_params = None
    made.produce_force_constants()
    made.unit_conversion_factor = made.unit_conversion_factor * THZ
    made.run_mesh([1, 1, 1], with_eigenvectors=True)
    made.mesh.write_yaml(tmp_path / "mesh.yaml")
    with pytest.raises(ValueError, match="not in THz: put the phonopy.yaml"):
        own(tmp_path)
    made.save(tmp_path / "phonopy.yaml", settings={"force_sets": False})
    check(own(tmp_path), right)
    made.unit_conversion_factor = made.unit_conversion_factor / THZ
    made.run_mesh([1, 1, 1], with_eigenvectors=True)
    made.mesh.write_yaml(tmp_path / "mesh.yaml")
    (tmp_path / "phonopy.yaml").unlink()
    modes = own(tmp_path)
    check(modes, right)
    assert any("taken as THz" in note for note in modes.notes)


def test_isotopes_among_copies_of_an_atom(tmp_path):
    """A primitive cell has one mass where the unit cell has several: the unit cell is kept."""
    masses = [150.0, 132.905, 35.453, 35.453]
    cell = phonopy.structure.atoms.PhonopyAtoms(
        symbols=["Cs", "Cs", "Cl", "Cl"],
        cell=LATTICE * np.diag([2.0, 1.0, 1.0]),
        scaled_positions=[[0, 0, 0], [0.5, 0, 0], [0.25, 0.5, 0.5], [0.75, 0.5, 0.5]],
        masses=masses,
    )
    isotopes = phonopy.Phonopy(cell, [1, 1, 1], "P", log_level=0)
    isotopes.generate_displacements(distance=0.01)
    isotopes.forces = [
        pairs(one, isotopes.supercell, 5.0) for one in isotopes.supercells_with_displacements
    ]
    save(isotopes, tmp_path, born=False)
    write_FORCE_SETS(isotopes.dataset, filename=tmp_path / "FORCE_SETS")
    path = tmp_path / "phonopy_disp.yaml"
    isotopes.produce_force_constants()
    nu = isotopes.run_qpoints([[0, 0, 0]]).frequencies[0][3:] * THZ
    assert np.allclose(own(path, intensities=False).wavenumber, nu, atol=2e-3)
    with pytest.raises(ValueError, match=r"of 150 and 132.* amu .*--primitive P"):
        own(path, intensities=False, primitive="auto")


def test_masses_of_a_configuration_file(tmp_path):
    made = in_units("vasp")
    save(made, tmp_path)
    (tmp_path / "phonopy_disp.yaml").unlink()
    write_crystal_structure(str(tmp_path / "POSCAR-unitcell"), made.unitcell)
    (tmp_path / "band.conf").write_text("DIM = 2 2 2\nMASS = 130 37\n")
    assert np.allclose(own(tmp_path).masses, [130.0, 37.0])
    (tmp_path / "mesh.conf").write_text("DIM = 3 3 3\n")
    with pytest.raises(ValueError, match=r"band.conf and .*mesh.conf disagree about supercell"):
        own(tmp_path)
