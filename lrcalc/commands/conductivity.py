"""``lrcalc conductivity``: ionic conductivity from a current."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from lrcalc.analysis.correlation import Chunks, differences
from lrcalc.analysis.ipi_folder import read_run
from lrcalc.analysis.output import plus_minus, write_csv, write_json
from lrcalc.analysis.readers import extras_name
from lrcalc.analysis.transport import Conductivity, conductivity, ionic_current
from lrcalc.analysis.velocities import particles
from lrcalc.commands import _spectra

NAME = "conductivity"
HELP = "ionic conductivity (S/m) with a cepstral error bar, from a current"
EXAMPLE = "lrcalc conductivity current.npz --timestep 1 --temperature 2000 --volume 1500 -o salt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(analysis="conductivity")
    _spectra.add_series_arguments(parser, "current", "dipole", "velocities")
    _spectra.add_condition_arguments(parser)
    _spectra.add_resolution_argument(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from-dipole",
        action="store_true",
        help="files hold the dipole: its differences are the current (i-PI's files tell it)",
    )
    source.add_argument(
        "--charges",
        metavar="LIST",
        help="files hold velocities: current of these charges, e.g. Na=1,Cl=-1",
    )
    parser.add_argument("--cutoff", type=float, help="highest cm⁻¹ in the cepstral fit")
    parser.add_argument("--segment", type=int, help="frames per periodogram")
    _spectra.add_output_arguments(parser)


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    data = _current(args)
    volume, temperature = _spectra.conditions(args, data)
    result = conductivity(
        data.series,
        timestep=data.timestep,
        volume=volume,
        temperature=temperature,
        resolution=args.resolution,
        cutoff=args.cutoff,
        segment=args.segment,
    )
    result = result._replace(settings=_spectra.add_notes(result.settings, data))
    files = write_conductivity(result, args.output, picture=args.picture)
    print(f"  σ = {plus_minus(result.value, result.error)} S/m (cepstral)")
    print(f"  σ = {plus_minus(result.green_kubo, result.green_kubo_error)} S/m (time integral)")
    _spectra.report(result.settings, files)
    return 0


def _current(args: argparse.Namespace) -> _spectra.Data:
    """Read a current, or make it from velocities and charges or from a dipole."""
    if args.charges:
        return _charges_times_velocities(args)
    if not (args.from_dipole or _is_dipole(args.files[0])):
        return _spectra.read(args, "current")
    data = _spectra.read(args, "dipole")
    data.notes.append("current from differences of the dipole")
    return _changed(data, differences(data.timestep))


def _changed(
    data: _spectra.Data, change: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
) -> _spectra.Data:
    def changed(chunks: Chunks) -> Chunks:
        return lambda: change(chunks())

    series = [one._replace(chunks=changed(one.chunks), columns=3) for one in data.series]
    return data._replace(series=series)


def _is_dipole(name: str) -> bool:
    """Whether i-PI says that a file, or all there is in a folder, is a dipole."""
    path = Path(name)
    if path.is_dir():
        outputs = read_run(path).outputs
        return "dipole" in outputs and "current" not in outputs
    return path.is_file() and extras_name(path) == "dipole"


def _charges_times_velocities(args: argparse.Namespace) -> _spectra.Data:
    pairs = [item.partition("=") for item in args.charges.split(",")]
    try:
        charge = {symbol.strip(): float(value) for symbol, _, value in pairs}
    except ValueError:
        raise ValueError(f"`--charges` is {args.charges!r} but must look like Na=1,Cl=-1") from None
    first = _spectra.locate(args.files, "velocities")[0][0]
    species = particles(first, types=args.types, lammps_units=args.lammps_units).species
    missing = sorted(set(species) - set(charge))
    if missing:
        raise ValueError(f"`--charges` has none for {', '.join(missing)}")
    charges = np.array([charge[symbol] for symbol in species])
    if abs(charges.sum()) > 1e-6:
        raise ValueError(f"`--charges` sum to {charges.sum():g} e in the cell but must to 0")
    data = _spectra.read(args, "velocities")
    return _changed(data, lambda chunks: (ionic_current(chunk, charges) for chunk in chunks))


def write_conductivity(
    result: Conductivity, prefix: str | Path, *, picture: str = "png"
) -> list[Path]:
    """Write PREFIX-conductivity.csv (running integral), .png and .json."""
    from lrcalc.analysis import plots

    figure, axis = plots.new_figure()
    axis.plot(result.time, result.running, lw=1.2, label="running time integral")
    band = np.array([result.value - result.error, result.value + result.error])
    axis.axhspan(*band, color=plots.MEASURED, alpha=0.25, label="cepstral ± one standard error")
    axis.axhline(result.value, color=plots.MEASURED, lw=1.2)
    axis.set_xlabel("time (fs)")
    axis.set_ylabel("conductivity (S/m)")
    axis.set_xlim(0, result.time[-1])
    told = plus_minus(result.value, result.error)
    axis.set_title(f"σ = {told} S/m (cepstral)", fontsize=10)
    axis.legend(framealpha=0.85, edgecolor="none", loc="upper right", fontsize=9)
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
        plots.save(figure, f"{prefix}-conductivity.{picture}"),
        write_json(f"{prefix}-conductivity.json", summary),
    ]
