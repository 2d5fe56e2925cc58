"""Structure files: what they say travels whole, or stops with a message that names it."""

import gzip

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixCartesian, FixedPlane
from ase.units import fs

from lrcalc.structures import (
    bare,
    describe_intake,
    fixed_atoms,
    read_structure,
    read_structures,
    total_charge,
)
from lrcalc.units import BOHR

CELL = [[6.0, 0.3, 0.1], [0.4, 6.5, -0.2], [-0.3, 0.5, 7.0]]


def heavy_ion():
    """H3O+ with one D, one fixed atom, a triclinic cell and velocities."""
    atoms = Atoms("OH3", [[3, 3, 3], [4, 3, 3], [2.5, 3.9, 3], [2.5, 2.1, 3.1]])
    atoms.set_cell(CELL)
    atoms.pbc = True
    masses = atoms.get_masses()
    masses[2] = 2.014
    atoms.set_masses(masses)
    atoms.set_momenta(np.arange(12).reshape(4, 3) / 10)
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["charge"] = 1.0
    return atoms


def same(found, atoms):
    np.testing.assert_array_equal(found.numbers, atoms.numbers)
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(found.cell[:], atoms.cell[:], atol=1e-7)
    np.testing.assert_array_equal(found.pbc, atoms.pbc)
    np.testing.assert_allclose(found.get_masses(), atoms.get_masses(), atol=1e-7)
    np.testing.assert_allclose(found.get_momenta(), atoms.get_momenta(), atol=1e-7)
    np.testing.assert_array_equal(
        fixed_atoms(found, where="a test"), fixed_atoms(atoms, where="a test")
    )
    assert total_charge(found) == total_charge(atoms)


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.xyz.gz", "a.traj", "a.json", "a.db"])
def test_round_trip(tmp_path, name):
    atoms = heavy_ion()
    path = tmp_path / name
    if name.endswith((".json", ".db")):
        with ase.db.connect(path) as rows:
            rows.write(atoms, charge_of_run=0, total_charge=1)
    elif "xyz" in name:
        columns = ["symbols", "positions", "masses", "momenta", "move_mask"]
        ase.io.write(path, atoms, format="extxyz", columns=columns)
    else:
        atoms.write(path)
    same(read_structure(path), atoms)
    copy = bare(read_structure(path))
    same(copy, atoms)
    assert copy.info == {"charge": 1.0}


def xyz(path, labels, columns="", more="", rows=None):
    lines = [str(len(labels)), f"Properties=species:S:1:pos:R:3{columns} {more}"]
    for k, label in enumerate(labels):
        lines.append(f"{label} {k}.0 0.5 0.25 {rows[k] if rows else ''}")
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.xyz.gz"])
def test_isotopes_are_masses(tmp_path, name):
    path = xyz(tmp_path / name, ["O", "D", "T", "[2H]", "2H", "H", "[13C]", "O-18", "C"])
    atoms = read_structure(path)
    assert str(atoms.symbols) == "OH5COC"
    expected = [15.999, 2.0141, 3.0160, 2.0141, 2.0141, 1.008, 13.0034, 17.9992, 12.011]
    np.testing.assert_allclose(atoms.get_masses(), expected, atol=1e-4)
    assert any("3 H of 2.0141 amu" in line for line in describe_intake(atoms))


def test_isotopes_in_every_frame_and_without_a_header(tmp_path):
    path = tmp_path / "plain.xyz"
    path.write_text("2\nfirst\nO 0 0 0\nD 1 0 0\n1\n\nD 0 0 0\n2\n\nO 0 0 0\nH 1 0 0\n")
    frames = read_structures(path)
    assert [str(a.symbols) for a in frames] == ["OH", "H", "OH"]
    assert [a.get_masses()[-1] for a in frames] == pytest.approx([2.0141, 2.0141, 1.008], abs=1e-4)
    assert len(read_structure(path, 1)) == 1
    assert len(read_structures(path, "1:")) == 2


def test_species_need_not_be_the_first_column(tmp_path):
    path = tmp_path / "late.xyz"
    path.write_text("2\nProperties=pos:R:3:species:S:1 charge=0\n0 0 0 O\n1 0 0 D\n")
    assert read_structure(path).get_masses()[1] == pytest.approx(2.0141, abs=1e-4)


def test_isotopes_in_cif(tmp_path):
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    atoms.write(tmp_path / "a.cif")
    text = (tmp_path / "a.cif").read_text().replace("Na ", "D ")
    (tmp_path / "a.cif").write_text(text)
    assert read_structure(tmp_path / "a.cif").get_masses()[0] == pytest.approx(2.014, abs=1e-3)


