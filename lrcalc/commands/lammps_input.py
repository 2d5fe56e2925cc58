"""`lrcalc lammps-input`: writes a LAMMPS input that runs as it is on many ranks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrcalc.commands._field_options import OPTIONS, add_field_arguments
from lrcalc.commands._naming import flag, naming
from lrcalc.commands._options import COMPILE
from lrcalc.fields import KINDS as FIELDS
from lrcalc.fields import Field
from lrcalc.lammps.kinds import KINDS

STRIDES = {
    "stride": ("stride", 4, "steps between dipoles"),
    "dump_stride": ("dump", 100, "steps between frames of positions and velocities; 0: none"),
    "restart_stride": ("restart", 1000, "steps between restart files; 0: only at the end"),
    "thermo_stride": ("thermo", 100, "steps between lines of the log"),
}
"""Option → field of `Output`, default, help."""

NAMES = {
    **{name: flag(name) for name in (
        "kind", "structure", "workdir", "model", "ensemble", "steps", "timestep", "temperature",
        "pressure", "thermostat_time", "barostat_time", "seed", "velocities", "ranks", "name",
        "dtype", "accuracy", "epsilon_infinity", "device", "block", "compile",
    )},
    **{f"output.{field}": flag(option) for option, (field, _, _) in STRIDES.items()},
    **OPTIONS,
}  # fmt: skip
"""Argument of `write_input` → option."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lrcalc lammps-input`."""
    add = parser.add_argument
    about = "; ".join(f"{name}: {kind.about}" for name, kind in KINDS.items())
    add("--kind", required=True, choices=list(KINDS), help=about)
    add("--structure", required=True, metavar="FILE",
        help="to start from: any file that ASE reads, or a bundled name (water64)")  # fmt: skip
    add("--workdir", default=".", metavar="DIR", help="folder to write into and to run in")
    add("--name", default="run", help="of the files beside in.lmp")
    add("--ranks", type=int, default=2, help="processes that it is for")
    add("--steps", type=int, default=1000, help="in all; of minimize, relax: at most")
    add("--timestep", type=float, help="fs (default 0.5)")
    add("--ensemble", choices=["nve", "nvt", "npt"], help="instead of the kind's (nvt in a field)")
    add("--temperature", type=float, default=300.0, help="to hold, and of first velocities, K")
    add("--pressure", type=float, help="to hold (npt, relax; default 0), GPa")
    add("--thermostat-time", type=float, default=100.0, help="time constant, fs")
    add("--barostat-time", type=float, default=500.0, help="time constant, fs")
    add("--seed", type=int, default=1, help="of velocities and thermostat")
    add("--velocities", choices=["structure", "thermal"],
        help="to start with (default: those of the structure where it has some)")  # fmt: skip
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="water", help="bundled model or file")
    model.add_argument("--dtype", choices=["float32", "float64"],
                       help="precision (default: float32, downhill float64)")  # fmt: skip
    model.add_argument("--accuracy", type=float, help="of the mesh, instead of the model's")
    model.add_argument("--epsilon-infinity", type=float, help="instead of the model's")
    model.add_argument("--block", type=int, metavar="N",
                       help="describe so many atoms at a time: less memory, more time")  # fmt: skip
    model.add_argument("--device", help="torch device: cpu, cuda, …")
    model.add_argument("--compile", action="store_true", help=COMPILE)
    add_field_arguments(parser.add_argument_group("held constant (one of them)"),
                        ", in the frame of the structure file")  # fmt: skip
    out = parser.add_argument_group("output")
    for name, (_, default, text) in STRIDES.items():
        out.add_argument(flag(name), type=int, default=default, help=text)
    out.add_argument("--current", action="store_true",
                     help="the current beside the dipole, for ir --from-current")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the input and say how to run it."""
    from lrcalc.lammps.input_text import Output
    from lrcalc.lammps.inputs import write_input
    from lrcalc.structures import read_structure

    output = Output(
        **{field: getattr(args, name) for name, (field, _, _) in STRIDES.items()},
        current=args.current,
    )
    settings = ("dtype", "accuracy", "epsilon_infinity", "device", "block", "compile")
    passed = (
        "ensemble", "steps", "timestep", "temperature", "pressure", "thermostat_time",
        "barostat_time", "seed", "velocities", "ranks", "name", "model",
    )  # fmt: skip
    with naming(NAMES):
        field = Field.from_arguments(**{name: getattr(args, name) for name in FIELDS})
        atoms = read_structure(args.structure)
        _keep_structure(Path(args.structure), Path(args.workdir) / f"{args.name}.data")
        written = write_input(
            args.kind, atoms, args.workdir, field=field, output=output,
            settings={name: getattr(args, name) for name in settings},
            **{name: getattr(args, name) for name in passed},
        )  # fmt: skip
    for note in written.notes:
        print(f"structure: {note}", file=sys.stderr)
    for warning in _warnings(args, atoms, field):
        print(warning, file=sys.stderr)
    print(f"wrote {written.path} and {args.name}.data, which it starts from")
    print(
        f"run it: cd {args.workdir}; mpirun -n {args.ranks} lrcalc lammps -in {written.path.name}"
    )
    return 0


def _warnings(args: argparse.Namespace, atoms: Any, field: Field | None) -> Iterator[str]:
    """Say what the model, or the physics, is not made for."""
    from lrcalc.checkpoint import load
    from lrcalc.field_work import branch_warning
    from lrcalc.models.card import dipole_warning, electric_notes, pressure_warning

    potential = load(args.model)
    plan = KINDS[args.kind]
    ensemble = args.ensemble or plan.ensemble
    said = [pressure_warning(args.model, potential.metadata)] if _squeezed(args) else []
    if branch := branch_warning(ensemble, field):
        said.append(f"warning: {branch}")
    matter = bool(atoms.pbc.all())
    said += [
        f"note: {note}"
        for note in electric_notes(potential.metadata, args.epsilon_infinity, matter=matter)
    ]
    told = dipole_warning(potential.config)
    if told and atoms.pbc.any() and not args.current:
        said.append(f"warning: {told}")
    yield from (one for one in said if one)


def _squeezed(args: argparse.Namespace) -> bool:
    """Whether the stress moves the cell."""
    plan = KINDS[args.kind]
    return plan.moves_cell or (args.ensemble or plan.ensemble) == "npt"


def _keep_structure(structure: Path, target: Path) -> None:
    """Refuse to replace the structure file by the data file made of it."""
    if target.is_file() and structure.is_file() and target.samefile(structure):
        raise ValueError(
            f"`structure` is {target}, which would be replaced: give another `name` or `workdir`"
        )
