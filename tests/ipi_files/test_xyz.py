"""One reader of i-PI's xyz: units, cells and their brackets, cut and continued files."""

import gzip

import numpy as np
import pytest
from ase.build import molecule
from ase.geometry import cellpar_to_cell
from ipi.utils.io import print_file, read_file
from ipi.utils.mathtools import abc2h, genh2abc, h2abc_deg
from ipi.utils.units import unit_to_internal

from lrcalc.ipi_files import cells, xyz
from lrcalc.ipi_files.quantities import FACTORS, factor
from lrcalc.units import BOHR

CELL = np.array([[9.0, 0, 0], [-2.0, 8.0, 0], [1.0, 0.5, 10.0]])
GENERAL = np.random.default_rng(1).normal(size=(3, 3)) + 6 * np.eye(3)


def structure(comment, rows="O 0 0 0\nH 1 2 3\n"):
    return f"2\n{comment}\n{rows}"


@pytest.mark.parametrize("dimension", sorted(FACTORS))
def test_units_are_those_of_ipi(dimension):
    """Against i-PI's own table, whose constants have seven digits."""
    atomic = unit_to_internal(dimension, "atomic_unit", 1.0)
    for unit in FACTORS[dimension]:
        if unit in ("hartree", "angstrom/femtosecond") or (dimension, unit) == ("mass", "ase"):
            continue  # accepted although i-PI has them not, or in electron masses
        ours = factor(dimension, unit) / factor(dimension, None)
        assert ours == pytest.approx(unit_to_internal(dimension, unit, 1.0) / atomic, rel=2e-6)
    with pytest.raises(ValueError, match=f"'furlong' is no unit of {dimension}"):
        factor(dimension, "furlong")


def test_prefixes():
    assert factor("time", "femtosecond") == 1.0
    assert factor("time", "picosecond") == pytest.approx(1e3)
    assert factor("pressure", "megapascal") == pytest.approx(1e-3 / 160.2176634, rel=1e-4)
    assert factor("energy", "millielectronvolt") == 1e-3
    assert factor("length", "nanometer") == pytest.approx(10.0)


@pytest.mark.parametrize("brackets", ["()", "[]", "{}"])
@pytest.mark.parametrize(("unit", "scale"), [("angstrom", 1.0), ("atomic_unit", BOHR),
                                             ("nanometer", 10.0), (None, BOHR)])  # fmt: skip
def test_cells(brackets, unit, scale):
    named = f"cell{{{unit}}}" if unit else ""

    def read(kind, numbers):
        text = " ".join(f"{x:.14g}" for x in np.ravel(numbers))
        return cells.comment_cell(f"# CELL{brackets[0]}{kind}{brackets[1]}: {text}  {named} x")

    np.testing.assert_allclose(read("H", CELL.T / scale), CELL, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(read("GENH", GENERAL / scale), GENERAL, rtol=1e-12)
    a, b, c, *angles = h2abc_deg(CELL.T)
    lengths = np.array([a, b, c]) / scale
    np.testing.assert_allclose(read("abcABC", [*lengths, *angles]), CELL, atol=1e-10)
    np.testing.assert_allclose(
        cells.from_lengths_and_angles(4, 5, 6, 70, 100, 110),
        cellpar_to_cell([4, 5, 6, 70, 100, 110]),
        atol=1e-12,
    )


def test_upright_is_what_ipi_makes_of_a_general_cell():
    np.testing.assert_allclose(cells.upright(GENERAL), abc2h(*genh2abc(GENERAL)).T, atol=1e-12)
    np.testing.assert_allclose(cells.upright(CELL), CELL, atol=1e-12)


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("# CELL(abcH): 1 2 3 90 90 90 cell{angstrom}", r"CELL\(abcH\) is no cell of i-PI"),
        ("# CELL(H): 1 0 0 0 1 0 cell{angstrom}", "6 numbers, not 9"),
        ("# CELL(abcABC): 1 1 1 90 90 90 cell{parsec}", "'parsec' is no unit of length"),
        ("# CELL(H): 0 0 0 0 0 0 0 0 0 cell{angstrom}", "no volume"),
        ('Lattice="1 0 0" Properties=species:S:1:pos:R:3', "not nine numbers"),
    ],
)
def test_cells_that_cannot_be_read(comment, message):
    with pytest.raises(ValueError, match=message):
        cells.comment_cell(comment)


