"""Time series from the files people have: i-PI, plain columns, npz, HDF5, ASE.

Each reader returns a :class:`~lrcalc.analysis.correlation.Series` that is read in chunks, in e, Å
and fs. i-PI prints atomic units (dipole in e bohr, polarizability in e² bohr²/hartree); everything
else is taken as e Å and e Å²/V unless a unit is given. Nothing is guessed from the numbers.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from lrcalc import units
from lrcalc.analysis.correlation import Series

UNITS: dict[str, dict[str, float]] = {
    "dipole": {"e*angstrom": 1.0, "e*bohr": units.BOHR, "debye": units.DEBYE},
    "current": {"e*angstrom/fs": 1.0, "atomic": units.BOHR / 2.418884326e-2},
    "polarizability": {
        "e*angstrom^2/V": 1.0,
        "atomic": units.BOHR**2 / units.HARTREE,
        "angstrom^3": 4.0 * np.pi * units.EPSILON_0,
    },
    "velocities": {"angstrom/fs": 1.0, "atomic": units.BOHR / 2.418884326e-2},
}
"""Factor from a named unit to the library's."""

_IPI_UNIT = {
    "velocities": "atomic",
    "dipole": "e*bohr",
    "current": "atomic",
    "polarizability": "atomic",
}
_COLUMNS = {"dipole": 3, "current": 3, "polarizability": 9}
_CHUNK = 65536
_STEP = re.compile(r"Step:\s*(\d+)")
_HEADER = re.compile(r"#EXTRAS[^\n]*")
_BEAD = re.compile(r"^(?P<stem>.+)_(?P<bead>\d+)$")

_ASE_KEYS = {
    "dipole": ("dipole", "REF_dipole"),
    "polarizability": ("polarizability", "REF_polarizability"),
    "born": ("born_effective_charges", "born", "REF_born"),
}


