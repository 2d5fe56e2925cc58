"""lrcalc behind i-PI: a driver in process or over sockets, inputs, runs and readers."""

from lrcalc.courses import Pulse
from lrcalc.ipi.input_checks import Transport
from lrcalc.ipi.inputs import PES_FILE, write_input
from lrcalc.ipi.kinds import KINDS
from lrcalc.ipi.outputs import Outputs
from lrcalc.ipi.run import IPIError, RunSummary, run_ipi
from lrcalc.ipi.settings import DriverSettings
from lrcalc.ipi_files.beads import bead_average, bead_files, read_bead_extras, read_positions
from lrcalc.ipi_files.extras import read_extras
from lrcalc.ipi_files.properties import read_properties

Settings = DriverSettings
"""Earlier name."""

__all__ = [
    "KINDS",
    "PES_FILE",
    "DriverSettings",
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
