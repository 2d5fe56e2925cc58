"""``lrcalc ir``: infrared spectrum from dipoles or currents."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.conditions import LOSS
from lrcalc.analysis.dielectric import (
    check_electronic_part,
    optical_constants,
    permittivity_from_infrared,
)
from lrcalc.analysis.infrared import (
    CORRECTIONS,
    QUANTITY,
    WATER_BANDS,
    InfraredSpectrum,
    bands,
    infrared,
    peaks,
)
from lrcalc.analysis.output import read_curve, write_csv, write_json
from lrcalc.commands import _spectra

NAME = "ir"
HELP = "infrared spectrum n·α in cm⁻¹, with error bars, from dipoles or currents"
EXAMPLE = "lrcalc ir demo-output/2-nve -o water"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(analysis="infrared")
    _spectra.add_series_arguments(parser, "dipole", "current")
    _spectra.add_condition_arguments(parser)
    _spectra.add_spectrum_arguments(parser)
    parser.add_argument("--from-current", action="store_true", help="files hold Σ Z*·v")
    parser.add_argument("--axes", default="xyz", help="directions averaged (default xyz)")
    parser.add_argument("--quantum-correction", default="harmonic", choices=sorted(CORRECTIONS))
    parser.add_argument(
        "--experiment", metavar="FILE", help="measured curve: cm⁻¹ and n·α in 10³ cm⁻¹ (CSV)"
    )
    parser.add_argument(
        "--epsilon-infinity",
        type=float,
        help="electronic part: adds ε′, n, α and reflectivity (default: of the i-PI run's model)",
    )
    parser.add_argument(
        "--water", action="store_true", help="add a table of the bands of liquid water"
    )


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    if args.epsilon_infinity is not None:
        check_electronic_part(args.epsilon_infinity)
    quantity = "current" if args.from_current else "dipole"
    data = _spectra.read(args, quantity)
    volume, temperature = _spectra.conditions(args, data)
    result = infrared(
        None if args.from_current else data.series,
        current=data.series if args.from_current else None,
        timestep=data.timestep,
        volume=volume,
        temperature=temperature,
        resolution=_spectra.resolution(args, data),
        window=args.window,
        maximum=args.maximum,
        quantum_correction=args.quantum_correction,
        axes=args.axes,
        jumps="keep",  # seen to while reading, bead by bead
    )
    infinity = _spectra.electronic_part(args.epsilon_infinity, data)
    result = result._replace(settings=_spectra.add_notes(result.settings, data))
    measured = read_curve(args.experiment) if args.experiment else None
    files = write_infrared(
        result,
        args.output,
        experiment=measured,
        epsilon_infinity=infinity,
        ranges=WATER_BANDS if args.water else None,
        title=args.title,
        picture=args.picture,
    )
    print(peak_table(result))
    if args.water:
        print(band_table(result))
    _spectra.report(result.settings, files)
    return 0


def write_infrared(
    result: InfraredSpectrum,
    prefix: str | Path,
    *,
    experiment: np.ndarray | None = None,
    epsilon_infinity: float | None = None,
    ranges: dict[str, tuple[float, float, str]] | None = None,
    title: str = "",
    picture: str = "png",
) -> list[Path]:
    """Write PREFIX-ir.csv, PREFIX-ir.png (or .pdf, .svg) and PREFIX-ir.json.

    Parameters
    ----------
    experiment
        (n, 2) wavenumber in cm⁻¹ and n·α in 10³ cm⁻¹, drawn with the calculation.
    epsilon_infinity
        If given, the table has ε′ by the Kramers–Kronig relation, n, α and the reflectivity too.
    ranges
        Named bands for the summary, e.g. :data:`lrcalc.analysis.infrared.WATER_BANDS`.
    """
    from lrcalc.analysis import plots

    found = peaks(result.wavenumber, result.n_alpha, result.error)
    summary: dict[str, Any] = {
        "quantity": result.settings.get("quantity", QUANTITY),
        "settings": result.settings,
        "peaks": found,
        "integrated_cm2": dict(zip(("value", "error"), result.integrated(), strict=True)),
    }
    marks, doubtful = [(peak.wavenumber, peak.height / 1e3) for peak in found], []
    if ranges is not None:
        summary["bands"] = bands(result, ranges)
        # what the table of bands names, and nothing else
        tops = [band for band in bands(result, ranges) if not np.isnan(band.maximum)]
        marks = [(band.maximum, band.height / 1e3) for band in tops if band.clear]
        doubtful = [(band.maximum, band.height / 1e3) for band in tops if not band.clear]
    loss = result.settings.get("quantity") == LOSS
    figure = plots.spectrum_figure(
        result.wavenumber,
        result.n_alpha / 1e3,
        result.error / 1e3,
        label="lrcalc ± one standard error",
        y_label="ω/c·Im(−1/ε) (10³ cm⁻¹)" if loss else "n·α (10³ cm⁻¹)",
        title=title or ("longitudinal" if loss else "infrared absorption, n·α (Napierian)"),
        marks=marks,
        doubtful=doubtful,
        measured=experiment,
    )
    columns = [
        ("wavenumber_cm-1", result.wavenumber),
        ("longitudinal_cm-1" if loss else "n_alpha_cm-1", result.n_alpha),
        ("standard_error_cm-1", result.error),
        ("loss_function" if loss else "epsilon_imaginary", result.epsilon_imaginary),
    ]
    settings = dict(result.settings)
    if epsilon_infinity is not None and not loss:
        epsilon = permittivity_from_infrared(
            result.wavenumber, result.n_alpha, epsilon_infinity, settings["resolution_cm1"]
        )
        light = optical_constants(result.wavenumber, epsilon)
        settings["epsilon_infinity"] = epsilon_infinity
        columns += [
            ("epsilon_real", epsilon.real),
            ("n", light.refractive.real),
            ("alpha_cm-1", light.absorption),
            ("reflectivity", light.reflectivity),
        ]
    return [
        write_csv(f"{prefix}-ir.csv", columns, settings),
        plots.save(figure, f"{prefix}-ir.{picture}"),
        write_json(f"{prefix}-ir.json", summary),
    ]


def peak_table(result: InfraredSpectrum) -> str:
    """Peaks of n·α as text."""
    name = "ω/c·Im(−1/ε)" if result.settings.get("quantity") == LOSS else "n·α"
    rows = [f"  peak of {name} (cm⁻¹)   height (10³ cm⁻¹)   width (cm⁻¹)"]
    rows += [
        f"  {p.wavenumber:18.0f}   {p.height / 1e3:9.2f} ± {p.error / 1e3:.2f}   {p.width:12.0f}"
        for p in peaks(result.wavenumber, result.n_alpha, result.error)
    ]
    return "\n".join(rows)


def band_table(
    result: InfraredSpectrum,
    ranges: dict[str, tuple[float, float, str]] = WATER_BANDS,
) -> str:
    """Named bands beside the measured maxima (of n·α) as text.

    ``edge of range``: no maximum inside, a stronger band beside the range leans in. With a question
    mark the maximum does not stand out of its error bar.
    """
    rows = [f"  {'band (n·α)':28s}{'here (cm⁻¹)':>14s}{'measured':>14s}{'share of area':>16s}"]
    for band in bands(result, ranges):
        doubt = "" if band.clear else "?"
        here = "edge of range" if np.isnan(band.maximum) else f"{band.maximum:.0f}{doubt}"
        rows.append(f"  {band.name:28s}{here:>14s}{band.measured:>14s}{band.share:>16.3f}")
    if any("?" in row for row in rows):
        rows.append("  ?: a maximum that does not stand out of its error bar; run longer")
    return "\n".join(rows)
