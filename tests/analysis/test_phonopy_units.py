"""Units and structure files of the programs behind phonopy; the judge is phonopy itself."""

import shutil

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import (
    write_FORCE_CONSTANTS,
    write_force_constants_to_hdf5,
)

from lrcalc.analysis import modes as mm
from tests.analysis.phonopy_made import (
    UNITS,
    check,
    check_nacl,
    in_units,
    judged,
    nac_factor,
    own,
    save,
)
from tests.analysis.test_phonons import modes_command


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
