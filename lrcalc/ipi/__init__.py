"""lrcalc behind i-PI: a driver in process or over sockets, inputs, runs and readers."""

from lrcalc.ipi.inputs import PES_FILE, write_input
from lrcalc.ipi.kinds import KINDS, Pulse
from lrcalc.ipi.outputs import Outputs
from lrcalc.ipi.readers import (
    bead_average,
    bead_files,
    read_bead_extras,
    read_extras,
    read_positions,
    read_properties,
)
from lrcalc.ipi.run import IPIError, RunSummary, run_ipi
from lrcalc.ipi.settings import Settings
from lrcalc.ipi.validate import Transport

__all__ = [
    "KINDS",
    "PES_FILE",
    "IPIError",
    "Outputs",
    "Pulse",
    "RunSummary",
    "Settings",
    "Transport",
    "bead_average",
    "bead_files",
    "read_bead_extras",
    "read_extras",
    "read_positions",
    "read_properties",
    "run_ipi",
    "write_input",
]
