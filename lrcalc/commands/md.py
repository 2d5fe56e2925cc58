"""`lrcalc md`: molecular dynamics, in a field if wanted, that can be killed and continued.

The same command continues a run where it was, with other values of --steps, --traj and --device if
wanted. Whatever else differs (`lrcalc.run_identity`) is refused.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from math import isfinite, pi, sin
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.commands._md_files import (
    check_targets,
    clear,
    cut,
    read_start,
    run_files,
    sizes,
)
from lrcalc.progress import progress_bar

COLUMNS = ("step", "time_fs", "temperature_K", "enthalpy_eV", "conserved_eV", "volume_A3",
           "Mx_eA", "My_eA", "Mz_eA", "Ex_V/A", "Ey_V/A", "Ez_V/A")  # fmt: skip
"""Of the table; at constant pressure also "pressure_GPa"."""

HELD = ("field", "displacement", "voltage")
"""Options of which one may be given."""

SPACING = ("every", "born_every", "polarizability_every")
"""Options of the output that a continued run must keep; it may change --steps and --traj."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="bundled name or model file")
    parser.add_argument("structure", help="any file ASE reads (or water64): its last "
                        "frame, with its charge, masses, fixed atoms and velocities")  # fmt: skip
    parser.add_argument("--out", default="md", metavar="NAME", help="NAME.xyz, .csv, .png, .npz")
    parser.add_argument("--steps", type=int, default=1000, help="total, with those done before")
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--ensemble", default="nve", choices=["nve", "nvt", "npt"],
                        help="what is constant beside the number of atoms")  # fmt: skip
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--pressure", type=float, default=0.0, help="GPa")
    parser.add_argument("--thermostat-time", type=float, default=100.0, help="fs")
    parser.add_argument("--barostat-time", type=float, default=500.0, help="fs")
    parser.add_argument("--seed", type=int, default=0, help="of velocities and thermostat")
    held = parser.add_argument_group("held constant (one of them)")
    held.add_argument("--field", type=float, nargs=3, metavar=("X", "Y", "Z"), help="E, V/Å")
    held.add_argument(
        "--displacement", type=float, nargs=3, metavar=("X", "Y", "Z"), help="D, e/Å²"
    )
    held.add_argument("--voltage", type=float, nargs=3, metavar=("A", "B", "C"),
                      help="E·a along each lattice vector, V; what to hold when the cell "
                      "changes (npt)")  # fmt: skip
    shape = held.add_mutually_exclusive_group()
    shape.add_argument("--ramp", type=float, metavar="FS", help="raise it linearly over this time")
    shape.add_argument("--cycle", type=float, metavar="FS", help="sinusoidal with this period")
    out = parser.add_argument_group(
        "output", "The same command goes on where an earlier run of this name was;\n"
        "only --steps, --traj and --device may be others.",
    )  # fmt: skip
    out.add_argument("--every", type=int, default=10, help="steps between frames and rows")
    out.add_argument("--born-every", type=int, default=0, metavar="K",
                     help="Born charges with every K-th frame")  # fmt: skip
    out.add_argument("--polarizability-every", type=int, default=0, metavar="K",
                     help="polarizability with every K-th frame")  # fmt: skip
    out.add_argument("--traj", action="store_true", help="at the end also NAME.traj, for ase gui")
    out.add_argument("--restart", action="store_true",
                     help="replace NAME.* that are there, instead of continuing them")  # fmt: skip
    parser.add_argument("--epsilon-infinity", type=float, help="instead of the model's")
    parser.add_argument("--device", default="cpu", help="torch device: cpu, cuda, …")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"],
                        help="precision")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Integrate, write trajectory, table, picture and state."""
    from lrcalc.dynamics import RunSettings, load_state
    from lrcalc.hashing import hash_of
    from lrcalc.models.card import pressure_warning
    from lrcalc.trajectory import extxyz_to_traj

    check_options(args)
    path, atoms, notes = read_start(args.structure)
    files = run_files(args.out, traj=args.traj)
    check_targets(files, path, restart=args.restart)
    settings = RunSettings(
        args.ensemble, args.timestep, args.temperature, args.pressure, args.thermostat_time,
        args.barostat_time, args.seed,
    )  # fmt: skip
    start = hash_of(atoms.positions, atoms.cell[:], atoms.get_momenta())
    simulation = make_simulation(atoms, settings, args)
    simulation.identity |= {"held": held(args), "hash of the structure file": start}
    # the spacing of frames is not ours to change half way: spectra need it even
    simulation.identity |= {name: getattr(args, name) for name in SPACING}
    card = simulation.calculator.evaluator.potential.metadata
    warning = pressure_warning(args.model, card) if args.ensemble == "npt" else None
    if warning:
        print(warning, file=sys.stderr)
    if not has_dipole(simulation):
        notes.append("no dipole is recorded: this structure, or this model, has none")
    for note in (*notes, *simulation.notes):
        print(note)
    resumed = files[".npz"].is_file() and not args.restart
    if resumed:
        state = load_state(files[".npz"])
        simulation.restore(state)
        lock = cut(files, state)
        print(f"continuing {args.out} at step {simulation.steps}")
    else:
        first_look(simulation, args)
        lock = clear(files)
        files[".csv"].write_text(",".join(columns(args)) + "\n")
    with lock:
        integrate(simulation, args, files, resumed=resumed)
    plot(files[".csv"], files[".png"], len(atoms), len(columns(args)))
    if args.traj:
        extxyz_to_traj(files[".xyz"], files[".traj"])
    print(f"wrote {', '.join(str(f) for f in files.values())}")
    return 0


def make_simulation(atoms: Any, settings: Any, args: argparse.Namespace) -> Any:
    """Build the simulation; its warnings go to standard error, its conditions into the frames."""
    from lrcalc.dynamics import Simulation

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        simulation = Simulation(atoms, make_calculator(args), settings)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    amplitude = next((v for name in HELD if (v := getattr(args, name)) is not None), None)
    simulation.set_conditions(
        model=args.model, value=None if amplitude is None else tuple(amplitude)
    )
    return simulation


def columns(args: argparse.Namespace) -> tuple[str, ...]:
    """Name the columns of the table."""
    return (*COLUMNS, "pressure_GPa") if args.ensemble == "npt" else COLUMNS


def check_options(args: argparse.Namespace) -> None:
    """Refuse options that make no sense before anything is read."""
    if args.every < 1 or args.steps < 1:
        raise ValueError("`--steps` and `--every` must be at least 1")
    for name in ("born_every", "polarizability_every"):
        if getattr(args, name) < 0:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"`{option}` is {getattr(args, name)} but must be 0 (never) or more")
    vectors = [v for name in HELD if (v := getattr(args, name)) is not None]
    if len(vectors) > 1:
        raise ValueError("--field, --displacement and --voltage exclude each other; give one")
    for option, value in (("--ramp", args.ramp), ("--cycle", args.cycle)):
        if value is None:
            continue
        if not vectors:
            raise ValueError("--ramp and --cycle need --field, --displacement or --voltage")
        if not (isfinite(value) and value > 0):
            raise ValueError(f"`{option}` is {value} fs but must be positive and finite")


def first_look(simulation: Any, args: argparse.Namespace) -> None:
    """Compute what the first frame holds: what cannot be had is refused before files are made."""
    simulation.calculator.also = wanted(simulation, 0, args)
    simulation.atoms.get_potential_energy()
    if args.ensemble == "npt":
        simulation.atoms.get_stress()


def integrate(
    simulation: Any, args: argparse.Namespace, files: dict[str, Path], *, resumed: bool
) -> None:
    """Run to the end and show progress; the state is saved with every frame and at the end."""
    first = simulation.conserved()
    recorded = simulation.steps if resumed else -1  # a continued run has this frame
    with progress_bar(args.steps, initial=simulation.steps, unit="step") as bar:
        while True:
            if simulation.steps % args.every == 0 and simulation.steps != recorded:
                row = record(simulation, args, files)
                drift = 1e3 * (row[4] - first) / len(simulation.atoms)
                bar.set_postfix_str(f"T {row[2]:.0f} K, conserved {drift:+.3f} meV/atom")
            if simulation.steps >= args.steps:
                break
            simulation.calculator.also = wanted(simulation, simulation.steps + 1, args)
            simulation.step()
            bar.update()
    save(simulation, files)


def wanted(simulation: Any, step: int, args: argparse.Namespace) -> list[str]:
    """Properties beside energy and forces that the frame of this step holds."""
    if step % args.every:
        return []
    frame = step // args.every
    strides = {"born_effective_charges": args.born_every,
               "polarizability": args.polarizability_every}  # fmt: skip
    names = [name for name, stride in strides.items() if stride and frame % stride == 0]
    return ["dipole", *names] if has_dipole(simulation) else names


def has_dipole(simulation: Any) -> bool:
    """Whether there is a dipole to record: charges, and no charged slab."""
    from lrcalc.structures import total_charge

    pbc, charge = simulation.atoms.pbc, total_charge(simulation.atoms)
    slab = pbc.any() and not pbc.all()
    short = simulation.calculator.evaluator.potential.config["level"] == "sr"
    return not (short or (slab and charge))


def record(simulation: Any, args: argparse.Namespace, files: dict[str, Path]) -> list[float]:
    """Write one frame, one row and the state."""
    from lrcalc.trajectory import write_extxyz

    atoms, calculator = simulation.atoms, simulation.calculator
    energy = atoms.get_potential_energy()
    for name in wanted(simulation, simulation.steps, args):
        calculator.get_property(name, atoms)
    results = calculator.results
    row = [
        simulation.steps, simulation.time, simulation.temperature, energy, simulation.conserved(),
        abs(float(np.linalg.det(atoms.cell))), *results.get("dipole", np.full(3, np.nan)),
        *results.get("electric_field", np.zeros(3)),
    ]  # fmt: skip
    if args.ensemble == "npt":
        row.append(simulation.pressure)
    atoms.info |= {"step": simulation.steps, "time_fs": simulation.time}
    write_extxyz(files[".xyz"], atoms, append=True)
    with files[".csv"].open("a") as file:
        file.write(",".join(f"{value:.15g}" for value in row) + "\n")
    save(simulation, files)
    return [float(value) for value in row]


def save(simulation: Any, files: dict[str, Path]) -> None:
    """Write the state, with the lengths of the files that belong to it."""
    from lrcalc.dynamics import save_state

    save_state(files[".npz"], simulation.state() | sizes(files))


def make_calculator(args: argparse.Namespace) -> Any:
    """Build the calculator, with a ramped or cycled field if asked for."""
    from lrcalc.calculator import LRCalculator

    return LRCalculator(
        args.model, device=args.device, dtype=args.dtype, epsilon_infinity=args.epsilon_infinity,
        electric_field=shaped(args.field, args.ramp, args.cycle),
        electric_displacement=shaped(args.displacement, args.ramp, args.cycle),
        reduced_field=shaped(args.voltage, args.ramp, args.cycle),
    )  # fmt: skip


def shaped(
    vector: list[float] | None, ramp: float | None, cycle: float | None
) -> np.ndarray | Callable[[float], np.ndarray] | None:
    """Return a constant vector, or one that depends on time (fs)."""
    if vector is None:
        return None
    amplitude = np.array(vector)
    if ramp is not None:
        return lambda time: amplitude * min(time / ramp, 1.0)
    if cycle is not None:
        return lambda time: amplitude * sin(2 * pi * time / cycle)
    return amplitude


def held(args: argparse.Namespace) -> str:
    """Say what is held, how large and with what course in time."""
    for name in HELD:
        if getattr(args, name) is not None:
            shapes = {"ramp": args.ramp, "cycle": args.cycle}
            course = "".join(f" --{k} {v}" for k, v in shapes.items() if v is not None)
            return f"--{name} {' '.join(map(str, getattr(args, name)))}{course}"
    return "nothing"


def plot(table: Path, picture: Path, n_atoms: int, n_columns: int) -> None:
    """Draw conserved quantity, temperature and dipole against time."""
    from matplotlib.figure import Figure

    data = np.atleast_1d(np.genfromtxt(table, delimiter=",", skip_header=1))
    data = data.reshape(-1, n_columns)
    time = data[:, 1] / 1e3
    figure = Figure(figsize=(7, 6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    top.plot(time, 1e3 * (data[:, 4] - data[0, 4]) / n_atoms)
    top.set(ylabel="conserved\n(meV/atom)")
    middle.plot(time, data[:, 2])
    middle.set(ylabel="temperature (K)")
    for axis, name in enumerate("xyz"):
        bottom.plot(time, data[:, 6 + axis], label=f"$M_{name}$")
    bottom.set(ylabel="dipole (e Å)", xlabel="time (ps)")
    bottom.legend(frameon=False, ncols=3)
    figure.savefig(picture, dpi=120)
