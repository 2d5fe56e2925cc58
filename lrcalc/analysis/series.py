"""Time series from the files people have: i-PI, plain columns, npz, HDF5, ASE.

Each reader returns a :class:`~lrcalc.analysis.correlator.Series` that is read in chunks, in e, Å
and fs. i-PI prints atomic units (dipole in e bohr, polarizability in e² bohr²/hartree); everything
else is taken as e Å and e Å²/V unless a unit is given. Nothing is guessed from the numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lrcalc import units
from lrcalc.analysis.conditions import beside
from lrcalc.analysis.correlator import Series
from lrcalc.analysis.frames import COLUMNS, read_ase
from lrcalc.analysis.frames import read_ipi_velocities as read_ipi_velocities
from lrcalc.analysis.lammps import is_dump
from lrcalc.analysis.lammps_log import is_log, read_log_series
from lrcalc.analysis.lammps_series import is_series, read_lammps_series
from lrcalc.analysis.readers import (
    CHUNK,
    extras_name,
    kind_of,
    read_columns,
    read_hdf5,
    read_ipi_extras,
    read_npz,
)
from lrcalc.analysis.velocities import ASE_KINDS, read_velocities
from lrcalc.ipi_files.beads import bead_name

UNITS: dict[str, dict[str, float]] = {
    "dipole": {"e*angstrom": 1.0, "e*bohr": units.BOHR, "debye": units.DEBYE},
    "current": {"e*angstrom/fs": 1.0, "atomic": units.BOHR / units.ATOMIC_TIME},
    "polarizability": {
        "e*angstrom^2/V": 1.0,
        "atomic": units.BOHR**2 / units.HARTREE,
        "angstrom^3": 4.0 * np.pi * units.EPSILON_0,
    },
    "positions": {"angstrom": 1.0, "nm": 10.0, "bohr": units.BOHR},
    "velocities": {
        "angstrom/fs": 1.0,
        "angstrom/ps": 1e-3,
        "nm/ps": 1e-2,
        "m/s": 1e-5,
        "ase": 1.0 / units.ASE_TIME,
        "atomic": units.BOHR / units.ATOMIC_TIME,
    },
}
"""Factor from a named unit to the library's."""

_IPI_UNIT = {
    "velocities": "atomic",
    "dipole": "e*bohr",
    "current": "atomic",
    "polarizability": "atomic",
}

WANTED = {
    "dipole": "Let i-PI write it: `lrcalc ipi-input --extras dipole`",
    "polarizability": "Raman and sum-frequency spectra need polarizabilities: `lrcalc ipi-input "
    "--extras dipole polarizability`, with a model that has one",
    "current": "It is made of Born charges and velocities at the same steps (`lrcalc ipi-run "
    "--extras BEC --dielectric-stride 4 --velocities-stride 4`), or by `lrcalc md --current-every "
    "1`",
    "velocities": "Let i-PI write them: `lrcalc ipi-input --velocities-stride 4`",
    "positions": "Let i-PI write them: `lrcalc ipi-input --positions-stride 4`",
}
"""What to do where a quantity is missing."""