@pytest.mark.parametrize("column", ["masses", "mass", "Mass"])
def test_columns_of_masses(tmp_path, column):
    path = xyz(tmp_path / "a.xyz", ["O", "H"], f":{column}:R:1", rows=[17.999, 2.014])
    np.testing.assert_allclose(read_structure(path).get_masses(), [17.999, 2.014])


@pytest.mark.parametrize(
    ("labels", "columns", "rows", "message"),
    [
        ("OH", ":mass:R:1", [16, -1], "mass of atom 1 is -1.0 amu .column mass. but must be"),
        ("OH", ":mass:R:1", ["16", "nan"], "positive and finite"),
        ("OH", ":mass:R:1", [29164.4, 1837.4], "electron masses"),
        ("OH", ":mass:R:1:masses:R:1", ["16 16", "1 2"], "both masses and differ"),
        ("OD", ":masses:R:1", [16, 1.008], "isotope of 2.0141 amu, but the column masses says"),
        (["Ow", "H"], "", None, "label of an atom"),
        (["[99C]", "H"], "", None, "mass of the isotope"),
        ("OH", ":velocities:R:3", ["1 0 0", "0 1 0"], "names no unit"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path, labels, columns, rows, message):
    path = xyz(tmp_path / "a.xyz", list(labels), columns, rows=rows)
    with pytest.raises(ValueError, match=message) as caught:
        read_structure(path, argument="start")
    assert "`start`" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "unit", "factor"),
    [("vel", "", 1), ("velo", "", 1), ("velocities", "velocities_unit=angstrom/ps", 1e-3),
     ("vel", "velocities_unit=ase", fs)],
)  # fmt: skip
def test_velocities(tmp_path, column, unit, factor):
    path = xyz(tmp_path / "a.xyz", ["O", "D"], f":{column}:R:3", unit, ["0.01 0 -0.02", "0 3 0"])
    found = read_structure(path).get_velocities() * fs
    np.testing.assert_allclose(found, np.array([[0.01, 0, -0.02], [0, 3, 0]]) * factor, rtol=1e-6)


def test_velocities_of_no_unit_stay_beside_labels_and_are_said(tmp_path):
    path = xyz(tmp_path / "a.xyz", ["O", "H"], ":velocities:R:3", rows=["1 0 0", "0 1 0"])
    (atoms,) = read_structures(path)
    assert not atoms.get_momenta().any()
    assert any("velocities" in line for line in describe_intake(atoms))


@pytest.mark.parametrize(
    "info",
    [{"charge": 1}, {"total_charge": 1.0}, {"tot_charge": "1"}, {"Charge": np.array([1])},
     {"REF_total_charge": 1}, {"net_charge": 1, "charge": 1.0}, {"key_value_pairs": {"charge": 1}}],
)  # fmt: skip
def test_names_of_the_total_charge(info):
    atoms = molecule("H2O")
    atoms.info = info
    assert total_charge(atoms) == 1.0


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 1, "total_charge": 2}, "stated twice and differently"),
        ({"charge": "much"}, "must be the total charge in e"),
        ({"total_charge": np.nan}, "must be the total charge in e"),
        ({"charge": True}, "must be the total charge in e"),
        ({"charge": [1, 2]}, "must be the total charge in e"),
        ({"charge": 99}, "nuclear charge"),
        ({"cluster_charge": 1}, "may be a total charge"),
    ],
)
def test_charges_that_are_refused(info, message):
    atoms = molecule("H2O")
    atoms.info = info
    with pytest.raises(ValueError, match=f"box: .*{message}"):
        total_charge(atoms, "box")


def test_charges_of_atoms_must_add_up(tmp_path):
    atoms = molecule("H2O")
    atoms.set_initial_charges([-0.8, 0.9, 0.9])
    with pytest.raises(ValueError, match="add up to 1 e, but no total charge is stated"):
        total_charge(atoms)
    atoms.info["charge"] = 1
    assert total_charge(atoms) == 1.0
    atoms.info["charge"] = 0
    with pytest.raises(ValueError, match="charge=0 is stated"):
        total_charge(atoms)
    atoms.set_initial_charges([-0.82, 0.41, 0.41])
    assert total_charge(atoms) == 0.0
    rows = ["-0.2", "1.2"]
    path = xyz(tmp_path / "computed.xyz", ["O", "H"], ":charges:R:1", rows=rows)
    with pytest.raises(ValueError, match="charges of the atoms add up to 1 e"):
        read_structure(path)
    path = xyz(tmp_path / "computed.xyz", ["O", "H"], ":charges:R:1", "charge=1", rows)
    assert total_charge(read_structure(path)) == 1.0


