"""lrcalc: long-range electrostatics and electric response for machine-learning potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lrcalc import analysis
    from lrcalc.calculator import LRCalculator
    from lrcalc.checkpoint import bundled, load, save
    from lrcalc.electrostatics import (
        Electrostatics,
        ElectrostaticsResult,
        Ewald,
        electrostatic_energy,
    )
    from lrcalc.evaluator import Evaluator
    from lrcalc.fields import Field
    from lrcalc.models.potential import Potential
    from lrcalc.multipoles import Multipoles
    from lrcalc.neighbors import NeighborList
    from lrcalc.prediction import predict
    from lrcalc.properties import Property
    from lrcalc.system import System, from_ase
    from lrcalc.trajectory import read_extxyz, write_extxyz

_WHERE = {
    "LRCalculator": "calculator",
    "bundled": "checkpoint",
    "load": "checkpoint",
    "save": "checkpoint",
    "Electrostatics": "electrostatics",
    "ElectrostaticsResult": "electrostatics",
    "Ewald": "electrostatics",
    "electrostatic_energy": "electrostatics",
    "Evaluator": "evaluator",
    "Field": "fields",
    "Potential": "models.potential",
    "Multipoles": "multipoles",
    "NeighborList": "neighbors",
    "Property": "properties",
    "predict": "prediction",
    "System": "system",
    "from_ase": "system",
    "read_extxyz": "trajectory",
    "write_extxyz": "trajectory",
}

__all__ = [
    "Electrostatics", "ElectrostaticsResult", "Evaluator", "Ewald", "Field", "LRCalculator",
    "Multipoles", "NeighborList", "Potential", "Property", "System", "analysis", "bundled",
    "electrostatic_energy", "from_ase", "load", "predict", "read_extxyz", "save", "write_extxyz",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import lrcalc` costs nothing."""
    from importlib import import_module

    if name == "analysis":
        return import_module("lrcalc.analysis")
    if name in _WHERE:
        return getattr(import_module(f"lrcalc.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'lrcalc' has no attribute {name!r}; public names: {__all__}")