def read_series(
    path: str | Path,
    quantity: str = "dipole",
    *,
    unit: str | None = None,
    key: str | None = None,
    use_columns: Sequence[int] | None = None,
    lammps_units: str | None = None,
) -> Series:
    """One file as a series.

    Parameters
    ----------
    path
        ``.npz``, ``.h5``/``.hdf5``, ``.traj``/``.xyz``/``.extxyz`` (also ``.gz``), i-PI extras,
        the series or the log of a run of LAMMPS, or plain columns (``#`` starts a comment).
    quantity
        ``dipole``, ``current`` (``Σ born v``; from ASE files it is made from Born charges and
        velocities) or ``polarizability``.
    unit
        A name in :data:`UNITS`; i-PI extras are atomic units, everything else the library's.
    key
        Array of an npz or HDF5 file; the quantity's name by default.
    use_columns
        Columns of a text file, counted from 0.
    lammps_units
        Of a LAMMPS dump with velocities: ``real``, ``metal``, … as in its command ``units``.
    """
    path = Path(path)
    if quantity not in UNITS:
        raise ValueError(f"`quantity` is {quantity!r} but must be one of {', '.join(UNITS)}")
    if unit is not None and unit not in UNITS[quantity]:
        raise ValueError(
            f"`unit` is {unit!r} but for {quantity} must be one of {', '.join(UNITS[quantity])}"
        )
    if not path.is_file():
        meant = path.with_name(f"{path.name}.xyz")  # as `lrcalc md --out NAME` writes it
        hint = f"; did you mean {meant}?" if meant.is_file() else ""
        raise FileNotFoundError(f"no file {path}{hint}")
    factor = UNITS[quantity][unit] if unit else 1.0
    kind = kind_of(path)
    if kind in (".npz", ".h5", ".hdf5", ".traj", ".db") and path.suffix == ".gz":
        raise ValueError(f"{path} cannot be read packed: unpack it (gunzip)")
    if key is not None and kind not in (".npz", ".h5", ".hdf5"):
        raise ValueError(f"`key` is {key!r} but {path} is no .npz or .h5 file, which has no names")
    packed = kind in (".npz", ".h5", ".hdf5", ".traj", ".db", ".xyz", ".extxyz")
    if use_columns is not None and (packed or extras_name(path) is not None):
        raise ValueError(f"`columns` is given but {path} is no text file of plain columns")
    if kind == ".npz":
        return read_npz(path, key or quantity, factor)
    if kind in (".h5", ".hdf5"):
        return read_hdf5(path, key or quantity, factor)
    if quantity in ("velocities", "positions") and (kind in ASE_KINDS or is_dump(path)):
        if quantity == "positions" and unit is not None:
            raise ValueError(f"`unit` is {unit!r} but {path} says its own unit: leave it out")
        named = "atomic_unit" if unit == "atomic" else unit
        moving = read_velocities(path, unit=named, lammps_units=lammps_units, quantity=quantity)
        return moving if moving.conditions else moving._replace(conditions=beside(path))
    if is_dump(path):
        raise ValueError(f"{path} is a dump of LAMMPS, of which velocities are read, no {quantity}")
    if lammps_units is not None:
        raise ValueError(f"`lammps_units` is given but {path} is no dump of LAMMPS")
    if is_series(path):
        return read_lammps_series(path, quantity, factor)
    if is_log(path):
        return read_log_series(path, quantity, use_columns, factor if unit else None)
    if kind in ASE_KINDS:
        return read_ase(path, quantity, factor)
    if extras_name(path) is not None:
        check_extra(path, quantity)
        factor = UNITS[quantity][unit or _IPI_UNIT[quantity]]
        found = read_ipi_extras(path, factor=factor, columns=COLUMNS[quantity])
        return found._replace(conditions=beside(path))
    return read_columns(path, factor, use_columns)


def check_extra(path: Path, quantity: str) -> None:
    """Refuse an i-PI file whose header names another quantity than the one wanted."""
    name = extras_name(path)
    if name is not None and name != quantity and name in {*UNITS, "BEC", "charges"}:
        raise ValueError(
            f"{path} holds i-PI's extra {name!r}, not {quantity!r}. {WANTED[quantity]}"
        )


def bead_groups(paths: Iterable[str | Path]) -> list[list[Path]]:
    """Files of one run together: ``run.dip_0, run.dip_1, …`` are its beads, in order."""
    groups: dict[str, list[tuple[int, Path]]] = {}
    for path in map(Path, paths):
        name = bead_name(path.name)
        stem, bead = (str(path), 0) if name is None else (str(path.parent / name.stem), name.bead)
        groups.setdefault(stem, []).append((bead, path))
    return [[path for _, path in sorted(group)] for group in groups.values()]


