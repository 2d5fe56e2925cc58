"""``lrcalc ir``, ``raman``, ``dielectric``, …: one table, a row an analysis of a trajectory.

A row says its options and what is called; reading is :mod:`lrcalc.analysis.intake`, and results
print, draw and write themselves (:mod:`lrcalc.analysis.result`). Nothing heavy is imported with
this table, since ``lrcalc --help`` reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from lrcalc.commands._cards import of_model, remarks_of_models, remarks_of_response
from lrcalc.commands._series import (
    EXPERIMENT,
    SHARED,
    STRUCTURE,
    SURFACE,
    add_options,
    in_options,
    option,
)

if TYPE_CHECKING:
    from lrcalc.analysis.intake import Data, Reading
    from lrcalc.analysis.result import AnalysisResult
    from lrcalc.analysis.velocities import Particles

Found = tuple["AnalysisResult", "Data", dict[str, Any]]
"""A result, what it was made of, and the keywords of its figure."""


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
    print("  " + ", ".join(f"{k} {v}" for k, v in told.settings.items() if k != "notes"))
    for note in told.settings["notes"]:
        print(f"  note: {note}")
    print("  wrote " + ", ".join(str(path) for path in files))
    return 0


def reading(args: argparse.Namespace) -> Reading:
    """Return what was said of the files."""
    from lrcalc.analysis.intake import Reading

    return Reading(**{k: v for k, v in vars(args).items() if k in Reading._fields})


def read(args: argparse.Namespace, quantity: str) -> Data:
    """Read a quantity from the files."""
    from lrcalc.analysis import intake

    return intake.read(args.files, quantity, reading(args))


def spectral(args: argparse.Namespace, data: Data) -> dict[str, Any]:
    """Return the arguments that all spectra share."""
    found = {"resolution": data.resolution(), "window": args.window, "maximum": args.maximum}
    return {"timestep": data.timestep, **found}


def conditions(data: Data) -> dict[str, Any]:
    """Return volume and temperature."""
    return {"volume": data.volume, "temperature": data.temperature()}


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Return the measured curve that was named, for the picture."""
    from lrcalc.analysis.output import read_curve

    return {"measured": read_curve(args.experiment)} if args.experiment else {}


