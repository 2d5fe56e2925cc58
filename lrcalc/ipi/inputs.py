"""Writes commented i-PI inputs that run as they are."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from lrcalc.callers import users_line
from lrcalc.courses import Pulse
from lrcalc.files import replacing
from lrcalc.ipi import kinds
from lrcalc.ipi.input_checks import (
    NO_DIPOLE,
    Transport,
    check_field,
    check_model,
    check_numbers,
    check_transport,
    here,
    lacks_dipole,
    warn_of_pressure,
    with_stress,
)
from lrcalc.ipi.input_text import document, forcefield
from lrcalc.ipi.kinds import KINDS, Kind
from lrcalc.ipi.outputs import Outputs, check_outputs, output_block
from lrcalc.ipi.settings import DriverSettings, make_settings
from lrcalc.ipi.start import constraint_block, plan_start, restart_block, start_block
from lrcalc.ipi.structures import (
    continued,
    orient,
    read_structure,
    write_ipi_velocities,
    write_ipi_xyz,
)
from lrcalc.structures import total_charge

PES_FILE = Path(__file__).with_name("lrcalc_pes.py")
"""The file that i-PI loads in process."""

PRESSURE = 1e-4
"""GPa, unless given: one atmosphere, nearly."""


def write_input(
    kind: str,
    structure: Atoms | str | Path,
    workdir: str | Path = ".",
    *,
    steps: int = 1000,
    temperature: float = 300.0,
    pressure: float | None = None,
    timestep: float | None = None,
    beads: int | None = None,
    ensemble: str | None = None,
    velocities: str | None = None,
    settings: DriverSettings | None = None,
    pulse: Pulse | None = None,
    transport: Transport | None = None,
    outputs: Outputs | None = None,
    restart: str | Path | None = None,
    seed: int = 31415,
    filename: str = "input.xml",
    pes_file: str | Path | None = None,
) -> Path:
    """Write ``input.xml`` and the structure file ``init.xyz`` for a run of i-PI.

    Total charge, masses, fixed atoms, boundary and velocities of the structure go with it.

    Parameters
    ----------
    kind : str
        A key of `lrcalc.ipi.kinds.KINDS`.
    structure : Atoms or path
        The start. It is turned, if need be, so that i-PI takes its cell; velocities and fields
        are turned with it.
    workdir : path
        Folder to write into and to run i-PI in; made if it does not exist.
    steps, temperature, pressure, timestep, beads, ensemble
        Number of steps, K, GPa (constant pressure only; 1e-4), fs, beads and "nve", "nvt" or
        "npt"; None takes the default of the kind.
    velocities : str, optional
        "structure" or "thermal"; by default those of the structure, where it has some and there
        is one bead. `lrcalc.ipi.start.plan_start` tells what is taken.
    settings : DriverSettings, optional
        Model, field (V/Å) or displacement (e/Å²), extras. A model that is on this machine is
        asked whether it knows the elements and has what is wanted of it.
    pulse : Pulse, optional
        The field of kind "pulse".
    transport, outputs : optional
        In process or by socket; what is written how often.
    restart : path, optional
        A RESTART or checkpoint file of another run to take positions and velocities from; beads
        are added or contracted as i-PI does it. To continue the same run, run its RESTART
        (`lrcalc ipi-run --resume`).
    pes_file : path, optional
        Another file for i-PI to load than `PES_FILE`; then the model is not looked at.

    Returns
    -------
    Path
        The input file. Run it inside `workdir` with ``i-pi input.xml`` or `run_ipi`.

    Raises
    ------
    ValueError
        For an unknown kind, a field that is missing, given twice or not used by the kind, a
        pressure where none is held, numbers that are not finite or out of range, a model that
        does not know the elements, a constraint that i-PI does not have, and similar; nothing is
        written then.
    FileNotFoundError
        If `structure`, `restart` or a bundled model does not exist.

    Warns
    -----
    UserWarning
        For a pressure that may have been meant in another unit than GPa.
    """
    plan = _plan_of(kind, ensemble, beads, timestep, pressure)
    pressure = PRESSURE if pressure is None else pressure
    check_numbers(
        {
            "steps": steps, "beads": plan.beads, "seed": seed, "temperature": temperature,
            "timestep": plan.timestep, "pressure": pressure,
        }
    )  # fmt: skip
    warn_of_pressure(pressure)
    settings = make_settings((settings or DriverSettings())._asdict())
    outputs = check_outputs(outputs or Outputs())
    transport = transport or Transport()
    check_transport(transport, 1 + (kind == "te-pigs") + bool(outputs.dielectric))
    check_field(kind, plan, settings, pulse)

    atoms = read_structure(structure) if isinstance(structure, str | Path) else structure
    _check_boundary(atoms, kind, plan)
    start = plan_start(
        atoms, ensemble=plan.ensemble, beads=plan.beads, velocities=velocities,
        restarted=restart is not None,
    )  # fmt: skip
    oriented = orient(atoms)
    if settings.field is not None:
        settings = settings.holding(settings.field.turned(oriented.rotation))
    if pulse is not None:
        pulse = pulse.turned(oriented.rotation)
    workdir = Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"`workdir` is {str(workdir)!r}, which is a file: give a folder")
    if restart is not None:
        restart = _find_restart(restart, workdir)
        oriented = oriented._replace(atoms=continued(oriented.atoms, restart))
    files = _files(workdir, filename, moving=start.moving)
    if outputs.dipole and pes_file is None and lacks_dipole(settings, atoms):
        warnings.warn(NO_DIPOLE, stacklevel=users_line())
        outputs = outputs._replace(dipole=0)
    if pes_file is None:
        settings = with_stress(settings, plan, atoms)
    settings = _complete(settings, kind, plan, outputs, transport, files, atoms)
    if pes_file is None:
        check_model(settings, atoms)
    pes = Path(pes_file or PES_FILE).resolve()
    settings, lazy = _sorted_extras(settings, kind, outputs)
    fields, forces = _forces(kind, settings, lazy, transport, plan.beads, pes)
    text = document(
        kind=kind,
        plan=plan,
        steps=steps,
        seed=seed,
        temperature=temperature,
        pressure=pressure,
        start=(
            restart_block(str(restart), plan.beads)
            if restart is not None
            else start_block(
                oriented.atoms, files.structure.name,
                None if files.velocities is None else files.velocities.name,
                plan.beads, temperature,
            )
        ),
        forcefields=fields,
        forces=forces,
        motion=kinds.motion(plan, constraint_block(start), pulse),
        output=output_block(kind, plan, outputs, settings, lazy, len(forces)),
    )  # fmt: skip
    workdir.mkdir(parents=True, exist_ok=True)
    write_ipi_xyz(files.structure, oriented.atoms)
    if files.velocities is not None:
        still = oriented.atoms.copy()
        still.arrays["momenta"][list(start.fixed)] = 0.0
        write_ipi_velocities(files.velocities, still)
    with replacing(files.input) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return files.input


class _Files(NamedTuple):
    """What is written."""

    input: Path
    structure: Path
    velocities: Path | None


def _files(workdir: Path, filename: str, *, moving: bool) -> _Files:
    """Return names that belong to that of the input."""
    structure = Path(filename).stem.replace("input", "init") + ".xyz"
    if structure == filename:
        structure = "init.xyz"
    velocities = workdir / f"{Path(structure).stem}-velocities.xyz" if moving else None
    return _Files(workdir / filename, workdir / structure, velocities)


def _plan_of(
    kind: str,
    ensemble: str | None,
    beads: int | None,
    timestep: float | None,
    pressure: float | None,
) -> Kind:
    """Return a kind of run with what was given in place of its defaults."""
    if kind not in KINDS:
        raise ValueError(f"`kind` is {kind!r}, but the choice is {', '.join(KINDS)}")
    plan = KINDS[kind]
    if ensemble is not None:
        allowed = ("nve", "nvt") if kind == "pulse" else ("nve", "nvt", "npt")
        if ensemble not in allowed:
            raise ValueError(
                f"`ensemble` is {ensemble!r}, but {kind} runs in {' or '.join(allowed)}"
            )
        plan = plan._replace(ensemble=ensemble)
    if pressure is not None and plan.ensemble != "npt":
        raise ValueError(
            f"`pressure` is {pressure} GPa, but the cell is fixed in ensemble"
            f" {plan.ensemble!r}: leave it out, or choose npt"
        )
    return plan._replace(
        beads=plan.beads if beads is None else beads,
        timestep=plan.timestep if timestep is None else timestep,
    )


def _check_boundary(atoms: Atoms, kind: str, plan: Kind) -> None:
    """Refuse a structure whose boundary or charge the kind of run cannot have."""
    if plan.ensemble == "npt" and not np.all(atoms.pbc):
        raise ValueError("constant pressure needs a structure that is periodic in all directions")
    charge = total_charge(atoms, "`structure`")
    if kind == "pulse" and charge and np.any(atoms.pbc):
        raise ValueError(
            f"`structure` is periodic with a net charge of {charge:g} e: a pulse accelerates it as"
            " a whole; neutralise it"
        )


def _complete(
    settings: DriverSettings,
    kind: str,
    plan: Kind,
    outputs: Outputs,
    transport: Transport,
    files: _Files,
    atoms: Atoms,
) -> DriverSettings:
    """Return the settings with what the run itself decides: files, virial, extras."""
    served = transport.mode != "ffdirect"  # a socket's client runs in another folder than i-PI
    settings = settings._replace(
        model=_model_from(files.input.parent, settings.model, transport),
        template=str(files.structure.resolve()) if served else files.structure.name,
        virial=plan.ensemble == "npt" or (settings.virial and bool(np.all(atoms.pbc))),
    )
    if outputs.dipole and not outputs.dielectric and "dipole" not in settings.extras:
        settings = settings._replace(extras=("dipole", *settings.extras))
    if kind == "pulse" and "BEC" not in settings.extras:
        settings = settings._replace(extras=(*settings.extras, "BEC"))
    if served:
        settings = settings._replace(exit_file=str((files.input.parent / "EXIT").resolve()))
    return settings


def _sorted_extras(
    settings: DriverSettings, kind: str, outputs: Outputs
) -> tuple[DriverSettings, DriverSettings | None]:
    """Return the settings of every step, and of steps on which expensive extras are written."""
    if not outputs.dielectric:
        return settings, None
    names = settings.extras or ("dipole",)
    lazy = ("dipole", *(name for name in names if name != "dipole"))
    always = tuple(name for name in names if name == "BEC" and kind == "pulse")
    return settings._replace(extras=always), settings._replace(extras=lazy, virial=False)


def _forces(
    kind: str,
    settings: DriverSettings,
    lazy: DriverSettings | None,
    transport: Transport,
    beads: int,
    pes: Path,
) -> tuple[list[str], list[str]]:
    """Return the force fields of an input, and the forces that are made of them."""
    fields = [forcefield("lrcalc", settings, transport, beads, pes)]
    forces = ["<force forcefield='lrcalc'/>"]
    more = []
    if kind == "te-pigs":
        why = "the same model at the centroid, for its classical force; weight 0"
        more.append(("centroid", settings._replace(extras=(), virial=False), why))
    if lazy is not None:
        why = (
            "asked only when its extras are written: expensive properties cost nothing on other"
            " steps"
        )
        more.append(("dielectric", lazy, why))
    for name, told, why in more:
        text = forcefield(name, told, _with_suffix(transport, name), 1, pes)
        fields.append(f"<!-- {why} -->\n{text}")
        forces.append(f"<force forcefield='{name}' nbeads='1' weight='0'/>")
    return fields, forces


def _find_restart(restart: str | Path, workdir: Path) -> Path:
    """Return the whole path of a file given from here or from `workdir`."""
    found = here(restart) or here(workdir / restart)
    if found is None:
        raise FileNotFoundError(
            f"`restart` {str(restart)!r} is no file: give the RESTART or checkpoint of another run"
        )
    return found


def _model_from(workdir: Path, model: str, transport: Transport) -> str:
    """Return a model as it is found from where it is loaded: i-PI runs in `workdir`."""
    if os.sep not in model and not model.endswith(".pt"):
        return model
    if transport.mode == "ffdirect" and workdir.resolve() == Path.cwd():
        return model
    found = here(model)
    return model if found is None else str(found)


def _with_suffix(transport: Transport, suffix: str) -> Transport:
    """Let a second force field listen elsewhere: unix by name, inet on the next port."""
    if transport.mode == "inet":
        return transport._replace(port=transport.port + 1)
    return transport._replace(address=f"{transport.address}-{suffix}")
