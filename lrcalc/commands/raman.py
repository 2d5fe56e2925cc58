"""``lrcalc raman``: Raman spectra from polarizabilities."""

import argparse
from pathlib import Path

import numpy as np

from lrcalc.analysis.infrared import Peak, peaks
from lrcalc.analysis.output import read_curve, write_csv, write_json
from lrcalc.analysis.raman import FORMS, RamanSpectrum, raman
from lrcalc.commands import _spectra

NAME = "raman"
HELP = "Raman spectra (VV, VH, isotropic, anisotropic) from polarizabilities"
EXAMPLE = "lrcalc raman run.pol_0 --timestep 2.5 --temperature 300 --form reduced -o water"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(analysis="raman")
    _spectra.add_series_arguments(parser, "polarizability")
    _spectra.add_temperature_argument(parser)
    _spectra.add_spectrum_arguments(parser)
    parser.add_argument("--laser", type=float, default=532.0, help="wavelength, nm (default 532)")
    parser.add_argument("--form", default="intensity", choices=sorted(FORMS))
    parser.add_argument(
        "--experiment", metavar="FILE", help="measured curve, scaled to the same maximum"
    )


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    data = _spectra.read(args, "polarizability")
    result = raman(
        data.series,
        timestep=data.timestep,
        temperature=_spectra.temperature(args, data),
        resolution=_spectra.resolution(args, data),
        window=args.window,
        maximum=args.maximum,
        laser=args.laser,
        form=args.form,
    )
    result = result._replace(settings=_spectra.add_notes(result.settings, data))
    measured = read_curve(args.experiment) if args.experiment else None
    files = write_raman(
        result, args.output, experiment=measured, title=args.title, picture=args.picture
    )
    for peak in vv_peaks(result):
        print(f"  peak of VV ({args.form}): {peak.wavenumber:.0f} cm⁻¹, width {peak.width:.0f}")
    _spectra.report(result.settings, files)
    return 0


def vv_peaks(result: RamanSpectrum) -> list[Peak]:
    """Peaks of VV beyond the window's own width: those printed, marked and written."""
    inside = result.wavenumber > result.settings["resolution_cm1"]
    return peaks(result.wavenumber[inside], result.vv[inside], result.vv_error[inside])


def write_raman(
    result: RamanSpectrum,
    prefix: str | Path,
    *,
    experiment: np.ndarray | None = None,
    title: str = "",
    picture: str = "png",
) -> list[Path]:
    """Write PREFIX-raman.csv, PREFIX-raman.png (or .pdf, .svg) and PREFIX-raman.json."""
    from lrcalc.analysis import plots

    found = vv_peaks(result)
    # Relative units: the shown curve has a maximum of one beyond the window's own width.
    inside = result.wavenumber > result.settings["resolution_cm1"]
    top = float(result.vv[inside].max())
    if experiment is not None:
        shown = experiment[:, 0] > result.settings["resolution_cm1"]
        scaled = np.column_stack([experiment[:, 0], experiment[:, 1] / experiment[shown, 1].max()])
    figure = plots.spectrum_figure(
        result.wavenumber[inside],
        result.vv[inside] / top,
        result.vv_error[inside] / top,
        label="VV ± one standard error",
        y_label=f"Raman, {result.settings['form']} (VV maximum = 1)",
        title=title or "Raman spectrum",
        marks=[(p.wavenumber, p.height / top) for p in found],
        measured=scaled if experiment is not None else None,
        others=[("VH ± one standard error", result.wavenumber[inside], result.vh[inside] / top)],
        other_errors=[result.vh_error[inside] / top],
    )
    columns = [
        ("wavenumber_cm-1", result.wavenumber),
        ("isotropic", result.isotropic),
        ("anisotropic", result.anisotropic),
        ("vv", result.vv),
        ("vv_standard_error", result.vv_error),
        ("vh", result.vh),
        ("vh_standard_error", result.vh_error),
        ("depolarisation", result.depolarisation),
    ]
    summary = {"quantity": "VV", "settings": result.settings, "peaks": found}
    return [
        write_csv(f"{prefix}-raman.csv", columns, result.settings),
        plots.save(figure, f"{prefix}-raman.{picture}"),
        write_json(f"{prefix}-raman.json", summary),
    ]
