"""What i-PI writes, in lrcalc's units; read by :mod:`lrcalc.ipi_files`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcalc.ipi_files.beads import bead_average, bead_files, read_bead_extras, read_bead_frames
from lrcalc.ipi_files.extras import Extras, read_extras
from lrcalc.ipi_files.masses import number_of
from lrcalc.ipi_files.properties import Properties, parse_properties, read_properties
from lrcalc.ipi_files.quantities import ATOMIC_TIME, KELVIN_PER_HARTREE
from lrcalc.units import EV_PER_A3_IN_GPA

__all__ = [
    "ATOMIC_TIME",
    "EV_PER_A3_IN_GPA",
    "KELVIN_PER_HARTREE",
    "Extras",
    "Properties",
    "Trajectory",
    "bead_average",
    "bead_files",
    "parse_properties",
    "read_bead_extras",
    "read_extras",
    "read_positions",
    "read_properties",
]

Array = NDArray[np.float64]


class Trajectory(NamedTuple):
    """Positions (B, T, N, 3) in Å, cells (T, 3, 3) in Å as rows, species, steps (T,)."""

    positions: Array
    cells: Array
    numbers: NDArray[np.int64]
    steps: NDArray[np.int64]

    def centroid(self) -> Array:
        """Mean position over beads, (T, N, 3)."""
        return np.asarray(self.positions.mean(axis=0))


def read_positions(paths: Sequence[str | Path]) -> Trajectory:
    """Read positions of all beads from ``sim.pos_*.extxyz``, at the steps that all beads have."""
    found = read_bead_frames(paths)
    numbers = np.array([number_of(name) or 0 for name in found.names])
    return Trajectory(found.values, found.cells, numbers, found.steps)