def test_constraints():
    atoms = molecule("H2O")
    atoms.set_constraint([FixCartesian(k, [True] * 3) for k in (0, 2)] + [FixCartesian(1, [0] * 3)])
    assert fixed_atoms(atoms, where="x").tolist() == [True, False, True]
    assert "2 of 3 atoms are fixed" in describe_intake(atoms)
    for other in (FixedPlane(1, [0, 0, 1]), FixCartesian(1, [True, False, False])):
        atoms.set_constraint([FixAtoms([0]), other])
        with pytest.raises(ValueError, match=f"{type(other).__name__}.*which i-PI cannot keep"):
            fixed_atoms(atoms, where="i-PI")
        assert any(type(other).__name__ in line for line in describe_intake(atoms))


def test_selective_dynamics(shared):
    assert fixed_atoms(read_structure(shared / "cases/constraints/fix.vasp"), where="x").sum() == 96


def test_what_is_said(tmp_path):
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([1, -1])
    atoms.pbc = (True, False, True)
    atoms.info |= {"multiplicity": 3, "q": 1, "electric_field": [0, 0, 0.1], "charge": 0}
    atoms.arrays["fixed"] = np.array([0, 1])
    said = "\n".join(describe_intake(atoms))
    for word in (
        "open along b",
        "initial_magmoms",
        "multiplicity=3",
        "q=1",
        "electric_field",
        "fixed",
    ):
        assert word in said
    assert describe_intake(bulk("NaCl", "rocksalt", 5.6)) == []
    assert describe_intake(molecule("H2O")) == ["not periodic"]


def test_ipi_xyz(tmp_path):
    from lrcalc.units import BOHR

    path = tmp_path / "i.xyz"
    head = "CELL(abcABC): 10 11 12 90 90 90 cell{atomic_unit} positions{angstrom} charge=-1.0"
    path.write_text(f"2\n# {head}\nO 1 2 3\nD 2 2 3\n2\n# {head}\nO 1 2 4\nD 2 2 3\n")
    atoms = read_structure(path)
    assert atoms.positions[0, 2] == 4.0
    np.testing.assert_allclose(atoms.cell.lengths(), np.array([10, 11, 12]) * BOHR)
    assert atoms.get_masses()[1] == pytest.approx(2.0141, abs=1e-4)
    assert total_charge(atoms) == -1.0
    path.write_text("1\n# CELL{H}: 9 1 2 0 9 3 0 0 9 velocities{atomic_unit}\nO 1 2 3\n")
    with pytest.raises(ValueError, match="no positions"):
        read_structure(path)


def lammps(path, units="", *, velocities=True, masses=True):
    atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
    atoms.set_initial_charges([1.0, -1.0] * 4)
    atoms.set_masses([22.99, 35.45] * 4)
    atoms.set_velocities(np.full((8, 3), 0.01) / fs)  # Å/fs
    ase.io.write(path, atoms, format="lammps-data", masses=masses, velocities=velocities,
                 atom_style="charge", units=units or "metal")  # fmt: skip
    head = f"LAMMPS data file via write_data, timestep = 0, units = {units}"
    path.write_text(path.read_text().replace("(written by ASE)", head if units else "mine"))
    return path


@pytest.mark.parametrize("units", ["metal", "real"])
def test_lammps_data(tmp_path, units):
    atoms = read_structure(lammps(tmp_path / "x.data", units))
    assert str(atoms.symbols) == "NaCl" * 4
    np.testing.assert_allclose(atoms.get_velocities() * fs, 0.01, rtol=1e-6)
    assert total_charge(atoms) == 0.0


def test_lammps_data_that_leaves_something_out(tmp_path):
    with pytest.raises(ValueError, match=r"x\.lmp.*names no unit of its velocities"):
        read_structure(lammps(tmp_path / "x.lmp"))
    assert len(read_structure(lammps(tmp_path / "y.lmp", velocities=False))) == 8
    with pytest.raises(ValueError, match="no section Masses"):
        read_structure(lammps(tmp_path / "z.lmp", "real", masses=False))


def test_lammps_dump(tmp_path):
    def dump(columns, rows, units="ITEM: UNITS\nmetal\n"):
        (tmp_path / "d.lammpstrj").write_text(
            f"{units}ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n"
            f"0 9\n0 9\n0 9\nITEM: ATOMS {columns}\n{rows}"
        )
        return tmp_path / "d.lammpstrj"

    with pytest.raises(ValueError, match="no column element"):
        read_structure(dump("id type x y z", "1 1 0 0 0\n2 2 1 0 0\n", ""))
    moving = "1 O 0 0 0 1 0 0\n2 H 1 0 0 0 2 0\n"
    with pytest.raises(ValueError, match="names no unit of its velocities"):
        read_structure(dump("id element x y z vx vy vz", moving, ""))
    found = read_structure(dump("id element x y z vx vy vz", moving))
    np.testing.assert_allclose(found.get_velocities()[1] * fs, [0, 2e-3, 0], rtol=1e-4)
    found = read_structure(dump("id element x y z", "1 O 0 0 0\n2 H 1 0 0\n", ""))
    assert str(found.symbols) == "OH"


