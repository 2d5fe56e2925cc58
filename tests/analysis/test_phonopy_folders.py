"""Folders of phonopy files in any form and unit; the judge is phonopy itself, called here."""

import bz2
import contextlib
import gzip
import lzma
import shutil

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import (
    write_BORN,
    write_FORCE_CONSTANTS,
    write_force_constants_to_hdf5,
    write_FORCE_SETS,
)
from phonopy.interface.calculator import write_crystal_structure

from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from tests.analysis.test_phonons import CHARGE, LATTICE, Springs, crystal, modes_command

NU, LO, STATIC, VOLUME = 93.981, 222.10, 13.963, 42.169
"""NaCl of shared/cases, from phonopy (cm⁻¹, Å³) and with Z = 1.1, ε_∞ = 2.5."""
BOHR, RYDBERG, HARTREE = 0.529177210903, 13.605693122994, 27.211386245988
UNITS = {
    # program: Å per unit of length, eV/Å per unit of force, by hand (CODATA 2018)
    "vasp": (1.0, 1.0),
    "qe": (BOHR, RYDBERG / BOHR),
    "abinit": (BOHR, 1.0),
    "siesta": (BOHR, 1.0),
    "elk": (BOHR, HARTREE / BOHR),
    "turbomole": (BOHR, HARTREE / BOHR),
    "wien2k": (BOHR, 1e-3 * RYDBERG / BOHR),
    "cp2k": (1.0, HARTREE / BOHR),
    "crystal": (1.0, 1.0),
    "aims": (1.0, 1.0),
    "castep": (1.0, 1.0),
    "dftbp": (BOHR, HARTREE / BOHR),
}
THZ = 33.35640952
"""cm⁻¹."""
EPSILON = 2.5


def own(folder, **options):
    return ph.solve(ph.from_folder(folder, **options))


def check_nacl(modes):
    assert np.allclose(modes.wavenumber, NU, atol=0.005)
    assert np.allclose(mm.static_dielectric(modes), STATIC * np.eye(3), atol=0.002)
    assert mm.longitudinal(modes, [1, 0, 0])[-1] == pytest.approx(LO, abs=0.01)
    assert modes.volume == pytest.approx(VOLUME, abs=1e-3)


def nac_factor(program):
    """e²/(4π ε0) in force constants × length³ of a program, by hand."""
    length, force = UNITS[program]
    return 14.39964548 / (force / length * length**3)


def judged(folder, program, **options):
    """Γ without and with NAC along x, cm⁻¹, from phonopy.load called in the folder."""
    with contextlib.chdir(folder):
        judge = phonopy.load(log_level=0, **options)
    judge.nac_params = {**judge.nac_params, "factor": nac_factor(program)}
    with_nac = judge.run_qpoints([[0, 0, 0]], nac_q_direction=[1, 0, 0]).frequencies[0]
    judge.nac_params = None
    return judge.run_qpoints([[0, 0, 0]]).frequencies[0][3:] * THZ, with_nac[3:] * THZ


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


def in_units(program, masses=None):
    """CsCl of springs as a user of another program has it: 2×2×2 cells, forces of Springs."""
    length, force = UNITS[program]
    cell = phonopy.structure.atoms.PhonopyAtoms(
        symbols=["Cs", "Cl"],
        cell=np.eye(3) * LATTICE / length,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
        masses=masses,
    )
    made = phonopy.Phonopy(cell, [2, 2, 2], "P", calculator=program, log_level=0)
    made.generate_displacements(distance=0.01 / length)
    sets = []
    for one in made.supercells_with_displacements:
        image = crystal().repeat(1)[:0]
        for symbol, place in zip(one.symbols, one.positions, strict=True):
            image.append(symbol)
            image.positions[-1] = place * length
        image.set_cell(one.cell * length)
        image.pbc, image.calc = True, Springs()
        sets.append(image.get_forces() / force)
    made.forces = sets
    born = CHARGE * np.array([np.eye(3), -np.eye(3)])
    made.nac_params = {
        "born": born, "dielectric": EPSILON * np.eye(3), "factor": nac_factor(program)
    }  # fmt: skip
    return made


