"""Writes commented LAMMPS inputs, with their data files, that run as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms

from lrcalc.fields import Field
from lrcalc.files import replacing
from lrcalc.integrators import ENSEMBLES, RunSettings, check_settings
from lrcalc.lammps.data_file import Species, data_text, oriented, species_of
from lrcalc.lammps.input_text import Output, Run, document
from lrcalc.lammps.kinds import KINDS, WORD, Kind
from lrcalc.lammps.style_words import style_words
from lrcalc.structures import (
    describe_intake,
    fixed_atoms,
    moves_as_a_whole,
    read_structure,
    total_charge,
)

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential

INPUT = "in.lmp"
"""Name of what is written."""

MOST = 900_000_000
"""Largest seed of LAMMPS' random numbers."""


class Written(NamedTuple):
    """The input file, and what to tell the user of the structure."""

    path: Path
    notes: tuple[str, ...]


def write_input(
    kind: str,
    structure: Atoms | str | Path,
    workdir: str | Path = ".",
    *,
    model: str = "water",
    field: Field | None = None,
    settings: Mapping[str, Any] | None = None,
    ensemble: str | None = None,
    steps: int = 1000,
    timestep: float | None = None,
    temperature: float = 300.0,
    pressure: float | None = None,
    thermostat_time: float = 100.0,
    barostat_time: float = 500.0,
    seed: int = 1,
    velocities: str | None = None,
    output: Output | None = None,
    ranks: int = 2,
    name: str = "run",
) -> Written:
    """Write ``in.lmp`` and the data file it starts from.

    Total charge, masses and isotopes, fixed atoms, boundary and velocities of the structure go
    with it. It is turned into LAMMPS' frame if need be, velocities and field with it.

    Parameters
    ----------
    kind : str
        A key of `lrcalc.lammps.kinds.KINDS`.
    structure : Atoms or path
    workdir : path
        Folder to write into and to run in; made if it does not exist.
    model : str
        Bundled name or file.
    field : Field, optional
        Constant E or D, in the frame of `structure`.
    settings : mapping, optional
        Of the model: dtype, accuracy, epsilon_infinity, device, block (atoms described at a time),
        compile.
    ensemble : str, optional
        "nve", "nvt" or "npt", instead of the kind's.
    steps, timestep, temperature, pressure, thermostat_time, barostat_time, seed
        Number of steps (at most, downhill), fs, K, GPa (npt and relax only), fs, fs.
    velocities : str, optional
        "structure" or "thermal"; by default those of the structure where it has some.
    output : Output, optional
    ranks : int
        Processes that the comments speak of; above 1 atoms are shared out evenly.
    name : str
        Of the files: NAME.data, NAME.series, NAME.dump, NAME.log, NAME.restart, NAME.end.data.

    Returns
    -------
    Written
        The input's path and notes.

    Raises
    ------
    ValueError
        For what cannot run: numbers out of range, a field that is missing or that the kind does not
        use, elements or properties that the model does not have, one periodic direction, …;
        nothing is written then.
    FileNotFoundError
        If structure or model does not exist.
    """
    plan, run_settings = _plan(
        kind, ensemble, timestep, temperature, pressure, thermostat_time, barostat_time, seed
    )
    output = output or Output()
    _check_numbers(steps=steps, ranks=ranks, seed=seed, **_strides(output))
    if (settings or {}).get("block") is not None:
        _check_numbers(block=dict(settings or {})["block"])
    _check_name(name)
    held = _check_field(kind, plan, field)
    atoms = read_structure(structure) if isinstance(structure, str | Path) else structure
    if plan.ensemble:
        check_settings(run_settings, atoms)
    if plan.moves_cell and not atoms.pbc.all():
        raise ValueError("kind 'relax' moves the cell, but `structure` is not periodic throughout")
    workdir = Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"`workdir` is {str(workdir)!r}, which is a file: give a folder")
    potential = _load(model)
    _check_model(potential, model, atoms, held, plan, output)
    turned = oriented(atoms)
    if held is not None:
        held = held.turned(turned.rotation)
    fixed = fixed_atoms(atoms, where="LAMMPS")
    moving, notes = _velocities(atoms, fixed, plan, velocities)
    species = species_of(turned.atoms)
    run = Run(
        kind=kind, plan=plan, steps=steps, timestep=run_settings.timestep, temperature=temperature,
        pressure=run_settings.pressure, tau=thermostat_time, barostat_tau=barostat_time, seed=seed,
        style=style_words(model, workdir, held, dict(settings or {}), plan, total_charge(atoms)),
        elements=species.symbols, pbc=_three(turned.atoms.pbc), tilted=_tilted(turned.atoms),
        fixed=tuple(np.flatnonzero(fixed).tolist()), draws=bool(plan.ensemble) and not moving,
        rests=not fixed.any() and not (moving and moves_as_a_whole(atoms)),
        dipole=_has_dipole(potential, atoms), output=output, name=name, ranks=ranks,
        rotation=turned.rotation,
    )  # fmt: skip
    _write(workdir, run, turned.atoms, species, moving=moving)
    if not np.allclose(turned.rotation, np.eye(3)):
        notes.append(
            "turned into LAMMPS' frame (a along x, b in the xy plane)"
            + ", and the field with it" * (held is not None)
            + f"; the matrix stands in {INPUT}"
        )
    if not run.dipole:
        notes.append("no dipole is recorded: this structure, or this model, has none")
    return Written(workdir / INPUT, tuple(notes))


