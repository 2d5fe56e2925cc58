"""What is refused before an input is written, so that it does not fail hours later in i-PI."""

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms

from lrcalc.callers import users_line
from lrcalc.courses import Pulse
from lrcalc.fields import FIELD
from lrcalc.ipi.kinds import Kind, check_pulse
from lrcalc.ipi.settings import DriverSettings
from lrcalc.properties import extras

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential

SEEDS = 2**32
"""numpy's generator, which i-PI uses, takes seeds below this."""

HIGH = 0.05
"""GPa; a larger pressure may have been meant in MPa."""

SOCKET_NAME = 80
"""Characters of a unix address: the whole path of a socket may have about 100."""


class Transport(NamedTuple):
    """How i-PI reaches the model: "ffdirect" in its own process, or sockets "unix" or "inet".

    `batch`: evaluate all beads in one model call. `timeout` (s): a client that has not answered
    for so long is dropped and its structure given to another.
    """

    mode: str = "ffdirect"
    address: str = "lrcalc"
    port: int = 31415
    batch: bool = True
    timeout: float = 600.0


def check_numbers(given: dict[str, Any]) -> None:
    """Refuse numbers of a run that are negative, fractional or infinite where they cannot be.

    Parameters
    ----------
    given : dict
        Any of steps, beads, seed, temperature (K), timestep (fs), pressure (GPa), by name.
    """
    for name in ("steps", "beads", "seed"):
        value = given.get(name, 1)
        least, most = (0, SEEDS) if name == "seed" else (1, np.inf)
        if not np.isfinite(value) or value != int(value) or not least <= value < most:
            limit = f"from {least} to {SEEDS - 1}" if name == "seed" else "1 or more"
            raise ValueError(f"`{name}` is {value} but must be a whole number, {limit}")
    for name, unit in (("temperature", "K"), ("timestep", "fs")):
        value = given.get(name, 1.0)
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name}` is {value} {unit} but must be positive and finite")
    if not np.isfinite(given.get("pressure", 0.0)):
        raise ValueError(f"`pressure` is {given['pressure']} GPa but must be finite")


def warn_of_pressure(pressure: float) -> None:
    """Say what a pressure in GPa is in bar where it may have been meant in MPa, the unit before."""
    if abs(pressure) > HIGH:
        warnings.warn(
            f"`pressure` is in GPa (it was in MPa before): {pressure:g} GPa are "
            f"{1e4 * pressure:g} bar; {pressure:g} MPa would be {1e-3 * pressure:g}",
            stacklevel=users_line(),
        )


def check_transport(transport: Transport, sockets: int) -> None:
    """Refuse addresses that cannot be opened; `sockets` are as many as the input has."""
    if transport.mode not in ("ffdirect", "unix", "inet"):
        raise ValueError(
            f"`transport` is {transport.mode!r}, but the choice is ffdirect, unix or inet"
        )
    if not (np.isfinite(transport.timeout) and transport.timeout > 0):
        raise ValueError(f"`transport.timeout` is {transport.timeout} s but must be positive")
    if transport.mode == "ffdirect":
        return
    allowed = r"[\w.+:@-]+"
    if not re.fullmatch(allowed, transport.address) or len(transport.address) > SOCKET_NAME:
        # i-PI writes it into RESTART as it is, so that < or & would make that unreadable
        raise ValueError(
            f"`transport.address` is {transport.address!r} but must be a name of letters, digits"
            f" and . _ - + : @, at most {SOCKET_NAME}"
        )
    if transport.mode == "inet" and not 0 < transport.port <= 65536 - sockets:
        ports = f"; this run needs {sockets} ports in a row" if sockets > 1 else ""
        raise ValueError(
            f"`transport.port` is {transport.port} but must be from 1 to {65536 - sockets}{ports}"
        )


def check_field(kind: str, plan: Kind, settings: DriverSettings, pulse: Pulse | None) -> None:
    """Refuse a field that is missing, given twice, or that this kind does not use."""
    given = [] if settings.field is None else [settings.field.kind]
    given += ["pulse"] * (pulse is not None)
    if plan.needs_field and not set(given) & set(plan.needs_field):
        needed, *others = (f"`{name}`" for name in plan.needs_field)
        raise ValueError(f"kind {kind!r} needs {needed}{''.join(f' (or {x})' for x in others)}")
    if len(given) > 1:
        raise ValueError(f"the field is given twice, by {' and '.join(given)}: keep one of them")
    if pulse is not None:
        if "pulse" not in plan.needs_field:
            raise ValueError(f"`pulse` is not used by kind {kind!r}: use kind 'pulse'")
        check_pulse(pulse)


def find_model(model: str) -> "Potential | None":
    """Load a model; None for a file that is not here, but may be on the machine of the run.

    Raises
    ------
    FileNotFoundError
        For a bundled name that does not exist.
    ValueError
        For a file that is no model.
    """
    from lrcalc.checkpoint import load, model_path

    return load(model) if model_path(model).exists() else None


NO_DIPOLE = "no dipole is recorded: this structure, or this model, has none"


def lacks_dipole(settings: DriverSettings, atoms: Atoms) -> bool:
    """Whether a run has no dipole and none is asked for, as far as the model is on this machine."""
    asked = settings.field is not None or "dipole" in settings.extras
    potential = None if asked else find_model(settings.model)
    if potential is None:
        return False
    from lrcalc.models.requests import records_dipole

    return not records_dipole(potential, atoms)


def with_stress(settings: DriverSettings, plan: Kind, atoms: Atoms) -> DriverSettings:
    """Return the settings without a virial where atomic charges have none, in a field (physics §4).

    A model that is not on this machine is not looked at.

    Raises
    ------
    ValueError
        At constant pressure, which cannot be held without.
    """
    if settings.field is None or settings.field.kind != FIELD or not np.any(atoms.pbc):
        return settings
    potential = find_model(settings.model)
    if potential is None:
        return settings
    if potential.config["charges"] != "atomic" or potential.config["level"] == "sr":
        return settings
    if plan.ensemble == "npt":
        raise ValueError(
            f"`ensemble` is npt, whose barostat needs the stress, but `model` {settings.model!r} "
            "has atomic charges, which have no stress in a field: take a fixed cell (nvt), or a "
            "model with local charges (`lrcalc train --charges local`)"
        )
    return settings._replace(virial=False)


def check_model(settings: DriverSettings, atoms: Atoms) -> None:
    """Refuse structures and properties that the model does not have, if it is on this machine."""
    import torch

    try:
        torch.device(settings.device)
    except RuntimeError as error:
        raise ValueError(
            f"`device` is {settings.device!r} but must be one of torch, such as cpu or cuda:0"
        ) from error
    potential = find_model(settings.model)
    if potential is None:
        return
    unknown = sorted(set(atoms.numbers.tolist()) - set(potential.species))
    if unknown:
        from ase.data import chemical_symbols

        known = " ".join(chemical_symbols[z] for z in potential.species)
        raise ValueError(
            f"`model` {settings.model!r} knows {known}, but `structure` has"
            f" {' '.join(chemical_symbols[z] for z in unknown)}: use a model that was trained on it"
        )
    from lrcalc.models.requests import check_request
    from lrcalc.system import as_frames

    held = set() if settings.field is None else {settings.field.kind}
    wanted = {"energy", "forces", *(extras()[name].name for name in settings.extras)}
    check_request(potential, [as_frames(atoms)], wanted, held=held, allow_net_charge=False)


def here(path: str | Path) -> Path | None:
    """Return the whole path of a file that exists, else None."""
    path = Path(path)
    return path.resolve() if path.is_file() else None
