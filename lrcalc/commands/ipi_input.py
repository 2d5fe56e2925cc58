"""`lrcalc ipi-input`: writes an i-PI input that runs as it is."""

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.commands._ipi_options import given_options, naming_options, refuse
from lrcalc.commands._md_files import has_more_frames
from lrcalc.commands.ipi import add_settings, given_settings
from lrcalc.fields import FIELD, Field
from lrcalc.ipi.kinds import KINDS, Kind
from lrcalc.ipi.start import VELOCITIES, Start

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.models.potential import Potential

PULSE = ("frequency", "peak", "width")
"""Options that shape the field of --amplitude."""

BRANCH_WARNING = (
    "warning: at constant pressure in a constant field the pressure depends on the branch of the"
    " dipole (atoms moved by a lattice vector change it, though not the forces): --voltage holds"
    " the field along the lattice vectors instead, where it does not"
)

START = "to start from: any file that ASE reads, or a bundled name (water64)"

STRIDES = {
    "stride": ("properties", "dipole"),
    "positions_stride": ("positions",),
    "velocities_stride": ("velocities",),
    "checkpoint_stride": ("checkpoint",),
    "dielectric_stride": ("dielectric",),
}
"""Option → fields of `Outputs`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lrcalc ipi-input`."""
    parser.add_argument("--kind", required=True, choices=list(KINDS), help=kinds_help())
    parser.add_argument("--structure", required=True, metavar="FILE", help=START)
    add_input_arguments(parser)


def kinds_help() -> str:
    """Kinds with what they take unless told otherwise."""
    return "; ".join(f"{name}: {kind.about} [{defaults(kind)}]" for name, kind in KINDS.items())


def defaults(kind: Kind) -> str:
    """Ensemble, beads, time step and thermostat of a kind, in a few words."""
    words = [kind.ensemble, f"{kind.beads} bead{'s' * (kind.beads > 1)}", f"{kind.timestep:g} fs"]
    if kind.ensemble != "nve":
        words.append(f"tau {kind.tau:g} fs")
    return ", ".join(words)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of an input, shared with `lrcalc ipi-run`.

    None has a default here, so that one that was given is known; what is left out gets the
    default of `write_input`.
    """
    add = parser.add_argument
    add("--workdir", metavar="DIR", help="folder to write into (default: here)")
    add("--steps", type=int, help="number of steps (default 1000)")
    add("--beads", type=int, help="beads of the ring polymer (default: of the kind)")
    add("--temperature", type=float, help="K (default 300); also of thermal first velocities")
    add(
        "--velocities",
        choices=VELOCITIES,
        help="to start with (default: those of the structure where it has some and there is one"
        " bead, else thermal)",
    )
    add("--pressure", type=float, help="GPa (npt only; default 0.0001)")
    add("--timestep", type=float, help="fs (default: of the kind)")
    add(
        "--ensemble",
        choices=["nve", "nvt", "npt"],
        help="instead of the kind's; the thermostat acts over tau, the time constant in fs that"
        " stands beside each kind, the barostat over 250 fs",
    )
    add("--seed", type=int, help="of i-PI's random numbers (default 31415)")
    add(
        "--restart-from",
        metavar="FILE",
        help="RESTART of another run: positions, cell and velocities",
    )
    add(
        "--transport",
        choices=["ffdirect", "unix", "inet"],
        help="model inside i-PI's process (ffdirect, default), or clients on sockets (`lrcalc"
        " ipi`)",
    )
    add("--address", help="socket name or host (default: lrcalc, localhost)")
    add("--port", type=int, help="port (inet; default 31415)")
    add("--no-batch", action="store_true", help="one bead at a time")
    add("--stride", type=int, help="steps between properties, extras (1 or more; default 1)")
    add("--positions-stride", type=int, help="steps between positions (default 20; 0: none)")
    add("--velocities-stride", type=int, help="steps between velocities (default 0: none)")
    add(
        "--checkpoint-stride",
        type=int,
        help="1 or more (default 100): a crash loses no more steps",
    )
    add(
        "--dielectric-stride",
        type=int,
        help="compute the extras of the centroid only every so many steps (default 0: every step,"
        " all beads)",
    )
    pulse = parser.add_argument_group("pulse (kind pulse)")
    pulse.add_argument("--amplitude", nargs=3, type=float, metavar=("X", "Y", "Z"), help="V/Å")
    pulse.add_argument("--frequency", type=float, help="cm⁻¹ (default 0: no oscillation)")
    pulse.add_argument(
        "--peak", type=float, help="fs; needed with --width: three widths let the field rise"
    )
    pulse.add_argument(
        "--width",
        type=float,
        help="standard deviation of the envelope, fs (default: the field stays on)",
    )
    add_settings(parser, template=False)


def input_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `write_input` from the command line; refuses options without effect."""
    from lrcalc.ipi.outputs import Outputs
    from lrcalc.ipi.settings import make_settings

    given = given_options(args, add_input_arguments)
    if args.amplitude is None:
        refuse(given, PULSE, "without `--amplitude`, the field of kind pulse")
    if args.restart_from is not None and (args.ensemble or KINDS[args.kind].ensemble) == "nve":
        refuse(
            given,
            ("temperature",),
            "where the velocities come from --restart-from and nothing holds a temperature (nve)",
        )
    strides = {
        field: given[option]
        for option, fields in STRIDES.items()
        if option in given
        for field in fields
    }
    names = (
        "steps", "temperature", "pressure", "timestep", "beads", "ensemble", "seed", "velocities",
    )  # fmt: skip
    return {
        **{name: given[name] for name in names if name in given},
        "settings": make_settings(given_settings(args)),
        "pulse": _pulse(args),
        "transport": _transport(args, given),
        "outputs": Outputs(**strides),
        "restart": args.restart_from,
    }


