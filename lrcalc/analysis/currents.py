"""A current as files have it, or made from velocities and charges, or from a dipole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrcalc.analysis.born_current import has_born_current, read_born_current
from lrcalc.analysis.correlation import differences
from lrcalc.analysis.intake import Data, Reading, locate, read
from lrcalc.analysis.ipi_folder import read_run
from lrcalc.analysis.readers import extras_name
from lrcalc.analysis.transport import ionic_current
from lrcalc.analysis.velocities import particles

OF_DIPOLE = "current from differences of the dipole"
"""Note of data that are."""


def read_current(
    files: Sequence[str], reading: Reading, *, charges: str | None, from_dipole: bool = False
) -> Data:
    """Read a current, or make it; of i-PI runs with Born charges and velocities, from these.

    Parameters
    ----------
    charges
        The files hold velocities: current of these charges, ``Na=1,Cl=-1``.
    from_dipole
        The files hold the dipole, whose differences are the current; i-PI's files tell it.
    """
    if has_born_current(files) and not (charges or from_dipole):
        return read_born_current(files, reading)
    if charges:
        return _charges_times_velocities(files, reading, charges)
    if not (from_dipole or _is_dipole(files[0])):
        return read(files, "current", reading)
    data = read(files, "dipole", reading)
    data.notes.append(OF_DIPOLE)
    return data.changed(differences(data.timestep))


def _is_dipole(name: str) -> bool:
    """Whether i-PI says that a file, or all there is in a folder, is a dipole."""
    path = Path(name)
    if path.is_dir():
        outputs = read_run(path).outputs
        return "dipole" in outputs and "current" not in outputs
    return path.is_file() and extras_name(path) == "dipole"


def _charges_times_velocities(files: Sequence[str], reading: Reading, charges: str) -> Data:
    pairs = [item.partition("=") for item in charges.split(",")]
    try:
        charge = {symbol.strip(): float(value) for symbol, _, value in pairs}
    except ValueError:
        raise ValueError(f"`charges` is {charges!r} but must look like Na=1,Cl=-1") from None
    first = locate(files, "velocities")[0][0]
    species = particles(first, types=reading.types, lammps_units=reading.lammps_units).species
    missing = sorted(set(species) - set(charge))
    if missing:
        raise ValueError(f"`charges` has none for {', '.join(missing)}")
    of_atoms = np.array([charge[symbol] for symbol in species])
    if abs(of_atoms.sum()) > 1e-6:
        raise ValueError(f"`charges` sum to {of_atoms.sum():g} e in the cell but must to 0")
    data = read(files, "velocities", reading)
    return data.changed(lambda chunks: (ionic_current(chunk, of_atoms) for chunk in chunks))
