import numpy as np
import pytest

from lrcalc.analysis.converters import (
    from_ipi,
    read_outcar,
    read_phonopy_born,
    read_qe,
    reorder,
    to_ipi,
    write_phonopy_born,
)

# A silicon and an oxygen of quartz; ∂M_z/∂r_y of silicon is 0.27, ∂M_y/∂r_z is −0.31.
QUARTZ = np.array(
    [
        [[2.98594, 0.0, 0.0], [0.0, 3.62221, -0.31310], [0.0, 0.26997, 3.42882]],
        [
            [-1.31453, -0.49130, -0.30664],
            [-0.43526, -1.98955, -0.67591],
            [-0.24112, -0.71795, -1.71441],
        ],
    ]
)


def test_ipi_rows_are_displacements():
    bec = to_ipi(QUARTZ)
    assert bec.shape == (6, 3)
    # moving silicon along y makes a z dipole: row 1, column 2
    assert bec[1, 2] == QUARTZ[0, 2, 1] == 0.26997
    assert np.array_equal(from_ipi(bec), QUARTZ)
    assert np.array_equal(from_ipi(bec.ravel()), QUARTZ)


@pytest.mark.parametrize(
    ("order", "swapped"),
    [("phonopy", False), ("vasp", False), ("qe", False), ("mace-les", True), ("qe-u-e", True)],
)
def test_named_orders(order, swapped):
    theirs = reorder(QUARTZ, "lrcalc", order)
    assert (theirs[0, 1, 2] == 0.26997) == swapped
    assert np.array_equal(reorder(theirs, order), QUARTZ)
    assert np.array_equal(reorder(QUARTZ.reshape(2, 9), "lrcalc"), QUARTZ)


def test_phonopy_born_round_trip(tmp_path):
    """Two ions in a triclinic cell without symmetry keep every element of their tensors."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(
        symbols=["Si", "O"],
        cell=[[4.9, 0, 0], [-1.1, 4.2, 0], [0.4, 0.7, 5.4]],
        scaled_positions=[[0, 0, 0], [0.31, 0.42, 0.27]],
    )
    phonon = Phonopy(cell, np.eye(3, dtype=int), "P", log_level=0)
    born = np.array([QUARTZ[0], -QUARTZ[0]])
    epsilon = np.diag([2.5, 2.5, 2.55])
    path = write_phonopy_born(tmp_path / "BORN", born, epsilon, phonon)
    again, found = read_phonopy_born(path, phonon.primitive)
    assert np.allclose(found, epsilon, atol=1e-7)
    assert np.allclose(again, born, atol=1e-6)
    with pytest.raises(ValueError, match="atoms"):
        write_phonopy_born(tmp_path / "BORN", born[:1], epsilon, phonon)


def test_outcar(tmp_path):
    rows = [" BORN EFFECTIVE CHARGES (including local field effects) (in |e|, cummulative output)"]
    rows.append(" " + "-" * 60)
    for atom, tensor in enumerate(QUARTZ, 1):
        rows.append(f" ion {atom:4d}")
        rows += [
            f"    {a + 1}" + "".join(f"{v:12.5f}" for v in row) for a, row in enumerate(tensor)
        ]
    text = (
        " MACROSCOPIC STATIC DIELECTRIC TENSOR (including local field effects in DFT)\n -----\n"
        "  2.5 0.0 0.0\n  0.0 2.6 0.1\n  0.0 0.1 2.7\n -----\n\n" + "\n".join(rows) + "\n\n end\n"
    )
    (tmp_path / "OUTCAR").write_text(text)
    born, epsilon = read_outcar(tmp_path / "OUTCAR")
    assert np.allclose(born, QUARTZ)
    assert epsilon[1, 2] == 0.1
    (tmp_path / "OUTCAR").write_text("nothing")
    with pytest.raises(ValueError, match="LEPSILON"):
        read_outcar(tmp_path / "OUTCAR")


def test_quantum_espresso(tmp_path):
    text = "     Dielectric Tensor:\n\n"
    text += "".join("".join(f"{v:24.12f}" for v in row) + "\n" for row in np.diag([2.0, 2.1, 2.2]))
    text += "\n     Effective Charges E-U: Z_{alpha}{s,beta}\n\n"
    for atom, tensor in enumerate(QUARTZ, 1):
        text += f"     atom # {atom:4d}\n"
        text += "".join("".join(f"{v:24.12f}" for v in row) + "\n" for row in tensor)
    (tmp_path / "dyn").write_text(text)
    born, epsilon = read_qe(tmp_path / "dyn")
    assert np.allclose(born, QUARTZ)
    assert np.allclose(np.diag(epsilon), [2.0, 2.1, 2.2])
    (tmp_path / "dyn").write_text("nothing")
    with pytest.raises(ValueError, match="epsil"):
        read_qe(tmp_path / "dyn")


def test_bad_input():
    with pytest.raises(ValueError, match="unknown"):
        reorder(QUARTZ, "cp2k")
    with pytest.raises(ValueError, match="shape"):
        reorder(QUARTZ[0], "vasp")
    with pytest.raises(ValueError, match="NaN"):
        to_ipi(QUARTZ * np.nan)
    with pytest.raises(ValueError, match="bec"):
        from_ipi(np.zeros((4, 3)))


@pytest.mark.shared
def test_quartz_lines_need_the_right_converter(shared):
    """LES order read as phonopy's gives the wrong 482 cm⁻¹ line, converted the right one."""
    from lrcalc.analysis import phonons as ph
    from lrcalc.analysis.modes import lines

    phonons = ph.from_folder(shared / "data" / "phonons" / "quartz")
    theirs = reorder(phonons.born, "lrcalc", "mace-les")

    def strength(born):
        found = lines(ph.solve(phonons._replace(born=born)))
        return min(found, key=lambda one: abs(one.wavenumber - 482.034)).intensity

    assert strength(reorder(theirs, "mace-les")) == pytest.approx(0.362194, abs=1e-5)
    assert strength(from_ipi(to_ipi(phonons.born))) == pytest.approx(0.362194, abs=1e-5)
    assert strength(theirs) == pytest.approx(0.2578, abs=1e-4)
