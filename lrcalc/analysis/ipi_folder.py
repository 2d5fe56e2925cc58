"""Temperature of a run of i-PI or `lrcalc md`; the rest is read by :mod:`lrcalc.ipi_files`."""

from pathlib import Path

import numpy as np

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
    """Mean temperature in K of the table that ``lrcalc md`` writes beside its frames, and its name.

    None where there is none, or another program's.
    """
    table = Path(trajectory).with_suffix(".csv")
    if not table.is_file() or table == Path(trajectory):
        return None
    with table.open(errors="replace") as file:
        names = file.readline().strip().split(",")
        if "step" not in names or "temperature_K" not in names:
            return None
        column = names.index("temperature_K")
        values = np.array([float(line.split(",")[column]) for line in file if line.strip()])
    found = values[np.isfinite(values)]
    return (float(np.mean(found)), f"mean of {table}") if len(found) else None