def read_runs(
    paths: Iterable[str | Path],
    quantity: str = "dipole",
    *,
    beads: str = "mean",
    unit: str | None = None,
    key: str | None = None,
    use_columns: Sequence[int] | None = None,
    lammps_units: str | None = None,
    each: Callable[[Series], Series] | None = None,
) -> list[Series]:
    """Several files as independent trajectories; beads of one run as configured.

    Parameters
    ----------
    beads
        ``mean``: the bead average at each time is one trajectory (RPMD, TRPMD: the Kubo estimator);
        ``separate``: every file is a trajectory (beads are then not independent, so the error bar
        is that of blocks within beads).
    each
        Applied to the series of every file, before beads are averaged.
    """
    if beads not in ("mean", "separate"):
        raise ValueError(f"`beads` is {beads!r} but must be 'mean' or 'separate'")
    runs = []
    for group in bead_groups(paths):
        series = [
            read_series(
                path,
                quantity,
                unit=unit,
                key=key,
                use_columns=use_columns,
                lammps_units=lammps_units,
            )
            for path in group
        ]
        series = series if each is None else [each(one) for one in series]
        if beads == "mean" and len(series) > 1:
            runs.append(_mean_of(series))
        else:
            runs.extend(series)
    if not runs:
        raise ValueError("no files were given")
    return runs


def _mean_of(series: list[Series]) -> Series:
    def chunks() -> Iterator[np.ndarray]:
        streams = [rechunk(one.chunks()) for one in series]
        for parts in zip(*streams, strict=False):
            if len({len(part) for part in parts}) > 1:
                raise ValueError(
                    f"beads {', '.join(s.source for s in series)} have different numbers of frames"
                )
            yield np.mean(parts, axis=0)
        if any(next(stream, None) is not None for stream in streams):
            raise ValueError(
                f"beads {', '.join(s.source for s in series)} have different numbers of frames"
            )

    first = series[0]
    source = f"mean of {len(series)} beads of {first.source}"
    return Series(chunks, first.columns, source, first.timestep, first.stride, first.conditions)


def count_frames(series: Series, enough: int) -> int:
    """Return the frames of a series, counting no further than ``enough``."""
    count = 0
    for chunk in series.chunks():
        count += len(chunk)
        if count >= enough:
            break
    return count


def rechunk(chunks: Iterable[np.ndarray], size: int = CHUNK) -> Iterator[np.ndarray]:
    """Yield the same frames in chunks of exactly ``size`` (the last may be shorter)."""
    waiting: list[np.ndarray] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk)
        if count >= size:
            frames = np.concatenate(waiting)
            whole = count // size * size
            yield from np.split(frames[:whole], whole // size)
            waiting, count = [frames[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


def frame_spacing(
    runs: Sequence[Series], timestep: float | None, md_timestep: float | None = None
) -> float:
    """Fs between frames: given, or integrator step times the files' stride, or from the files.

    Raises
    ------
    ValueError
        If nothing says it, or the files disagree with each other or with what was given.
    """
    if timestep is not None and md_timestep is not None:
        raise ValueError("give `timestep` (between frames) or `md_timestep`, not both")
    if md_timestep is not None:
        strides = {run.stride for run in runs}
        if None in strides:
            _check_frames(runs)
        if len(strides) != 1 or None in strides:
            raise ValueError("`md_timestep` needs files that name their steps (i-PI), all alike")
        return md_timestep * next(stride for stride in strides if stride)
    known = {round(run.timestep, 9) for run in runs if run.timestep is not None}
    if timestep is None:
        if len(known) != 1:
            _check_frames(runs)
            raise ValueError(
                "the files do not say the time between frames: give it in fs (`timestep`)"
                if not known
                else f"the files have different times between frames: {sorted(known)} fs"
            )
        return known.pop()
    if any(abs(k - timestep) > 1e-3 * timestep for k in known):
        raise ValueError(f"`timestep` is {timestep} fs but the file says {sorted(known)} fs")
    return timestep


def _check_frames(runs: Sequence[Series]) -> None:
    """Refuse a run of one frame, which has no time between frames."""
    for run in runs:
        if run.timestep is None and count_frames(run, 2) == 1:
            raise ValueError(
                f"{run.source} has one frame, which makes no series in time: give the trajectory"
            )
