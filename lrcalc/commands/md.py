"""`lrcalc md`: molecular dynamics, in a field if wanted, that can be killed and continued.

The same command continues a run where it was, with other values of --steps, --traj, --device and
--compile if wanted. Whatever else differs (`lrcalc.run_identity`) is refused.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lrcalc.commands._field_options import add_course_arguments, add_field_arguments
from lrcalc.commands._md_files import check_targets, clear, cut, run_files, sizes
from lrcalc.commands._md_output import append_row, columns, due, has_dipole, plot, table_row, wanted
from lrcalc.commands._md_start import SPACING, make, read, tell
from lrcalc.commands._options import COMPILE
from lrcalc.commands._watch import (
    STOPPED,
    Watched,
    add_watch_arguments,
    check_watch,
    watch_files,
)
from lrcalc.progress import progress_bar

ENGINES = ("ase", "torch", "torchsim")
"""The last is refused, with the way out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="bundled name or model file")
    parser.add_argument("structure", help="any file ASE reads (or water64): its last "
                        "frame, with its charge, masses, fixed atoms and velocities")  # fmt: skip
    parser.add_argument("--out", default="md", metavar="NAME", help="NAME.xyz, .csv, .png, .npz")
    parser.add_argument("--steps", type=int, default=1000, help="total, with those done before")
    parser.add_argument("--timestep", type=float, default=0.5, help="of the integrator, fs")
    parser.add_argument("--ensemble", default="nve", choices=["nve", "nvt", "npt"],
                        help="what is constant beside the number of atoms")  # fmt: skip
    parser.add_argument("--temperature", type=float, default=300.0,
                        help="to hold (nvt, npt), and of first velocities, K")  # fmt: skip
    parser.add_argument("--pressure", type=float, default=0.0, help="to hold (npt), GPa")
    parser.add_argument("--thermostat-time", type=float, default=100.0,
                        help="time constant of the thermostat, fs")  # fmt: skip
    parser.add_argument("--barostat-time", type=float, default=500.0,
                        help="time constant of the barostat, fs")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of velocities and thermostat")
    held = parser.add_argument_group("held constant (one of them)")
    add_field_arguments(held)
    add_course_arguments(held.add_mutually_exclusive_group())
    out = parser.add_argument_group(
        "output", "The same command goes on where an earlier run of this name was;\n"
        "only --steps, --traj, --device and --compile may be others.",
    )  # fmt: skip
    out.add_argument("--every", type=int, default=10, help="steps between frames and rows")
    out.add_argument("--born-every", type=int, default=0, metavar="K",
                     help="Born charges with every K-th frame")  # fmt: skip
    out.add_argument("--polarizability-every", type=int, default=0, metavar="K",
                     help="polarizability with every K-th frame")  # fmt: skip
    out.add_argument("--current-every", type=int, default=0, metavar="K",
                     help="current dM/dt with every K-th frame, for ir --from-current: three "
                     "numbers where Born charges are nine an atom")  # fmt: skip
    out.add_argument("--traj", action="store_true", help="at the end also NAME.traj, for ase gui")
    out.add_argument("--restart", action="store_true",
                     help="replace NAME.* that are there, instead of continuing them")  # fmt: skip
    add_watch_arguments(parser.add_argument_group("watching the run"))
    parser.add_argument("--epsilon-infinity", type=float, help="instead of the model's")
    parser.add_argument("--device", default="cpu", help="torch device: cpu, cuda, …")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"],
                        help="precision")  # fmt: skip
    parser.add_argument("--compile", action="store_true", help=COMPILE)
    many = parser.add_argument_group("many runs at once")
    many.add_argument(
        "--engine", default="ase", choices=ENGINES, metavar="ase|torch",
        help="what moves the atoms: ASE, or tensors that stay on the device",
    )  # fmt: skip
    many.add_argument("--replicas", type=int, default=1, metavar="N",
                      help="run N at once, of seeds --seed, --seed + 1, … (--engine torch): "
                      "NAME-1.xyz, NAME-1.csv, …")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Integrate, write trajectory, table, picture and state."""
    from lrcalc.dynamics import Simulation
    from lrcalc.run_state import load_state
    from lrcalc.trajectory import extxyz_to_traj

    check_options(args)
    if args.engine == "torch":
        from lrcalc.commands._md_replicas import run_replicas

        return run_replicas(args)
    start = read(args)
    files = run_files(args.out, traj=args.traj)
    check_targets({**files, **watch_files(args)}, start.path, restart=args.restart)
    simulation = make(
        start, args, lambda calculator: Simulation(start.atoms, calculator, start.settings),
        watch=args.watch is None,
    )  # fmt: skip
    watched = None if args.watch is None else Watched(args, simulation)
    resumed = files[".npz"].is_file() and not args.restart
    tell(start, args, simulation, dipole=has_dipole(simulation), resumed=resumed)
    if resumed:
        state = load_state(files[".npz"])
        simulation.restore(state)
        lock = cut(files, state)
        print(f"continuing {args.out} at step {simulation.steps}")
    else:
        first_look(simulation, args)
        lock = clear(files)
        files[".csv"].write_text(",".join(columns(args.ensemble)) + "\n")
    with lock:
        if watched:
            watched.begin(simulation.steps if resumed else None)
        left = integrate(simulation, args, files, watched, resumed=resumed)
    plot([files[".csv"]], files[".png"], len(start.atoms))
    if args.traj:
        extxyz_to_traj(files[".xyz"], files[".traj"])
    made = [f for f in (files | watch_files(args)).values() if f.exists()]
    print(f"wrote {', '.join(map(str, made))}")
    if left:
        print(f"stopped at {left}", file=sys.stderr)
        return STOPPED
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that make no sense before anything is read."""
    check_watch(args)
    check_engine(args)
    if args.every < 1 or args.steps < 1:
        raise ValueError("`--steps` and `--every` must be at least 1")
    if args.pressure and args.ensemble != "npt":
        raise ValueError(
            f"`--pressure` is {args.pressure:g} GPa, but the cell is fixed in ensemble "
            f"{args.ensemble!r}: leave it out, or say --ensemble npt"
        )
    for name in SPACING[1:]:
        if getattr(args, name) < 0:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"`{option}` is {getattr(args, name)} but must be 0 (never) or more")


