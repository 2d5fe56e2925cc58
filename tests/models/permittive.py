"""Evaluators of random potentials with a permittivity, and what is asked of them."""

import numpy as np
from ase import Atoms

from lrcalc import Evaluator
from tests.conftest import random_potential

SURFACE = " + surface"
CELL = np.array([[4.4, 0.0, 0.0], [0.7, 4.8, 0.0], [-0.5, 0.6, 5.1]])


def crystal():
    """Three atoms in a triclinic cell, nowhere near a minimum: the identities do not mind."""
    place = [[0.05, 0.1, 0.0], [0.42, 0.38, 0.51], [0.7, 0.75, 0.2]]
    return Atoms("OHH", cell=CELL, scaled_positions=place, pbc=True)


def evaluator_for(atoms, level, response=1.0, **options):
    config = {"surface": 8} if level.endswith(SURFACE) else {}
    level = level.removesuffix(SURFACE)
    potential = random_potential(atoms, level=level, accuracy=1e-9, **config)
    potential.metadata |= {"epsilon_infinity": 2.1, "susceptibility": 0.1 if "i" in level else 0.0}
    if potential.surface is not None:
        potential.surface.constant += 0.3
    if "i" in level:
        make = potential.readout.forward

        def scaled(*args, **kwargs):
            found = make(*args, **kwargs)
            alpha = response * found.multipoles.polarizability
            return found._replace(multipoles=found.multipoles._replace(polarizability=alpha))

        potential.readout.forward = scaled
    return Evaluator(potential, dtype="float64", asr_projection=False, **options)


def ask(evaluator, atoms, *names):
    (result,) = evaluator([atoms], names)
    return result if len(names) > 1 else result[names[0]]


def difference(function, step=1e-4):
    """Fourth-order central difference of a function of one number."""
    values = [function(k * step) for k in (-2, -1, 1, 2)]
    return float(np.dot([1, -8, 8, -1], values)) / (12 * step)


def permittivity(evaluator, atoms):
    return evaluator.enthalpy_permittivity(atoms)


PATTERN = np.array([[1.0, -0.3, 0.2], [-0.5, 0.4, 0.1], [0.2, 0.3, -0.6]])
