"""``lrcalc vdos``: vibrational density of states from velocities."""

import argparse
from pathlib import Path

from lrcalc.analysis import velocities
from lrcalc.analysis.infrared import peaks
from lrcalc.analysis.output import write_csv, write_json
from lrcalc.analysis.transport import DensityOfStates, vdos
from lrcalc.commands import _spectra

NAME = "vdos"
HELP = "vibrational density of states, total, per species and direction"
EXAMPLE = "lrcalc vdos run.vel_0.xyz --timestep 0.5 -o water"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(analysis="vdos")
    _spectra.add_series_arguments(parser, "velocities")
    _spectra.add_spectrum_arguments(parser)
    parser.add_argument(
        "--structure", metavar="FILE", help="species and masses, where the files have none"
    )


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    found = velocities.of_run(
        *_spectra.locate(args.files, "velocities"),
        structure=args.structure,
        types=args.types,
        lammps_units=args.lammps_units,
    )
    data = _spectra.read(args, "velocities")
    result = vdos(
        data.series,
        masses=found.masses,
        species=found.species,
        timestep=data.timestep,
        resolution=_spectra.resolution(args, data),
        window=args.window,
        maximum=args.maximum,
    )
    data.notes.append(f"masses from {found.source}")
    result = result._replace(settings=_spectra.add_notes(result.settings, data))
    files = write_vdos(result, args.output, title=args.title, picture=args.picture)
    print(f"  mean temperature of the velocities {result.temperature:.1f} K")
    _spectra.report(result.settings, files)
    return 0


def write_vdos(
    result: DensityOfStates, prefix: str | Path, *, title: str = "", picture: str = "png"
) -> list[Path]:
    """Write PREFIX-vdos.csv, .png and .json."""
    from lrcalc.analysis import plots

    found = peaks(result.wavenumber, result.total, result.error)
    species = [name for name in result.parts if " " not in name and name not in "xyz"]
    figure = plots.spectrum_figure(
        result.wavenumber,
        result.total,
        result.error,
        label="total ± one standard error",
        y_label="density of states (per cm⁻¹)",
        title=title or "vibrational density of states",
        marks=[(peak.wavenumber, peak.height) for peak in found],
        others=[(name, result.wavenumber, result.parts[name]) for name in species],
    )
    columns = [
        ("wavenumber_cm-1", result.wavenumber),
        ("total_per_cm-1", result.total),
        ("standard_error", result.error),
        *result.parts.items(),
    ]
    summary = {
        "temperature_K": result.temperature,
        "settings": result.settings,
        "peaks": found,
    }
    return [
        write_csv(f"{prefix}-vdos.csv", columns, result.settings),
        plots.save(figure, f"{prefix}-vdos.{picture}"),
        write_json(f"{prefix}-vdos.json", summary),
    ]