def check_engine(args: argparse.Namespace) -> None:
    """Refuse what an engine cannot do."""
    if args.engine == "torchsim":
        raise ValueError(
            "`--engine` is torchsim, but torch-sim is used from Python: "
            "lrcalc.torchsim.TorchSimModel. --engine torch moves replicas on the device, with the "
            "files, thermostats and continued runs of this command"
        )
    if args.replicas < 1:
        raise ValueError(f"`--replicas` is {args.replicas} but must be 1 or more")
    if args.engine == "ase" and args.replicas > 1:
        raise ValueError(
            f"`--replicas` is {args.replicas}, but ASE moves one structure: say --engine torch"
        )
    if args.engine == "torch" and args.watch is not None:
        raise ValueError(
            "`--watch` looks at one structure after each step: it needs --engine ase. afterwards, "
            "`lrcalc extrapolation` looks at the frames"
        )


def first_look(simulation: Any, args: argparse.Namespace) -> None:
    """Compute what the first frame holds: what cannot be had is refused before files are made."""
    simulation.calculator.also = wanted(simulation, 0, args)
    simulation.atoms.get_potential_energy()
    if args.current_every:
        simulation.calculator.get_property("current", simulation.atoms)
    if args.ensemble == "npt":
        simulation.atoms.get_stress()


def integrate(
    simulation: Any, args: argparse.Namespace, files: dict[str, Path], watched: Watched | None,
    *, resumed: bool,
) -> str | None:  # fmt: skip
    """Run to the end and show progress; the state is saved with every frame and at the end.

    Returns why the run was stopped before, if it was.
    """
    left = None
    first = simulation.conserved()
    recorded = simulation.steps if resumed else -1  # a continued run has this frame
    with progress_bar(args.steps, initial=simulation.steps, unit="step") as bar:
        while True:
            if simulation.steps % args.every == 0 and simulation.steps != recorded:
                row = record(simulation, args, files)
                drift = 1e3 * (row["conserved_eV"] - first) / len(simulation.atoms)
                temperature = row["temperature_K"]
                bar.set_postfix_str(f"T {temperature:.0f} K, conserved {drift:+.3f} meV/atom")
            if watched and simulation.steps != recorded:
                left = watched.look(simulation)
            if left or simulation.steps >= args.steps:
                break
            also = wanted(simulation, simulation.steps + 1, args)
            if watched:
                also += watched.wanted(simulation.steps + 1)
            simulation.calculator.also = also
            simulation.step()
            bar.update()
    save(simulation, files)
    return left


def record(simulation: Any, args: argparse.Namespace, files: dict[str, Path]) -> dict[str, float]:
    """Write one frame, one row and the state."""
    from lrcalc.trajectory import write_extxyz

    atoms = simulation.atoms
    names = wanted(simulation, simulation.steps, args)
    if due(simulation.steps, args.every, args.current_every):
        names.append("current")  # not with the forces: it needs the velocities after them
    for name in names:
        simulation.calculator.get_property(name, atoms)
    row = table_row(simulation)
    atoms.info |= {"step": simulation.steps, "time_fs": simulation.time}
    write_extxyz(files[".xyz"], atoms, append=True)
    append_row(files[".csv"], row)
    save(simulation, files)
    return row


def save(simulation: Any, files: dict[str, Path]) -> None:
    """Write the state, with the lengths of the files that belong to it."""
    from lrcalc.run_state import save_state

    save_state(files[".npz"], simulation.state() | sizes(files))
