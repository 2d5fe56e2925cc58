"""``lrcalc ir``, ``raman``, ``dielectric``, …: one table, a row an analysis of a trajectory.

A row says its options and what is called; reading is :mod:`lrcalc.analysis.intake`, and results
print, draw and write themselves (:mod:`lrcalc.analysis.result`). Nothing heavy is imported with
this table, since ``lrcalc --help`` reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lrcalc.commands._analyses import (
    Found,
    of_conductivity,
    of_dielectric,
    of_infrared,
    of_msd,
    of_raman,
    of_sfg,
    of_vdos,
)  # fmt: skip
from lrcalc.commands._series import (
    EXPERIMENT,
    SHARED,
    STRUCTURE,
    SURFACE,
    add_options,
    in_options,
    naming_options,
    option,
)

if TYPE_CHECKING:
    from lrcalc.analysis.intake import Data
    from lrcalc.analysis.result import AnalysisResult


class Row(NamedTuple):
    """A command that makes a result of a trajectory.

    Attributes
    ----------
    help, example : str
        One line each.
    analysis : str
        A key of :data:`lrcalc.analysis.conditions.FORMULAS`.
    quantities : tuple of str
        Kinds of series that it reads.
    shared : tuple of str
        Keys of :data:`SHARED`.
    options : tuple
        Its own; several in a tuple exclude one another.
    call : callable
        Reads and computes, given what was parsed.
    """

    help: str
    example: str
    analysis: str
    quantities: tuple[str, ...]
    shared: tuple[str, ...]
    options: tuple[Any, ...]
    call: Callable[[argparse.Namespace], Found]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        wants_cell = bool({"cell", "area"} & set(self.shared))
        parser.set_defaults(analysis=self.analysis, wants_cell=wants_cell)
        for name in self.shared:
            add_options(parser, SHARED[name], self.quantities)
        add_options(parser, self.options, self.quantities)

    def run(self, args: argparse.Namespace) -> int:
        """Compute, print and write; return the exit status."""
        return int(in_options(lambda given: report(given, *self.call(given)))(args))


def report(
    args: argparse.Namespace, result: AnalysisResult, data: Data, view: dict[str, Any]
) -> int:
    """Write a result and print its table, what was used, what was noted, what was written."""
    told = data.noted(result)
    if hasattr(args, "title"):
        view["title"] = args.title
    files = told.save(args.output, picture=args.picture, **view)
    if table := told.table(**view):
        print(table)
    used = {k: v for k, v in told.settings.items() if k != "notes"}
    print("  " + ", ".join(f"{k} {rounded(v)}" for k, v in used.items()))
    for note in told.settings["notes"]:
        print(f"  note: {naming_options(note, args)}")
    print("  wrote " + ", ".join(str(path) for path in files))
    return 0


def rounded(value: Any) -> Any:
    """Return a setting as it is printed; the files have all digits."""
    return f"{value:.6g}" if isinstance(value, float) else value


ROWS = {
    "ir": Row(
        "infrared spectrum n·α in cm⁻¹, with error bars, from dipoles or currents",
        "lrcalc ir demo-output/2-nve -o water",
        "infrared",
        ("dipole", "current"),
        ("files", "reading", "cell", "temperature", "spectrum"),
        (
            option("--from-current", action="store_true", help="files hold Σ Z*·v"),
            option("--axes", default="xyz", help="directions averaged (default xyz)"),
            option("--quantum-correction", default="harmonic", choices="infrared:CORRECTIONS",
                   help="factor for the classical correlation (default harmonic: none)"),
            option("--experiment", metavar="FILE", help=f"{EXPERIMENT}n·α in 10³ cm⁻¹ (CSV)"),
            option("--epsilon-infinity", type=float, metavar="EPS",
                   help="electronic part: adds ε′, n, α and reflectivity (default: of the "
                   "run's model)"),
            option("--water", action="store_true",
                   help="add a table of the bands of liquid water"),
        ),
        of_infrared,
    ),
    "raman": Row(
        "Raman spectra (VV, VH, isotropic, anisotropic) from polarizabilities",
        "lrcalc raman run.pol_0 --timestep 2.5 --temperature 300 --form reduced -o water",
        "raman",
        ("polarizability",),
        ("files", "reading", "temperature", "spectrum"),
        (
            option("--laser", type=float, metavar="NM", default=532.0,
                   help="wavelength, nm (default 532)"),
            option("--form", default="intensity", choices="raman:FORMS",
                   help="Stokes intensity, χ″, or Bose-reduced (default intensity)"),
            option("--experiment", metavar="FILE",
                   help=f"{EXPERIMENT}intensity, scaled to the same maximum"),
        ),
        of_raman,
    ),
    "dielectric": Row(
        "static dielectric constant, ε(ω), refractive index, reflectivity from the dipole",
        "lrcalc dielectric run.dip_0 --timestep 5 --temperature 300 --cell-from init.xyz "
        "--epsilon-infinity 1.78 -o water",
        "dielectric",
        ("dipole",),
        ("files", "reading", "cell", "temperature", "spectrum"),
        (
            option("--epsilon-infinity", type=float, metavar="EPS",
                   help="electronic part (default: of the run's model)"),
            option("--mean", default="trajectory", choices=("trajectory", "all", "none"),
                   help="mean dipole taken off: of each run, of all, none (default trajectory)"),
        ),
        of_dielectric,
    ),
    "vdos": Row(
        "vibrational density of states, total, per species and direction",
        "lrcalc vdos run.vel_0.xyz --timestep 0.5 -o water",
        "vdos",
        ("velocities",),
        ("files", "reading", "spectrum"),
        (STRUCTURE,),
        of_vdos,
    ),
    "msd": Row(
        "mean-square displacement and diffusion coefficient of each species, with error bars",
        "lrcalc msd demo-output/2-nve --viscosity 0.9 -o water",
        "msd",
        ("positions",),
        ("files", "reading", "cell", "temperature", "output"),
        (
            STRUCTURE,
            option("--longest", type=float, metavar="FS",
                   help="longest time, fs (default: a twentieth of all runs)"),
            option("--fit", type=float, nargs=2, metavar="FS",
                   help="first and last time of the fit, fs (default: the last three quarters)"),
            option("--drift", default="remove", choices=("remove", "keep"),
                   help="motion of the centre of mass (default remove)"),
            option("--viscosity", type=float, metavar="MPAS",
                   help="of the liquid, mPa s: adds D of an infinite cell (default: only a note)"),
        ),
        of_msd,
    ),
    "conductivity": Row(
        "ionic conductivity (S/m) with a cepstral error bar, from a current",
        "lrcalc conductivity current.npz --timestep 1 --temperature 2000 --volume 1500 -o salt",
        "conductivity",
        ("current", "dipole", "velocities"),
        ("files", "reading", "cell", "temperature", "resolution", "output"),
        (
            (
                option("--from-dipole", action="store_true",
                       help="files hold the dipole: its differences are the current (i-PI's files "
                       "tell it)"),
                option("--charges", metavar="LIST",
                       help="files hold velocities: current of these charges, e.g. Na=1,Cl=-1"),
            ),
            option("--cutoff", type=float, metavar="CM1",
                   help="highest cm⁻¹ in the cepstral fit (default: where the spectrum is smooth)"),
            option("--segment", type=int, metavar="N",
                   help="frames per periodogram (default: as long as the data afford)"),
        ),
        of_conductivity,
    ),
    "sfg": Row(
        "sum-frequency χ⁽²⁾ of a surface from one side's polarizability and dipole",
        "lrcalc sfg --polarizability top.pol_0 --dipole top.dip_0 --timestep 0.5 "
        "--temperature 300 --area 155 -o slab",
        "sfg",
        ("dipole", "polarizability"),
        ("reading", "temperature", "area", "spectrum"),
        (
            # read only to say why a folder will not do
            option("folders", nargs="*", metavar="DIR", help=argparse.SUPPRESS),
            option("--polarizability", nargs="+", metavar="FILE", help=f"{SURFACE}, (T, 9)"),
            option("--dipole", nargs="+", metavar="FILE", help=f"{SURFACE}, (T, 3)"),
            option("--component", default="xxz", help="abc, z normal (default xxz: SSP)"),
        ),
        of_sfg,
    ),
}  # fmt: skip
"""By command."""
