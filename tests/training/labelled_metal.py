"""Copper with labels of ASE's EMT, under any names."""

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import voigt_6_to_full_3x3_stress

SMALL = ["--channels", "4", "--hidden", "8", "--cutoff", "3", "--valid-every", "3", "--level", "q",
         "--epochs", "1"]  # fmt: skip

REFERENCE = ["--energy-key", "REF_energy", "--forces-key", "REF_forces"]


def copper(n=8, strain=0.02, displacement=0.1, repeat=2):
    """Copper of ASE's EMT: strained, displaced, or both; nothing of ours."""
    rng = np.random.default_rng(5)
    structures = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True) * (repeat, repeat, repeat)
        change = strain * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.5 * (change + change.T)), scale_atoms=True)
        atoms.positions += displacement * rng.normal(size=(len(atoms), 3))
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(),
                  "stress": atoms.get_stress()}  # fmt: skip
        atoms.calc = SinglePointCalculator(atoms, **labels)
        structures.append(atoms)
    return structures


def rename(structures, *, stress="REF_stress", kind=lambda tensor, volume: tensor):
    """Labels as other programs name them, the stress as some tensor made of it."""
    for atoms in structures:
        labels = atoms.calc.results
        atoms.info["REF_energy"] = labels["energy"]
        atoms.arrays["REF_forces"] = labels["forces"]
        if "stress" in labels:
            tensor = voigt_6_to_full_3x3_stress(labels["stress"])
            atoms.info[stress] = kind(tensor, atoms.get_volume()).ravel()
        atoms.calc = None
    return structures


def written(path, structures):
    write(path, structures, format="extxyz")
    return str(path)
