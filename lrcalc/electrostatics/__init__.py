"""Smeared, polarizable multipole electrostatics on plain tensors."""

from lrcalc.electrostatics.energy import electrostatic_energy
from lrcalc.electrostatics.ewald import ElectrostaticsResult, Ewald
from lrcalc.electrostatics.kernels import Sites, Source
from lrcalc.electrostatics.sums import Geometry, Interaction, Sum

Electrostatics = ElectrostaticsResult
"""Former name."""

__all__ = [
    "Electrostatics",
    "ElectrostaticsResult",
    "Ewald",
    "Geometry",
    "Interaction",
    "Sites",
    "Source",
    "Sum",
    "electrostatic_energy",
]
