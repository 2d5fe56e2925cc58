"""Smeared, polarizable multipole electrostatics on plain tensors."""

from lrcalc.electrostatics.energy import Electrostatics, electrostatic_energy

__all__ = ["Electrostatics", "electrostatic_energy"]
