"""Options of the commands that read series, as plain data, and errors that name them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import Any, NamedTuple

PICTURES = ("png", "pdf", "svg")
"""Kinds of picture."""


class Option(NamedTuple):
    """An option of a command.

    Attributes
    ----------
    flags : tuple of str
        Its spellings.
    keywords : dict
        As `argparse` takes them; ``choices`` may be a name, ``correlation:WINDOWS``, that is looked
        up in :mod:`lrcalc.analysis` when the parser is made.
    only : tuple of str
        Quantities that it is for; all by default.
    """

    flags: tuple[str, ...]
    keywords: dict[str, Any]
    only: tuple[str, ...] = ()


def option(*flags: str, only: tuple[str, ...] = (), **keywords: Any) -> Option:
    """Return an option from what `add_argument` would be given."""
    return Option(flags, keywords, only)


def add_options(parser: Any, options: Sequence[Any], quantities: Sequence[str] = ()) -> None:
    """Declare options; several in a tuple of their own exclude one another."""
    for one in options:
        if not isinstance(one, Option):
            add_options(parser.add_mutually_exclusive_group(), one, quantities)
        elif not one.only or set(one.only) & set(quantities):
            parser.add_argument(*one.flags, **_made(one.keywords, quantities))


def _made(keywords: dict[str, Any], quantities: Sequence[str]) -> dict[str, Any]:
    """Keywords with choices that are looked up; those of units are the quantities' own."""
    choices = keywords.get("choices")
    if not isinstance(choices, str):
        return keywords
    module, _, name = choices.partition(":")
    known = getattr(import_module(f"lrcalc.analysis.{module}"), name)
    if choices == "series:UNITS":
        known = {unit for quantity in quantities for unit in known[quantity]}
    return {**keywords, "choices": sorted(known)}


def in_options(run: Callable[[argparse.Namespace], Any]) -> Callable[[argparse.Namespace], Any]:
    """Let the errors of a command name options where the library names arguments."""

    @wraps(run)
    def renamed(args: argparse.Namespace) -> Any:
        try:
            return run(args)
        except ValueError as error:
            raise ValueError(naming_options(str(error), args)) from error

    return renamed


def naming_options(text: str, args: argparse.Namespace) -> str:
    """Return a message of the library with options of this command in place of arguments."""

    def flag(name: re.Match[str]) -> str:
        return f"--{name[1].replace('_', '-')}" if name[1] in vars(args) else name[0]

    return re.sub(r"`(\w+)`", flag, text)


FILES = (
    "folder of an i-PI run, or i-PI extras, plain columns, .npz, .h5, .traj, .extxyz, LAMMPS dumps "
    "with velocities; several runs are averaged, files that end in _0, _1, … are beads of one run"
)
SURFACE = "files of the molecules at one surface"
EXPERIMENT = "measured curve, drawn beside: cm⁻¹ and "
STRUCTURE = option(
    "--structure",
    metavar="FILE",
    help="file or bundled name: species and masses, where the files have none",
)
OUTPUT = (
    option("-o", "--output", default="spectrum", metavar="PREFIX",
           help="beginning of the names of the files written (default spectrum)"),
    option("--picture", default="png", choices=PICTURES, help="kind of picture (default png)"),
)  # fmt: skip
RESOLUTION = option(
    "--resolution", type=float, metavar="CM1",
    help="width of the sharpest line, cm⁻¹ (default 20, or coarser where the data are short)",
)  # fmt: skip

SHARED: dict[str, tuple[Option, ...]] = {
    "files": (option("files", nargs="+", metavar="FILE", help=FILES),),
    "reading": (
        option("--unit", choices="series:UNITS",
               help="unit in the files (default i-PI: atomic, others: e, Å, fs, V)"),
        option("--key", metavar="NAME",
               help="array in an npz or HDF5 file (default the quantity's name)"),
        option("--columns", metavar="LIST",
               help="columns of a text file, e.g. 1,2,3 (from 0; default all)"),
        option("--beads", default="mean", choices=("mean", "separate"),
               help="average the beads of a run, or take each for a run (default mean)"),
        option("--timestep", type=float, metavar="FS",
               help="time between frames, fs (default: from the files)"),
        option("--md-timestep", type=float, metavar="FS",
               help="integrator step; i-PI files tell the stride (default: from input.xml beside "
               "them)"),
        option("--lammps-units", choices="lammps:UNITS", only=("velocities", "positions"),
               help="`units` of the run of a dump (default: as the dump says)"),
        option("--types", metavar="LIST", only=("velocities", "positions"),
               help="what the atom types of a dump are: O,H or 1=O,2=H"),
        option("--force-equilibrium", action="store_true",
               help="compute from a driven or damped run nevertheless, and say so"),
        option("--no-progress", action="store_true", help="no progress bar"),
        option("--keep-jumps", action="store_true", only=("dipole",),
               help="do not undo, or refuse, jumps of the dipole by e times a lattice vector"),
    ),
    "cell": (
        option("--volume", type=float, metavar="A3",
               help="cell volume, Å³ (default: of the run's cell)"),
        option("--cell-from", metavar="FILE",
               help="structure file or bundled name to take the cell from (default: the run's)"),
    ),
    "area": (
        option("--area", type=float, metavar="A2",
               help="area of the surface, Å² (default: a × b of the run's cell)"),
    ),
    "temperature": (
        option("--temperature", type=float, metavar="K",
               help="temperature, K (default: the run's)"),
    ),
    "resolution": (RESOLUTION,),
    "output": OUTPUT,
    "spectrum": (
        RESOLUTION,
        option("--window", default="hann", choices="correlation:WINDOWS",
               help="shape that a sharp line is given (default hann)"),
        option("--maximum", type=float, metavar="CM1", default=4500.0,
               help="highest cm⁻¹ (default 4500)"),
        option("--title", default="", help="title of the picture (default: what it shows)"),
        *OUTPUT,
    ),
}  # fmt: skip
"""Groups of options that several commands have."""
