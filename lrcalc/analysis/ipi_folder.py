"""Temperature of an i-PI run; what else a run says is read by :mod:`lrcalc.ipi_files`."""

import numpy as np

from lrcalc.ipi_files.folder import IPIRun, properties_path, read_run, run_properties

__all__ = ["IPIRun", "mean_temperature", "read_run"]


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
