"""Smeared, polarizable multipole electrostatics on plain tensors."""

from lrcalc.electrostatics.energy import Electrostatics, electrostatic_energy
from lrcalc.electrostatics.kernels import Sites, Source
from lrcalc.electrostatics.operator import Operator, apply, make_operator
from lrcalc.electrostatics.response import Induced, induce, response_order, uniform_field
from lrcalc.electrostatics.solver import Excitation, Solution

__all__ = [
    "Electrostatics",
    "Excitation",
    "Induced",
    "Operator",
    "Sites",
    "Solution",
    "Source",
    "apply",
    "electrostatic_energy",
    "induce",
    "make_operator",
    "response_order",
    "uniform_field",
]
