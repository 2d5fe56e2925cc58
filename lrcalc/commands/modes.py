"""``lrcalc modes``: vibrations, infrared intensities, dielectric function, LO–TO."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.index_order import DISPLACEMENT_FIRST, FIELD_FIRST, order_changes, order_note
from lrcalc.analysis.modes import Modes
from lrcalc.analysis.output import write_atomic, write_json
from lrcalc.commands import _spectra
from lrcalc.commands._modes_output import (
    order_summary,
    order_table,
    shifted,
    summarise,
    table,
    write_modes,
)

__all__ = ["load_calculator", "summarise", "table", "write_modes"]

NAME = "modes"
HELP = "modes at Γ with infrared intensities, ε(ω), LO–TO, from DFT files or a model"
EXAMPLE = "lrcalc modes --from quartz/ --json quartz.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("structure", nargs="?", help="structure file, with a calculator")
    parser.add_argument("--from", dest="folder", metavar="DIR", help="folder of phonopy files")
    parser.add_argument("--model", help="bundled name or file: short for --calculator lrcalc:MODEL")
    parser.add_argument(
        "--calculator",
        metavar="MODULE:FACTORY",
        help="importable function or class that makes an ASE calculator, or lrcalc:MODEL",
    )
    parser.add_argument(
        "--calculator-options", metavar="JSON", help='its keywords, e.g. \'{"device": "cpu"}\''
    )
    parser.add_argument(
        "--born", metavar="FILE", help="BORN file where the calculator has no charges"
    )
    parser.add_argument(
        "--raman",
        action="store_true",
        help="Raman activities from the calculator's polarizability",
    )
    parser.add_argument("--supercell", default="1,1,1", help="repeats, e.g. 2,2,2")
    parser.add_argument("--no-relax", action="store_true", help="take the structure as it is")
    parser.add_argument("--relax-cell", action="store_true")
    parser.add_argument("--epsilon-infinity", type=float, help="overrides the calculator's")
    parser.add_argument(
        "--born-order",
        default=FIELD_FIRST,
        choices=(FIELD_FIRST, DISPLACEMENT_FIRST),
        help=f"indices in the BORN file (default {FIELD_FIRST}, as phonopy and VASP write it)",
    )
    parser.add_argument("--directions", default="1,0,0;0,0,1", help="of q → 0 for LO–TO")
    parser.add_argument("--damping", type=float, default=10.0, help="line width, cm⁻¹")
    parser.add_argument("--bands", action="store_true", help="band structure with LO–TO")
    parser.add_argument("--animate", metavar="LIST", help="modes to write as extxyz, e.g. 0,5")
    parser.add_argument("--json", metavar="OUT", help="summary file")
    parser.add_argument("-o", "--output", metavar="PREFIX", help="CSV, BORN and pictures")
    parser.add_argument("--picture", default="png", choices=("png", "pdf", "svg"))


@_spectra.in_options
def run(args: argparse.Namespace) -> int:
    """Compute and write; returns the exit status."""
    from lrcalc.analysis import phonons as ph

    if (args.folder is None) == (args.structure is None):
        raise ValueError("give a folder with --from, or a structure with --calculator or --model")
    if args.folder:
        if args.raman:
            raise ValueError("--raman needs a calculator: files hold no polarizability derivatives")
        transposed = args.born_order == DISPLACEMENT_FIRST
        phonons = ph.from_folder(args.folder, transposed=transposed)
        modes = ph.solve(phonons)
    else:
        phonons, modes = _from_calculator(args)
    directions = [[float(x) for x in d.split(",")] for d in args.directions.split(";")]
    print(table(modes))
    changes = [] if phonons.order_known else order_changes(modes, phonons.born)
    if changes:
        print(order_table(changes, args.born_order))
    summary = summarise(modes, directions) | order_summary(modes, phonons.born, args.born_order)
    eps = np.array(summary["static_dielectric"])
    print(f"  ε_0 diagonal {np.round(np.diag(eps), 4)}  ε_∞ {np.diag(modes.epsilon_infinity)}")
    for direction, found in zip(directions, summary["longitudinal"], strict=True):
        print(f"  LO along {direction}: {shifted(modes, np.array(found['wavenumbers_cm1']))}")
    for note in modes.notes:
        if note != order_note(modes, phonons.born):  # told by the table
            print(f"  note: {note}")
    if args.json:
        write_json(args.json, summary)
    if args.output:
        for path in write_modes(
            phonons, modes, args.output, args.damping, bands=args.bands, picture=args.picture
        ):
            print(f"  wrote {path}")
    if args.animate:
        from ase.io import write

        for index in (int(i) for i in args.animate.split(",")):
            frames = ph.animation(phonons, modes, index)
            name = f"{args.output or 'modes'}-mode-{index:03d}.extxyz"
            write_atomic(name, lambda t, f=frames: write(t, f, format="extxyz"))  # type: ignore[misc]
            print(f"  wrote {name}")
    return 0


def _from_calculator(args: argparse.Namespace) -> tuple[Any, Modes]:
    from ase.io import read

    from lrcalc.analysis import phonons as ph
    from lrcalc.analysis.displacements import property_of

    if not Path(args.structure).is_file():
        raise FileNotFoundError(f"no file {args.structure}")
    if (args.model is None) == (args.calculator is None):
        raise ValueError("a structure needs one of --calculator and --model")
    options = parse_options(args.calculator_options)
    calculator = load_calculator(args.calculator or f"lrcalc:{args.model}", options)
    atoms = read(args.structure)
    if args.raman:  # before hours are spent on forces
        property_of(calculator, "polarizability", atoms, "--raman needs it")
    phonons = ph.from_calculator(
        atoms,
        calculator,
        supercell=[int(n) for n in args.supercell.split(",")],
        relax=None if args.no_relax else 0.002,
        relax_cell=args.relax_cell,
        epsilon_infinity=args.epsilon_infinity,
        born=args.born,
        transposed=args.born is not None and args.born_order == DISPLACEMENT_FIRST,
        progress=True,
    )
    modes = ph.solve(phonons)
    return phonons, ph.with_raman(
        phonons, modes, calculator, progress=True
    ) if args.raman else modes


def parse_options(text: str | None) -> dict[str, Any]:
    """Keywords of a calculator from JSON."""
    if text is None:
        return {}
    try:
        options = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"`--calculator-options` is {text!r}, which is not JSON: {error}"
        ) from None
    if not isinstance(options, dict):
        raise ValueError(f'`--calculator-options` is {text!r} but must be like {{"key": 1}}')
    return options


def load_calculator(spec: str, options: dict[str, Any]) -> Any:
    """ASE calculator from ``module:factory``, or ours from ``lrcalc:MODEL``.

    The module is imported by its name, also from the current folder; files of models are only ever
    read as data.
    """
    module, colon, name = spec.partition(":")
    if not (colon and name and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(
            f"`--calculator` is {spec!r} but must be importable as module:factory, or lrcalc:MODEL"
        )
    if module == "lrcalc":
        from lrcalc.calculator import LRCalculator

        return LRCalculator(name, **{"dtype": "float64", **options})
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        made: Any = importlib.import_module(module)
        for part in name.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`--calculator` {spec!r} cannot be imported: {error}") from None
    finally:
        sys.path.remove(here)
    try:
        calculator = made(**options)
    except TypeError as error:
        raise ValueError(f"`--calculator` {spec!r} with {options}: {error}") from None
    if not hasattr(calculator, "get_property"):
        raise ValueError(
            f"`--calculator` {spec!r} made a {type(calculator).__name__}, no calculator"
        )
    return calculator
