"""What each analysis of a trajectory reads and computes, given the options of its command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lrcalc.commands._cards import (
    of_model,
    remarks_of_dipoles,
    remarks_of_models,
    remarks_of_response,
    remarks_of_transport,
)  # fmt: skip

if TYPE_CHECKING:
    from lrcalc.analysis.intake import Data, Reading
    from lrcalc.analysis.result import AnalysisResult
    from lrcalc.analysis.velocities import Particles

Found = tuple["AnalysisResult", "Data", dict[str, Any]]
"""A result, what it was made of, and the keywords of its figure."""


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


def of_infrared(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.born_current import has_born_current, read_born_current
    from lrcalc.analysis.infrared import WATER_BANDS, infrared
    from lrcalc.analysis.optics import check_electronic_part

    if args.epsilon_infinity is not None:
        check_electronic_part(args.epsilon_infinity)  # before hours of reading
    view = measured(args) | ({"ranges": WATER_BANDS} if args.water else {})
    quantity = "current" if args.from_current else "dipole"
    made = args.from_current and has_born_current(args.files)
    data = read_born_current(args.files, reading(args)) if made else read(args, quantity)
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


def of_raman(args: argparse.Namespace) -> Found:
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


def of_dielectric(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.dielectric import dielectric

    data = read(args, "dipole")
    data.notes.extend(remarks_of_models(args, data))
    told = conditions(data)
    infinity = data.electronic_part(args.epsilon_infinity, of_model)
    if infinity is None:
        raise ValueError(
            "no run tells the electrons' part of ε: give `epsilon_infinity` (water 1.78)"
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


def of_vdos(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.states import vdos

    atoms, data = atoms_of(args, "velocities"), read(args, "velocities")
    result = vdos(data.series, masses=atoms.masses, species=atoms.species, **spectral(args, data))
    data.notes.append(f"masses from {atoms.source}")
    return result, data, {}


def check_cell_from(args: argparse.Namespace) -> None:
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


def of_msd(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.cells import PERIODIC
    from lrcalc.analysis.diffusion import msd
    from lrcalc.analysis.velocities import is_folded

    atoms, data = atoms_of(args, "positions"), read(args, "positions")
    if args.cell_from is not None:
        check_cell_from(args)
    folded = [one.source for one in data.series if is_folded(one.source)]
    if folded and data.constant_cell is None:
        raise ValueError(
            f"{folded[0]} is of LAMMPS' `dump xyz`: atoms are folded into a box that the file does "
            "not tell: give `cell_from`, or write `dump custom … id element xu yu zu`"
        )
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
        pbc=PERIODIC if data.cell is None else data.cell.pbc,
    )
    data.notes.append(f"masses from {atoms.source}")
    return result, data, {}


def of_conductivity(args: argparse.Namespace) -> Found:
    from lrcalc.analysis.currents import OF_DIPOLE, read_current
    from lrcalc.analysis.transport import conductivity

    data = read_current(
        args.files, reading(args), charges=args.charges, from_dipole=args.from_dipole
    )
    if OF_DIPOLE in data.notes:
        data.notes.extend(remarks_of_dipoles(data))
    if not args.charges:
        data.notes.extend(remarks_of_transport(data))
    result = conductivity(
        data.series,
        timestep=data.timestep,
        **conditions(data),
        resolution=args.resolution,
        cutoff=args.cutoff,
        segment=args.segment,
    )
    return result, data, {}


def of_sfg(args: argparse.Namespace) -> Found:
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
    second.notes.extend(remarks_of_dipoles(second))
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