def _pulse(args: argparse.Namespace) -> Any:
    from lrcalc.fields import Pulse

    if args.amplitude is None:
        return None
    x, y, z = args.amplitude
    return Pulse((x, y, z), args.frequency or 0.0, args.peak or 0.0, args.width)


def _transport(args: argparse.Namespace, given: dict[str, Any]) -> Any:
    from lrcalc.ipi.input_checks import Transport

    mode = args.transport or "ffdirect"
    if mode == "ffdirect":
        refuse(given, ("address",), "where the model runs in i-PI's process (--transport ffdirect)")
    if mode != "inet":
        refuse(given, ("port",), "without --transport inet")
    address = args.address or ("localhost" if mode == "inet" else "lrcalc")
    port = Transport().port if args.port is None else args.port
    return Transport(mode, address, port, not args.no_batch)


def write(args: argparse.Namespace, *, runs_here: bool = False) -> Path:
    """Write the input; warn of a model that is not made for such a run.

    With `runs_here` the model and its device have to be usable on this machine.
    """
    from lrcalc.ipi.frame_checks import card_warnings
    from lrcalc.ipi.input_checks import find_model
    from lrcalc.ipi.inputs import write_input
    from lrcalc.structures import read_structure

    arguments = input_arguments(args)
    settings = arguments["settings"]
    atoms = read_structure(args.structure)
    _keep_structure(Path(args.structure), Path(args.workdir or "."))
    start = _start(args, atoms)
    if runs_here:
        from lrcalc.models.requests import check_device

        check_device(settings.device)
    potential = find_model(settings.model)
    if potential is None and runs_here:
        raise FileNotFoundError(
            f"`model` {settings.model!r} does not exist in {Path.cwd()}: give the path of a model"
            " file, or the name of a bundled model (`lrcalc info`)"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        path = write_input(args.kind, atoms, args.workdir or ".", **arguments)
    for remark in caught:
        print(f"warning: {remark.message}", file=sys.stderr)
    more = has_more_frames(Path(args.structure)) if Path(args.structure).is_file() else False
    for note in (*["the last frame of the file is the start"] * more, *start.notes):
        print(f"structure: {note}", file=sys.stderr)
    if potential is None:
        print(
            f"warning: model file {settings.model!r} is not on this machine; it was not looked at,"
            " and must be where the run is",
            file=sys.stderr,
        )
    else:
        kind = KINDS[args.kind]
        beads, ensemble = args.beads or kind.beads, args.ensemble or kind.ensemble
        for warning in card_warnings(settings.model, potential.metadata, beads, ensemble):
            print(warning, file=sys.stderr)
        for told in _doubts(potential, atoms, settings.field):
            print(f"warning: {told}", file=sys.stderr)
        if ensemble == "npt" and settings.field and settings.field.kind == FIELD:
            print(BRANCH_WARNING, file=sys.stderr)
    return path


def _doubts(potential: "Potential", atoms: "Atoms", field: Field | None) -> list[str]:
    """Say what a model is taken for that it is not; the driver says it in i-PI's log alone."""
    from lrcalc.models.card import charge_warning, dipole_warning, field_warning
    from lrcalc.structures import total_charge

    charges = [total_charge(atoms, "`structure`")]
    told = [
        charge_warning(potential.metadata, potential.config, charges),
        None if field is None else field_warning(potential.config, atoms.pbc),
        dipole_warning(potential.config) if atoms.pbc.any() else None,
    ]
    return [line for line in told if line]


def _keep_structure(structure: Path, workdir: Path) -> None:
    """Refuse to replace the structure file by what a run starts from, unless it is just that."""
    from lrcalc.ipi_files.xyz import is_ipi_xyz

    for name in ("init.xyz", "init-velocities.xyz"):
        target = workdir / name
        if target.is_file() and structure.is_file() and target.samefile(structure):
            if is_ipi_xyz(structure):
                continue
            raise ValueError(
                f"`structure` is {target}, which the run would replace: give another name or"
                " another `workdir`"
            )


def _start(args: argparse.Namespace, atoms: Any) -> Start:
    """Decide what of the structure the run starts from; refuse a temperature without effect."""
    from lrcalc.ipi.start import plan_start

    ensemble = args.ensemble or KINDS[args.kind].ensemble
    start = plan_start(
        atoms,
        ensemble=ensemble,
        beads=args.beads or KINDS[args.kind].beads,
        velocities=args.velocities,
        restarted=args.restart_from is not None,
    )
    if start.moving and ensemble == "nve":
        refuse(
            given_options(args, add_input_arguments),
            ("temperature",),
            "where the velocities are those of the structure and nothing holds a temperature"
            " (nve; --velocities thermal draws them)",
        )
    return start


@naming_options()
def run(args: argparse.Namespace) -> int:
    """Write the input and say how to run it."""
    from lrcalc.ipi.run import client_words, read_plan

    path = write(args)
    print(f"wrote {path} and the structure it starts from")
    print(f"run it: lrcalc ipi-run {path}")
    endpoints = read_plan(path).endpoints
    if endpoints:
        print(f"or: cd {path.parent}; i-pi {path.name}, and beside it, as many as you like:")
        for endpoint in endpoints:
            print(f"  lrcalc {' '.join(client_words(endpoint))}")
    return 0
