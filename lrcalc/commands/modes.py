"""``lrcalc modes``: vibrations, infrared intensities, dielectric function, LO–TO."""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.displacements import RELAXED
from lrcalc.analysis.index_order import DISPLACEMENT_FIRST, FIELD_FIRST
from lrcalc.analysis.intake import numbers_of
from lrcalc.analysis.mode_report import ModeReport
from lrcalc.analysis.modes import Modes
from lrcalc.analysis.output import check_prefix, check_target, write_json
from lrcalc.commands._calculators import load_calculator, parse_options
from lrcalc.commands._series import PICTURES, add_options, in_options, option
from lrcalc.files import replacing

ONLY_CALCULATOR = (
    "model",
    "calculator",
    "calculator_options",
    "born",
    "no_relax",
    "relax_cell",
    "epsilon_infinity",
    "raman",
)
"""Options that mean nothing for a folder of files."""

ONLY_FOLDER = ("interface", "cell")
"""Options that mean nothing for a structure with a calculator."""


OPTIONS = (
    option("structure", nargs="?", help="structure file or bundled name, with a calculator"),
    option("--from", dest="folder", metavar="DIR",
           help="folder of phonopy files, or one yaml file in it"),
    option("--interface", metavar="PROGRAM",
           help="phonopy's name of the program of the folder's structure file (qe, aims, …), which "
           "sets its units; yaml files tell it themselves"),
    option("--cell", metavar="FILE",
           help="structure file in the folder, if not of phonopy's name"),
    option("--frame", type=int, metavar="N",
           help="frame of the structure file, from 0 (default: last)"),
    option("--model", help="bundled name or file: short for --calculator lrcalc:MODEL"),
    option("--calculator", metavar="MODULE:FACTORY",
           help="importable function or class that makes an ASE calculator, or lrcalc:MODEL"),
    option("--calculator-options", metavar="JSON",
           help="its keywords, e.g. '{\"device\": \"cpu\"}'"),
    option("--born", metavar="FILE", help="BORN file where the calculator has no charges"),
    option("--no-intensities", action="store_true",
           help="wavenumbers, density of states and bands only: needs no Born charges"),
    option("--raman", action="store_true",
           help="Raman activities from the calculator's polarizability"),
    option("--supercell", metavar="N,N,N",
           help="repeats for the force constants (default 1,1,1: modes at Γ; bands need about "
           "10 Å); with --from what the files do not tell, also nine numbers of a matrix"),
    option("--primitive", metavar="CELL",
           help="primitive cell: auto, P, F, I, A, C, R or nine numbers of a matrix (default: the "
           "file's, else auto; with a calculator P)"),
    option("--no-relax", action="store_true",
           help=f"take the structure as it is (default: relax to {RELAXED} eV/Å, cell held)"),
    option("--relax-cell", action="store_true", help="relax the cell as well"),
    option("--epsilon-infinity", type=float, metavar="EPS", help="overrides the calculator's"),
    option("--born-order", default=FIELD_FIRST, choices=(FIELD_FIRST, DISPLACEMENT_FIRST),
           help=f"indices in the BORN file (default {FIELD_FIRST}, as phonopy and VASP write it)"),
    option("--directions", default="1,0,0;0,0,1",
           help="Cartesian directions of q → 0 for LO–TO (default 1,0,0;0,0,1)"),
    option("--damping", type=float, metavar="CM1", default=10.0,
           help="full width of the lines, cm⁻¹ (default 10)"),
    option("--bands", action="store_true", help="band structure with LO–TO; needs -o"),
    option("--animate", metavar="LIST",
           help="modes to write as extxyz, e.g. 0,5; counted from 0"),
    option("--json", metavar="OUT", help="summary file"),
    option("-o", "--output", metavar="PREFIX", help="CSV, BORN and pictures (default: none)"),
    option("--picture", default="png", choices=PICTURES, help="kind of picture (default png)"),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_options(parser, OPTIONS)


@in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    from ase.io import write

    from lrcalc.analysis import phonons as ph

    directions, animated = _checked(args)
    phonons, modes = _from_folder(args) if args.folder else _from_calculator(args)
    pictures = [ph.animation(phonons, modes, index) for index in animated]
    bands = ph.band_structure(phonons) if args.bands else None
    report = ModeReport(phonons, modes, args.damping, directions, args.born_order, bands)
    print(report.table())
    if args.json:
        write_json(args.json, report.record())
    written = report.save(args.output, picture=args.picture) if args.output else []
    for index, frames in zip(animated, pictures, strict=True):
        path = Path(f"{args.output or 'modes'}-mode-{index:03d}.extxyz")
        with replacing(path) as target:
            write(target, frames, format="extxyz")
        written.append(path)
    for path in written:
        print(f"  wrote {path}")
    return 0


def _checked(args: argparse.Namespace) -> tuple[list[list[float]], list[int]]:
    """Refuse options that contradict each other, before hours of forces.

    Returns
    -------
    tuple
        Directions for LO–TO, and numbers of the modes to animate.
    """
    if (args.folder is None) == (args.structure is None):
        raise ValueError("give a folder with --from, or a structure with --calculator or --model")
    if args.folder:
        given = [f"--{n.replace('_', '-')}" for n in ONLY_CALCULATOR if getattr(args, n)]
        given += ["--frame"] * (args.frame is not None)
        if args.epsilon_infinity is not None and "--epsilon-infinity" not in given:
            given.append("--epsilon-infinity")
        if given:
            raise ValueError(
                f"{', '.join(given)}: needs a calculator; with --from everything is taken from the "
                "folder's files"
            )
    else:
        given = [f"--{name}" for name in ONLY_FOLDER if getattr(args, name)]
        if given:
            raise ValueError(f"{', '.join(given)}: only for a folder of phonopy's files (--from)")
    if args.no_intensities and (args.born or args.raman or args.epsilon_infinity is not None):
        raise ValueError("--no-intensities excludes --born, --raman and --epsilon-infinity")
    if args.no_relax and args.relax_cell:
        raise ValueError("--no-relax excludes --relax-cell")
    if args.bands and not args.output:
        raise ValueError("--bands needs -o PREFIX to write the picture to")
    if args.json:
        check_target(args.json, "--json")
    if args.output:
        check_prefix(args.output, ModeReport.endings(args.picture), "-o")
    if not (np.isfinite(args.damping) and args.damping > 0):
        raise ValueError(f"--damping is {args.damping} cm⁻¹ but must be a positive number")
    directions = []
    for text in args.directions.split(";"):
        try:
            vector = [float(x) for x in text.split(",")]
        except ValueError:
            vector = []
        if len(vector) != 3 or not np.isfinite(vector).all() or not any(vector):
            raise ValueError(
                f"--directions is {args.directions!r} but must be vectors like 1,0,0;0,0,1, none "
                "of them zero"
            )
        directions.append(vector)
    animated = [] if args.animate is None else numbers_of(args.animate, "--animate")
    if animated:
        names = [f"-mode-{index:03d}.extxyz" for index in animated]
        check_prefix(args.output or "modes", names, "-o" if args.output else "--animate")
    return directions, animated


def _from_folder(args: argparse.Namespace) -> tuple[Any, Modes]:
    from lrcalc.analysis import phonons as ph

    transposed = args.born_order == DISPLACEMENT_FIRST
    phonons = ph.from_folder(
        args.folder,
        supercell=None if args.supercell is None else _supercell(args.supercell, matrix=True),
        primitive=_primitive(args.primitive),
        interface=args.interface,
        cell=args.cell,
        transposed=transposed,
        intensities=not args.no_intensities,
    )
    return phonons, ph.solve(phonons)


def _from_calculator(args: argparse.Namespace) -> tuple[Any, Modes]:
    from lrcalc.analysis import phonons as ph
    from lrcalc.analysis.crystal import WIDE, narrow, widths
    from lrcalc.analysis.displacements import property_of
    from lrcalc.properties import NotHad

    supercell = _supercell(args.supercell or "1,1,1")
    atoms = _structure(args)
    if args.bands and not atoms.pbc.all():
        raise ValueError("--bands needs a structure with periods in three directions")
    if atoms.cell.rank == 3 and args.bands:
        cell = atoms.cell[:]
        if narrow(cell, np.diag(supercell) @ cell):
            wanted = np.ceil(WIDE / widths(cell)).astype(int)
            raise ValueError(
                f"--bands with --supercell {','.join(map(str, supercell))} would be good at Γ only "
                f"(narrower than {WIDE:g} Å): --supercell {','.join(map(str, wanted))}"
            )
    if (args.model is None) == (args.calculator is None):
        raise ValueError("a structure needs one of --calculator and --model")
    options = parse_options(args.calculator_options)
    calculator = load_calculator(args.calculator or f"lrcalc:{args.model}", options)
    if args.raman:  # before hours are spent on forces
        property_of(calculator, "polarizability", atoms, "--raman needs it")
    try:
        phonons = ph.from_calculator(
            atoms,
            calculator,
            supercell=supercell,
            relax=None if args.no_relax else RELAXED,
            relax_cell=args.relax_cell,
            epsilon_infinity=args.epsilon_infinity,
            born=args.born,
            transposed=args.born is not None and args.born_order == DISPLACEMENT_FIRST,
            intensities=not args.no_intensities,
            primitive="P" if args.primitive is None else _primitive(args.primitive),
            progress=True,
        )
    except NotHad as error:  # before any force
        raise ValueError(
            f"{error}; give Born charges with --born FILE, or leave out intensities "
            "(--no-intensities)"
        ) from error
    modes = with_remarks(phonons, ph.solve(phonons), calculator, args.epsilon_infinity)
    return phonons, ph.with_raman(
        phonons, modes, calculator, progress=True
    ) if args.raman else modes


def with_remarks(phonons: Any, modes: Modes, calculator: Any, epsilon: float | None) -> Modes:
    """Add what the calculator's card and the longitudinal branch say of the charges."""
    from lrcalc.analysis.longitudinal import longitudinal_branch
    from lrcalc.models.card import electric_notes

    if not modes.charged:
        return modes
    model = getattr(getattr(calculator, "evaluator", None), "potential", None)
    remarks = (
        [] if model is None else electric_notes(model.metadata, epsilon, matter=phonons.periodic)
    )
    branch = longitudinal_branch(phonons.phonopy, modes)
    remarks += [branch.note] if branch is not None and branch.note else []
    return modes._replace(notes=(*modes.notes, *remarks))


def _supercell(text: str, *, matrix: bool = False) -> list[int]:
    if matrix and text.count(",") == 8:
        return numbers_of(text, "--supercell", least=-1000)
    found = numbers_of(text, "--supercell", least=1)
    if len(found) != 3:
        also = " or the nine of a matrix" if matrix else ""
        raise ValueError(f"--supercell is {text!r} but must be three numbers{also}, like 2,2,2")
    return found


def _primitive(text: str | None) -> Any:
    """Name of a primitive cell as phonopy has it, or a matrix (3, 3)."""
    if text is None or text in ("auto", "P", "F", "I", "A", "C", "R"):
        return text
    try:
        found = np.array([float(Fraction(x)) for x in text.split(",")])
    except (ValueError, ZeroDivisionError):
        found = np.zeros(0)
    if found.size != 9 or not np.linalg.det(found.reshape(3, 3)) > 0:
        raise ValueError(
            f"--primitive is {text!r} but must be auto, P, F, I, A, C, R or nine numbers of a "
            "matrix with a positive determinant, like 0,1/2,1/2,1/2,0,1/2,1/2,1/2,0"
        )
    return found.reshape(3, 3)


def _structure(args: argparse.Namespace) -> Any:
    """Read the structure; say what is used of it beyond positions."""
    from lrcalc.structures import describe_intake, read_structure

    atoms = read_structure(args.structure, -1 if args.frame is None else args.frame)
    if args.frame is None and _several(args.structure):
        print(f"  {args.structure} holds several frames: the last is taken (another: --frame N)")
    shown = atoms.copy()
    shown.arrays.pop("momenta", None)  # velocities do not matter here
    shown.set_constraint()  # told when they are lifted
    for line in describe_intake(shown, used=("initial_magmoms",)):
        print(f"  structure: {line}")
    return atoms


def _several(path: str) -> bool:
    from lrcalc.structures import read_structures

    try:
        return len(read_structures(path, "0:2")) > 1
    except ValueError:  # a format that has one frame only
        return False
