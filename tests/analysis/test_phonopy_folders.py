"""Folders of phonopy files in any form and unit; the judge is phonopy itself, called here."""

import bz2
import gzip
import lzma
import shutil

import numpy as np
import pytest
from phonopy.file_IO import (
    write_FORCE_CONSTANTS,
    write_force_constants_to_hdf5,
)
from phonopy.interface.calculator import write_crystal_structure

from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from tests.analysis.phonopy_made import (
    LO,
    VOLUME,
    check,
    check_nacl,
    in_units,
    judged,
    own,
    save,
)
from tests.analysis.test_phonons import modes_command


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("qe_units/qe", {}),
        ("qe_units/vasp", {}),
        ("phonopy_params/a", {}),
        ("phonopy_params/b", {}),
        ("phonopy_params/c", {}),
        ("fc_only/a", {"supercell": (2, 2, 2)}),
        ("fc_only/b", {"supercell": (2, 0, 0, 0, 2, 0, 0, 0, 2)}),
        ("fc_only/j", {}),
    ],
)
def test_cases(shared, name, options):
    check_nacl(own(shared / "cases" / name, **options))


@pytest.mark.shared
def test_lengths_are_angstrom_everywhere(shared):
    """Volume, bands (their path and width) and moving pictures of lengths in bohr."""
    phonons = ph.from_folder(shared / "cases" / "qe_units" / "qe")
    assert not phonons.only_gamma
    bands = ph.band_structure(phonons, points=3)
    assert "supercell 2×2×2, 11.1 Å wide" in bands["supercell"]
    assert max(b.max() for b in bands["wavenumbers"]) == pytest.approx(LO, rel=0.03)
    frames = ph.animation(phonons, ph.solve(phonons), 0)
    assert frames[0].get_volume() == pytest.approx(VOLUME, abs=1e-3)


@pytest.mark.shared
def test_random_displacements(shared):
    """FORCE_SETS of type 2: symfc, as phonopy has it."""
    folder = shared / "cases" / "phonopy_params" / "d"
    without, with_nac = judged(
        folder, "vasp", phonopy_yaml="phonopy_disp.yaml", born_filename="BORN"
    )
    modes = own(folder)
    assert np.allclose(modes.wavenumber, without, atol=0.01)
    assert np.allclose(mm.longitudinal(modes, [1, 0, 0]), with_nac, atol=0.05)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "match"),
    [("fc_only/a", "FORCE_CONSTANTS is for 64"), ("fc_only/b", "force_constants.hdf5 is for 64")],
)
def test_the_supercell_is_asked_for_by_name(shared, name, match):
    folder = shared / "cases" / name
    with pytest.raises(ValueError, match=match + " atoms.*--supercell 2,2,2"):
        own(folder)
    assert modes_command("--from", folder, "--supercell", "2,2,2") == 0


@pytest.mark.parametrize("ending", [".gz", ".xz", ".lzma", ".bz2"])
def test_compressed_files(ending, right, tmp_path):
    module = {".gz": gzip, ".xz": lzma, ".lzma": lzma, ".bz2": bz2}[ending]
    for path in list(save(in_units("qe"), tmp_path).iterdir()):
        with module.open(f"{path}{ending}", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    check(own(tmp_path), right)
    path = tmp_path / f"FORCE_SETS{ending}"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="FORCE_SETS.*cannot be read"):
        own(tmp_path)


def test_files_of_the_current_directory_are_left_alone(right, tmp_path, monkeypatch):
    """phonopy.load would take them."""
    folder = save(in_units("vasp"), tmp_path / "folder")
    write_FORCE_CONSTANTS(np.ones((2, 16, 3, 3)), tmp_path / "FORCE_CONSTANTS")
    (tmp_path / "FORCE_SETS").write_text("nonsense")
    (tmp_path / "BORN").write_text("nonsense")
    monkeypatch.chdir(tmp_path)
    check(own(folder), right)
    (folder / "BORN").unlink()
    with pytest.raises(FileNotFoundError, match="no BORN file"):
        own(folder)
    (folder / "FORCE_SETS").unlink()
    with pytest.raises(FileNotFoundError, match=r"no FORCE_SETS.*no forces in phonopy_disp.yaml"):
        own(folder)


def test_several_yaml_files(right, tmp_path, capsys):
    """The file that the forces fit; two that fit alike are both named, and one can be chosen."""
    save(in_units("vasp"), tmp_path)
    disp, other = tmp_path / "phonopy_disp.yaml", tmp_path / "phonopy.yaml"
    shutil.copy(disp, other)
    check(own(tmp_path), right)  # the same crystal twice
    text = disp.read_text()
    heavy = text.replace("mass: 35.45", "mass: 37.45")
    assert heavy != text
    other.write_text(heavy)
    with pytest.raises(ValueError, match=r"phonopy_disp.yaml, phonopy.yaml.*different crystals"):
        own(tmp_path)
    check(own(disp), right)
    assert own(other).masses.min() > 37
    assert modes_command("--from", disp) == 0
    printed = capsys.readouterr().out
    assert "read phonopy_disp.yaml (vasp), FORCE_SETS, Born charges of BORN" in printed
    # displacements tell the two apart where sizes do not
    moved = heavy.replace("0.0100000000000000", "0.0200000000000000")
    assert moved != heavy
    other.write_text(moved)
    check(own(tmp_path), right)
    # three files, none of which fits
    for path in (disp, other, tmp_path / "phonopy_params.yaml"):
        path.write_text(text.replace("[   2,   0,   0 ]", "[   3,   0,   0 ]"))
    with pytest.raises(ValueError, match=r"phonopy_params.yaml has 24.*phonopy.yaml has 24"):
        own(tmp_path)


def test_supercell_file_and_phono3py(tmp_path, right):
    """SPOSCAR alone; fc2.hdf5 with phono3py's own supercell for it."""
    made = in_units("vasp")
    save(made, tmp_path)
    text = (tmp_path / "phonopy_disp.yaml").read_text()
    (tmp_path / "phonopy_disp.yaml").unlink()
    write_crystal_structure(str(tmp_path / "SPOSCAR"), made.supercell)
    check(own(tmp_path), right)
    (tmp_path / "SPOSCAR").unlink()
    (tmp_path / "FORCE_SETS").unlink()
    made.produce_force_constants()
    write_force_constants_to_hdf5(made.force_constants, tmp_path / "fc2.hdf5")
    text = text.replace("phonopy:\n", "phono3py:\n", 1)
    text = text.replace("supercell_matrix:", "phonon_supercell_matrix:")
    text += "\nsupercell_matrix:\n- [ 1, 0, 0 ]\n- [ 0, 1, 0 ]\n- [ 0, 0, 1 ]\n"
    (tmp_path / "phono3py_disp.yaml").write_text(text)
    check(own(tmp_path), right)