def _infrared(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.infrared import WATER_BANDS, infrared
    from lrcalc.analysis.optics import check_electronic_part

    if args.epsilon_infinity is not None:
        check_electronic_part(args.epsilon_infinity)  # before hours of reading
    view = measured(args) | ({"ranges": WATER_BANDS} if args.water else {})
    quantity = "current" if args.from_current else "dipole"
    data = read(args, quantity)
    data.notes.extend(remarks_of_models(args, data))
    result = infrared(
        **dict[str, Any]({quantity: data.series}),
        **conditions(data),
        **spectral(args, data),
        quantum_correction=args.quantum_correction,
        axes=args.axes,
        jumps="keep",  # seen to while reading, bead by bead
        epsilon_infinity=data.electronic_part(args.epsilon_infinity, of_model),
    )
    return result, data, view


def _raman(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.raman import raman

    view, data = measured(args), read(args, "polarizability")
    data.notes.extend(remarks_of_response(data))
    result = raman(
        data.series,
        temperature=data.temperature(),
        **spectral(args, data),
        laser=args.laser,
        form=args.form,
    )
    return result, data, view


def _dielectric(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.dielectric import dielectric

    data = read(args, "dipole")
    data.notes.extend(remarks_of_models(args, data))
    told = conditions(data)
    infinity = data.electronic_part(args.epsilon_infinity, of_model)
    if infinity is None:
        raise ValueError(
            "no i-PI run tells the electrons' part of ε: give `epsilon_infinity` (water 1.78)"
        )
    result = dielectric(
        data.series,
        **told,
        **spectral(args, data),
        epsilon_infinity=infinity,
        mean=args.mean,
        jumps="keep",  # seen to while reading, bead by bead
    )
    return result, data, {}


def atoms_of(args: argparse.Namespace, quantity: str) -> Particles:
    """Species and masses of the atoms of a trajectory."""
    from lrcalc.analysis import intake, velocities

    told = {"types": args.types, "lammps_units": args.lammps_units}
    return velocities.of_run(*intake.locate(args.files, quantity), structure=args.structure, **told)


def _vdos(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.states import vdos

    atoms, data = atoms_of(args, "velocities"), read(args, "velocities")
    result = vdos(data.series, masses=atoms.masses, species=atoms.species, **spectral(args, data))
    data.notes.append(f"masses from {atoms.source}")
    return result, data, {}


def check_cell_from(args: argparse.Namespace, data: Data) -> None:
    """Refuse a cell for trajectories whose own changes: it cannot say how atoms were folded.

    Raises
    ------
    ValueError
        Naming the trajectory.
    """
    from lrcalc.analysis import cells, intake

    own = cells.of_files(
        *intake.locate(args.files, "positions"), [], lammps_units=args.lammps_units
    )
    if own is not None and not own.constant:
        raise ValueError(
            f"`cell_from` is given, but the cell of {own.source} changes along the run, so that "
            "one cell cannot unfold it: leave it out, and give positions that are not folded"
        )


def _msd(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.diffusion import msd

    atoms, data = atoms_of(args, "positions"), read(args, "positions")
    if args.cell_from is not None:
        check_cell_from(args, data)
    hot = None if args.viscosity is None else data.temperature()
    times = None if args.fit is None else tuple(args.fit)
    result = msd(
        data.series,
        species=atoms.species,
        masses=atoms.masses,
        timestep=data.timestep,
        cell=data.constant_cell,
        longest=args.longest,
        fit=times,
        drift=args.drift,
        temperature=hot,
        viscosity=args.viscosity,
    )
    data.notes.append(f"masses from {atoms.source}")
    return result, data, {}


def _conductivity(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.currents import read_current
    from lrcalc.analysis.transport import conductivity

    data = read_current(
        args.files, reading(args), charges=args.charges, from_dipole=args.from_dipole
    )
    result = conductivity(
        data.series,
        timestep=data.timestep,
        **conditions(data),
        resolution=args.resolution,
        cutoff=args.cutoff,
        segment=args.segment,
    )
    return result, data, {}


def _sfg(args: argparse.Namespace) -> Found:
    from lrcalc.analysis import intake
    from lrcalc.analysis.sfg import sum_frequency

    if args.folders:
        raise ValueError(
            f"{args.folders[0]}: a run's outputs are those of the whole cell, and the signals of "
            "its two surfaces cancel. Give files of the molecules at one surface, by "
            "--polarizability and --dipole"
        )
    if not (args.polarizability and args.dipole):
        raise ValueError("give both --polarizability and --dipole, of one surface")
    first = intake.read(args.polarizability, "polarizability", reading(args))
    second = intake.read(args.dipole, "dipole", reading(args))
    if first.timestep != second.timestep:
        raise ValueError(
            f"polarizabilities every {first.timestep} fs but dipoles every {second.timestep} fs"
        )
    result = sum_frequency(
        first.series,
        second.series,
        area=second.area,
        temperature=second.temperature(),
        component=args.component,
        **spectral(args, second),
    )
    return result, second, {}


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
                   help="electronic part: adds ε′, n, α and reflectivity (default: of the i-PI "
                   "run's model)"),
            option("--water", action="store_true",
                   help="add a table of the bands of liquid water"),
        ),
        _infrared,
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
        _raman,
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
                   help="electronic part (default: of the model that the i-PI run used)"),
            option("--mean", default="trajectory", choices=("trajectory", "all", "none"),
                   help="mean dipole taken off: of each run, of all, none (default trajectory)"),
        ),
        _dielectric,
    ),
    "vdos": Row(
        "vibrational density of states, total, per species and direction",
        "lrcalc vdos run.vel_0.xyz --timestep 0.5 -o water",
        "vdos",
        ("velocities",),
        ("files", "reading", "spectrum"),
        (STRUCTURE,),
        _vdos,
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
        _msd,
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
        _conductivity,
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
        _sfg,
    ),
}  # fmt: skip
"""By command."""
