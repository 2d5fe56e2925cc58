"""From trajectories and phonons to what an experiment measures.

``infrared``, ``raman`` and ``dielectric`` are functions here and also the modules that hold them:
import from the modules as ``from lrcalc.analysis.infrared import WATER_BANDS``. phonopy and
matplotlib come in only when something of theirs is asked for.
"""

from importlib import import_module
from typing import Any

from lrcalc.analysis.correlation import correlate, integrate
from lrcalc.analysis.dielectric import dielectric
from lrcalc.analysis.infrared import InfraredSpectrum, infrared
from lrcalc.analysis.raman import raman

_LATER = {
    "vdos": "states",
    "msd": "diffusion",
    "conductivity": "transport",
    "sum_frequency": "sfg",
    "cepstral_zero": "cepstral",
    "mode_charges": "modes",
    "Phonons": "phonons",
    "read_series": "series",
    "read_runs": "series",
    "AnalysisResult": "result",
    "Quantity": "result",
}

__all__ = [
    "InfraredSpectrum",
    "correlate",
    "dielectric",
    "infrared",
    "integrate",
    "raman",
    *_LATER,
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"lrcalc.analysis.{_LATER[name]}"), name)
    raise AttributeError(f"module 'lrcalc.analysis' has no attribute {name!r}")
