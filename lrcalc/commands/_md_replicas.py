"""`lrcalc md --engine torch`: replicas that move at once, with the files of any run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.commands._md_files import check_targets, clear, cut, parts, run_files, sizes, tables
from lrcalc.commands._md_output import append_row, columns, due, plot, properties_of
from lrcalc.commands._md_start import make, read, tell
from lrcalc.progress import progress_bar

if TYPE_CHECKING:
    from lrcalc.replicas.run import Replicas


def run_replicas(args: argparse.Namespace) -> int:
    """Integrate all replicas; write trajectories, tables, picture and state."""
    from lrcalc.models.requests import records_dipole
    from lrcalc.replicas.run import Replicas
    from lrcalc.run_state import load_state
    from lrcalc.trajectory import extxyz_to_traj

    start = read(args)
    files = run_files(args.out, traj=args.traj, replicas=args.replicas)
    check_targets(files, start.path, restart=args.restart)
    run = make(
        start, args,
        lambda calculator: Replicas(start.atoms, calculator, start.settings, args.replicas),
        watch=True,
    )  # fmt: skip
    dipole = records_dipole(run.calculator.evaluator.potential, start.atoms)
    resumed = files[".npz"].is_file() and not args.restart
    tell(start, args, run, dipole=dipole, resumed=resumed)
    if resumed:
        state = load_state(files[".npz"])
        run.restore(state)
        lock = cut(files, state)
        print(f"continuing {args.out} at step {run.steps}")
    run.look(wanted(run, run.steps, args, dipole=dipole))
    if not resumed:
        add_current(run, args)  # what cannot be had is refused before files are made
        run.frames()
        lock = clear(files)
        for table in tables(files):
            table.write_text(",".join(columns(args.ensemble)) + "\n")
    with lock:
        integrate(run, args, files, dipole=dipole, resumed=resumed)
    plot(tables(files), files[".png"], len(start.atoms))
    if args.traj:
        for part in parts(args.replicas):
            extxyz_to_traj(files[part + ".xyz"], files[part + ".traj"])
    print(f"wrote {', '.join(str(path) for path in files.values() if path.exists())}")
    return 0


def wanted(run: Replicas, step: int, args: argparse.Namespace, *, dipole: bool) -> list[str]:
    """Properties that come with the forces of a step."""
    names = properties_of(step, args, dipole=dipole)
    if run.calculator.evaluator.in_field and step % args.every == 0:
        names.append("electric_field")
    return names


def add_current(run: Replicas, args: argparse.Namespace) -> None:
    """Compute the current, if the frame of this step has one."""
    if due(run.steps, args.every, args.current_every):
        run.add(["current"])


def integrate(
    run: Replicas, args: argparse.Namespace, files: Mapping[str, Path],
    *, dipole: bool, resumed: bool,
) -> None:  # fmt: skip
    """Run to the end and show progress; the state is saved with every frame and at the end."""
    from lrcalc.information.guard import Guard

    guard = Guard(args.model)
    first = run.conserved()
    recorded = run.steps if resumed else -1  # a continued run has this frame
    with progress_bar(args.steps, initial=run.steps, unit="step") as bar:
        while True:
            if run.steps % args.every == 0 and run.steps != recorded:
                add_current(run, args)
                record(run, args, files, guard)
                drift = 1e3 * (run.conserved() - first) / run.matter.atoms
                far = drift[np.abs(drift).argmax()]
                bar.set_postfix_str(
                    f"T {run.temperatures().mean():.0f} K, conserved {far:+.3f} meV/atom"
                )
            if run.steps >= args.steps:
                break
            run.step(wanted(run, run.steps + 1, args, dipole=dipole))
            bar.update()
    save(run, files)


def record(run: Replicas, args: argparse.Namespace, files: Mapping[str, Path], guard: Any) -> None:
    """Write a frame and a row of each replica, and the state."""
    from lrcalc.trajectory import write_extxyz

    frames = run.frames()
    rows = table_rows(run, args.ensemble, frames)
    for part, frame, row in zip(parts(run.count), frames, rows, strict=True):
        write_extxyz(files[part + ".xyz"], frame, append=True)
        append_row(files[part + ".csv"], row)
    # one after the other: all are of the same kind
    guard.see(run.calculator.evaluator.potential, frames[run.steps // args.every % run.count])
    save(run, files)


def table_rows(run: Replicas, ensemble: str, frames: list[Any]) -> list[dict[str, float]]:
    """Column → value of this moment, of each replica; NaN where there is no dipole."""
    names, rows = columns(ensemble), []
    pressures = run.pressures() if "pressure_GPa" in names else None
    several = zip(frames, run.temperatures(), run.conserved(), strict=True)
    for k, (frame, temperature, conserved) in enumerate(several):
        results = frame.calc.results
        values = [
            run.steps, run.time, temperature, results["energy"], conserved,
            abs(float(np.linalg.det(frame.cell))), *results.get("dipole", np.full(3, np.nan)),
            *results.get("electric_field", np.zeros(3)),
        ]  # fmt: skip
        if pressures is not None:
            values.append(pressures[k])
        rows.append({name: float(x) for name, x in zip(names, values, strict=True)})
    return rows


def save(run: Replicas, files: Mapping[str, Path]) -> None:
    """Write the state, with the lengths of the files that belong to it."""
    from lrcalc.run_state import save_state

    save_state(files[".npz"], run.state() | sizes(files))
