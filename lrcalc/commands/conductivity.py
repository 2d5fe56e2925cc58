"""``lrcalc conductivity``: ionic conductivity from a current."""

import argparse
from pathlib import Path

import numpy as np

from lrcalc.analysis.output import write_csv, write_json
from lrcalc.analysis.transport import Conductivity, conductivity
from lrcalc.commands import _spectra

NAME = "conductivity"
HELP = "ionic conductivity (S/m) with a cepstral error bar, from a current"
EXAMPLE = "lrcalc conductivity current.npz --timestep 1 --temperature 2000 --volume 1500 -o salt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    _spectra.add_series_arguments(parser, "current")
    _spectra.add_condition_arguments(parser)
    parser.add_argument("--resolution", type=float, default=20.0, help="cm⁻¹ (default 20)")
    parser.add_argument("--cutoff", type=float, help="highest cm⁻¹ in the cepstral fit")
    parser.add_argument("--segment", type=int, help="frames per periodogram")
    parser.add_argument("-o", "--output", default="run", metavar="PREFIX")


def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    series, timestep = _spectra.read(args, "current")
    volume, temperature = _spectra.conditions(args)
    result = conductivity(
        series,
        timestep=timestep,
        volume=volume,
        temperature=temperature,
        resolution=args.resolution,
        cutoff=args.cutoff,
        segment=args.segment,
    )
    files = write_conductivity(result, args.output)
    print(f"  σ = {result.value:.4g} ± {result.error:.2g} S/m (cepstral)")
    print(f"  σ = {result.green_kubo:.4g} ± {result.green_kubo_error:.2g} S/m (time integral)")
    _spectra.report(result.settings, files)
    return 0


def write_conductivity(result: Conductivity, prefix: str | Path) -> list[Path]:
    """Write PREFIX-conductivity.csv (running integral), .png and .json."""
    from lrcalc.analysis import plots

    figure, axis = plots.new_figure()
    axis.plot(result.time, result.running, lw=1.2, label="running time integral")
    band = np.array([result.value - result.error, result.value + result.error])
    axis.axhspan(*band, color=plots.MEASURED, alpha=0.25, label="cepstral ± one standard error")
    axis.axhline(result.value, color=plots.MEASURED, lw=1.2)
    axis.set_xlabel("time (fs)")
    axis.set_ylabel("conductivity (S/m)")
    axis.legend(frameon=False)
    columns = [("time_fs", result.time), ("running_integral_S/m", result.running)]
    summary = {
        "conductivity_S_per_m": result.value,
        "standard_error": result.error,
        "green_kubo": result.green_kubo,
        "green_kubo_error": result.green_kubo_error,
        "settings": result.settings,
    }
    return [
        write_csv(f"{prefix}-conductivity.csv", columns, result.settings),
        plots.save(figure, f"{prefix}-conductivity.png"),
        write_json(f"{prefix}-conductivity.json", summary),
    ]
