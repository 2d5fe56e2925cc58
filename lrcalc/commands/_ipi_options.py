"""What the commands of i-PI share: which options were given, and errors that name options."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lrcalc.commands._naming import flag, naming
from lrcalc.fields import KINDS, VOLTAGE

SPECIAL = {
    "restart": "--restart-from",
    "pulse": "--amplitude",
    "pulse.amplitude": "--amplitude",
    "pulse.frequency": "--frequency",
    "pulse.peak": "--peak",
    "pulse.width": "--width",
    "transport.address": "--address",
    "transport.port": "--port",
    "outputs.properties": "--stride",
    "outputs.dipole": "--stride",
    "outputs.positions": "--positions-stride",
    "outputs.velocities": "--velocities-stride",
    "outputs.checkpoint": "--checkpoint-stride",
    "outputs.dielectric": "--dielectric-stride",
}
"""Arguments of functions that are called otherwise on the command line."""

SAME = (
    "kind", "structure", "workdir", "steps", "beads", "temperature", "pressure", "timestep",
    "ensemble", "seed", "velocities", "transport", "model", "device", "dtype", "epsilon_infinity",
    "extras", "atoms_per_call", "max_force", "watch", "watch_every", "watch_action", "watch_score",
    "watch_committee", "watch_limit", *KINDS,
)  # fmt: skip
"""Arguments whose option is spelt like them."""


OPTIONS = {name: flag(name) for name in SAME} | SPECIAL | {VOLTAGE: "--voltage"}


@contextmanager
def naming_options(*more: str) -> Iterator[None]:
    """Let errors of the user name options, not arguments; `more` are further names to translate."""
    with naming(OPTIONS | {name: flag(name) for name in more}):
        yield


def given_options(
    args: argparse.Namespace, declare: Callable[[argparse.ArgumentParser], None]
) -> dict[str, Any]:
    """Return the options among those that `declare` adds to a parser that were given.

    Their defaults have to be values that nobody can give: None, or False for a switch.
    """
    parser = argparse.ArgumentParser(add_help=False)
    declare(parser)
    defaults = vars(parser.parse_args([]))
    return {
        name: getattr(args, name)
        for name, default in defaults.items()
        if getattr(args, name, default) != default
    }


def refuse(given: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    """Refuse options that would change nothing."""
    for name in names:
        if name in given:
            raise ValueError(f"`{flag(name)}` has no effect {why}: leave it out")