def _plan(
    kind: str,
    ensemble: str | None,
    timestep: float | None,
    temperature: float,
    pressure: float | None,
    thermostat_time: float,
    barostat_time: float,
    seed: int,
) -> tuple[Kind, RunSettings]:
    """Return a kind of run with what was given in place of its defaults."""
    if kind not in KINDS:
        raise ValueError(f"`kind` is {kind!r}, but the choice is {', '.join(KINDS)}")
    plan = KINDS[kind]
    if ensemble is not None:
        if not plan.ensemble or ensemble not in ENSEMBLES:
            choice = " or ".join(ENSEMBLES) if plan.ensemble else "none (nothing moves in time)"
            raise ValueError(f"`ensemble` is {ensemble!r}, but of kind {kind!r} it is {choice}")
        plan = plan._replace(ensemble=ensemble)
    if pressure is not None and not (plan.ensemble == "npt" or plan.moves_cell):
        raise ValueError(
            f"`pressure` is {pressure} GPa, but the cell is fixed: leave it out, or choose npt"
        )
    if timestep is not None and not plan.ensemble:
        raise ValueError(f"`timestep` has no effect on kind {kind!r}: leave it out")
    return plan, RunSettings(
        plan.ensemble, plan.timestep if timestep is None else timestep, temperature,
        0.0 if pressure is None else pressure, thermostat_time, barostat_time, seed,
    )  # fmt: skip


def _check_numbers(**given: Any) -> None:
    """Refuse numbers that are no whole ones, or too small."""
    for name, value in given.items():
        least = 1 if name in ("steps", "ranks", "seed", "block", "output.thermo") else 0
        whole = not isinstance(value, bool) and np.isfinite(value) and value == int(value)
        if not whole or value < least or (name == "seed" and value > MOST):
            limit = f"from 1 to {MOST}" if name == "seed" else f"{least} or more"
            raise ValueError(f"`{name}` is {value} but must be a whole number, {limit}")


def _strides(output: Output) -> dict[str, Any]:
    return {f"output.{key}": value for key, value in output._asdict().items() if key != "current"}


def _check_name(name: str) -> None:
    if not name or any(mark in name for mark in "/\\$ #&\"'*%") or name == Path(INPUT).stem:
        raise ValueError(
            f"`name` is {name!r} but must be a plain name of files, without blanks and / $ # * %"
        )