def read_series(
    path: str | Path,
    quantity: str = "dipole",
    *,
    unit: str | None = None,
    key: str | None = None,
    use_columns: Sequence[int] | None = None,
) -> Series:
    """One file as a series.

    Parameters
    ----------
    path
        ``.npz``, ``.h5``/``.hdf5``, ``.traj``/``.xyz``/``.extxyz`` (also ``.gz``), i-PI extras, or
        plain columns (``#`` starts a comment).
    quantity
        ``dipole``, ``current`` (``Σ born v``; from ASE files it is made from Born charges and
        velocities) or ``polarizability``.
    unit
        A name in :data:`UNITS`; i-PI extras are atomic units, everything else the library's.
    key
        Array of an npz or HDF5 file; the quantity's name by default.
    use_columns
        Columns of a text file, counted from 0.
    """
    path = Path(path)
    if quantity not in UNITS:
        raise ValueError(f"`quantity` is {quantity!r} but must be one of {', '.join(UNITS)}")
    if unit is not None and unit not in UNITS[quantity]:
        raise ValueError(
            f"`unit` is {unit!r} but for {quantity} must be one of {', '.join(UNITS[quantity])}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    factor = UNITS[quantity][unit] if unit else 1.0
    name = path.name.removesuffix(".gz")
    if name.endswith(".npz"):
        return _read_npz(path, key or quantity, factor)
    if name.endswith((".h5", ".hdf5")):
        return _read_hdf5(path, key or quantity, factor)
    if name.endswith((".traj", ".xyz", ".extxyz", ".db")):
        if quantity == "velocities" and not name.endswith((".traj", ".db")):
            return read_ipi_velocities(path)[0]
        return _read_ase(path, quantity, factor)
    with path.open() as file:
        head = file.readline()
    if "#EXTRAS" in head:
        factor = UNITS[quantity][unit or _IPI_UNIT[quantity]]
        return read_ipi_extras(path, factor=factor, columns=_COLUMNS[quantity])
    return _read_columns(path, factor, use_columns)


def bead_groups(paths: Iterable[str | Path]) -> list[list[Path]]:
    """Files of one run together: ``run.dip_0, run.dip_1, …`` are its beads, in order."""
    groups: dict[str, list[tuple[int, Path]]] = {}
    for path in map(Path, paths):
        match = _BEAD.match(path.name)
        stem = str(path.parent / match["stem"]) if match else str(path)
        groups.setdefault(stem, []).append((int(match["bead"]) if match else 0, path))
    return [[path for _, path in sorted(group)] for group in groups.values()]


def read_runs(
    paths: Iterable[str | Path],
    quantity: str = "dipole",
    *,
    beads: str = "mean",
    unit: str | None = None,
    key: str | None = None,
    use_columns: Sequence[int] | None = None,
) -> list[Series]:
    """Several files as independent trajectories; beads of one run as configured.

    Parameters
    ----------
    beads
        ``mean``: the bead average at each time is one trajectory (RPMD, TRPMD: the Kubo estimator);
        ``separate``: every file is a trajectory (beads are then not independent, so the error bar
        is that of blocks within beads).
    """
    if beads not in ("mean", "separate"):
        raise ValueError(f"`beads` is {beads!r} but must be 'mean' or 'separate'")
    runs = []
    for group in bead_groups(paths):
        series = [
            read_series(path, quantity, unit=unit, key=key, use_columns=use_columns)
            for path in group
        ]
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
    return Series(chunks, first.columns, source, first.timestep, first.stride)


def rechunk(chunks: Iterable[np.ndarray], size: int = _CHUNK) -> Iterator[np.ndarray]:
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
        if len(strides) != 1 or None in strides:
            raise ValueError("`md_timestep` needs files that name their steps (i-PI), all alike")
        return md_timestep * next(stride for stride in strides if stride)
    known = {round(run.timestep, 9) for run in runs if run.timestep is not None}
    if timestep is None:
        if len(known) != 1:
            raise ValueError(
                "the files do not say the time between frames: give `timestep` in fs"
                if not known
                else f"the files have different times between frames: {sorted(known)} fs"
            )
        return known.pop()
    if any(abs(k - timestep) > 1e-3 * timestep for k in known):
        raise ValueError(f"`timestep` is {timestep} fs but the file says {sorted(known)} fs")
    return timestep


def read_ipi_extras(path: Path, *, factor: float, columns: int) -> Series:
    """i-PI ``extras`` or ``extras_component_raw``: a header line, then numbers, for each step.

    Several rows a step are beads and are averaged. Steps must be evenly spaced.
    """
    with path.open() as file:
        steps = [int(m[1]) for line in islice(file, 20000) if (m := _STEP.search(line))][:2]
    stride = steps[1] - steps[0] if len(steps) == 2 else 1
    if stride < 1:
        raise ValueError(f"{path}: step {steps[1]} follows step {steps[0]}")

    def chunks() -> Iterator[np.ndarray]:
        expected = steps[0] if steps else 0
        rest, last = "", False
        with path.open() as file:
            while not last:
                added = file.read(1 << 24)
                last = not added
                text = rest + added
                # cut before the last header: its numbers may not all be here yet
                cut = len(text) if last else text.rfind("\n", 0, text.rfind("#EXTRAS")) + 1
                part, rest = text[:cut], text[cut:]
                heads = part.count("#EXTRAS")
                if not heads:
                    continue
                found = np.array(_STEP.findall(part), dtype=int)
                wanted = expected + stride * np.arange(heads)
                if len(found) != heads or (found != wanted).any():
                    bad = int(np.argmax(found != wanted)) if len(found) == heads else 0
                    raise ValueError(
                        f"{path}: step {wanted[bad]} expected but {found[bad]} found: frames are "
                        "missing or repeated (a restarted run?); give the parts as separate files"
                    )
                expected = int(wanted[-1]) + stride
                numbers = _numbers(_HEADER.sub(" ", part), path)
                width = numbers.size / heads
                if not numbers.size or width % columns:
                    raise ValueError(
                        f"{path}: {width:g} numbers a step but a multiple of {columns} is "
                        "expected; is the last step complete, and is this the right extra?"
                    )
                yield numbers.reshape(heads, -1, columns).mean(1) * factor

    return Series(chunks, columns, str(path), None, stride)


def _numbers(text: str, path: Path) -> np.ndarray:
    """Blank-separated numbers; four times as quick as converting word by word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for unread text
        try:
            return np.fromstring(text, dtype=float, sep=" ")
        except (DeprecationWarning, ValueError):
            pass
    words = text.split()
    bad = next((word for word in words if not _is_number(word)), "?")
    raise ValueError(f"{path}: could not read {bad!r} as a number")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_columns(path: Path, factor: float, use_columns: Sequence[int] | None) -> Series:
    def rows(lines: list[str]) -> np.ndarray:
        kept = [line for line in (raw.partition("#")[0] for raw in lines) if line.strip()]
        if not kept:
            return np.empty((0, 0))
        separator = "," if "," in kept[0] else None
        width = len(kept[0].split(separator))
        text = " ".join(kept)
        values = _numbers(text.replace(",", " ") if separator else text, path)
        if len(values) != width * len(kept):
            bad = next(line for line in kept if len(line.split(separator)) != width)
            raise ValueError(f"{path}: {width} columns expected but a row is {bad.strip()!r}")
        return values.reshape(len(kept), width)

    with path.open() as file:
        first = rows(list(islice(file, 1000)))
    if not first.size:
        raise ValueError(f"{path} holds no numbers")
    chosen = list(use_columns) if use_columns is not None else list(range(first.shape[1]))
    if max(chosen) >= first.shape[1]:
        raise ValueError(f"{path} has {first.shape[1]} columns but column {max(chosen)} was asked")

    def chunks() -> Iterator[np.ndarray]:
        width = first.shape[1]
        with path.open() as file:
            while lines := file.readlines(1 << 23):
                values = rows(lines)
                if not values.size:
                    continue
                if values.shape[1] != width:
                    raise ValueError(f"{path}: {values.shape[1]} columns where {width} were before")
                yield values[:, chosen] * factor

    return Series(chunks, len(chosen), str(path))


def _read_npz(path: Path, key: str, factor: float) -> Series:
    with np.load(path) as data:
        if key not in data:
            raise ValueError(f"{path} has no array {key!r}; it has {', '.join(data.files)}")
        timestep = float(data["timestep"]) if "timestep" in data else None
        array = np.asarray(data[key], dtype=float)
    array = array.reshape(len(array), -1)

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(array), _CHUNK):
            yield array[start : start + _CHUNK] * factor

    return Series(chunks, array.shape[1], str(path), timestep)


def _read_hdf5(path: Path, key: str, factor: float) -> Series:
    try:
        import h5py
    except ImportError:
        raise ValueError("reading HDF5 needs h5py: pip install 'lrcalc[hdf5]'") from None
    with h5py.File(path) as file:
        if key not in file:
            raise ValueError(f"{path} has no dataset {key!r}; it has {', '.join(file)}")
        columns = int(np.prod(file[key].shape[1:]))
        attributes = file[key].attrs
        timestep = float(attributes["timestep"]) if "timestep" in attributes else None

    def chunks() -> Iterator[np.ndarray]:
        with h5py.File(path) as file:
            data = file[key]
            for start in range(0, len(data), _CHUNK):
                part = np.asarray(data[start : start + _CHUNK], dtype=float)
                yield part.reshape(len(part), columns) * factor

    return Series(chunks, columns, str(path), timestep)


def _read_ase(path: Path, quantity: str, factor: float) -> Series:
    from ase.io import iread
    from ase.units import fs

    velocities = quantity == "velocities"
    columns = 3 * len(next(iread(str(path), index=0))) if velocities else _COLUMNS[quantity]

    def chunks() -> Iterator[np.ndarray]:
        rows: list[np.ndarray] = []
        for index, atoms in enumerate(iread(str(path), index=":")):
            if velocities:
                if "momenta" not in atoms.arrays:
                    raise ValueError(f"{path}, frame {index}: no momenta, so no velocities")
                rows.append(atoms.get_velocities().reshape(-1) * fs)
            elif quantity == "current":
                rows.append(frame_current(atoms, f"{path}, frame {index}"))
            else:
                value = _from_frame(atoms, _ASE_KEYS[quantity])
                if value is None or value.size != columns:
                    raise ValueError(
                        f"{path}, frame {index}: no {quantity} with {columns} numbers "
                        f"(looked for {', '.join(_ASE_KEYS[quantity])})"
                    )
                rows.append(value.reshape(columns))
            if len(rows) == 4096:
                yield np.array(rows) * factor
                rows = []
        if rows:
            yield np.array(rows) * factor

    times = [atoms.info.get("time_fs") for atoms in islice(iread(str(path), index=":2"), 2)]
    known = len(times) == 2 and None not in times
    return Series(chunks, columns, str(path), float(times[1] - times[0]) if known else None)


_UNIT = re.compile(r"velocities\{(\w+)\}")
_VELOCITY = {
    "atomic_unit": units.BOHR / 2.418884326e-2,
    "angstrom/femtosecond": 1.0,
    "ase": 0.09822694788,
}


def read_ipi_velocities(path: str | Path) -> tuple[Series, list[str]]:
    """Read velocities of an i-PI or extended xyz trajectory; the species as well.

    i-PI's comment must name the unit (``velocities{atomic_unit}``); an extended xyz file has
    momenta, which ASE reads.
    """
    path = Path(path)
    with path.open() as file:
        count = int(file.readline())
        comment = file.readline()
        species = [file.readline().split()[0] for _ in range(count)]
    named = _UNIT.search(comment)
    if named is None:
        return _read_ase(path, "velocities", 1.0), species
    if named[1] not in _VELOCITY:
        raise ValueError(f"{path}: velocities in {named[1]!r}; write them in atomic_unit")
    factor = _VELOCITY[named[1]]

    def frames() -> Iterator[np.ndarray]:
        with path.open() as file:
            while header := file.readline():
                if int(header) != count:
                    raise ValueError(f"{path}: a frame of {header.strip()} atoms, not {count}")
                file.readline()
                words = [file.readline().split()[1:4] for _ in range(count)]
                if any(len(row) != 3 for row in words):
                    raise ValueError(f"{path}: the last frame is cut off")
                yield np.array(words, dtype=float).reshape(-1) * factor

    def chunks() -> Iterator[np.ndarray]:
        stream = frames()
        while block := list(islice(stream, 512)):
            yield np.array(block)

    return Series(chunks, 3 * count, str(path)), species


def _from_frame(atoms: "object", keys: Sequence[str]) -> np.ndarray | None:
    results = getattr(getattr(atoms, "calc", None), "results", {})
    for key in keys:
        for place in (results, atoms.info, atoms.arrays):  # type: ignore[attr-defined]
            if key in place:
                return np.asarray(place[key], dtype=float)
    return None


def frame_current(atoms: "object", where: str) -> np.ndarray:
    """``J_a = Σ_ib born[i, a, b] v_ib`` in e Å/fs of an ASE frame with velocities."""
    from ase.units import fs

    born = _from_frame(atoms, _ASE_KEYS["born"])
    momenta = "momenta" in atoms.arrays  # type: ignore[attr-defined]
    if born is None or not momenta:
        raise ValueError(
            f"{where}: a current needs Born charges ({', '.join(_ASE_KEYS['born'])}) and momenta"
        )
    velocities = atoms.get_velocities() * fs  # type: ignore[attr-defined]
    if born.size != 9 * len(velocities):
        raise ValueError(f"{where}: Born charges of shape {born.shape} for {len(velocities)} atoms")
    return np.einsum("iab,ib->a", born.reshape(-1, 3, 3), velocities)
