"""Structures, levels and fields in which numbers of devices and precisions are compared."""

import numpy as np

from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

BASIC = ["energy", "forces"]
MOMENTS = [*BASIC, "dipole", "born_effective_charges", "charges", "electric_field"]
E, D, V = (
    {"electric_field": (0.0, 0.1, 0.05)},
    {"electric_displacement": (0.0, 0.001, 0.002)},
    {"reduced_field": (0.1, 0.2, 0.0)},
)
CASES = {
    "sr": ("sr", "local", "periodic", {}, {}, [*BASIC, "stress"]),
    "q": ("q", "local", "periodic", {}, {}, [*MOMENTS, "stress"]),
    "u": ("u", "local", "periodic", {}, {}, [*MOMENTS, "stress", "polarization"]),
    "u in E": ("u", "local", "periodic", {}, E, [*MOMENTS, "stress"]),
    "uiu at D": ("uiu", "local", "periodic", {}, D, [*MOMENTS, "stress", "dielectric_tensor"]),
    "uQiqiu at V": (
        "uQiqiu", "local", "periodic", {"layers": 2, "transfer_hops": 2, "anisotropic": True}, V,
        [*MOMENTS, "stress", "polarizability", "polarizability_derivative"],
    ),
    "beads": ("uQiqiu", "local", "beads", {}, E, [*MOMENTS, "stress", "polarizability"]),
    "cluster": ("uQiqiu", "atomic", "cluster", {}, E, [*MOMENTS, "polarizability"]),
    "mixed": ("uiu", "local", "mixed", {}, E, MOMENTS),
    "atomic": ("u", "atomic", "periodic", {"layers": 2}, E, MOMENTS),
    "mesh": ("u", "local", "large", {}, {}, [*BASIC, "stress", "dipole"]),
}  # fmt: skip
"""Level, charges, structures, options, what is held, properties."""
STRUCTURES = {
    "periodic": lambda: [water_box(seed=2)],
    "cluster": lambda: [cluster()],
    "beads": lambda: [water_box(seed=2), water_box(seed=2)],
    "mixed": lambda: [water_box(seed=2), cluster()],
    "large": lambda: [water_box(seed=2).repeat((6, 6, 6))],
}


def potential_of(case):
    """A model with random weights, a prior and a wall."""
    level, charges, _, options, _, _ = CASES[case]
    return random_potential(
        water_box(), level=level, charges=charges, prior="zbl", wall=[[1.7, 1.05], [1.05, 2.9]],
        transfer_cutoff=3.0, **options,
    )  # fmt: skip


def errors(found, expected, names):
    """Largest error of each property, relative to its largest value."""
    return {
        name: max(
            float(np.abs(a[name] - b[name]).max() / max(1e-3, np.abs(b[name]).max()))
            for a, b in zip(found, expected, strict=True)
        )
        for name in names
    }
