"""What files of other programs state in their own words, and ASE's readers pass over."""

import numpy as np
import pytest

from lrcalc.structures import fixed_atoms, read_structure, total_charge

ESPRESSO = """&CONTROL
/
&SYSTEM
  ibrav=0, nat=3, ntyp=2, ecutwfc=30, tot_charge = {charge} ! e
/
ATOMIC_SPECIES
O 15.999 O.UPF
H1 {mass} H.UPF
CELL_PARAMETERS angstrom
12 0 0
0 12 0
0 0 12
ATOMIC_POSITIONS angstrom
O 0 0 0 0 0 0
H1 0.96 0 0
H1 -0.24 0.93 0
{more}
K_POINTS gamma
"""

GAUSSIAN = """%chk=x
# b3lyp

title

{head}
O 0.0 0.0 0.0
H{iso} 0.96 0.0 0.0
H -0.24 0.93 0.0

"""

OCTOPUS = """ExcessCharge = -1
%Coordinates
'O' | 0 | 0 | 0
'H' | 1.8 | 0 | 0
%
"""

MOLFILE = """hydronium
  x

  4  3  0  0  0  0            999 V2000
    0.0000    0.0000    0.0000 O   0  {code}  0  0
    0.9600    0.0000    0.0000 H   0  0  0  0
   -0.2400    0.9300    0.0000 H   0  0  0  0
   -0.2400   -0.9300    0.2000 H   0  0  0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
{more}M  END
"""

PDB = """CRYST1   12.000   12.000   12.000  90.00  90.00  90.00 P 1
ATOM      1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O{oxygen}
ATOM      2  H1  HOH A   1       0.960   0.000   0.000  1.00  0.00           H
END
"""


@pytest.mark.parametrize(
    ("name", "text", "charge"),
    [
        ("pw.in", ESPRESSO.format(charge="+1.0d0", mass=1.008, more=""), 1.0),
        ("pw.in", ESPRESSO.format(charge="0", mass=1.008, more=""), 0.0),
        ("a.gjf", GAUSSIAN.format(head="1 1", iso=""), 1.0),
        ("a.gjf", GAUSSIAN.format(head="-1 2", iso=""), -1.0),
        ("inp", OCTOPUS, -1.0),
        ("a.sdf", MOLFILE.format(code=3, more=""), 1.0),
        ("a.sdf", MOLFILE.format(code=0, more="M  CHG  2   1   2   2  -1\n"), 1.0),
        ("a.mol", MOLFILE.format(code=0, more=""), 0.0),
        ("a.pdb", PDB.format(oxygen="1-"), -1.0),
        ("a.pdb", PDB.format(oxygen=""), 0.0),
    ],
)
def test_total_charge(tmp_path, name, text, charge):
    (tmp_path / name).write_text(text)
    assert total_charge(read_structure(tmp_path / name)) == charge


def test_masses_and_fixed_atoms_of_quantum_espresso(tmp_path):
    (tmp_path / "pw.in").write_text(ESPRESSO.format(charge=0, mass=2.014, more=""))
    atoms = read_structure(tmp_path / "pw.in")
    np.testing.assert_allclose(atoms.get_masses(), [15.999, 2.014, 2.014])
    assert fixed_atoms(atoms, where="a test").tolist() == [True, False, False]
    # its own masses where none is given, which are ours
    (tmp_path / "pw.in").write_text(ESPRESSO.format(charge=0, mass=-1.0, more=""))
    assert not read_structure(tmp_path / "pw.in").has("masses")


def test_isotopes_of_a_molfile(tmp_path):
    (tmp_path / "a.sdf").write_text(MOLFILE.format(code=3, more="M  ISO  1   2   2\n"))
    np.testing.assert_allclose(
        read_structure(tmp_path / "a.sdf").get_masses()[:3], [15.999, 2.0141, 1.008], atol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "pw.in",
            ESPRESSO.format(charge=0, mass=1, more="ATOMIC_VELOCITIES\nO 0 0 0"),
            "the card ATOMIC_VELOCITIES",
        ),
        ("a.gjf", GAUSSIAN.format(head="0 1", iso="(iso=2)"), "isotopes"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"{message}.*convert the file to extended xyz"):
        read_structure(tmp_path / name)
