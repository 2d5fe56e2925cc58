"""A model to test plumbing with: springs to lattice sites and between neighbours, fixed charges.

Exact dipole, Born charges, enthalpy in a field and stress, in numpy; no torch. i-PI loads this file
as a PES (`ToyDriver`), and the socket tests start it as a client.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from lrcalc.commands.ipi import client
from lrcalc.ipi.driver import LRCalcDriver
from lrcalc.units import EPSILON_0

CHARGES = {1: 0.4, 8: -0.8}
STIFFNESS = 12.0  # eV/Å² between bonded atoms
LENGTH = 1.0
WEAK = 0.02  # eV per pair: a soft, periodic interaction that feels the cell
POLARIZABILITY = 0.8


class ToyEvaluator:
    """Same interface as `lrcalc.evaluator.Evaluator`."""

    def __init__(self, electric_field=None, electric_displacement=None, epsilon_infinity=None):
        self.electric_field = None if electric_field is None else np.array(electric_field)
        self.electric_displacement = (
            None if electric_displacement is None else np.array(electric_displacement)
        )
        self.epsilon_infinity = epsilon_infinity or 1.0
        self.calls = []

    def __call__(self, structures, properties):
        self.calls.append(len(structures))
        return [self.single(atoms, properties) for atoms in structures]

    def single(self, atoms, properties):
        positions, numbers = atoms.positions, atoms.numbers
        charges = np.array([CHARGES[z] for z in numbers])
        volume = atoms.get_volume()
        energy, forces, strain = 0.0, np.zeros_like(positions), np.zeros((3, 3))
        # bonds: each O with the two H that follow it in the file or sit next to it in it
        for i, j in molecules(numbers):
            d = positions[j] - positions[i]
            r = np.linalg.norm(d)
            energy += 0.5 * STIFFNESS * (r - LENGTH) ** 2
            push = STIFFNESS * (r - LENGTH) * d / r
            forces[i] += push
            forces[j] -= push
            strain += np.outer(push, d)
        # a smooth periodic pair energy, cos of the fractional difference
        cell = np.array(atoms.cell)
        inverse = np.linalg.inv(cell)
        d = positions[:, None] - positions[None]
        phase = 2 * np.pi * d @ inverse
        energy += 0.5 * WEAK * np.sum(np.cos(phase))
        slope = -0.5 * WEAK * np.sin(phase) * 2 * np.pi
        forces -= 2 * np.einsum("ijk,lk->il", slope, inverse)
        # fractional coordinates do not change with the strain: no stress from this term;
        # a term in the volume makes a pressure
        energy += 1e-4 * (volume / len(numbers) - 10.0) ** 2 * len(numbers)
        strain += 2e-4 * (volume / len(numbers) - 10.0) * volume * np.eye(3)
        dipole, field = charges @ positions, None
        if self.electric_field is not None:
            field = self.electric_field
            energy -= field @ dipole
            forces += charges[:, None] * field
            strain -= np.outer(dipole, field).T
        if self.electric_displacement is not None:
            # E + V/(2 ε0 ε∞) (D - P)²
            eps = EPSILON_0 * self.epsilon_infinity
            left = self.electric_displacement - dipole / volume
            field = left / eps
            energy += 0.5 * volume / eps * left @ left
            forces += charges[:, None] * field
            strain += (0.5 * volume / eps * left @ left + field @ dipole) * np.eye(3)
            strain -= np.outer(dipole, field).T
        result = {
            "energy": float(energy),
            "forces": forces,
            # symmetric, as ASE wants it and as the real evaluator gives it
            "stress": 0.5 * (strain + strain.T) / volume,
            "electric_field": np.zeros(3) if field is None else field,
            "dipole": dipole,
            "born_effective_charges": charges[:, None, None] * np.eye(3),
            "polarizability": POLARIZABILITY * np.diag([1.0, 2.0, 3.0]),
            "charges": charges,
        }
        return {name: result[name] for name in properties}


def molecules(numbers):
    """Bonds O-H, O first, in a file of water molecules O H H."""
    return [(i, i + k) for i in range(0, len(numbers), 3) for k in (1, 2)]


def make_toy(settings):
    """Evaluator from driver settings; the environment makes it slow or faulty."""
    toy = ToyEvaluator(
        settings.electric_field, settings.electric_displacement, settings.epsilon_infinity
    )
    delay = float(os.environ.get("TOY_DELAY", "0"))
    nan_after = int(os.environ.get("TOY_NAN_AFTER", "0"))
    mark = os.environ.get("TOY_MARK", "")
    if not (delay or nan_after or mark):
        return toy

    def faulty(structures, properties):
        if mark:
            with Path(mark).open("a") as stream:
                stream.write(f"{os.getpid()}\n")
        if delay:
            time.sleep(delay)
        results = toy(structures, properties)
        if nan_after and sum(toy.calls) > nan_after:
            results[0]["forces"] = results[0]["forces"] * np.nan
        return results

    return faulty


class ToyDriver(LRCalcDriver):
    evaluator_factory = staticmethod(make_toy)


__DRIVER_NAME__ = "toy"
__DRIVER_CLASS__ = "ToyDriver"


if __name__ == "__main__":
    sys.exit(client(make_toy))
