"""How `lrcalc md` starts, whichever engine moves the atoms: settings, structure, what to know."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lrcalc.commands._field_options import as_given, given_field
from lrcalc.commands._md_files import read_start
from lrcalc.hashing import hash_of

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.calculator import LRCalculator
    from lrcalc.fields import Field
    from lrcalc.integrators import RunSettings

SPACING = ("every", "born_every", "polarizability_every", "current_every")
"""Options of the output that a continued run must keep; it may change --steps and --traj."""


class Start(NamedTuple):
    """What the options and the structure file say.

    Attributes
    ----------
    field : Field or None
    path : Path
        Of the structure.
    atoms : Atoms
    notes : list of str
        Which frame it is, what of it is used and what cannot be.
    settings : RunSettings
    identity : dict
        Of the options and of the file, for the identity of the run.
    """

    field: Field | None
    path: Path
    atoms: Atoms
    notes: list[str]
    settings: RunSettings
    identity: dict[str, Any]


def read(args: argparse.Namespace) -> Start:
    """Read the options and the structure."""
    from lrcalc.integrators import RunSettings

    field = given_field(args)
    path, atoms, notes = read_start(args.structure)
    settings = RunSettings(
        args.ensemble, args.timestep, args.temperature, args.pressure, args.thermostat_time,
        args.barostat_time, args.seed,
    )  # fmt: skip
    start = hash_of(atoms.positions, atoms.cell[:], atoms.get_momenta())
    identity = {"held": as_given(args), "hash of the structure file": start}
    # the spacing of frames is not ours to change half way: spectra need it even
    identity |= {name: getattr(args, name) for name in SPACING}
    if not args.current_every:  # runs from before there was this option go on
        del identity["current_every"]
    return Start(field, path, atoms, notes, settings, identity)


def make(
    start: Start, args: argparse.Namespace, run: Callable[[LRCalculator], Any], *, watch: bool
) -> Any:
    """Make a calculator, and a run with it; their warnings go to standard error.

    Its conditions go into the frames, and the options into its identity.
    """
    from lrcalc.calculator import LRCalculator

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)  # not what packages say to programmers
        calculator = LRCalculator(
            args.model, device=args.device, dtype=args.dtype,
            epsilon_infinity=args.epsilon_infinity, field=start.field, watch=watch,
            compile=args.compile,
        )  # fmt: skip
        made = run(calculator)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    made.set_conditions(model=args.model)
    made.identity |= start.identity
    return made


def tell(start: Start, args: argparse.Namespace, made: Any, *, dipole: bool, resumed: bool) -> None:
    """Say what to know of a run: warnings to standard error, notes to standard output."""
    from lrcalc.models.card import dipole_warning, electric_notes, pressure_warning

    potential, notes = made.calculator.evaluator.potential, list(start.notes)
    card = potential.metadata
    warning = pressure_warning(args.model, card) if args.ensemble == "npt" else None
    if warning:
        print(warning, file=sys.stderr)
    notes += electric_notes(card, args.epsilon_infinity, matter=bool(start.atoms.pbc.all()))
    told = dipole_warning(potential.config)
    if told and start.atoms.pbc.any() and not args.current_every:  # else it is seen to
        print(f"warning: {told}", file=sys.stderr)
    if not dipole:
        notes.append("no dipole is recorded: this structure, or this model, has none")
    for note in (*notes, *([] if resumed else made.notes)):  # of first velocities
        print(note)
