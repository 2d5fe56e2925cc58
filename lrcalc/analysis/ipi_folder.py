"""Temperature of a run of i-PI, `lrcalc md` or LAMMPS; the rest is read elsewhere."""

from pathlib import Path

import numpy as np

from lrcalc.analysis.lammps_log import is_log, log_temperature
from lrcalc.analysis.lammps_series import column, series_of
from lrcalc.ipi_files.folder import IPIRun, properties_path, read_run, run_properties

__all__ = ["IPIRun", "mean_temperature", "read_run", "table_temperature"]


def mean_temperature(run: IPIRun) -> tuple[float, str] | None:
    """Temperature in K and where it is from; None if the run does not say.

    At constant energy with one bead it is the mean of the properties file, where there is one;
    else that of the ensemble, since a ring polymer's own temperature is no better.
    """
    if run.mode.endswith("nve") and run.beads == 1:
        table = run_properties(run)
        found = None if table is None else table.values.get("temperature")
        if found is not None and len(found):
            return float(np.mean(found)), f"mean of {properties_path(run)}"
    if run.temperature is None:
        return None
    return run.temperature, str(run.input)


def table_temperature(trajectory: str | Path) -> tuple[float, str] | None:
    """Mean temperature in K of the table of a run, and its name; None where there is none.

    The table is what ``lrcalc md`` writes beside its frames, or a series or log of LAMMPS.
    """
    if (series := series_of(trajectory)) is not None:
        values = column(series, "temperature_K")
        return None if values is None else _mean(values, series)
    if is_log(trajectory):
        return log_temperature(trajectory)
    table = Path(trajectory).with_suffix(".csv")
    if not table.is_file() or table == Path(trajectory):
        return None
    with table.open(errors="replace") as file:
        names = file.readline().strip().split(",")
        if "step" not in names or "temperature_K" not in names:
            return None
        at = names.index("temperature_K")
        values = np.array([float(line.split(",")[at]) for line in file if line.strip()])
    return _mean(values, table)


def _mean(values: np.ndarray, source: Path) -> tuple[float, str] | None:
    found = values[np.isfinite(values)]
    return (float(np.mean(found)), f"mean of {source}") if len(found) else None
