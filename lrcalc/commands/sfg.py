"""``lrcalc sfg``: sum-frequency spectrum of a surface."""

import argparse
from pathlib import Path

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
    parser.add_argument("--polarizability", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--dipole", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--timestep", type=float, metavar="FS", help="time between frames, fs")
    parser.add_argument("--md-timestep", type=float, metavar="FS", help="integrator step")
    parser.add_argument("--beads", default="mean", choices=("mean", "separate"))
    parser.add_argument("--temperature", type=float, metavar="K", required=True)
    parser.add_argument("--area", type=float, metavar="A2", required=True)
    parser.add_argument("--component", default="xxz", help="abc, z normal (default xxz: SSP)")
    _spectra.add_spectrum_arguments(parser)
    parser.add_argument("--no-progress", action="store_true")
    parser.set_defaults(unit=None, key=None, columns=None)


def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    first, timestep = _spectra.read(args, "polarizability", args.polarizability)
    second, other = _spectra.read(args, "dipole", args.dipole)
    if timestep != other:
        raise ValueError(f"polarizabilities every {timestep} fs but dipoles every {other} fs")
    result = sum_frequency(
        first,
        second,
        timestep=timestep,
        area=args.area,
        temperature=args.temperature,
        component=args.component,
        resolution=args.resolution,
        window=args.window,
        maximum=args.maximum,
    )
    files = write_sfg(result, args.output, title=args.title)
    _spectra.report(result.settings, files)
    return 0


def write_sfg(result: SumFrequency, prefix: str | Path, *, title: str = "") -> list[Path]:
    """Write PREFIX-sfg.csv, .png and .json."""
    from lrcalc.analysis import plots

    figure = plots.spectrum_figure(
        result.wavenumber,
        result.susceptibility.imag,
        result.error,
        label="Im χ⁽²⁾ ± one standard error",
        y_label="χ⁽²⁾ (Å²/V)",
        title=title or str(result.settings["quantity"]),
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
        plots.save(figure, f"{prefix}-sfg.png"),
        write_json(f"{prefix}-sfg.json", {"settings": result.settings}),
    ]
