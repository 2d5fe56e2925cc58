"""Runs as they lie on the disk: their series, and what else an analysis needs to know of them."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrcalc.analysis import cells, jumps
from lrcalc.analysis.conditions import check, common, forced, of_data
from lrcalc.analysis.correlation import COARSEST, affordable_resolution, lags_for
from lrcalc.analysis.correlator import Series
from lrcalc.analysis.ipi_folder import IPIRun, mean_temperature, read_run, table_temperature
from lrcalc.analysis.lammps_log import is_log, log_notes
from lrcalc.analysis.series import WANTED, bead_groups, count_frames, frame_spacing, read_runs
from lrcalc.ipi_files.folder import output_of, run_of
from lrcalc.progress import progress_bar
from lrcalc.run_conditions import RunConditions

PREFERRED = 20.0
"""Resolution where the data allow it, cm⁻¹."""


class Reading(NamedTuple):
    """What a user says of files; the names are those of the options."""

    analysis: str | None = None
    """A key of :data:`lrcalc.analysis.conditions.FORMULAS`; None: runs of any kind will do."""
    beads: str = "mean"
    unit: str | None = None
    key: str | None = None
    columns: str | None = None
    """Columns of a text file: ``1,2,3``."""
    lammps_units: str | None = None
    types: str | None = None
    timestep: float | None = None
    """fs between frames."""
    md_timestep: float | None = None
    force_equilibrium: bool = False
    keep_jumps: bool = False
    no_progress: bool = True
    wants_cell: bool = False
    volume: float | None = None
    area: float | None = None
    cell_from: str | None = None
    temperature: float | None = None
    resolution: float | None = None
    window: str = "hann"


class Data(NamedTuple):
    """Series of one quantity and what was found out on the way."""

    series: list[Series]
    timestep: float
    """fs between frames."""
    runs: list[IPIRun]
    """i-PI runs that the files belong to."""
    cell: cells.Cell | None
    notes: list[str]
    undone: jumps.Record
    """Jumps of the dipole, filled while the series are read."""
    conditions: RunConditions | None
    """That all runs share, where they say them."""
    reading: Reading

    @property
    def volume(self) -> float:
        """Volume in Å³, given or of the cell."""
        if self.reading.volume is not None:
            return self.reading.volume
        if self.cell is None:
            told = "".join(f" ({note})" for note in self.notes if note.startswith("the cell of"))
            raise ValueError(
                f"no volume known{told}: give it by `volume` in Å³, or a structure file with the "
                "cell by `cell_from`"
            )
        return self.cell.volume

    @property
    def area(self) -> float:
        """Area of the surface in Å², given or a × b of the cell."""
        if self.reading.area is not None:
            return self.reading.area
        if self.cell is None:
            raise ValueError("no run tells the cell: give `area` in Å²")
        return float(np.linalg.norm(np.cross(self.cell.vectors[0], self.cell.vectors[1])))

    @property
    def constant_cell(self) -> np.ndarray | None:
        """(3, 3) Å rows; None where it changes or nothing tells it."""
        return self.cell.vectors if self.cell is not None and self.cell.constant else None

    def temperature(self) -> float:
        """Temperature in K, given or of the i-PI runs."""
        if self.reading.temperature is not None:
            return float(self.reading.temperature)
        found = [one for run in self.runs if (one := mean_temperature(run)) is not None]
        told = self.conditions
        if not found and told is not None and told.temperature and told.ensemble in ("nvt", "npt"):
            found = [(told.temperature, "the thermostat that the frames name")]
        logged = told is None and all(is_log(one.source) for one in self.series)
        if not found and (logged or (told is not None and told.ensemble == "nve")):
            tables = [table_temperature(one.source) for one in self.series]
            found = [one for one in tables if one is not None] if all(tables) else []
        if not found:
            energy = told is not None and told.ensemble == "nve"
            raise ValueError(
                "no run tells the temperature: give `temperature` in K"
                + (", the mean of this run at constant energy (its .csv)" if energy else "")
            )
        value = float(np.mean([one[0] for one in found]))
        self.notes.append(f"temperature {value:.1f} K: {', '.join(one[1] for one in found)}")
        return value

    def electronic_part(
        self, given: float | None, of_model: Callable[[str], float]
    ) -> float | None:
        """ε_∞ as given, or of the run's input or the model named there; None if nothing tells.

        Parameters
        ----------
        of_model
            ε_∞ of a model by its name or file.
        """
        if given is not None:
            return given
        for run in self.runs:
            name = run.parameters.get("epsilon_infinity") or run.parameters.get("model")
            if name is None:
                continue
            if "epsilon_infinity" in run.parameters:
                value, source = float(name), str(run.input)
            else:
                found = self._of_model(name, run.folder, of_model)
                if found is None:
                    continue
                value, source = found, f"model {name!r}"
            self.notes.append(f"ε_∞ {value:g} from {source}")
            return value
        told = self.conditions
        if told is not None and told.epsilon_infinity is not None:
            self.notes.append(f"ε_∞ {told.epsilon_infinity:g} of the model that made the run")
            return told.epsilon_infinity
        if told is not None and told.model and not self.runs:
            found = self._of_model(told.model, Path(self.series[0].source).parent, of_model)
            if found is not None:
                self.notes.append(f"ε_∞ {found:g} from model {told.model!r}")
            return found
        return None

    def _of_model(self, name: str, folder: Path, of_model: Callable[[str], float]) -> float | None:
        """ε_∞ of a model, a file from a folder or by name; None, with a note, if it is not here."""
        beside = folder / name
        try:
            return of_model(str(beside) if beside.is_file() else name)
        except (OSError, ValueError, KeyError, RuntimeError):
            self.notes.append(f"model {name!r} cannot be read, so ε_∞ is unknown")
            return None

    def resolution(self) -> float:
        """Resolution in cm⁻¹: as asked, else what the data can afford, with a note."""
        if self.reading.resolution is not None:
            return float(self.reading.resolution)
        window = self.reading.window
        enough = 4 * lags_for(PREFERRED, self.timestep, window) + 4
        frames = [count_frames(run, enough) for run in self.series]
        found = affordable_resolution(frames, self.timestep, window, PREFERRED)
        if found > PREFERRED:
            length = sum(frames) * self.timestep / 1000
            self.notes.append(
                f"resolution {found:g} cm⁻¹, what {length:.3g} ps afford ({PREFERRED:g} wanted, "
                f"{COARSEST:g} at most); ask for another by --resolution"
            )
        return found

    def changed(self, change: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]]) -> "Data":
        """Return data whose frames are vectors (n, 3) made of these."""

        def of(one: Series) -> Series:
            return one._replace(chunks=lambda: change(one.chunks()), columns=3)

        return self._replace(series=[of(one) for one in self.series])

    def noted(self, result: Any) -> Any:
        """Return the result with the notes of the reading in front of its own."""
        told = [*self.notes, *jumps.notes(self.undone), *result.settings.get("notes", [])]
        if self.cell is not None and self.cell.spread > 3e-4 and any(self.undone.values()):
            told.append(
                "WARNING: jumps were undone with the mean cell, but the cell changes (volume by "
                f"{100 * self.cell.spread:.2g} %): every jump leaves a step of about "
                f"{100 * self.cell.spread / 3:.2g} % of its size. Write the dipole on one branch"
            )
        settings = {**result.settings, "notes": list(dict.fromkeys(told))}
        return result._replace(settings=settings)


def locate(files: Sequence[str | Path], quantity: str) -> tuple[list[Path], list[IPIRun]]:
    """Files of a quantity, those of folders included, and the i-PI runs they belong to.

    Raises
    ------
    ValueError
        If a folder has no such output; it says what there is.
    """
    paths: list[Path] = []
    runs: dict[Path, IPIRun] = {}
    for path in map(Path, files):
        if path.is_dir():
            run = read_run(path)
            found = run.outputs.get(quantity)
            _check_systems(run, path)
            if not found:
                there = ", ".join(run.outputs) or "no trajectories"
                raise ValueError(f"{path} has no {quantity}, only {there}. {WANTED[quantity]}")
            paths += found
            runs[path.resolve()] = run
        else:
            writer = run_of(path)
            paths.append(path if writer is None else output_of(writer, path) or path)
            if writer is not None:
                runs.setdefault(writer.folder.resolve(), writer)
    whole = [path.resolve() for path in paths]
    twice = sorted({str(path) for path in paths if whole.count(path.resolve()) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is given twice: each run counts once")
    return paths, list(runs.values())


def _check_systems(run: IPIRun, folder: Path) -> None:
    """Several systems are averaged where they are alike."""
    told = run.simulation
    if told.systems > 1 and (told.temperature is None or told.timestep is None):
        names = ", ".join(f"{prefix}_{told.prefix}.*" for prefix in told.system_prefixes)
        raise ValueError(
            f"{folder} is a run of {told.systems} systems at different temperatures or time steps:"
            f" give the files of one of them ({names}) with its temperature"
        )


def read(files: Sequence[str | Path], quantity: str, reading: Reading) -> Data:
    """Series of a quantity, the time between frames, and the cell.

    Parameters
    ----------
    files
        Files of series or folders of i-PI runs.
    quantity
        A key of :data:`lrcalc.analysis.series.UNITS`.
    """
    paths, runs = locate(files, quantity)
    notes = [
        f"{len(run.ignored)} files of an earlier run left out, since this one has {run.beads} "
        f"bead{'s' if run.beads > 1 else ''}: {', '.join(path.name for path in run.ignored[:4])}"
        for run in runs
        if run.ignored
    ]
    notes += [note for path in paths for note in log_notes(path)]
    cell = None
    if reading.volume is not None and reading.cell_from is not None:
        raise ValueError("give only one of `volume` and `cell_from`")
    if reading.wants_cell and reading.volume is None:
        cell = cells.of_files(
            paths, runs, notes, given=reading.cell_from, lammps_units=reading.lammps_units
        )
    vectors = None if cell is None else cell.vectors
    undone: jumps.Record = {}
    guard = quantity == "dipole" and not reading.keep_jumps
    columns = reading.columns
    series = read_runs(
        paths,
        quantity,
        beads=reading.beads,
        unit=reading.unit,
        key=reading.key,
        use_columns=None if columns is None else numbers_of(columns, "`columns`"),
        lammps_units=reading.lammps_units,
        each=(lambda one: jumps.guarded(one, vectors, undone)[0]) if guard else None,
    )
    beads = max(len(group) for group in bead_groups(paths))
    if reading.beads == "separate" and beads > 1:
        notes.append(
            f"WARNING: the {beads} beads of a run are taken as separate runs but do not move "
            f"independently: error bars are too small by up to {np.sqrt(beads):.2g} "
            "(not so with --beads mean)"
        )
    timestep = _spacing(reading, series, runs, notes)
    told = common(of_data(series))
    if reading.analysis is not None and reading.force_equilibrium:
        told, overridden = forced(told, reading.analysis)
        notes += overridden
        series = [run._replace(conditions=told) for run in series]
    if reading.analysis is not None:
        check(told, reading.analysis)  # before hours of reading
    if not reading.no_progress:
        series = [run._replace(chunks=_progress(run)) for run in series]
    return Data(series, timestep, runs, cell, notes, undone, told, reading)


def _spacing(
    reading: Reading, series: Sequence[Series], runs: Sequence[IPIRun], notes: list[str]
) -> float:
    """Fs between frames; what is given must not contradict what the runs say."""
    given, md_timestep = reading.timestep, reading.md_timestep
    known = {run.timestep for run in runs if run.timestep is not None}
    if len(known) > 1:
        raise ValueError(f"the runs have different time steps: {sorted(known)} fs")
    if not known:
        return frame_spacing(series, given, md_timestep)
    step, where = known.pop(), runs[0].input
    if md_timestep is not None and abs(md_timestep - step) > 1e-3 * step:
        raise ValueError(f"`md_timestep` is {md_timestep:g} fs but {where} says {step:g} fs")
    if all(run.stride is None for run in series):
        return frame_spacing(series, given, md_timestep)
    found = frame_spacing(series, None, step)
    if given is None:
        notes.append(f"time step {step:g} fs from {where}")
    elif abs(given - found) > 1e-3 * found:
        raise ValueError(
            f"`timestep` is {given:g} fs but frames are {found:g} fs apart, a step of "
            f"{step:g} fs ({where}) times a stride of {found / step:g}: leave it out"
        )
    return found


def numbers_of(text: str, name: str, least: int = 0) -> list[int]:
    """Whole numbers of a list like ``1,2,3``, none below ``least``; ``name`` is for errors."""
    found = [int(part) for part in text.split(",") if re.fullmatch(r"\s*[+-]?\d+\s*", part)]
    if len(found) != text.count(",") + 1 or min(found) < least:
        raise ValueError(
            f"{name} is {text!r} but must be whole numbers from {least} on, like 1,2,3"
        )
    return found


def _progress(run: Series) -> Any:
    def chunks() -> Iterator[np.ndarray]:
        with progress_bar(unit="frame", title=Path(run.source).name, leave=False) as bar:
            for chunk in run.chunks():
                bar.update(len(chunk))
                yield chunk

    return chunks
