"""Structures with labels of a random potential: data that can be learned."""

from ase.calculators.singlepoint import SinglePointCalculator

from lrcalc.evaluator import Evaluator
from tests.conftest import random_potential
from tests.sample_structures import water_box


def labelled(n=6, *, stress=False, offset=0.0):
    """Waters labelled by a potential with random weights."""
    teacher = random_potential(water_box(), seed=3, level="q", channels=4, hidden=8)
    teacher.readout.weight *= 0.02  # forces of a few eV/Å, like those of real water
    evaluator = Evaluator(teacher)
    structures = []
    for seed in range(n):
        atoms = water_box(seed=seed, n=3)
        (result,) = evaluator([atoms], ["energy", "forces", *(["stress"] if stress else [])])
        results = {"energy": result["energy"] - 400.0 * 3 + offset, "forces": result["forces"]}
        if stress:
            results["stress"] = result["stress"].reshape(9)[[0, 4, 8, 5, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, **results)
        structures.append(atoms)
    return structures
