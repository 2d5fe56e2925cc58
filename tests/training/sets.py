"""Small data sets of every kind of matter, labelled by a formula: no model, no reference data."""

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.special import erfc

from lrcalc.units import COULOMB
from tests.sample_structures import water_box

CHARGES = {"H": 0.4, "O": -0.8, "C": 0.1, "N": -0.5, "Na": 0.9, "Cl": -0.9, "F": -0.4, "Li": 0.8}
"""e, of the formula; made to sum to the total charge of the structure."""

WIDTH, REACH = 1.5, 6.0
"""Å: screening of the Coulomb term and range of the pair sum (erfc(4) = 2e-8)."""


def label(atoms, *, stress=True):
    """Energy, forces and stress of ``Σ 30 exp(-r/0.3) + k q q erfc(r/WIDTH)/r`` over pairs."""
    q = np.array([CHARGES[s] for s in atoms.get_chemical_symbols()])
    q += (atoms.info.get("charge", 0) - q.sum()) / len(atoms)
    i, j, r, d = neighbor_list("ijdD", atoms, REACH)
    wall = 30.0 * np.exp(-r / 0.3)
    coulomb = COULOMB * q[i] * q[j] * erfc(r / WIDTH) / r
    gauss = 2 / np.sqrt(np.pi) / WIDTH * np.exp(-((r / WIDTH) ** 2))
    slope = -wall / 0.3 - coulomb / r - COULOMB * q[i] * q[j] * gauss / r
    pull = (slope / r)[:, None] * d  # dE/dr_j of each pair, which is listed in both directions
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pull)
    results = {"energy": 0.5 * float((wall + coulomb).sum()), "forces": forces}
    if stress and atoms.pbc.all():
        tensor = 0.5 * np.einsum("pa,pb->ab", pull, d) / atoms.get_volume()
        results["stress"] = full_3x3_to_voigt_6_stress(tensor)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def shaken(atoms, seed, size=0.08):
    """A copy with displaced atoms and, where it is periodic, a strained cell."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    if atoms.pbc.all():
        strain = rng.normal(scale=0.02, size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain + strain.T), scale_atoms=True)
    atoms.positions += rng.normal(scale=size, size=(len(atoms), 3))
    return atoms


def molecules():
    return [molecule(name) for name in ("H2O", "NH3", "CH3OH")]


def ions():
    """H3O⁺, OH⁻, F⁻ with a water, Li⁺ with a water: open, charges ±1."""
    water = molecule("H2O")
    hydronium = molecule("NH3")
    hydronium.numbers[0] = 8
    made = [hydronium, Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])]
    for symbol, height in (("F", -2.6), ("Li", 2.3)):
        made.append(water + Atoms(symbol, [[0, 0, height]]))
    for atoms, charge in zip(made, (1, -1, -1, 1), strict=True):
        atoms.info["charge"] = charge
    return made


def crystal():
    return [bulk("NaCl", "rocksalt", 5.64, cubic=True)]


def water():
    return [water_box(n=3)]


SETS = {"molecules": molecules, "ions": ions, "crystal": crystal, "water": water}


def frames_of(name, n=8):
    """``n`` labelled structures of a set; "all" takes turns, so that boundaries are mixed."""
    kinds = [f() for f in SETS.values()] if name == "all" else [SETS[name]()]
    sources = [
        kind[k // len(kinds) % len(kind)] for k in range(n) for kind in [kinds[k % len(kinds)]]
    ]
    return [label(shaken(a, seed)) for seed, a in enumerate(sources)]