def save(made, folder, *, name="phonopy_disp.yaml", whole=False, born=True):
    """Write what phonopy's user has: yaml with everything, or yaml, FORCE_SETS and BORN."""
    folder.mkdir(exist_ok=True)
    nac = made.nac_params
    if not whole:
        made.nac_params = None
    made.save(folder / name, settings={"force_sets": whole})
    made.nac_params = nac
    if born and not whole:
        write_FORCE_SETS(made.dataset, filename=folder / "FORCE_SETS")
        write_BORN(made.primitive, nac["born"], nac["dielectric"], filename=folder / "BORN")
    return folder


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Wavenumbers of the springs by phonopy, without and with NAC, from what vasp would write."""
    folder = save(in_units("vasp"), tmp_path_factory.mktemp("vasp"))
    return judged(folder, "vasp", phonopy_yaml="phonopy_disp.yaml", born_filename="BORN")


def check(modes, right, atol=2e-3):
    assert np.allclose(modes.wavenumber, right[0], atol=atol)
    assert np.allclose(mm.longitudinal(modes, [1, 0, 0]), right[1], atol=atol)
    assert modes.volume == pytest.approx(LATTICE**3, abs=1e-4)


@pytest.mark.parametrize(
    "program",
    # one of each system of units; the others share theirs
    [
        name if name in ("vasp", "qe", "abinit", "elk", "wien2k", "cp2k")
        else pytest.param(name, marks=pytest.mark.long) for name in UNITS
    ],
)  # fmt: skip
def test_units_of_programs(program, right, tmp_path):
    """Wavenumbers, NAC and volume from every route, in the units of each program."""
    made = in_units(program)
    folder = save(made, tmp_path / "sets")
    here = judged(folder, program, phonopy_yaml="phonopy_disp.yaml", born_filename="BORN")
    assert np.allclose(here, right, atol=2e-3)  # phonopy: the input is what it should be
    check(own(folder), right)
    text = (folder / "BORN").read_text().splitlines()
    (folder / "BORN").write_text("\n".join(["14.400", *text[1:], ""]))
    told = any("unit factor 14.4" in note for note in own(folder).notes)
    assert told == (UNITS[program] != (1.0, 1.0))
    check(own(save(made, tmp_path / "params", name="phonopy_params.yaml", whole=True)), right)


@pytest.mark.parametrize("program", ["vasp", "qe", "wien2k", "cp2k"])
def test_force_constants_in_units_of_programs(program, right, tmp_path):
    """FORCE_CONSTANTS, fc2.hdf5 that says another unit, mesh.yaml."""
    made = in_units(program)
    born = save(made, tmp_path / "sets") / "BORN"
    made.produce_force_constants()
    constants = save(made, tmp_path / "constants", born=False)
    shutil.copy(born, constants)
    write_FORCE_CONSTANTS(made.force_constants, constants / "FORCE_CONSTANTS")
    check(own(constants), right)
    (constants / "FORCE_CONSTANTS").unlink()
    length, force = UNITS[program]
    write_force_constants_to_hdf5(  # in eV/Å², and says so
        made.force_constants * force / length,
        constants / "fc2.hdf5",
        p2s_map=made.primitive.p2s_map,
        physical_unit="eV/angstrom^2",
    )
    check(own(constants), right)
    (constants / "fc2.hdf5").unlink()

    made.nac_params = None
    made.run_mesh([1, 1, 1], with_eigenvectors=True)
    made.mesh.write_yaml(constants / "mesh.yaml")
    check(own(constants), right)


@pytest.mark.shared
@pytest.mark.long
@pytest.mark.parametrize("program", ["vasp", "qe", "abinit", "elk", "wien2k", "cp2k"])
def test_nacl_in_units_of_programs(shared, program, tmp_path):
    case = shared / "cases" / "qe_units" / "vasp"
    nacl = phonopy.load(
        case / "phonopy_disp.yaml", force_sets_filename=case / "FORCE_SETS",
        born_filename=case / "BORN", produce_fc=False, log_level=0,
    )  # fmt: skip
    length, force = UNITS[program]
    cell = nacl.unitcell.copy()
    cell.cell = nacl.unitcell.cell / length
    made = phonopy.Phonopy(
        cell, nacl.supercell_matrix, nacl.primitive_matrix, calculator=program, log_level=0
    )
    made.dataset = {
        "natom": nacl.dataset["natom"],
        "first_atoms": [
            {
                "number": one["number"],
                "displacement": np.array(one["displacement"]) / length,
                "forces": np.array(one["forces"]) / force,
            }
            for one in nacl.dataset["first_atoms"]
        ],
    }
    made.nac_params = {**nacl.nac_params, "factor": nac_factor(program)}
    folder = save(made, tmp_path)
    without, with_nac = judged(
        folder, program, phonopy_yaml="phonopy_disp.yaml", born_filename="BORN"
    )
    modes = own(folder)
    check_nacl(modes)
    assert np.allclose(modes.wavenumber, without, atol=2e-3)
    assert np.allclose(mm.longitudinal(modes, [1, 0, 0]), with_nac, atol=0.01)


def structure_text(program, cell):
    """A structure file by hand: cell rows and fractions."""
    rows = ["  ".join(f"{x:.12f}" for x in row) for row in cell.cell]
    text = [
        (s, "  ".join(f"{x:.12f}" for x in f))
        for s, f in zip(cell.symbols, cell.scaled_positions, strict=True)
    ]
    if program == "qe":
        return "\n".join(
            ["&system", " ibrav=0, nat=2, ntyp=2", "/", "ATOMIC_SPECIES"]
            + [" Cs 132.90545196 Cs.upf", " Cl 35.453 Cl.upf", "ATOMIC_POSITIONS crystal"]
            + [f" {s} {f}" for s, f in text] + ["CELL_PARAMETERS bohr", *rows, ""]
        )  # fmt: skip
    if program == "aims":
        lines = [f"lattice_vector {row}" for row in rows]
        return "\n".join(lines + [f"atom_frac {f} {s}" for s, f in text])
    lines = ["avec", *rows, "", "atoms", str(len(text))]
    for symbol, place in text:
        lines += [f"'{symbol}.in'", "1", f"{place} 0 0 0"]
    return "\n".join([*lines, ""])


@pytest.mark.parametrize(
    ("program", "name"), [("qe", "unitcell.in"), ("aims", "geometry.in"), ("elk", "elk.in")]
)
def test_structure_files_of_programs(program, name, right, tmp_path):
    made = in_units(program)
    save(made, tmp_path)
    (tmp_path / "phonopy_disp.yaml").unlink()
    (tmp_path / name).write_text(structure_text(program, made.unitcell))
    with pytest.raises(FileNotFoundError, match=f"{name} is there: name its program"):
        own(tmp_path)
    with pytest.raises(ValueError, match="--supercell 2,2,2"):
        own(tmp_path, interface=program)
    check(own(tmp_path, interface=program, supercell=(2, 2, 2)), right)
    (tmp_path / "phonopy.conf").write_text(f"DIM = 2 2 2\nCELL_FILENAME = {name}\n")
    check(own(tmp_path, interface=program), right)
    (tmp_path / "phonopy.conf").unlink()
    (tmp_path / name).rename(tmp_path / "other")
    options = ["--interface", program, "--cell", "other", "--supercell", "2,2,2"]
    assert modes_command("--from", tmp_path, *options) == 0
    with pytest.raises(FileNotFoundError, match="no structure file none.*--cell"):
        modes_command("--from", tmp_path, "--cell", "none")


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
    made.forces = [_pairs(one, made.supercell) for one in made.supercells_with_displacements]
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
        _pairs(one, isotopes.supercell, 5.0) for one in isotopes.supercells_with_displacements
    ]
    save(isotopes, tmp_path, born=False)
    write_FORCE_SETS(isotopes.dataset, filename=tmp_path / "FORCE_SETS")
    path = tmp_path / "phonopy_disp.yaml"
    isotopes.produce_force_constants()
    nu = isotopes.run_qpoints([[0, 0, 0]]).frequencies[0][3:] * THZ
    assert np.allclose(own(path, intensities=False).wavenumber, nu, atol=2e-3)
    with pytest.raises(ValueError, match=r"of 150 and 132.* amu .*--primitive P"):
        own(path, intensities=False, primitive="auto")


def _pairs(image, rest, reach=3.5):
    """Forces of springs between the atoms of a supercell nearer than ``reach`` Å, eV/Å."""
    vectors = np.asarray(rest.cell)
    delta = rest.scaled_positions[None] - rest.scaled_positions[:, None]
    delta = (delta - np.round(delta)) @ vectors
    length = np.linalg.norm(delta, axis=2) + 10.0 * np.eye(len(rest))
    shift = np.asarray(image.positions) - np.asarray(rest.positions)
    along = delta / length[..., None]
    strength = np.where(length < reach, np.exp(-length), 0.0)
    change = shift[None] - shift[:, None]
    return np.einsum("ij,ija,ijb,ijb->ia", strength, along, along, change) + 0.1 * np.einsum(
        "ij,ija->ia", strength, change
    )


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
