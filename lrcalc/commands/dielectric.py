"""``lrcalc dielectric``: ε(0), ε(ω), refractive index, reflectivity from the dipole."""

import argparse
from pathlib import Path

import numpy as np

from lrcalc.analysis.dielectric import (
    DielectricFunction,
    dielectric,
    optical_constants,
    optical_errors,
)
from lrcalc.analysis.output import plus_minus, write_csv, write_json
from lrcalc.commands import _spectra

NAME = "dielectric"
HELP = "static dielectric constant, ε(ω), refractive index, reflectivity from the dipole"
EXAMPLE = (
    "lrcalc dielectric run.dip_0 --timestep 5 --temperature 300 --cell-from init.xyz "
    "--epsilon-infinity 1.78 -o water"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.set_defaults(analysis="dielectric")
    _spectra.add_series_arguments(parser, "dipole")
    _spectra.add_condition_arguments(parser)
    _spectra.add_spectrum_arguments(parser)
    parser.add_argument(
        "--epsilon-infinity",
        type=float,
        help="electronic part (default: of the model that the i-PI run used)",
    )
    parser.add_argument("--mean", default="trajectory", choices=("trajectory", "all", "none"))


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    data = _spectra.read(args, "dipole")
    volume, temperature = _spectra.conditions(args, data)
    infinity = _spectra.electronic_part(args.epsilon_infinity, data)
    if infinity is None:
        raise ValueError(
            "no i-PI run tells the electrons' part of ε: give --epsilon-infinity (water 1.78)"
        )
    result = dielectric(
        data.series,
        timestep=data.timestep,
        volume=volume,
        temperature=temperature,
        epsilon_infinity=infinity,
        resolution=_spectra.resolution(args, data),
        window=args.window,
        maximum=args.maximum,
        mean=args.mean,
        jumps="keep",  # seen to while reading, bead by bead
    )
    result = result._replace(settings=_spectra.add_notes(result.settings, data))
    files = write_dielectric(result, args.output, title=args.title, picture=args.picture)
    print(f"  ε(0) = {plus_minus(result.static, result.static_error)}")
    _spectra.report(result.settings, files)
    return 0


def write_dielectric(
    result: DielectricFunction, prefix: str | Path, *, title: str = "", picture: str = "png"
) -> list[Path]:
    """Write PREFIX-dielectric.csv, .png and .json."""
    from lrcalc.analysis import plots

    nu, epsilon = result.wavenumber, result.epsilon
    light = optical_constants(nu, epsilon)
    errors = optical_errors(epsilon, result.error)
    figure, (top, bottom) = plots.new_figure(2, height=6.0)
    # relaxation and vibrations lie decades apart; zero has no place on a logarithmic axis
    curves = [
        (top, epsilon.real, result.error.real, "ε′"),
        (top, epsilon.imag, result.error.imag, "ε″"),
        (bottom, light.refractive.real, errors[0], "n"),
        (bottom, light.refractive.imag, errors[1], "κ"),
        (bottom, light.reflectivity, errors[2], "reflectivity"),
    ]
    for axis, part, error, name in curves:
        (line,) = axis.plot(nu[1:], part[1:], lw=1.3, label=name)
        if np.isfinite(error).all():
            band = (part - error)[1:], (part + error)[1:]
            axis.fill_between(nu[1:], *band, alpha=0.25, color=line.get_color(), lw=0)
    top.set_ylabel("ε ± one standard error")
    top.legend(frameon=False)
    top.set_title(title or f"ε(0) = {plus_minus(result.static, result.static_error)}", fontsize=10)
    bottom.set_ylabel("± one standard error")
    bottom.set_xlabel("wavenumber (cm⁻¹)")
    bottom.set_xscale("log")
    bottom.set_xlim(nu[1], nu[-1])
    bottom.legend(frameon=False)
    columns = [
        ("wavenumber_cm-1", nu),
        ("epsilon_real", epsilon.real),
        ("epsilon_imaginary", epsilon.imag),
        ("error_real", result.error.real),
        ("error_imaginary", result.error.imag),
        ("n", light.refractive.real),
        ("kappa", light.refractive.imag),
        ("alpha_cm-1", light.absorption),
        ("reflectivity", light.reflectivity),
        ("error_n", errors[0]),
        ("error_kappa", errors[1]),
        ("error_reflectivity", errors[2]),
    ]
    summary = {
        "static_dielectric": result.static,
        "standard_error": result.static_error,
        "settings": result.settings,
    }
    return [
        write_csv(f"{prefix}-dielectric.csv", columns, result.settings),
        plots.save(figure, f"{prefix}-dielectric.{picture}"),
        write_json(f"{prefix}-dielectric.json", summary),
    ]
