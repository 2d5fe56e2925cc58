"""Crystals that phonopy makes, in any program's units, and how they are read and judged."""

import contextlib

import numpy as np
import phonopy
import pytest
from phonopy.file_IO import (
    write_BORN,
    write_FORCE_SETS,
)

from lrcalc.analysis import modes as mm
from lrcalc.analysis import phonons as ph
from tests.analysis.test_phonons import CHARGE, LATTICE, Springs, crystal

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


def check(modes, right, atol=2e-3):
    assert np.allclose(modes.wavenumber, right[0], atol=atol)
    assert np.allclose(mm.longitudinal(modes, [1, 0, 0]), right[1], atol=atol)
    assert modes.volume == pytest.approx(LATTICE**3, abs=1e-4)


def pairs(image, rest, reach=3.5):
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


def check_nacl(modes):
    assert np.allclose(modes.wavenumber, NU, atol=0.005)
    assert np.allclose(mm.static_dielectric(modes), STATIC * np.eye(3), atol=0.002)
    assert mm.longitudinal(modes, [1, 0, 0])[-1] == pytest.approx(LO, abs=0.01)
    assert modes.volume == pytest.approx(VOLUME, abs=1e-3)