@pytest.mark.parametrize("packed", [False, True])
def test_structure_with_what_it_says(tmp_path, packed):
    comment = (
        "# CELL(H): 10 0 0 0 11 0 0 0 12 cell{angstrom} positions{atomic_unit} pbc(TTF)"
        " charge=-1 masses{dalton}"
    )
    text = structure(comment, "O 0 0 0 15.995\nD 1 2 3 2.014")  # no end of line
    path = tmp_path / ("a.xyz" + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert xyz.is_ipi_xyz(path)
    found = xyz.read_structure(path)
    assert found.names == ["O", "D"]
    np.testing.assert_allclose(found.values[1], BOHR * np.array([1, 2, 3]))
    np.testing.assert_allclose(found.cell, np.diag([10, 11, 12]))
    assert (found.pbc, found.charge) == ((True, True, False), -1.0)
    np.testing.assert_allclose(found.masses, [15.995, 2.014])


def test_nothing_named_is_ipis_default(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(structure("# CELL(abcABC): 10 10 10 90 90 90"))
    found = xyz.read_structure(path)
    np.testing.assert_allclose(found.values[1], BOHR * np.array([1, 2, 3]))
    np.testing.assert_allclose(found.cell, 10 * BOHR * np.eye(3))
    assert (found.pbc, found.charge, found.masses) == (None, None, None)
    path.write_text(structure("two atoms"))
    assert not xyz.is_ipi_xyz(path)


@pytest.mark.parametrize("mode", ["xyz", "ase"])
@pytest.mark.parametrize(
    ("key", "dimension", "unit"),
    [("positions", "length", "angstrom"), ("positions", "length", "atomic_unit"),
     ("velocities", "velocity", "m/s"), ("velocities", "velocity", "ase"),
     ("forces", "force", "ev/ang"), ("x_centroid", "length", "nanometer")],
)  # fmt: skip
def test_what_ipi_itself_prints(tmp_path, mode, key, dimension, unit):
    """i-PI's own writer on one side, and its own reader as the judge."""
    from ipi.engine.atoms import Atoms as IPIAtoms
    from ipi.engine.cell import Cell

    atoms = IPIAtoms(3)
    atoms.q[:] = np.random.default_rng(0).normal(size=9)
    atoms.names[:] = ["O", "H", "D"] if mode == "xyz" else ["O", "H", "H"]
    path = tmp_path / ("a.xyz" if mode == "xyz" else "a.extxyz")
    with path.open("w") as file:
        for step in range(3):
            print_file(
                mode, atoms, Cell(CELL.T / BOHR), file, f"Step: {step:10d} Bead: {2:5d} ", key,
                dimension, *((unit, "angstrom") if mode == "xyz" else ("ase", "ase")),
            )  # fmt: skip
    frames = xyz.read_frames(path)
    assert [frame.header.step for frame in frames] == [0, 1, 2]
    assert frames[1].header.bead == 2
    assert frames[0].header.quantity == key
    assert frames[0].names == list(atoms.names)
    np.testing.assert_allclose(
        frames[2].values.ravel() / factor(dimension, None), atoms.q, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(frames[0].cell, CELL, atol=1e-4)
    if mode == "xyz" and "/" not in unit:  # i-PI's own reader passes such units over
        with path.open() as file:
            told = read_file("xyz", file)
        np.testing.assert_allclose(
            told["atoms"].q * factor(dimension, None), frames[0].values.ravel(), rtol=2e-6
        )
        np.testing.assert_allclose(told["cell"].h.T * BOHR, frames[0].cell, rtol=2e-6, atol=1e-9)


def test_general_cell_as_ipi_reads_it(tmp_path):
    """CELL(GENH): rows in the file's own frame; turned, it is what i-PI runs with."""
    water = molecule("H2O")
    numbers = " ".join(f"{x:.12f}" for x in GENERAL.ravel())
    rows = "".join(
        f"{s} {x:.10f} {y:.10f} {z:.10f}\n"
        for s, (x, y, z) in zip("OHH", water.positions, strict=True)
    )
    path = tmp_path / "a.xyz"
    path.write_text(f"3\n# CELL(GENH): {numbers} cell{{angstrom}} positions{{angstrom}}\n{rows}")
    found = xyz.read_structure(path)
    np.testing.assert_allclose(found.cell, GENERAL, atol=1e-10)
    with path.open() as file:
        theirs = read_file("xyz", file)
    np.testing.assert_allclose(cells.upright(found.cell), theirs["cell"].h.T * BOHR, atol=1e-6)


def test_structures_that_are_not_whole(tmp_path):
    path = tmp_path / "a.xyz"
    head = "# CELL(abcABC): 10 10 10 90 90 90 cell{angstrom} positions{angstrom}"
    for text, message in [
        (f"3\n{head}\nO 0 0 0\nH 0 0 1\n", "truncated"),
        (f"2\n{head}\nO 0 0 0\nH 0 0\n", "truncated|cannot be read"),
        (f"2\n{head}\nO 0 0 0\nH 0 0 x\n", "cannot be read.*"),
        (f"1\n{head}\nO 0 0 0\nH 0 0 1\nH 0 1 0\n", "more than 1 atoms"),
        (f"1\n{head.replace('positions', 'forces').replace('angstrom', 'ev/ang')}\nO 0 0 0\n",
         "'ev/ang' is no unit of length|holds forces"),
        ("no number\n", "a number of atoms expected"),
    ]:  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            xyz.read_structure(path)


def frame(step, value, count=2, mode="xyz"):
    rows = f"O {value:12.5e} 0.5 0.25\nH 1.0 {value:12.5e} 0.0\n"
    if mode == "xyz":
        comment = (
            f"# CELL(abcABC):  10.0 10.0 10.0 90.0 90.0 90.0  Step:  {step:10d}  Bead:      0 "
            "positions{angstrom}  cell{angstrom}"
        )
    else:
        comment = (
            'Lattice="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3 '
            f'ipi_comment="Step:  {step:10d}  Bead:      0 positions{{ase}}  cell{{ase}}" '
            'pbc="T T T"'
        )
    return f"{count}\n{comment}\n{rows}"


@pytest.mark.parametrize("mode", ["xyz", "ase"])
def test_cut_at_every_byte_and_resumed(tmp_path, mode):
    path = tmp_path / "sim.pos_0.xyz"
    whole = "".join(frame(s, 0.1 * s, mode=mode) for s in range(0, 20, 5))
    last = len(whole) - len(frame(15, 1.5, mode=mode))
    for cut in range(last, len(whole) + 1):
        path.write_text(whole[:cut])
        found = xyz.read_frames(path)
        assert [f.header.step for f in found] == [0, 5, 10, 15][: 4 if cut == len(whole) else 3]
        again = "".join(frame(s, 0.2 * s, mode=mode) for s in (10, 15, 20))
        path.write_text(whole[:cut] + again)
        found = xyz.read_frames(path)
        assert [f.header.step for f in found] == [0, 5, 10, 15, 20]
        np.testing.assert_allclose([f.values[0, 0] for f in found], [0, 0.5, 2, 3, 4])
    path.write_text(whole[: len(whole) - 20] + frame(20, 2.0, mode=mode))
    with pytest.raises(ValueError, match=r"step 15 in .* is cut"):
        xyz.read_frames(path)


def test_the_later_branch_counts(tmp_path):
    """Stopped at 100, resumed from 50, ended at 70: eight frames, not eleven."""
    path = tmp_path / "sim.pos_0.xyz"
    first = [frame(s, 1.0) for s in range(0, 101, 10)]
    second = [frame(s, 2.0) for s in (60, 70)]
    path.write_text("".join(first + second))
    found = xyz.read_frames(path)
    assert [f.header.step for f in found] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert [f.values[0, 0] for f in found] == [1.0] * 6 + [2.0] * 2