def test_bundled_and_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read_structure("water64")) == 192
    with pytest.raises(FileNotFoundError, match="`start` 'water65' does not exist in"):
        read_structure("water65", argument="start")
    with pytest.raises(ValueError, match="is a folder"):
        read_structure(tmp_path)
    (tmp_path / "one.xyz").write_text("1\n\nH 0 0 0\n")
    with pytest.raises(ValueError, match="no such frame"):
        read_structure("one.xyz", 3)


def test_nothing_of_ase_is_changed():
    from ase.data import atomic_numbers, chemical_symbols

    assert "D" not in atomic_numbers
    assert chemical_symbols[1] == "H"


def test_words_of_the_comment_line_in_any_case(tmp_path):
    """GPUMD's train.xyz: ASE passes lattice= and properties= over, and with them masses, forces."""
    path = tmp_path / "train.xyz"
    text = (
        '2\nenergy=-1.5 pbc="T T T" {}="4.5 0 0 0 4.5 0 0 0 4.5" {}=species:S:1:pos:R:3:mass:R:1\n'
    )
    atoms = "Na 0 0 0 23.5\nCl 2.2 2.2 2.2 35\n"
    for words in (("lattice", "properties"), ("LATTICE", "Properties"), ("Lattice", "Properties")):
        path.write_text(2 * (text.format(*words) + atoms))
        found = read_structure(path)
        assert found.cell.volume == pytest.approx(4.5**3)
        assert found.get_masses().tolist() == [23.5, 35.0]
    # an entry of one's own that is called like it stays
    path.write_text(
        (text.format("Lattice", "Properties") + atoms).replace("pbc", "lattice=fcc pbc")
    )
    assert read_structure(path).info["lattice"] == "fcc"


@pytest.mark.parametrize("column", ["q", "charges", "partial_charges", "REF_charge"])
def test_charges_of_atoms_that_make_an_ion(tmp_path, column):
    path = tmp_path / "ion.xyz"
    head = f'3\nProperties=species:S:1:pos:R:3:{column}:R:1 pbc="F F F"'
    atoms = "O 0 0 0 {}\nH 0.76 0.58 0 0.5\nH -0.76 0.58 0 0.5\n"
    path.write_text(f"{head}\n{atoms.format(0.0)}")
    with pytest.raises(ValueError, match="add up to 1 e, but no total charge is stated"):
        read_structure(path)
    path.write_text(f"{head} charge=1\n{atoms.format(0.0)}")
    assert read_structure(path).info["charge"] == 1
    path.write_text(f"{head}\n{atoms.format(-1.0)}")
    assert total_charge(read_structure(path)) == 0


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("1 2", "not used: the bare numbers 1 2 of the comment line; a total charge is called"),
        ("units=bohr", "not used: units=bohr; positions and cell are read in Å"),
        ("units=metal", None),
        ("Properties=species:S:1:pos:R:3:fix_atoms:I:1", "not used: fix_atoms; fixed atoms"),
    ],
)
def test_what_comment_lines_of_others_mean_is_said(tmp_path, comment, said):
    path = tmp_path / "a.xyz"
    path.write_text(f"3\n{comment}\nO 0 0 0 1\nH 0.76 0.58 0 0\nH -0.76 0.58 0 0\n")
    lines = describe_intake(read_structure(path))
    assert [line for line in lines if line.startswith("not used")] == [
        line for line in lines if said and line.startswith(said)
    ]
    assert bool(said) == any(line.startswith("not used") for line in lines)


@pytest.mark.parametrize(
    ("length", "unit"), [(1 / BOHR, "bohr"), (0.1, "nm"), (BOHR, "Å, taken for bohr")]
)
def test_positions_in_another_unit_are_told(length, unit):
    """Of whatever matter: a molecule, a salt, a metal; noble gases stand far apart by nature."""
    for atoms in (molecule("C6H6"), bulk("NaCl", "rocksalt", 5.6), bulk("Cu")):
        assert not any("covalent" in line for line in describe_intake(atoms))
        atoms.set_cell(length * atoms.cell.array, scale_atoms=False)
        atoms.positions *= length
        assert any(f"positions in {unit}?" in line for line in describe_intake(atoms))
    assert describe_intake(bulk("Ar", "fcc", 5.3)) == []
