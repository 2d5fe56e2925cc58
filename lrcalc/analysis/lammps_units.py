"""Units of LAMMPS by the name of its command ``units``, as factors to ours."""

from typing import NamedTuple

from lrcalc.units import BOHR


class Units(NamedTuple):
    """Factors of LAMMPS' units to Å, fs, Å/fs and amu."""

    length: float
    time: float
    velocity: float
    mass: float


UNITS = {
    "real": Units(1.0, 1.0, 1.0, 1.0),
    "metal": Units(1.0, 1e3, 1e-3, 1.0),
    "si": Units(1e10, 1e15, 1e-5, 1 / 1.66053906660e-27),
    "cgs": Units(1e8, 1e15, 1e-7, 1 / 1.66053906660e-24),
    "electron": Units(BOHR, 1.0, BOHR, 1.0),
    "micro": Units(1e4, 1e9, 1e-5, 1 / 1.66053906660e-12),
    "nano": Units(10.0, 1e6, 1e-5, 1 / 1.66053906660e-6),
}
"""By the name of LAMMPS' command ``units``; lj has none of its own.

Velocities of ``electron`` are Bohr/fs: so the program moves its atoms and counts their energy,
while its manual has a unit of 1.03275 fs.
"""
