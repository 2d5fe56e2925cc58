"""`lrcalc ipi`: the socket client."""

import argparse
import sys
from typing import Any

from lrcalc.commands._field_options import add_field_arguments
from lrcalc.commands._ipi_options import naming_options
from lrcalc.commands._naming import flag
from lrcalc.commands._options import COMPILE
from lrcalc.ipi.run import SOCKETS_PREFIX
from lrcalc.ipi.settings import DriverSettings
from lrcalc.properties import extras

SETTINGS = {
    "model": "bundled model or file (default water)",
    "template": "structure that i-PI starts from: names the species, in order",
    "device": "torch device (default cpu)",
    "dtype": "float32 (default) or float64",
    "epsilon_infinity": "electronic permittivity instead of the model's",
    "extras": f"what to send beside forces: {', '.join(extras())}",
    "atoms_per_call": "largest number of atoms in one model call; 0: no limit (CPU: 1000)",
    "watch": "look at how far structures are from data: model (what it was trained on), another "
    "model, or a file of data",
    "watch_every": "calls from look to look (default 20; features 25; a committee 30 a member)",
    "watch_action": "above a limit: warn (default), stop, or save (outside.xyz)",
    "watch_score": "delta-h (default), features (of the model's backbone), or committee",
    "watch_committee": "models beside this one, of the same data, whose forces are compared",
    "watch_limit": "of the score of an atom (nats; of a committee eV/Å), instead of the data's",
    "max_force": "refuse a first frame with a larger force, eV/Å (default 50); 0: never",
}
"""Setting → help."""

METAVARS = {
    "template": "FILE", "epsilon_infinity": "X", "extras": "NAME", "atoms_per_call": "N",
    "max_force": "X", "watch": "WHAT", "watch_every": "K", "watch_action": "WHAT",
    "watch_score": "WHAT", "watch_committee": "MODEL", "watch_limit": "X",
}  # fmt: skip


def add_settings(parser: argparse.ArgumentParser, *, template: bool = True) -> None:
    """Options for what a driver computes; they have no defaults, so that INIT can set them.

    Without `template` where the start of the run is known by another option.
    """
    title = "model (may also come from <parameters> in i-PI's input)" if template else "model"
    group = parser.add_argument_group(title)
    group.add_argument("--compile", action="store_true", default=None, help=COMPILE)
    for name, text in SETTINGS.items():
        if name == "template" and not template:
            continue
        several: Any = {"nargs": "*"} if name in ("extras", "watch_committee") else {}
        group.add_argument(flag(name), help=text, metavar=METAVARS.get(name), **several)
    add_field_arguments(group, " (constant, in i-PI's frame)")


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings given on the command line."""
    from lrcalc.ipi.watch import absolute

    given = {
        name: getattr(args, name)
        for name in DriverSettings._fields
        if getattr(args, name, None) is not None
    }
    if "watch" in given:
        given["watch"] = absolute(given["watch"])
    if "watch_committee" in given:
        given["watch_committee"] = [absolute(name) for name in given["watch_committee"]]
    return given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lrcalc ipi`."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--unix", action="store_true", help="unix socket on this machine")
    where.add_argument("--inet", action="store_true", help="internet socket")
    parser.add_argument(
        "--address", default="localhost", help="<address> of i-PI's input: a name, or the host"
    )
    parser.add_argument("--port", type=int, help="<port> (inet; default 31415)")
    parser.add_argument(
        "--sockets-prefix", default=SOCKETS_PREFIX, help="i-PI's prefix of unix sockets"
    )
    parser.add_argument("--wait", type=float, default=60.0, help="seconds to wait for i-PI")
    parser.add_argument(
        "--reconnect",
        type=float,
        default=0.0,
        help="seconds to wait for a new i-PI when this one disappears; 0: end",
    )
    parser.add_argument("--threads", type=int, default=None, help="torch threads")
    add_settings(parser)


@naming_options("template")
def run(args: argparse.Namespace, evaluator_factory: Any = None) -> int:
    """Serve until i-PI ends."""
    from lrcalc.ipi.client import run_client
    from lrcalc.ipi.driver import make_evaluator
    from lrcalc.ipi_files.simulation import Socket

    if args.unix and args.port is not None:
        raise ValueError("`--port` has no effect with `--unix`: leave it out, or use --inet")
    port = 31415 if args.port is None else args.port
    if not 0 < port < 65536:
        raise ValueError(f"`--port` is {port} but must be from 1 to 65535")
    for name in ("wait", "reconnect"):
        if not getattr(args, name) >= 0.0:
            raise ValueError(f"`--{name}` is {getattr(args, name)} s but must be 0 or more")
    if args.threads is not None:
        if args.threads < 1:
            raise ValueError(f"`--threads` is {args.threads} but must be 1 or more")
        import torch

        torch.set_num_threads(args.threads)
    endpoint = Socket("unix" if args.unix else "inet", args.address, port)
    return run_client(
        endpoint,
        given_settings(args),
        wait=args.wait,
        reconnect=args.reconnect,
        prefix=args.sockets_prefix,
        evaluator_factory=evaluator_factory or make_evaluator,
    )


def client(evaluator_factory: Any) -> int:
    """Run `lrcalc ipi` with another evaluator: for a PES file of one's own that is started.

    Parameters
    ----------
    evaluator_factory : callable
        As of `lrcalc.ipi.driver.LRCalcDriver`.

    Returns
    -------
    int
        Exit status; 2 after a refusal, which is printed.
    """
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    try:
        return run(parser.parse_args(), evaluator_factory)
    except ValueError as error:
        print(f"lrcalc ipi: {error}", file=sys.stderr)
        return 2
