"""`lrcalc ipi-input`: writes an i-PI input that runs as it is."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lrcalc.commands.ipi import add_settings, given_settings
from lrcalc.ipi.kinds import KINDS

NAME = "ipi-input"
HELP = "write a commented i-PI input: NVE, NVT, NPT, path integrals, fields, pulses"
EXAMPLE = "lrcalc ipi-input --kind trpmd --beads 8 --structure water.xyz --workdir run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lrcalc ipi-input`."""
    kinds = "; ".join(f"{name}: {kind.about}" for name, kind in KINDS.items())
    parser.add_argument("--kind", required=True, choices=list(KINDS), help=kinds)
    parser.add_argument("--structure", required=True, help="start, any file that ASE reads")
    add_input_arguments(parser)


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of an input, shared with `lrcalc ipi-run`."""
    parser.add_argument("--workdir", default=".", help="folder to write into (default: here)")
    parser.add_argument("--steps", type=int, default=None, help="number of steps (default 1000)")
    parser.add_argument("--beads", type=int, help="beads of the ring polymer")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--pressure", type=float, default=0.1, help="MPa (npt)")
    parser.add_argument("--timestep", type=float, help="fs (default: of the kind)")
    parser.add_argument("--ensemble", choices=["nve", "nvt", "npt"], help="instead of the kind's")
    parser.add_argument("--seed", type=int, default=31415, help="of i-PI's random numbers")
    parser.add_argument("--restart-from", help="RESTART of another run: positions and velocities")
    parser.add_argument(
        "--transport",
        choices=["ffdirect", "unix", "inet"],
        default="ffdirect",
        help="model inside i-PI's process, or clients on sockets (`lrcalc ipi`)",
    )
    parser.add_argument("--address", help="socket name or host (default: lrcalc, localhost)")
    parser.add_argument("--port", type=int, default=31415, help="port (inet)")
    parser.add_argument("--no-batch", action="store_true", help="one bead at a time")
    parser.add_argument(
        "--stride", type=int, default=1, help="steps between properties, extras (1 or more)"
    )
    parser.add_argument("--positions-stride", type=int, default=20, help="0: none")
    parser.add_argument("--velocities-stride", type=int, default=0, help="0: none")
    parser.add_argument(
        "--checkpoint-stride", type=int, default=100, help="1 or more: a crash loses no more steps"
    )
    parser.add_argument(
        "--dielectric-stride",
        type=int,
        default=0,
        help="compute the extras of the centroid only every so many steps (0: every step, beads)",
    )
    pulse = parser.add_argument_group("pulse")
    pulse.add_argument("--amplitude", nargs=3, type=float, metavar=("X", "Y", "Z"), help="V/Å")
    pulse.add_argument("--frequency", type=float, default=0.0, help="cm⁻¹")
    pulse.add_argument("--peak", type=float, default=0.0, help="fs")
    pulse.add_argument("--width", type=float, help="standard deviation of the envelope, fs")
    add_settings(parser)


def input_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `write_input` from the command line."""
    from lrcalc.ipi.inputs import Transport
    from lrcalc.ipi.kinds import Pulse
    from lrcalc.ipi.outputs import Outputs
    from lrcalc.ipi.settings import make_settings

    address = args.address or ("localhost" if args.transport == "inet" else "lrcalc")
    pulse = None
    if args.amplitude is not None:
        x, y, z = args.amplitude
        pulse = Pulse((x, y, z), args.frequency, args.peak, args.width)
    given = given_settings(args)
    given.pop("template", None)
    return {
        "steps": 1000 if args.steps is None else args.steps,
        "temperature": args.temperature,
        "pressure": args.pressure,
        "timestep": args.timestep,
        "beads": args.beads,
        "ensemble": args.ensemble,
        "settings": make_settings(given),
        "pulse": pulse,
        "transport": Transport(args.transport, address, args.port, not args.no_batch),
        "outputs": Outputs(
            properties=args.stride,
            dipole=args.stride,
            positions=args.positions_stride,
            velocities=args.velocities_stride,
            checkpoint=args.checkpoint_stride,
            dielectric=args.dielectric_stride,
        ),
        "restart": args.restart_from,
        "seed": args.seed,
    }


def write(args: argparse.Namespace) -> Path:
    """Write the input; warn of a model that has not seen quantum nuclei if the run has them."""
    from lrcalc.ipi.checks import nuclei_warning
    from lrcalc.ipi.inputs import write_input

    arguments = input_arguments(args)
    beads = arguments["beads"] or KINDS[args.kind].beads
    warning = nuclei_warning(arguments["settings"].model, beads)
    if warning:
        print(warning, file=sys.stderr)
    return write_input(args.kind, args.structure, args.workdir, **arguments)


def run(args: argparse.Namespace) -> int:
    """Write the input and say how to run it."""
    path = write(args)
    print(f"wrote {path} and the structure it starts from")
    print(f"run it: lrcalc ipi-run {path}")
    if args.transport != "ffdirect":
        where = f"--{args.transport} --address {args.address or 'ADDRESS'}"
        print(f"or: cd {path.parent}; i-pi {path.name} & lrcalc ipi {where} (as many as you like)")
    return 0
