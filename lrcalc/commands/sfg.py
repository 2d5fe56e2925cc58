"""``lrcalc sfg``: sum-frequency spectrum of a surface."""

import argparse
from pathlib import Path

import numpy as np

from lrcalc.analysis.output import write_csv, write_json
from lrcalc.analysis.sfg import SumFrequency, sum_frequency
from lrcalc.commands import _spectra

NAME = "sfg"
HELP = "sum-frequency χ⁽²⁾ of a surface from one side's polarizability and dipole"
EXAMPLE = (
    "lrcalc sfg --polarizability top.pol_0 --dipole top.dip_0 --timestep 0.5 "
    "--temperature 300 --area 155 -o slab"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(analysis="sfg")
    # read only to say why a folder will not do
    parser.add_argument("folders", nargs="*", metavar="DIR", help=argparse.SUPPRESS)
    side = "of the molecules at one surface"
    parser.add_argument("--polarizability", nargs="+", metavar="FILE", help=f"{side}, (T, 9)")
    parser.add_argument("--dipole", nargs="+", metavar="FILE", help=f"{side}, (T, 3)")
    _spectra.add_reading_arguments(parser, "dipole", "polarizability")
    _spectra.add_temperature_argument(parser)
    parser.add_argument("--area", type=float, metavar="A2", help="default: a × b of the run's cell")
    parser.add_argument("--component", default="xxz", help="abc, z normal (default xxz: SSP)")
    _spectra.add_spectrum_arguments(parser)


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    if args.folders:
        raise ValueError(
            f"{args.folders[0]}: a run's outputs are those of the whole cell, and the signals of "
            "its two surfaces cancel. Give files of the molecules at one surface, by "
            "--polarizability and --dipole"
        )
    if not (args.polarizability and args.dipole):
        raise ValueError("give both --polarizability and --dipole, of one surface")
    first = _spectra.read(args, "polarizability", args.polarizability)
    second = _spectra.read(args, "dipole", args.dipole)
    if first.timestep != second.timestep:
        raise ValueError(
            f"polarizabilities every {first.timestep} fs but dipoles every {second.timestep} fs"
        )
    area = args.area
    if area is None:
        if second.cell is None:
            raise ValueError("no i-PI run tells the cell: give --area in Å²")
        area = float(np.linalg.norm(np.cross(second.cell.vectors[0], second.cell.vectors[1])))
    result = sum_frequency(
        first.series,
        second.series,
        timestep=first.timestep,
        area=area,
        temperature=_spectra.temperature(args, second),
        component=args.component,
        resolution=_spectra.resolution(args, second),
        window=args.window,
        maximum=args.maximum,
    )
    result = result._replace(settings=_spectra.add_notes(result.settings, second))
    files = write_sfg(result, args.output, title=args.title, picture=args.picture)
    _spectra.report(result.settings, files)
    return 0


def write_sfg(
    result: SumFrequency, prefix: str | Path, *, title: str = "", picture: str = "png"
) -> list[Path]:
    """Write PREFIX-sfg.csv, .png and .json."""
    from lrcalc.analysis import plots

    figure = plots.spectrum_figure(
        result.wavenumber,
        result.susceptibility.imag,
        result.error,
        label="Im χ⁽²⁾ ± one standard error",
        y_label="χ⁽²⁾ (Å²/V)",
        title=title or str(result.settings["quantity"]),
        signed=True,
        others=[("Re χ⁽²⁾", result.wavenumber, result.susceptibility.real)],
    )
    columns = [
        ("wavenumber_cm-1", result.wavenumber),
        ("chi2_real", result.susceptibility.real),
        ("chi2_imaginary", result.susceptibility.imag),
        ("standard_error", result.error),
    ]
    return [
        write_csv(f"{prefix}-sfg.csv", columns, result.settings),
        plots.save(figure, f"{prefix}-sfg.{picture}"),
        write_json(f"{prefix}-sfg.json", {"settings": result.settings}),
    ]