def _check_field(kind: str, plan: Kind, field: Field | None) -> Field | None:
    """Refuse a field that is missing, changes, or that LAMMPS is not given."""
    if plan.needs_field and (field is None or field.kind != plan.needs_field):
        raise ValueError(f"kind {kind!r} needs `{plan.needs_field}`")
    if field is None:
        return None
    if field.kind not in WORD:
        raise ValueError(
            f"`{field.kind}` is not held in LAMMPS, only {' or '.join(f'`{k}`' for k in WORD)}: "
            "in a cell that keeps its shape a voltage is a field, E·a = V"
        )
    if field.varies:
        raise ValueError("the field changes in time, which an input of LAMMPS does not have")
    return field


def _load(model: str) -> Potential:
    from lrcalc.checkpoint import load

    return load(model)


def _check_model(
    potential: Potential,
    model: str,
    atoms: Atoms,
    field: Field | None,
    plan: Kind,
    output: Output,
) -> None:
    """Refuse elements and properties that the model does not have."""
    from lrcalc.models.requests import check_request
    from lrcalc.system import as_frames

    unknown = sorted(set(atoms.numbers.tolist()) - set(potential.species))
    if unknown:
        from ase.data import chemical_symbols

        known = " ".join(chemical_symbols[z] for z in potential.species)
        raise ValueError(
            f"`model` {model!r} knows {known}, but `structure` has"
            f" {' '.join(chemical_symbols[z] for z in unknown)}: use a model that was trained on it"
        )
    wanted = {"energy", "forces"}
    if plan.ensemble == "npt" or plan.moves_cell:
        wanted.add("stress")
    if output.current:
        wanted.add("current")
    held = set() if field is None else {field.kind}
    check_request(potential, [as_frames(atoms)], wanted, held=held, allow_net_charge=False)


def _has_dipole(potential: Potential, atoms: Atoms) -> bool:
    from lrcalc.models.requests import records_dipole

    return records_dipole(potential, atoms)


def _velocities(
    atoms: Atoms, fixed: np.ndarray, plan: Kind, asked: str | None
) -> tuple[bool, list[str]]:
    """Whether the run starts with the velocities of the structure, and what to say."""
    if fixed.all():
        raise ValueError("`structure` has no atom that is free to move: all of them are fixed")
    if fixed.any() and (plan.ensemble == "npt" or plan.moves_cell):
        raise ValueError(
            f"`structure` has {fixed.sum()} fixed atoms, which a changing cell would move: keep the"
            " cell, or remove the constraint"
        )
    still = atoms.copy()
    still.arrays.pop("momenta", None)
    notes = list(describe_intake(still))
    momenta = atoms.arrays.get("momenta", np.zeros((len(atoms), 3)))
    there = bool(np.any(momenta[~fixed]))
    if asked is not None and asked not in ("structure", "thermal"):
        raise ValueError(f"`velocities` is {asked!r}, but the choice is structure or thermal")
    if asked is not None and not plan.ensemble:
        raise ValueError("`velocities` has no effect where nothing moves in time: leave it out")
    if asked == "structure" and not there:
        raise ValueError("`velocities` are to be those of `structure`, but it has none")
    if not plan.ensemble:
        return False, notes
    moving = there and asked != "thermal"
    if moving:
        notes.append(
            f"starts with the velocities of the structure ({atoms.get_temperature():.0f} K)"
        )
        if not fixed.any() and moves_as_a_whole(atoms):
            notes.append("the structure moves as a whole, which its temperature counts")
    elif there:
        notes.append("the velocities of the structure are not used: thermal ones")
    return moving, notes


def _tilted(atoms: Atoms) -> bool:
    return bool(np.abs(np.array(atoms.cell)[[1, 2, 2], [0, 0, 1]]).max() > 1e-12)


def _three(pbc: np.ndarray) -> tuple[bool, bool, bool]:
    x, y, z = (bool(p) for p in pbc)
    return x, y, z


def _write(workdir: Path, run: Run, atoms: Atoms, species: Species, *, moving: bool) -> None:
    still = atoms.copy()
    if moving and run.fixed:
        still.arrays["momenta"][list(run.fixed)] = 0.0
    files = {
        f"{run.name}.data": data_text(still, species, velocities=moving),
        INPUT: document(run),
    }
    workdir.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        with replacing(workdir / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
